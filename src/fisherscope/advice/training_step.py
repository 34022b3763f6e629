"""Phase 1 of advice: training steps of the user's model, and the warm-up that they make."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fisherscope.advice.timing_quality import StepClock
from fisherscope.gram.interception.torch_private import tree_map
from fisherscope.step_cost import is_out_of_memory
from fisherscope.tasks import Subject, TaskError, reraise_with_location

SMALLEST_HALVED = 8
"""Batch size below which it is not halved when memory runs out."""

Result = TypeVar("Result")


class AdviceError(TaskError):
    """Advice can't be given on these arguments; the text says what to write instead."""


@dataclass(frozen=True)
class TimeLimit:
    """A number of seconds, counted from its creation.

    Args:
        seconds: The limit.
    """

    seconds: float
    _start: float = field(default_factory=time.perf_counter)

    def remaining(self, share: float = 1.0) -> float:
        """Compute the seconds that are left of a share of the limit; negative when it is exceeded."""
        return self._start + share * self.seconds - time.perf_counter()


class StepRunner:
    """A workload's model with its loss and optimizer, on the model's device.

    Example:
        ```python
        import torch
        import fisherscope as fs
        from fisherscope.advice import StepRunner

        model = torch.nn.Linear(6, 2)
        data = (torch.randn(64, 6), torch.randint(0, 2, (64,)))
        workload = fs.tasks.subject_of(model, torch.nn.functional.cross_entropy, data=data)
        runner = StepRunner(workload, model, torch.optim.SGD(model.parameters(), lr=0.1))
        losses = [runner.step(batch) for batch, _ in zip(runner.batches(16), range(3))]
        batch = runner.to_device((data[0][:8], data[1][:8]))
        assert runner.loss(batch).shape == ()
        runner.release_memory()
        ```

    Args:
        subject: Gives loss and data.
        model: The model that is trained.
        optimizer: The optimizer of its parameters.
    """

    def __init__(self, subject: Subject, model: nn.Module, optimizer: Optimizer) -> None:
        self.subject, self.model, self.optimizer = subject, model, optimizer
        first = next(iter(model.parameters()), None)
        self.device = torch.device("cpu") if first is None else first.device
        self.clock = StepClock(self.device)

    def batches(self, size: int, seed: int = 0) -> Iterator[Any]:
        """Iterate over batches on the model's device, without end.

        Args:
            size: Samples of each batch.
            seed: Seed of their order.

        Yields:
            Batches in the structure that the data has.
        """
        for batch in self.subject.batches(size, seed):
            yield self.to_device(batch)

    def to_device(self, batch: Any) -> Any:
        """Move the tensors of a batch to the model's device.

        Args:
            batch: Any structure of tensors.

        Returns:
            A batch of the same structure; for a model on the CPU the batch itself.
        """
        if self.device.type == "cpu":
            return batch
        return tree_map(lambda leaf: leaf.to(self.device) if isinstance(leaf, Tensor) else leaf, batch)

    def loss(self, batch: Any) -> Tensor:
        """Compute the loss of a batch, and check that it can be trained on.

        Args:
            batch: On the model's device.

        Returns:
            A tensor with one element, of shape () or (1,), in the dtype of the model.

        Raises:
            AdviceError: It is not one number, or does not depend on the model.
        """
        loss = self.subject.loss(self.model, batch)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            kind = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise AdviceError(
                f"advising on {self.subject.name}: the loss gave {kind}; expected one number, the batch's "
                "mean. Write  loss = lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])  or end "
                "yours with  .mean()"
            )
        if not loss.requires_grad:
            raise AdviceError(
                f"advising on {self.subject.name}: the loss does not depend on the model's parameters; call "
                "the model that is passed to it, without torch.no_grad() and .detach()"
            )
        return loss

    def step(self, batch: Any) -> float:
        """Run forward, backward and a step of the optimizer.

        Args:
            batch: On the model's device.

        Returns:
            The loss before the step.

        Raises:
            AdviceError: As `loss`.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def release_memory(self) -> None:
        """Free gradients and what the allocator has cached, after memory ran out."""
        self.optimizer.zero_grad(set_to_none=True)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


@dataclass(frozen=True)
class WarmUp:
    """What the warm-up steps have shown.

    Args:
        losses: Loss of each step.
        steps: Steps that were requested.
        ends: Mean loss of the first and of the last tenth of the steps; None without steps.
        batch_size: Samples of a batch.
        reduced: Whether memory ran out with larger batches.
        optimizer: Name and learning rate of the optimizer.
    """

    losses: list[float]
    steps: int
    ends: tuple[float, float] | None
    batch_size: int
    reduced: bool
    optimizer: str


def warm_up(runner: StepRunner, steps: int, size: int, expired: Callable[[], bool], seed: int = 0) -> WarmUp:
    """Train some steps, fewer where time runs out and with smaller batches where memory does.

    Args:
        runner: Its model is trained.
        steps: Steps to train.
        size: Samples of a batch.
        expired: Tells whether time has run out; asked before each step.
        seed: Seed of the batches.

    Returns:
        The losses and what they were measured with.

    Raises:
        AdviceError: The loss is not finite, or `runner.loss` rejects it.
    """
    losses, fitting_size = fit_batch_size(runner, size, lambda n: _train(runner, steps, n, expired, seed))
    runner.optimizer.zero_grad(set_to_none=True)
    tenth = max(1, len(losses) // 10)
    ends = (sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth) if losses else None
    return WarmUp(losses, steps, ends, fitting_size, fitting_size != size, _describe(runner.optimizer))


def _train(runner: StepRunner, steps: int, size: int, expired: Callable[[], bool], seed: int) -> list[float]:
    losses: list[float] = []
    batches = runner.batches(size, seed)
    while len(losses) < steps and not expired():
        losses.append(runner.step(next(batches)))
        if not math.isfinite(losses[-1]):
            raise AdviceError(
                f"advising on {runner.subject.name}: the loss became {losses[-1]} in step {len(losses)} of "
                f"the warm-up with {_describe(runner.optimizer)}; use a smaller lr (--lr), or warmup=0"
            )
    return losses


def _describe(optimizer: Optimizer) -> str:
    """Name and learning rate."""
    return f"{type(optimizer).__name__}(lr={optimizer.param_groups[0]['lr']:g})"


def fit_batch_size(runner: StepRunner, size: int, call: Callable[[int], Result]) -> tuple[Result, int]:
    """Call a function with a batch size, halved for as long as memory runs out.

    Args:
        runner: Its memory is released before each further call.
        size: The first batch size.
        call: Takes a batch size.

    Returns:
        What the call returned, and the batch size it was called with.

    Raises:
        AdviceError: The call raised something else, or memory runs out with fewer than 8 samples; names
            the size, and the line of the user's file.
    """
    while True:
        location = reraise_with_location(
            f"advising on {runner.subject.name}: a batch of {size} samples",
            "fix it, or give other batch sizes",
        )
        with location:
            try:
                return call(size), size
            except Exception as error:
                if not is_out_of_memory(error) or size < SMALLEST_HALVED:
                    raise
        runner.release_memory()
        size //= 2

"""One training step of what is being advised on, and what is said where it can't be one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils import _pytree as pytree

from fisherscope.advice.timing_quality import waited_seconds
from fisherscope.tasks import Subject, TaskError


class AdviceError(TaskError):
    """Advice can't be given on what was handed over; the text says what to write instead."""


class StepRunner:
    """A subject's model with its loss and optimizer, on the model's device.

    Args:
        subject: Loss and data.
        model: The one that is stepped.
        optimizer: Of its parameters.
    """

    def __init__(self, subject: Subject, model: nn.Module, optimizer: Optimizer) -> None:
        self.subject, self.model, self.optimizer = subject, model, optimizer
        first = next(iter(model.parameters()), None)
        self.device = torch.device("cpu") if first is None else first.device
        self.own_seconds = self.wall_seconds = self.waited_seconds = 0.0  # of what was timed

    def moved(self, batch: Any) -> Any:
        """The batch on the model's device; whatever its structure."""
        if self.device.type == "cpu":
            return batch
        return pytree.tree_map_only(Tensor, lambda tensor: tensor.to(self.device), batch)

    def loss(self, batch: Any) -> Tensor:
        """The batch's loss, checked.

        Raises:
            AdviceError: It is no scalar, or does not depend on the model.
        """
        loss = self.subject.loss(self.model, batch)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise AdviceError(
                f"advising on {self.subject.name}: the loss gave {got}; expected one number, the batch's "
                "mean. Write  loss = lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])  or end "
                "yours with  .mean()"
            )
        if not loss.requires_grad:
            raise AdviceError(
                f"advising on {self.subject.name}: the loss does not depend on the model's parameters; call "
                "the model that is handed to it, without torch.no_grad() and .detach()"
            )
        return loss

    def step(self, batch: Any) -> float:
        """Forward, backward and the optimizer's step; gives the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def finish(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def timed(self, call: Callable[[], Any]) -> tuple[Any, float]:
        """What a call gives, and its seconds.

        On the CPU with one thread they are the process's own, which another process does not lengthen;
        `slowdown` then says how much longer one has to wait.
        """
        self.finish()
        waited = waited_seconds()
        own, wall = time.process_time(), time.perf_counter()
        found = call()
        self.finish()
        own, wall = time.process_time() - own, time.perf_counter() - wall
        self.own_seconds, self.wall_seconds = self.own_seconds + own, self.wall_seconds + wall
        self.waited_seconds += max(0.0, waited_seconds() - waited)  # less where a thread has ended
        return found, own if self.alone else wall

    @property
    def alone(self) -> bool:
        """Whether a step's work is that of one thread of this process."""
        return self.device.type == "cpu" and torch.get_num_threads() == 1

    @property
    def slowdown(self) -> float:
        """Seconds on the clock for a second as `timed` gives it."""
        return max(1.0, self.wall_seconds / self.own_seconds) if self.alone and self.own_seconds else 1.0


def warmed(stepper: StepRunner, steps: int, size: int, deadline: Any, seed: int) -> list[float]:
    """Losses of some training steps, fewer where time runs out.

    Raises:
        AdviceError: The loss is not finite.
    """
    losses: list[float] = []
    batches = stepper.subject.batches(size, seed)
    while len(losses) < steps and not deadline():
        losses.append(stepper.step(stepper.moved(next(batches))))
        if not math.isfinite(losses[-1]):
            raise AdviceError(
                f"advising on {stepper.subject.name}: the loss became {losses[-1]} in step {len(losses)} of "
                f"the warm-up with {described(stepper.optimizer)}; give a smaller lr (--lr), or warmup=0"
            )
    return losses


def described(optimizer: Optimizer) -> str:
    """Name and rate."""
    return f"{type(optimizer).__name__}(lr={optimizer.param_groups[0]['lr']:g})"

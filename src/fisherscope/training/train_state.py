"""Hold all that changes while a run trains, as one value that can be saved and restored."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

import fisherscope as fs
from fisherscope.model_state import rng
from fisherscope.sampler import micro_batches
from fisherscope.training.configuration import Configuration, ConfigurationError
from fisherscope.training.optimizer import make_optimizer
from fisherscope.training.process_times import ProcessTimes
from fisherscope.training.running_scores import RunningScores

_TRAINING_SCORED = 2000
"""Training samples that are evaluated after an epoch, in eval mode, as the validation samples are."""
_SEGMENT_SCORED = 100
"""The same where an epoch is a segment of the data, evaluated many times a pass."""
_READ_EVERY = 50
"""Steps, on a GPU, between two reads of the loss."""


class TrainState:
    """Hold the model, optimizer, sampler, monitor and epoch sums of one run.

    Args:
        config: The run's configuration.
        task: The task it trains.

    Raises:
        ConfigurationError: The batch is larger than the data, or optimizer or device are unknown.
        TaskError: A user's task fails the check on a few samples.

    Example:
        ```python
        from fisherscope.training import Configuration, TrainState, task_of

        config = Configuration.of({"task": "digits/mlp", "batch_size": 32})
        state = TrainState(config, task_of(config))
        saved = state.state_dict()
        indices = next(iter(state.sampler))
        assert state.first_loss(state.first_batch(indices)) > 0
        state.step(indices)
        assert not state.has_diverged()
        assert "val_error" in state.outcomes()
        print(state.epoch_row())
        state.load_state_dict(saved)
        ```
    """

    def __init__(self, config: Configuration, task: fs.tasks.Task) -> None:
        self.config = config
        self.device = _device(config.device)
        self.task = task.to(self.device)
        scored = _TRAINING_SCORED if config.segment is None else _SEGMENT_SCORED
        self.scored = self.task.limited(min(scored, len(task.train)))
        policy = config.policy_of()
        if config.batch_size > len(task.train):
            raise ConfigurationError(
                f"training {task.name}: batches of {config.batch_size} from {len(task.train)} samples; "
                "choose a smaller batch size or more data (--limit-train)"
            )
        config.check_policy(policy, len(task.train))
        earlier_modules = self._check_task(task) if ":" in config.task else None
        rng.seed(config.seed)
        self.model: nn.Module = task.model().to(self.device)
        if earlier_modules is not None and any(part in earlier_modules for part in self.model.modules()):
            raise fs.tasks.TaskError(
                f"task {task.name!r}: 'model' returned the same model twice, or a part of it; expected a new "
                "one at each call, or a second run would begin where the first one ended"
            )
        self.step_model = torch.compile(self.model) if config.compile else self.model
        self.optimizer = make_optimizer(config, self.model)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "float16")
        self.sampler = fs.DynamicBatchSampler(len(task.train), policy, seed=config.seed)
        self.sampler.attach(self.optimizer)
        self.monitor = fs.Monitor(
            self.model,
            self.optimizer,
            config.every,
            dataset_size=len(task.train),
            seed=config.seed,
            stride=config.stride,
            per_epoch=config.per_epoch,
            grad_scaler=self.scaler if self.scaler.is_enabled() else None,
            fused=bool(config.fused),
            precision=config.measure_precision or "default",
            rule=config.rule or "floor",
            **({"accumulate": True} if config.micro_batch else {}),
            on_spike=bool(config.on_spike),
            **({"metric": config.measure_metric} if config.measure_metric else {}),
        )
        self.running = RunningScores(self.task, self.step_model)
        self._batch_errors = self._error_context("taking its training samples")
        self._loss_errors = self._error_context("its loss")
        self.loss_sum: float | Tensor = 0.0  # a tensor on a GPU, where reading a number waits for the device
        self.samples = 0
        self.seconds = {"train": 0.0, "fisher": 0.0}
        self.process_times = ProcessTimes(self.device.type)
        self.last_batch = self.sampler.current
        self.decisions: list[str] = []  # this epoch's, with their reasons
        self._note(self.last_batch.decision)

    def step(self, indices: list[int]) -> Tensor:
        """Take one optimizer step.

        Args:
            indices: Numbers of the training samples.

        Returns:
            The batch's mean loss, shape (), detached, in the precision of the run.

        Raises:
            TaskError: Data or loss of a user's task raised an exception.

        Cost: no device synchronisation, except where a measured step needs one.
        """
        began, config, self.last_batch = time.perf_counter(), self.config, self.sampler.current
        self.process_times.begin()
        epoch = self.last_batch.epoch
        with self._batch_errors:
            batch = self.task.batch("train", indices, epoch=epoch, seed=config.seed, device=self.device)
        self.optimizer.zero_grad(set_to_none=True)
        if config.measure:
            with self.monitor.observe(batch_size=len(indices)) as observation:
                loss = self._backward(batch)
                observation.loss = loss if config.micro_batch else None
        else:
            loss = self._backward(batch)
        if config.grad_clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._note(self.sampler.step(self.monitor.measurement))
        self.running.add(len(indices))
        self.loss_sum += len(indices) * (loss.item() if self.device.type == "cpu" else loss.double())
        self.samples += len(indices)
        self.seconds["train"] += time.perf_counter() - began
        self.process_times.end(measured=self.monitor.measurement is not None)
        if self.monitor.measurement is not None:
            self.seconds["fisher"] += self.monitor.measurement["time/fisher_s"]
        return loss

    def first_batch(self, indices: list[int]) -> Any:
        """Return a batch of the first epoch, as `step` would train on it.

        Args:
            indices: Numbers of the training samples.

        Returns:
            The batch.

        Raises:
            TaskError: A user's data set raised an exception.
        """
        with self._batch_errors:
            return self.task.batch("train", indices, epoch=0, seed=self.config.seed, device=self.device)

    def first_loss(self, batch: Any) -> Tensor:
        """Return the loss of a batch, without training on it.

        Args:
            batch: From `first_batch`.

        Returns:
            A scalar, shape (), detached, in the precision of the run.

        Raises:
            TaskError: A user's loss raised an exception.
        """
        with torch.no_grad(), self._loss_errors, self._precision():
            loss: Tensor = self.task.loss(self.model, batch)
        return loss.detach()

    def _note(self, decision: fs.policy.Decision) -> None:
        """Record the reason of a policy's change, for the epoch's row."""
        if decision.reason:
            step = self.sampler.current.step
            self.decisions.append(
                f"step {step}: {decision.batch_size} at {decision.lr:.6g}: {decision.reason}"
            )

    def _backward(self, batch: Any) -> Tensor:
        """Run backward on the batch, in parts if it exceeds `micro_batch`; return its mean loss."""
        limit = self.config.micro_batch
        if limit is None:
            return self._backward_part(batch, 1.0)
        parts = list(micro_batches(batch, limit))
        return torch.stack([self._backward_part(part, share) for part, share in parts]).sum()

    def _backward_part(self, batch: Any, share: float) -> Tensor:
        with self._loss_errors, self._precision(), self.running.record(batch):
            loss: Tensor = self.task.loss(self.step_model, batch)
        loss = loss if share == 1.0 else share * loss
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _error_context(self, what: str) -> AbstractContextManager[None]:
        """Make a context that names a user's task in its errors; built-in tasks need none."""
        if ":" not in self.config.task:
            return nullcontext()
        context: AbstractContextManager[None] = fs.tasks.reraise_with_location(
            lambda: f"task {self.task.name!r}: step {self.last_batch.step}: {what}",
            "fix it; the same command resumes from the last checkpoint",
        )
        return context

    def _check_task(self, task: fs.tasks.Task) -> Any:
        """Check a user's task on a batch's samples; on one sample if each epoch ends with one."""
        fixed = self.config.policy == f"s{self.config.batch_size}"
        alone = fixed and len(task.train) % self.config.batch_size == 1
        samples = 1 if alone else min(self.config.batch_size, self.config.micro_batch or len(task.train))
        return fs.tasks.check_task(self.task, samples, self.device, self._precision)

    def _precision(self) -> AbstractContextManager[Any]:
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.config.precision))

    def has_diverged(self) -> bool:
        """Return whether a loss of this epoch was not finite.

        Returns:
            True if it was; on a GPU, where reading it waits for the device, this is known every 50 steps and
            at an epoch's end.
        """
        epoch_ended = self.sampler.current.start == 0
        waits = self.device.type != "cpu"
        if waits and not epoch_ended and self.last_batch.step % _READ_EVERY:
            return False
        return not math.isfinite(self.loss_sum)

    def epoch_row(self) -> dict[str, Any]:
        """Evaluate the epoch that just ended on every split, and start the next one's sums.

        Returns:
            Losses, metrics, measures and seconds by the keys of epochs.jsonl.

        Cost: a forward pass of the validation and test split and of up to 2000 training samples.
        """
        began, batch = time.perf_counter(), self.last_batch
        row = self.monitor.epoch_end() if self.config.measure else {}
        row |= {"epoch": batch.epoch + 1, "step": batch.step + 1, "lr": batch.decision.lr}
        row |= {
            "batch_size": batch.decision.batch_size,
            "policy/decisions": " | ".join(self.decisions),
            "train/loss_running": float(self.loss_sum) / self.samples,
            **self.running.means(self.samples),
        }
        self.decisions = []
        result = None
        for prefix, task, split in (
            ("train", self.scored, "train"), ("val", self.task, "validation"), ("test", self.task, "test"),
        ):  # fmt: skip
            if result is None or split != "test" or self.task.test is not self.task.validation:
                result = task.evaluate(self.model, split, device=self.device)
            row |= {f"{prefix}/loss": result.loss, **{f"{prefix}/{k}": v for k, v in result.metrics.items()}}
        row |= {f"time/{name}_s": seconds for name, seconds in self.seconds.items()}
        row["time/eval_s"] = time.perf_counter() - began
        row |= self.process_times.epoch_row()
        self.loss_sum, self.samples, self.seconds = 0.0, 0, dict.fromkeys(self.seconds, 0.0)
        self.running.clear()
        return row

    def outcomes(self) -> dict[str, Any]:
        """Evaluate the loss and metrics of each validation and test sample.

        Returns:
            (n,) float32 by name, such as "val_loss".

        Cost: a forward pass of both splits.
        """
        return {
            f"{prefix}_{name}": values
            for prefix, split in (("val", "validation"), ("test", "test"))
            for name, values in self.task.evaluate(self.model, split, device=self.device).per_example.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to resume bit for bit.

        Returns:
            Tensors and plain values by name.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "sampler": self.sampler.state_dict(),
            "monitor": self.monitor.state_dict() if self.config.measure else None,
            "loss_sum": float(self.loss_sum),
            "samples": self.samples,
            "running": self.running.state_dict(),
            "seconds": dict(self.seconds),
            "process_times": self.process_times.state_dict(),
            "decisions": list(self.decisions),
            "random": rng.state(self.device),
        }

    def begin_with(self, state: dict[str, Any]) -> None:
        """Take weights, optimizer state and loss scale from another run's state; all else begins anew.

        Args:
            state: A value of `state_dict`, of a run with the same model and optimizer.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: It is of another model or version.
        """
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.sampler.attach(self.optimizer)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state.

        Args:
            state: A value of `state_dict`, of a run with the same configuration.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: It is of another model or version.
        """
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.sampler.load_state_dict(state["sampler"])
        if state["monitor"] is not None:
            self.monitor.load_state_dict(state["monitor"])
        self.loss_sum = float(state["loss_sum"])
        self.samples, self.seconds = state["samples"], dict(state["seconds"])
        self.running.load_state_dict(state.get("running", {}))
        self.process_times.load_state_dict(state.get("process_times", {}))
        self.decisions = list(state["decisions"])
        rng.restore(state["random"], self.device)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        float(torch.zeros((), device=device))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        what = str(error).splitlines()[0].split(". ")[0]
        raise ConfigurationError(f"device {name!r}: {what}; expected cpu, or cuda with a GPU") from error
    return device

"""All that changes while a run trains, as one value that can be saved and put back."""

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
from fisherscope.training.optimizer import optimizer

_TRAINING_SCORED = 2000
"""Training samples whose loss and error are taken after an epoch, in eval mode, as validation's are."""
_LOOK_EVERY = 50
"""Steps, on a GPU, from one look at the loss to the next."""


class TrainState:
    """Model, optimizer, sampler, monitor and the epoch's sums of one run.

    Args:
        config: The run's.
        task: What it trains.

    Raises:
        ConfigurationError: The batch is larger than the data, or there is no such optimizer or device.
    """

    def __init__(self, config: Configuration, task: fs.tasks.Task) -> None:
        self.config = config
        self.device = _device(config.device)
        self.task = task.to(self.device)
        self.scored = self.task.limited(min(_TRAINING_SCORED, len(task.train)))
        policy = config.policy_of()
        if config.batch_size > len(task.train):
            raise ConfigurationError(
                f"training {task.name}: batches of {config.batch_size} from {len(task.train)} samples; "
                "choose a smaller batch size, or more data (--limit-train)"
            )
        config.check_policy(policy, len(task.train))
        tried = self._tried(task) if ":" in config.task else None
        rng.seed(config.seed)
        self.model: nn.Module = task.model().to(self.device)
        if tried is not None and any(part in tried for part in self.model.modules()):
            raise fs.tasks.TaskError(
                f"task {task.name!r}: 'model' gave the same model twice, or a part of it; expected a new one "
                "at each call, or a second run would begin where the first one ended"
            )
        self.step_model = torch.compile(self.model) if config.compile else self.model
        self.optimizer = optimizer(config, self.model)
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
            **({"accumulate": True} if config.micro_batch else {}),
        )
        self._taking, self._losing = self._told("taking its training samples"), self._told("its loss")
        self.loss_sum: float | Tensor = 0.0  # a tensor on a GPU, where a number would have to be waited for
        self.samples = 0
        self.seconds = {"train": 0.0, "fisher": 0.0}
        self.done = self.sampler.current  # the batch that was stepped last
        self.decisions: list[str] = []  # of the epoch, with their reasons
        self._note(self.done.decision)

    def step(self, indices: list[int]) -> Tensor:
        """One optimizer step on these training samples; gives the batch's loss, detached."""
        began, config, self.done = time.perf_counter(), self.config, self.sampler.current
        with self._taking:
            batch = self.task.batch(
                "train", indices, epoch=self.done.epoch, seed=config.seed, device=self.device
            )
        self.optimizer.zero_grad(set_to_none=True)
        if config.measure:
            with self.monitor.observe(batch_size=len(indices)) as seen:
                loss = self._backward(batch)
                seen.loss = loss if config.micro_batch else None
        else:
            loss = self._backward(batch)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._note(self.sampler.step(self.monitor.measurement))
        self.loss_sum += len(indices) * (loss.item() if self.device.type == "cpu" else loss.double())
        self.samples += len(indices)
        self.seconds["train"] += time.perf_counter() - began
        if self.monitor.measurement is not None:
            self.seconds["fisher"] += self.monitor.measurement["time/fisher_s"]
        return loss

    def _note(self, decision: fs.policy.Decision) -> None:
        """Keep what a policy says of a change, for the epoch's row."""
        if decision.reason:
            step = self.sampler.current.step
            self.decisions.append(
                f"step {step}: {decision.batch_size} at {decision.lr:.6g}: {decision.reason}"
            )

    def _backward(self, batch: Any) -> Tensor:
        """Backward over the batch, in parts where it is larger than `micro_batch`; its mean loss."""
        limit = self.config.micro_batch
        if limit is None:
            return self._part(batch, 1.0)
        parts = list(micro_batches(batch, limit))
        return torch.stack([self._part(part, share) for part, share in parts]).sum()

    def _part(self, batch: Any, share: float) -> Tensor:
        with self._losing, self._precision():
            loss: Tensor = self.task.loss(self.step_model, batch)
        loss = loss if share == 1.0 else share * loss
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _told(self, what: str) -> AbstractContextManager[None]:
        """Around what a user wrote; of a built-in task errors are this package's own."""
        if ":" not in self.config.task:
            return nullcontext()
        guard: AbstractContextManager[None] = fs.tasks.told(
            lambda: f"task {self.task.name!r}: step {self.done.step}: {what}",
            "mend that; the same command goes on from the last checkpoint",
        )
        return guard

    def _tried(self, task: fs.tasks.Task) -> Any:
        """A user's task, on as many samples as a batch has; on one where each epoch ends with one."""
        fixed = self.config.policy == f"s{self.config.batch_size}"
        alone = fixed and len(task.train) % self.config.batch_size == 1
        samples = 1 if alone else min(self.config.batch_size, self.config.micro_batch or len(task.train))
        return fs.tasks.tried(self.task, samples, self.device, self._precision)

    def _precision(self) -> AbstractContextManager[Any]:
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.config.precision))

    def diverged(self) -> bool:
        """Whether a loss of this epoch was not finite.

        On a GPU, where looking means waiting, it is looked at now and then and at an epoch's end.
        """
        ended = self.sampler.current.start == 0
        waits = self.device.type != "cpu"
        if waits and not ended and self.done.step % _LOOK_EVERY:
            return False
        return not math.isfinite(self.loss_sum)

    def epoch_row(self) -> dict[str, Any]:
        """What the epoch that just ended gave, evaluated on every split; begins the next one's sums."""
        began, done = time.perf_counter(), self.done
        row = self.monitor.epoch_end() if self.config.measure else {}
        row |= {"epoch": done.epoch + 1, "step": done.step + 1, "lr": done.decision.lr}
        row |= {
            "batch_size": done.decision.batch_size,
            "policy/decisions": " | ".join(self.decisions),
            "train/loss_running": float(self.loss_sum) / self.samples,
        }
        self.decisions = []
        for prefix, task, split in (
            ("train", self.scored, "train"), ("val", self.task, "validation"), ("test", self.task, "test"),
        ):  # fmt: skip
            found = task.evaluate(self.model, split, device=self.device)
            row |= {f"{prefix}/loss": found.loss, **{f"{prefix}/{k}": v for k, v in found.metrics.items()}}
        row |= {f"time/{name}_s": seconds for name, seconds in self.seconds.items()}
        row["time/eval_s"] = time.perf_counter() - began
        self.loss_sum, self.samples, self.seconds = 0.0, 0, dict.fromkeys(self.seconds, 0.0)
        return row

    def outcomes(self) -> dict[str, Any]:
        """Per-example loss and metrics at the end, by split."""
        return {
            f"{prefix}_{name}": values
            for prefix, split in (("val", "validation"), ("test", "test"))
            for name, values in self.task.evaluate(self.model, split, device=self.device).per_example.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything to go on bit for bit: tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "sampler": self.sampler.state_dict(),
            "monitor": self.monitor.state_dict() if self.config.measure else None,
            "loss_sum": float(self.loss_sum),
            "samples": self.samples,
            "seconds": dict(self.seconds),
            "decisions": list(self.decisions),
            "random": rng.state(self.device),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.sampler.load_state_dict(state["sampler"])
        if state["monitor"] is not None:
            self.monitor.load_state_dict(state["monitor"])
        self.loss_sum = float(state["loss_sum"])
        self.samples, self.seconds = state["samples"], dict(state["seconds"])
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

"""Average the metrics of the training batches as they are trained, without a second forward pass."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

import fisherscope as fs


class RunningScores:
    """Average each metric over an epoch's batches, in train mode and augmented, as they were trained.

    The metrics are those of `task.scores`, which is given the outputs of the forward pass that the loss made.
    A task whose scores call the model in another way than its loss has no running metrics.

    Source: the training error that the program of Liao et al. 2020 records (docs/paper.md).

    Args:
        task: The task; its `scores` are used.
        model: The module that the loss calls, compiled or not.

    Example:
        ```python
        from fisherscope.training.running_scores import RunningScores

        task = fs.tasks.get("digits/mlp")
        model, batch = task.model(), task.batch("train", range(8))
        running = RunningScores(task, model)
        with running.record(batch):
            task.loss(model, batch)
        running.add(8)
        assert 0 <= running.means(8)["train/error_running"] <= 1
        ```
    """

    def __init__(self, task: fs.tasks.Task, model: Any) -> None:
        self.task = task
        self.available = True
        self.sums: dict[str, float | Tensor] = {}  # tensors on a GPU, where reading a number waits
        self.samples = 0
        self._model = model
        self._passes: list[tuple[Any, list[_Call]]] = []  # this step's batches, with the calls of each

    @contextmanager
    def record(self, batch: Any) -> Iterator[None]:
        """Record the model's outputs in the block, which computes the loss of `batch`."""
        if not self.available:
            yield
            return
        calls: list[_Call] = []
        handle = self._model.register_forward_hook(
            lambda _, args, kwargs, output: calls.append((args, kwargs, output)), with_kwargs=True
        )
        try:
            yield
        finally:
            handle.remove()
        self._passes.append((batch, calls))

    def add(self, samples: int) -> None:
        """Add the metrics of the step whose passes were recorded; an error ends the running metrics alone.

        Args:
            samples: Number of the step's samples.
        """
        passes, self._passes = self._passes, []
        if not self.available:
            return
        try:
            with torch.no_grad():
                for batch, calls in passes:
                    scores = self.task.scores(_Replayed(self._model, calls), batch)
                    for name, values in scores.items():
                        if name != "loss":
                            total = values.detach().sum(dtype=torch.float64)
                            value = total.item() if total.device.type == "cpu" else total
                            self.sums[name] = self.sums.get(name, 0.0) + value
            self.samples += samples
        except Exception as error:  # noqa: BLE001  (a user's code)
            self.available, self.sums = False, {}
            if not isinstance(error, _DifferentCallError):
                warnings.warn(
                    f"task {self.task.name!r}: no running training metrics, because its scores failed on a "
                    f"training batch ({type(error).__name__}: {error}), and training continues",
                    stacklevel=2,
                )

    def means(self, samples: int) -> dict[str, float | None]:
        """Return the epoch's means.

        Args:
            samples: Samples of the epoch.

        Returns:
            Means by key, such as "train/error_running"; None where part of the epoch was not recorded.
        """
        whole = self.samples == samples
        return {f"train/{k}_running": float(v) / samples if whole else None for k, v in self.sums.items()}

    def clear(self) -> None:
        """Begin a new epoch."""
        self.sums, self.samples = {}, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch's sums, as plain values."""
        return {"sums": {name: float(value) for name, value in self.sums.items()}, "samples": self.samples}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; an empty state is that of an earlier version."""
        self.sums, self.samples = dict(state.get("sums", {})), state.get("samples", 0)


_Call = tuple[tuple[Any, ...], dict[str, Any], Any]
"""Positional and keyword arguments of a call of the model, and its output."""


class _DifferentCallError(Exception):
    """Report scores that call the model in another way than the loss."""


class _Replayed:
    """Stand for the model in `scores`: return the recorded outputs for the same arguments."""

    def __init__(self, model: nn.Module, calls: list[_Call]) -> None:
        self._model = model
        self._calls = calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for recorded_args, recorded_kwargs, output in reversed(self._calls):  # a probe's come before
            same_args = list(map(id, args)) == list(map(id, recorded_args))
            if same_args and {k: id(v) for k, v in kwargs.items()} == {
                k: id(v) for k, v in recorded_kwargs.items()
            }:
                return output
        raise _DifferentCallError("the scores give the model other inputs than the loss")

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._model, name)
        if callable(value):  # a part of the model, or a method that may run it
            raise _DifferentCallError(f"the scores use the model's {name}")
        return value

"""Batch size of a step, read off the shapes of the model's inputs."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fisherscope.gram.batch_axis.probe_run import is_probing
from fisherscope.gram.options import SampleOf
from fisherscope.guard.step_guard import Guard

InputDim = tuple[int, int]
"""Number of one of the model's input tensors, in their order, and one of its dimensions."""


def tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Iterate over the tensors among some values, also inside lists, tuples and dicts.

    Args:
        values: Arguments of a call.

    Yields:
        The tensors themselves.
    """
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(value)
        elif isinstance(value, dict):
            yield from tensors(value.values())


def _count(sample_of: SampleOf, args: Any, kwargs: Any) -> int | None:
    """Count the samples that `sample_of` names; None where it does not say without waiting for a device."""
    try:
        rows = sample_of(*args, **kwargs) if callable(sample_of) else sample_of
        first = next(tensors([rows]), None)
        return int(first.max()) + 1 if first is not None and first.device.type == "cpu" else None
    except Exception:  # noqa: BLE001  (the user's function; a measured step says what it raised)
        return None


class BatchSizeReader:
    """Read |B| of unmeasured steps off the shapes of the model's inputs.

    Measured steps teach it which dimension carries the batch; until one was measured it is the first
    dimension of the first tensor. Forward passes of one step add up (micro-batches; `passes` is their number
    in the latest step). Where no dimension carries it (the same samples passed twice, say), the ratio to the
    first does. Where `sample_of` is given, what it names counts, if its rows lie on the CPU.
    """

    def __init__(self) -> None:
        self.dims: list[InputDim] = []
        self.ratio = 1.0
        self.passes = 1
        self.last = 0
        self._shapes: list[list[torch.Size]] = []
        self._sample_of: SampleOf = None
        self._counts: list[int | None] = []
        self.count_ratio = 1.0

    def watch(self, model: nn.Module, guard: Guard, sample_of: SampleOf = None) -> None:
        """Begin a step: note the input shapes of each forward pass until the guard is closed.

        Args:
            model: What the loop calls. Calls by which a recorder looks at it are not counted.
            guard: Of the step.
            sample_of: The sample of each row, where rows of the inputs are not samples.
        """
        self._shapes.clear()
        self._sample_of, self._counts = sample_of, []
        guard.before_forward(model, self._before_forward)

    def leave(self) -> None:
        """End the step: count its forward passes."""
        self.passes = len(self._shapes) or self.passes

    def _before_forward(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if torch.is_grad_enabled() and not is_probing():
            self._shapes.append([tensor.shape for tensor in tensors((*args, *kwargs.values()))])
            if self._sample_of is not None:
                self._counts.append(_count(self._sample_of, args, kwargs))

    @property
    def counted_samples(self) -> int | None:
        """Samples that `sample_of` names in this step; None where it was not given, or can't be read."""
        counts = [count for count in self._counts if count is not None]
        if not counts or len(counts) < len(self._counts):
            return None
        return max(1, round(sum(counts) * self.count_ratio))

    def read(self) -> int | None:
        """Read the batch size of the step.

        Returns:
            Samples; None where the model was not called with a tensor. An empty batch has none.
        """
        if self.counted_samples is not None:
            return self.counted_samples
        total = self._total(self.dims[0] if self.dims else (0, 0))
        if total is None:
            return None
        self.last = max(1, round(total * self.ratio)) if total else 0
        return self.last

    def learn(self, batch_size: int) -> None:
        """Keep those dimensions that have carried the batch in every measured step.

        Args:
            batch_size: Samples of the step, as the measurement counted them.
        """
        self.last = batch_size
        if not self._shapes:
            return
        counts = [count for count in self._counts if count is not None]
        if counts:
            self.count_ratio = batch_size / sum(counts)
        first = self._shapes[0]
        dims = [(k, dim) for dim in range(4) for k, shape in enumerate(first) if dim < len(shape)]
        matching = [dim for dim in dims if self._total(dim) == batch_size]
        self.dims = [dim for dim in self.dims if dim in matching] or matching
        total = self._total((0, 0))
        self.ratio = 1.0 if self.dims or not total else batch_size / total

    def _total(self, input_dim: InputDim) -> int | None:
        """Sum of one dimension over the forward passes; None where an input does not have it."""
        index, dim = input_dim
        try:
            sizes = [shapes[index][dim] for shapes in self._shapes]
        except IndexError:
            return None
        return sum(sizes) if sizes else None

    def state_dict(self) -> dict[str, Any]:
        """Return what was learnt, as JSON values."""
        return {"places": [list(dim) for dim in self.dims], "ratio": self.ratio, "passes": self.passes,
                "count_ratio": self.count_ratio}  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from what `state_dict` returned."""
        self.dims = [(index, dim) for index, dim in state["places"]]
        self.ratio, self.passes = state["ratio"], state["passes"]
        self.count_ratio = state.get("count_ratio", 1.0)

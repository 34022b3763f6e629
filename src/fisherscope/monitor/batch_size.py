"""How many samples a step holds, read off the model's inputs without touching their values."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

Place = tuple[int, int]
"""Which of the model's input tensors, in the order they are given, and which of its dimensions."""


def tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among them, inside containers too, in order."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(value)
        elif isinstance(value, dict):
            yield from tensors(value.values())


class BatchSize:
    """Reads |B| of unmeasured steps off the shapes that measured steps have shown to carry it.

    Until one was measured it is the first dimension of the first tensor. Forward passes of one step add up
    (micro-batches; `passes` is their number in the latest step). Where no dimension carries it (the same
    samples passed twice, say), the ratio to the first does.
    """

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.ratio = 1.0
        self.passes = 1
        self._calls: list[list[torch.Size]] = []
        self._handles: list[Any] = []
        self._depth = 0

    def watch(self, model: nn.Module, probed: bool) -> None:
        """Begin a step.

        Args:
            model: What the loop calls.
            probed: Whether a recorder opened after this may call the model from within its own call; such
                calls are not counted, at the cost of a second hook.
        """
        self._calls.clear()
        self._depth = 0
        self._handles.append(model.register_forward_pre_hook(self._note, with_kwargs=True))
        if probed:
            self._handles.append(model.register_forward_hook(self._leave, always_call=True))

    def leave(self) -> None:
        """The step has ended; nothing stays on the model."""
        self.passes = len(self._calls) or self.passes
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _note(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if not self._depth and torch.is_grad_enabled():
            self._calls.append([tensor.shape for tensor in tensors((*args, *kwargs.values()))])
        self._depth += len(self._handles) > 1

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._depth -= 1

    def read(self) -> int | None:
        """Samples of the step, None where the model was not called with a tensor."""
        total = self._total(self.places[0] if self.places else (0, 0))
        return None if total is None else max(1, round(total * self.ratio))

    def learn(self, batch_size: int) -> None:
        """A measured step: which dimensions carry the batch, among those that always did."""
        if not self._calls:
            return
        shapes = self._calls[0]
        every = [(k, dim) for dim in range(4) for k, shape in enumerate(shapes) if dim < len(shape)]
        fitting = [place for place in every if self._total(place) == batch_size]
        self.places = [place for place in self.places if place in fitting] or fitting
        total = self._total((0, 0))
        self.ratio = 1.0 if self.places or not total else batch_size / total

    def _total(self, place: Place) -> int | None:
        index, dim = place
        try:
            sizes = [shapes[index][dim] for shapes in self._calls]
        except IndexError:
            return None
        return sum(sizes) if sizes else None

    def state_dict(self) -> dict[str, Any]:
        """What was learnt, as JSON values."""
        return {"places": [list(place) for place in self.places], "ratio": self.ratio, "passes": self.passes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.places = [(index, dim) for index, dim in state["places"]]
        self.ratio, self.passes = state["ratio"], state["passes"]

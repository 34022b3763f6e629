"""What a step's forward passes were given and gave: enough to run them again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fisherscope.gram.batch_axis.probe_run import is_probing
from fisherscope.gram.interception.torch_private import tree_leaves, version_of
from fisherscope.guard.step_guard import Guard
from fisherscope.model_state import RandomState

_DEVICES = ("cpu", "cuda")


@dataclass
class KeptForward:
    """Hold one outermost forward pass: inputs and outputs by reference, and the gradient at each output."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    random: RandomState
    autocast: tuple[tuple[str, bool, torch.dtype], ...]
    versions: list[tuple[Tensor, int]]
    outputs: list[Tensor] = field(default_factory=list)  # without their graph
    gradients: dict[int, Tensor] = field(default_factory=dict)  # by number of the output

    def is_changed(self) -> bool:
        """Return whether an input was written into since."""
        return any(version_of(tensor) != version for tensor, version in self.versions)

    @contextmanager
    def context(self) -> Iterator[None]:
        """Set random state and autocast as they were when the forward began."""
        with ExitStack() as stack:
            for device, enabled, dtype in self.autocast:
                stack.enter_context(torch.autocast(device, dtype=dtype, enabled=enabled))
            self.random.restore()
            yield

    @property
    def samples(self) -> int | None:
        """First dimension of the first input that is a tensor."""
        inputs = [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)]
        return inputs[0].shape[0] if inputs and inputs[0].dim() else None


class ForwardTape:
    """Keep the forward passes of one step.

    Args:
        model: What the loop calls.
        guard: Of the step.

    Cost: the memory of inputs, outputs and their gradients until the next step; microseconds.
    """

    def __init__(self, model: nn.Module, guard: Guard) -> None:
        self.calls: list[KeptForward] = []
        self._guard, self._depth = guard, 0
        guard.before_forward(model, self._before)
        guard.after_forward(model, self._after)

    def _before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if is_probing():
            return
        self._depth += 1
        if self._depth > 1 or not torch.is_grad_enabled():
            return
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        autocast = tuple(
            (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
            for device in _DEVICES
            if torch.is_autocast_enabled(device)
        )
        versions = [(tensor, version_of(tensor)) for tensor in inputs if not tensor.is_inference()]
        self.calls.append(KeptForward(args, dict(kwargs), RandomState.capture(), autocast, versions))

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:
        if is_probing():
            return
        self._depth -= 1
        if self._depth or not torch.is_grad_enabled() or not self.calls:
            return
        call = self.calls[-1]
        for number, tensor in enumerate(output_tensors(output)):
            call.outputs.append(tensor.detach())
            tensor.register_hook(self._guard.hook(_Keeper(call, number)))


class _Keeper:
    """Keep an output's gradient, added up over the backward passes that reach it."""

    def __init__(self, call: KeptForward, number: int) -> None:
        self._call, self._number = call, number

    def __call__(self, gradient: Tensor) -> None:
        before = self._call.gradients.get(self._number)
        self._call.gradients[self._number] = gradient.detach() if before is None else before + gradient


def output_tensors(output: Any) -> list[Tensor]:
    """List the tensors of a model's output that have a graph, in the order of its structure."""
    values = list(vars(output).values()) if hasattr(output, "__dict__") and not _is_tree(output) else output
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.grad_fn is not None]


def _is_tree(value: Any) -> bool:
    return isinstance(value, Tensor | list | tuple | dict)

"""Where a value comes from: a parameter, a view of one, or a value computed from parameters alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.interception.torch_private import backward_hooks_of, is_view

# Functions whose output holds the elements of their input, each at most once: gradients keep their
# inner products through them, so a parameter's view is as good as the parameter.
_COPIES = frozenset(["to", "float", "half", "bfloat16", "double", "type", "type_as", "clone", "contiguous"])
_VIEWS = frozenset(
    [
        "t",
        "transpose",
        "permute",
        "view",
        "reshape",
        "unsqueeze",
        "squeeze",
        "flatten",
        "unflatten",
        "narrow",
        "select",
        "chunk",
        "split",
        "unbind",
        "swapaxes",
        "swapdims",
        "movedim",
        "moveaxis",
        "view_as",
        "reshape_as",
        "getitem",
        "tensor_split",
        "T",
        "mT",
        "adjoint",
    ]
)


@dataclass(frozen=True)
class ParameterSource:
    """A tensor made of parameters alone.

    `leaves` names the parameters upstream. `geometry` is a meta tensor that views the one leaf's
    storage as the tensor does, or None where the value is computed and must be pulled back.
    """

    tensor: Tensor
    leaves: tuple[str, ...]
    geometry: Tensor | None
    eps: float = 0.0  # the coarsest rounding between the leaves and here

    @property
    def is_view(self) -> bool:
        return self.geometry is not None


class ParameterSources:
    """The tensors known to be made of parameters alone, while a recorder is open."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._by_id = {
            id(parameter): ParameterSource(parameter, (name,), leaf_geometry(parameter))
            for name, parameter in parameters.items()
        }

    def get(self, value: object) -> ParameterSource | None:
        return self._by_id.get(id(value))

    def add(self, tensor: Tensor, source: ParameterSource) -> None:
        self._by_id[id(tensor)] = source

    def inside(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Tell whether any argument, or element of a list argument, is a source."""
        by_id = self._by_id
        for value in args:
            if id(value) in by_id:
                return True
            if isinstance(value, list | tuple) and any(id(item) in by_id for item in value):
                return True
        return bool(kwargs) and any(
            id(item) in by_id
            for value in kwargs.values()
            for item in (value if isinstance(value, list | tuple) else (value,))
        )

    def among(self, values: Mapping[str, Any]) -> dict[str, ParameterSource]:
        """List the sources among named arguments; elements of lists are named `name.index`."""
        by_name = {}
        for name, value in tensors_in(values):
            source = self.get(value)
            if source is not None:
                by_name[name] = source
        return by_name

    def derive(
        self, name: str, out: Tensor, inputs: Iterable[ParameterSource], args: Any, kwargs: Any, func: Any
    ) -> None:
        """Record `out` = func(*args) as a value made of `inputs`."""
        inputs = list(inputs)
        leaves = tuple(sorted({leaf for source in inputs for leaf in source.leaves}))
        geometry = None
        if len(inputs) == 1 and inputs[0].is_view:
            if name in _COPIES and out.shape == inputs[0].tensor.shape:
                geometry = inputs[0].geometry
            elif name in _VIEWS:
                geometry = _follow_view(out, inputs[0], args, kwargs, func)
        eps = max([source.eps for source in inputs] + [rounding_of(out.dtype)])
        self.add(out, ParameterSource(out, leaves, geometry, eps))


def leaf_geometry(parameter: Tensor) -> Tensor:
    """Return a meta tensor with the parameter's shape and strides, shared by all like it."""
    return _geometry(parameter.shape, parameter.stride())


@lru_cache(maxsize=4096)
def _geometry(shape: torch.Size, stride: tuple[int, ...]) -> Tensor:
    return torch.empty_strided(shape, stride, device="meta")


def _follow_view(out: Tensor, source: ParameterSource, args: Any, kwargs: Any, func: Any) -> Tensor | None:
    """Return the geometry of `out` by running `func` on meta tensors; None if it copies."""
    geometry = source.geometry
    assert geometry is not None
    swap = [geometry if value is source.tensor else value for value in args]
    try:
        followed_output = func(*swap, **kwargs)
    except (RuntimeError, TypeError, NotImplementedError):
        return None
    candidates = [followed_output] if isinstance(followed_output, Tensor) else list(followed_output)
    for candidate in candidates:
        if candidate.shape != out.shape or candidate.dtype != geometry.dtype or not is_view(candidate):
            continue
        offset = candidate.storage_offset() - geometry.storage_offset()
        if len(candidates) == 1 or offset == out.storage_offset() - source.tensor.storage_offset():
            return candidate
    return None


@cache
def rounding_of(dtype: torch.dtype) -> float:
    """Return the relative rounding of a floating-point type, 0 for others."""
    return torch.finfo(dtype).eps if dtype.is_floating_point or dtype.is_complex else 0.0


@contextmanager
def without_hooks(leaves: Iterable[Tensor]) -> Iterator[None]:
    """Remove the leaves' hooks for a block: it differentiates nothing of the step's."""
    hooks_before = [
        (hooks, list(hooks.items())) for leaf in leaves if (hooks := backward_hooks_of(leaf)) is not None
    ]
    for hooks, _ in hooks_before:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, items in hooks_before:
            hooks.update(items)


def tensors_in(values: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of named arguments; a list's elements as `name.index`."""
    for name, value in values.items():
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                if isinstance(item, Tensor):
                    yield f"{name}.{index}", item

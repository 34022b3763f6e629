"""The tensors among a model's inputs, by name, position or attribute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor


def tensors(values: Any) -> Iterator[Tensor]:
    """Iterate over the tensors in tuples, lists and mappings."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from tensors(value)
    elif isinstance(values, tuple | list):
        for value in values:
            yield from tensors(value)


def row_count(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Count the rows of the first tensor among a model's inputs.

    Returns:
        The length of its first dimension.

    Raises:
        ValueError: There is no tensor.
    """
    first = next((t for t in tensors((args, kwargs)) if t.dim()), None)
    if first is None:
        kinds = ", ".join(type(value).__name__ for value in (*args, *kwargs.values())) or "nothing"
        raise ValueError(f"the model's inputs are {kinds}; expected a tensor with the rows first")
    return len(first)


def value_of(key: str | int, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return an input by its name, its position, or as an attribute or key of an input.

    Returns:
        The value; None where there is none.
    """
    if isinstance(key, int):
        return args[key] if key < len(args) else None
    if key in kwargs:
        return kwargs[key]
    for value in (*args, *kwargs.values()):
        if isinstance(value, Mapping) and key in value:
            return value[key]
        if not isinstance(value, Tensor) and getattr(value, key, None) is not None:
            return getattr(value, key)
    return None

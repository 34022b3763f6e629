"""One outermost call of a model: which of its inputs carry the samples, and any of those samples alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from fisherscope.gram.errors import AmbiguousBatchError
from fisherscope.gram.interception.torch_private import tree_flatten, tree_unflatten


@dataclass(frozen=True)
class ForwardCall:
    """One outermost call of a module: its arguments, and which inputs carry samples."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    dims: tuple[int | None, ...]  # for each leaf of (args, kwargs): its batch dimension
    samples: int

    def subset(self, chosen: list[int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) of the chosen samples alone."""
        leaves, tree = flat((self.args, self.kwargs))
        sample_leaves = [
            leaf if dim is None else _select(leaf, dim, chosen)
            for leaf, dim in zip(leaves, self.dims, strict=True)
        ]
        args, kwargs = tree_unflatten(sample_leaves, tree)
        return args, kwargs


def _is_packed(value: object) -> bool:
    return isinstance(value, PackedSequence)


def inputs_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sequence[Any]:
    """List the leaves of a call's arguments, a packed sequence being one."""
    plain = not kwargs and all(isinstance(arg, Tensor) for arg in args)
    return args if plain else flat((args, kwargs))[0]


def flat(tree: Any) -> tuple[list[Any], Any]:
    """(leaves, tree), a packed sequence being one leaf."""
    return tree_flatten(tree, is_leaf=_is_packed)


def _select(leaf: Any, dim: int, chosen: list[int]) -> Any:
    if isinstance(leaf, PackedSequence):
        padded, lengths = pad_packed_sequence(leaf, batch_first=True)
        return pack_padded_sequence(padded[chosen], lengths[chosen], batch_first=True, enforce_sorted=False)
    return leaf.detach().index_select(dim, torch.tensor(chosen, device=leaf.device))


def entry_of(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dim: int | Mapping[str, int | None]
) -> ForwardCall | None:
    """Build the call with dimension `dim` of its inputs as the batch.

    The first tensor that has the dimension sets the number of samples; a tensor that has that many
    along `dim`, or else along dimension 0, carries them too.

    Returns:
        The call, or None if no input has that dimension.
    """
    if isinstance(dim, Mapping):
        return _entry_by_name(module, args, kwargs, dim)
    leaves = inputs_of(args, kwargs)
    samples = next((size for leaf in leaves if (size := _size(leaf, dim)) is not None), None)
    if samples is None:
        return None
    dims = tuple(next((d for d in (dim, 0) if _size(leaf, d) == samples), None) for leaf in leaves)
    return ForwardCall(module, args, kwargs, dims, samples)


def _size(leaf: Any, dim: int) -> int | None:
    if isinstance(leaf, PackedSequence):
        return int(leaf.batch_sizes[0])
    if isinstance(leaf, Tensor) and leaf.dim() > dim:
        return leaf.shape[dim]
    return None


def _entry_by_name(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], named: Mapping[str, int | None]
) -> ForwardCall:
    """Build the call from batch dimensions by input name (or position, as a string)."""
    dims: list[int | None] = []
    sizes = []
    for name, value in [*((str(i), arg) for i, arg in enumerate(args)), *kwargs.items()]:
        leaves, _ = flat(value)
        for leaf in leaves:
            dim = named.get(name)
            dims.append(dim if dim is not None and _size(leaf, dim) is not None else None)
            if dims[-1] is not None:
                sizes.append(_size(leaf, dims[-1]))
    if len(set(sizes)) != 1:
        raise AmbiguousBatchError(
            f"batch={dict(named)!r} was given for {type(module).__name__}, and the inputs it names have "
            f"{sorted(set(sizes), key=str) or 'no'} samples; they must all have the same number. Its inputs "
            f"are {', '.join([*map(str, range(len(args))), *kwargs])}."
        )
    return ForwardCall(module, args, kwargs, tuple(dims), int(sizes[0] or 0))

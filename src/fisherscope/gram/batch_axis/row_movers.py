"""Calls that may put samples in another order by data or by chance: seen while the forward runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_ALONG = {
    "index_select": 1, "gather": 1, "take_along_dim": 2, "scatter": 1, "scatter_add": 1, "scatter_reduce": 1,
    "index_add": 1, "index_copy": 1, "index_reduce": 1, "index_fill": 1, "sort": 1, "msort": 1, "topk": 2,
}  # fmt: skip
"""Functions that move along one dimension → the place of `dim` among their arguments."""
_ANYWHERE = frozenset([
    "masked_select", "masked_scatter", "take", "put", "index_put", "pack_padded_sequence",
    "repeat_interleave", "unique", "unique_consecutive", "grouped_mm",
])  # fmt: skip
MOVERS = frozenset([*_ALONG, *_ANYWHERE, "getitem", "setitem"])


def may_move_rows(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], samples: int) -> bool:
    """Tell whether a call of one of `MOVERS` may move samples along its dimension.

    Args:
        name: The function's canonical name.
        args: Its arguments.
        kwargs: Its keyword arguments.
        samples: Number of samples in the batch.

    Returns:
        Whether it may.
    """
    tensor = next((value for value in args if isinstance(value, Tensor)), None)
    if tensor is None or samples < 2:
        return False
    if name in ("getitem", "setitem"):
        return len(args) > 1 and index_moves(tensor.shape, args[1], samples)
    if name in _ALONG:
        place = _ALONG[name]
        dim = kwargs.get("dim", args[place] if len(args) > place else -1)
        return not isinstance(dim, int) or not tensor.dim() or tensor.shape[dim] % samples == 0
    return True


def index_moves(shape: Sequence[int], index: Any, samples: int) -> bool:
    """Tell whether an index picks rows, by tensors or lists, along a samples' dimension.

    Args:
        shape: Of what is indexed.
        index: What stands in the brackets.
        samples: Number of samples.

    Returns:
        Whether it does.
    """
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in [part for part in parts if not hasattr(part, "shape")]:
        at = next(k for k, part in enumerate(parts) if part is Ellipsis)
        used = sum(_dimensions(part) for part in parts if part is not Ellipsis)
        parts[at : at + 1] = [slice(None)] * max(len(shape) - used, 0)
    dim = 0
    for part in parts:
        if _picks(part):
            width = _dimensions(part)
            sizes = torch.Size(shape[dim : dim + width])
            if any(size % samples == 0 for size in sizes) and not _is_range(part, sizes):
                return True
            dim += width
        elif part is not None and not isinstance(part, bool):
            dim += 1
    return False


def _picks(part: Any) -> bool:
    if isinstance(part, Tensor):
        return part.dim() > 0
    return not isinstance(part, slice | int | bool | None.__class__)


def _dimensions(part: Any) -> int:
    """How many dimensions of the tensor an index takes."""
    if part is None or isinstance(part, bool):
        return 0
    return part.dim() if isinstance(part, Tensor) and part.dtype == torch.bool else 1


def _is_range(part: Any, sizes: torch.Size) -> bool:
    """Whether the index is 0, 1, 2, … over the whole dimension: nothing moves."""
    if not isinstance(part, Tensor) or part.dim() != 1 or len(sizes) != 1 or len(part) != sizes[0]:
        return False
    if part.dtype == torch.bool:
        return bool(part.all())
    return bool((part == torch.arange(len(part), device=part.device)).all())


def place_text(index: Any) -> str:
    """Write down the numbers of an index; what its tensors hold is left out."""
    parts = index if isinstance(index, tuple) else (index,)
    return str([None if isinstance(part, Tensor) else part for part in parts])


def picks_entries(_: Any, *index: Any) -> bool:
    """Tell whether an index takes one entry, or a range, of each dimension: no rows by a list of numbers."""
    parts = [part for place in index for part in (place if isinstance(place, tuple) else (place,))]
    return all(part.dim() == 0 if isinstance(part, Tensor) else not isinstance(part, list) for part in parts)

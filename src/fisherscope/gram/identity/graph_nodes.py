"""What the nodes of a graph may do with rows: leave them, move them by numbers, or by data and chance."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor, nn

from fisherscope.gram.batch_axis.row_movers import index_moves
from fisherscope.gram.identity.known_functions import moves_rows
from fisherscope.gram.identity.node_kinds import (
    ALONG,
    COMBINED,
    FACTORS,
    MATRICES,
    NUMBERS,
    ORDERING,
    REDUCED,
    RESHAPED,
    SAMPLES_LEAD,
    SIZED,
    STAYING,
    TRANSFORMED,
)

_ADDED = frozenset(["Add", "Sub", "Rsub"])
"""Spread by these, a value is a part of every sample: none is chosen."""
_PICKING = frozenset(["Embedding", "Index", "IndexSelect", "Gather"])


@lru_cache(maxsize=4096)
def _stem(kind: str) -> str:
    """Return a node's kind without its number: "Relu" of "ReluBackward0", and of its own backward."""
    return kind.rstrip("0123456789").removesuffix("Backward").removesuffix("Backward")


@lru_cache(maxsize=4096)
def leaves_rows(kind: str) -> bool:
    """Tell whether nodes of a kind leave rows where they are, whatever their shapes."""
    return _stem(kind) in STAYING or kind in ("AccumulateGrad", "SuppliedGradientsBackward")


@dataclass(frozen=True)
class RowShapes:
    """How the rows of one forward lie, as far as shapes tell.

    Args:
        samples: Number of samples.
        lead: Whether samples lie along the first dimension of the inputs and of the outputs.
        lengths: Sizes of the inputs' other dimensions: two graphs that differ in those alone are alike.
        look: Whether saved tensors may be looked at; not where hooks pack them, as a checkpoint's do.
    """

    samples: int
    lead: bool
    lengths: Sequence[int]
    look: bool

    def hold(self, shape: Sequence[int], dim: int) -> bool:
        """Tell whether samples may lie along a dimension."""
        if not shape or shape[dim] % self.samples:
            return False
        return dim % len(shape) == 0 or not self.lead or shape[0] % self.samples != 0

    def name_size(self, size: int) -> tuple[int, int]:
        """Describe a size by the number of samples and the inputs' lengths, so that those may differ."""
        if size in self.lengths:
            return 0, -1 - self.lengths.index(size)
        if size % self.samples:
            return 0, size
        rest = size // self.samples
        return 1, -1 - self.lengths.index(rest) if rest in self.lengths else rest

    # What a node may do --------------------------------------------------------------------------

    def may_move(self, kind: str, node: Any, calls: Collection[Any]) -> bool:
        """Tell whether a node may put rows of samples in places that depend on data or chance.

        Args:
            kind: The name of its type.
            node: The node.
            calls: Nodes of recorded calls: what those do with rows is measured.

        Returns:
            Whether it may; True of kinds that nobody looked at.
        """
        stem = _stem(kind)
        if leaves_rows(kind) or stem in COMBINED or stem in RESHAPED or kind in NUMBERS:
            return False  # what `COMBINED` does is a matter of each of its values: `spread`
        if self.samples < 2:
            return False
        if node in calls and (kind in FACTORS or stem in SAMPLES_LEAD):
            return False
        if kind in FACTORS:
            return self.look and self._mixes(kind, node)
        if stem in REDUCED:
            return self._brings_together(node)
        if stem in SAMPLES_LEAD:
            return self._is_elsewhere(node, 0)
        if stem in MATRICES:
            return self._is_elsewhere(node, 2)
        if stem in TRANSFORMED:
            shape = node._input_metadata[0].shape
            return any(shape[_as_signed(dim)] % self.samples == 0 for dim in node._saved_dim)
        if stem in ALONG:
            return self._moves_along(node)
        if stem == "Index":
            return self._index_moves(node)
        if kind == "CppFunction":  # of an extension
            return moves_rows(node) is not False
        return True

    def spread(self, kind: str, node: Any) -> list[Any]:
        """List the values of a node that it uses along a dimension of samples which they do not have.

        Multiplied there by ones and zeros, their rows go anywhere.

        Args:
            kind: The name of the node's type.
            node: The node.

        Returns:
            The nodes that those values come from.
        """
        if self.samples < 2 or _stem(kind) not in COMBINED:
            return []
        shape = node._input_metadata[0].shape
        values = []
        for child, place in node.next_functions:
            if child is None or hasattr(child, "variable"):
                continue
            own = child._input_metadata[place].shape
            if own != shape and self._spreads(own, shape) and not _is_weight(child, _stem(kind) in _ADDED):
                values.append(child)
        return values

    def _spreads(self, own: Sequence[int], shape: Sequence[int]) -> bool:
        new = len(shape) - len(own)
        wider = [dim for dim, size in enumerate(shape) if dim < new or (own[dim - new] == 1 and size > 1)]
        if not any(self.hold(shape, dim) for dim in wider):
            return False
        return any(self.hold(own, dim) for dim in range(len(own)))

    def numbers(self, kind: str, node: Any) -> Any:
        """Return the numbers by which a node moves rows; None where it moves none."""
        if _stem(kind) in RESHAPED:
            sizes = getattr(node, "_saved_self_sym_sizes", ())
            out = node._input_metadata[0].shape
            return tuple(map(self.name_size, sizes)), tuple(map(self.name_size, out))
        if kind not in NUMBERS:
            return None
        values = [getattr(node, name) for name in NUMBERS[kind]]
        if kind in SIZED:
            size = node._saved_self_sym_sizes[_as_signed(values[0])]
            if size % self.samples:
                return None
            if kind == "SliceBackward0":
                values[2] = -1 if values[2] >= size else values[2]
        elif kind == "AsStridedBackward0":
            values = [tuple(map(self.name_size, values[0])), tuple(map(self.name_size, values[1])), values[2]]
        return tuple(tuple(value) if isinstance(value, list | tuple) else value for value in values)

    def reorders(self, kind: str, node: Any, numbers: Any) -> bool:
        """Tell whether a node puts samples in another order by numbers; one sample has no order."""
        if self.samples < 2:
            return False
        if kind in ("ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0"):
            shapes = node._saved_self_sym_sizes, node._input_metadata[0].shape
            return not all(any(size % self.samples == 0 for size in shape) for shape in shapes)
        if kind not in ORDERING or numbers is None:
            return False
        if kind in ("RollBackward0", "FlipBackward0", "Rot90Backward0"):
            shape = node._input_metadata[0].shape
            dims = node._saved_dims
            return not dims or any(shape[_as_signed(dim)] % self.samples == 0 for dim in dims)
        if kind in SIZED:
            return self.hold(node._saved_self_sym_sizes, _as_signed(node._saved_dim))
        if kind in ("CatBackward0", "StackBackward0"):
            return self.hold(node._input_metadata[0].shape, _as_signed(node._saved_dim))
        return True

    # Parts ---------------------------------------------------------------------------------------

    def _brings_together(self, node: Any) -> bool:
        dims = getattr(node, "_saved_dim", None)
        sizes = _sizes_of(node, self.look)
        if dims is None or not sizes:
            return False  # of all numbers: no rows are left
        dims = dims if isinstance(dims, list | tuple) else (dims,)
        return len(dims) < len(sizes) and any(self.hold(sizes, _as_signed(dim)) for dim in dims)

    def _is_elsewhere(self, node: Any, last: int) -> bool:
        """Tell whether samples may lie in another dimension than the first of several."""
        shape = node._input_metadata[0].shape
        return len(shape) <= last or shape[0] % self.samples != 0

    def _mixes(self, kind: str, node: Any) -> bool:
        """Tell whether a product adds up over what may be samples: the other factor may permute them."""
        first, names = FACTORS[kind]
        if any(_is_weight(child) for child, _ in node.next_functions[first:]):
            return False  # part of a recorded call, which is measured
        for position, name in enumerate(names):
            child, place = node.next_functions[first + position]
            if child is None:
                continue
            sizes = None if hasattr(child, "variable") else child._input_metadata[place].shape
            if sizes is None:
                saved = getattr(node, name, None)
                sizes = saved.shape if isinstance(saved, Tensor) else saved
            if sizes is None:
                return True
            stacked = len(sizes) == 3 and sizes[0] % self.samples == 0
            if not stacked and sizes[-1 - position] % self.samples == 0:
                return True
        return False

    def _moves_along(self, node: Any) -> bool:
        sizes = _sizes_of(node, self.look)
        return not sizes or sizes[_as_signed(node._saved_dim)] % self.samples == 0

    def _index_moves(self, node: Any) -> bool:
        if not self.look:
            return True
        indices = tuple(slice(None) if i is None else i for i in node._saved_indices)
        return index_moves(node._saved_self_sym_sizes, indices, self.samples)


def _is_weight(node: Any, picked: bool = False) -> bool:
    """Tell whether a value is made of one parameter alone.

    Args:
        node: Where the value comes from; None for a constant.
        picked: Whether to count rows of a parameter that were picked by numbers, as positions are.

    Returns:
        Whether it is.
    """
    while node is not None and not hasattr(node, "variable"):
        below = [child for child, _ in node.next_functions if child is not None]
        if len(below) != 1 or (not picked and _stem(type(node).__name__) in _PICKING):
            return False
        node = below[0]
    return node is not None and isinstance(node.variable, nn.Parameter)


def _sizes_of(node: Any, look: bool) -> Sequence[int] | None:
    """Return the sizes of what a node was made of; None where that isn't known."""
    sizes: Sequence[int] | None = getattr(node, "_saved_self_sym_sizes", None)
    if sizes is None and look and isinstance(like := getattr(node, "_saved_self", None), Tensor):
        sizes = like.shape
    if sizes is None and node.next_functions and node.next_functions[0][0] is not None:
        child, place = node.next_functions[0]
        sizes = None if hasattr(child, "variable") else child._input_metadata[place].shape
    return sizes


def _as_signed(number: int) -> int:
    """Return a dimension as it was given: nodes keep -1 as 2⁶⁴ - 1."""
    return number - (1 << 64) if number >> 63 else number

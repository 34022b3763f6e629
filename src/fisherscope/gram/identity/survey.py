"""What a forward's graph says about rows, without running it: what may move them, and where."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fisherscope.gram.batch_axis.row_movers import index_moves
from fisherscope.gram.identity.cotangents import BATCH_NORMS, has_own_backward
from fisherscope.gram.identity.known_functions import function_name, moves_rows, stays_in_place
from fisherscope.gram.interception.torch_private import uses_batch_statistics

_ANYWHERE = frozenset(f"{name}Backward{number}" for number in (0, 1) for name in [
    "IndexPut", "IndexPutImpl", "UnsafeIndex", "UnsafeIndexPut", "UnsafeMaskedIndex", "MaskedScatter",
    "UnsafeMaskedIndexPutAccumulate", "MaskedSelect", "Take", "Put", "PackPaddedSequence", "Embedding",
    "EmbeddingBag", "GroupedMm", "SegmentReduce", "UniqueDim", "Unique2", "Unique", "UniqueConsecutive",
    "UniqueDimConsecutive", "SparseAddmm", "SparseMmReduceImpl", "SparseSampledAddmm", "NestedGetValues",
    "NestedViewFromJagged", "NestedViewFromBuffer", "NestedFromPadded", "NestedFromPaddedTensor",
    "NestedTensorFromMask", "NestedTensorFromTensorList", "ToPaddedTensor",
])  # fmt: skip
"""Nodes whose rows go by the values of an index or a mask."""
_ALONG = frozenset(f"{name}Backward{number}" for number in (0, 1) for name in [
    "IndexSelect", "Gather", "Scatter", "ScatterAdd", "ScatterReduce", "IndexAdd", "IndexCopy", "IndexReduce",
    "Sort", "Topk", "Kthvalue",
])  # fmt: skip
"""The same along one dimension."""
_PRODUCTS = frozenset(["MmBackward0", "BmmBackward0", "AddmmBackward0", "BaddbmmBackward0"])
_NUMBERS = {
    kind: tuple(f"_saved_{name}" for name in names)
    for kind, names in {
        "SelectBackward0": ("dim", "index"),
        "SliceBackward0": ("dim", "start", "end", "step"),
        "SplitBackward0": ("dim", "split_size"),
        "UnsafeSplitBackward0": ("dim", "split_size"),
        "SplitWithSizesBackward0": ("dim", "split_sizes"),
        "UnbindBackward0": ("dim",),
        "RollBackward0": ("dims", "shifts"),
        "FlipBackward0": ("dims",),
        "Rot90Backward0": ("dims", "k"),
        "CatBackward0": ("dim",),
        "StackBackward0": ("dim",),
        "RepeatBackward0": ("repeats",),
        "PermuteBackward0": ("dims",),
        "TransposeBackward0": ("dim0", "dim1"),
        "ConstantPadNdBackward0": ("pad",),
        "DiagonalBackward0": ("offset", "dim1", "dim2"),
        "UnfoldBackward0": ("dimension", "size", "step"),
    }.items()
}
"""Nodes that move rows by numbers which the forward may draw or compute, and where those are saved."""
_MOVERS = frozenset([*_ANYWHERE, *_ALONG, *_PRODUCTS, "IndexBackward0", "CppFunction"])
"""Nodes that are looked at for movement by data or by chance."""
_SIZED = frozenset(["SelectBackward0", "SliceBackward0", "SplitBackward0", "SplitWithSizesBackward0"])


@dataclass
class Survey:
    """The graph below a forward's outputs.

    Args:
        signature: The same for two graphs whose static functions move rows alike.
        nodes: All nodes, numbered.
        order: The same in the order of their numbers.
        below: Of each node, the (number, place) of those that it leads to.
        moved: Nodes below one that may move rows by data or by chance: whose each row is has to be read.
        batch_norms: Batch normalisations with the batch's own statistics.
        own: Nodes whose backward is Python code that nobody said may run twice.
        unknown: Names of functions that nobody said anything about and that may move rows.
    """

    signature: int = 0
    nodes: dict[Any, int] = field(default_factory=dict)
    order: list[Any] = field(default_factory=list)
    below: dict[Any, list[tuple[int, int]]] = field(default_factory=dict)
    moved: set[Any] = field(default_factory=set)
    batch_norms: list[Any] = field(default_factory=list)
    own: list[Any] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def reached_from(self, nodes: Sequence[Any]) -> set[Any]:
        """List every node that a path leads to from one of these."""
        seen: set[Any] = set()
        stack = list(nodes)
        while stack:
            for number, _ in self.below.get(stack.pop(), ()):
                child = self.order[number]
                if number >= 0 and child not in seen:
                    seen.add(child)
                    stack.append(child)
        return seen


def survey_graph(
    roots: Sequence[Any],
    calls: Collection[Any],
    samples: int,
    stop: Collection[Any],
    look: bool,
    writes: Sequence[str] = (),
) -> Survey:
    """Walk the graph below some nodes.

    Args:
        roots: The nodes of the forward's outputs.
        calls: Nodes of recorded calls: what those do with rows is measured.
        samples: Number of samples.
        stop: Nodes of other forwards' outputs, not walked past.
        look: Whether to look at saved tensors; not where hooks pack them, as a checkpoint's do.

        writes: Places that the forward wrote into by numbers: the nodes of such writes don't keep them.

    Returns:
        What there is.

    Cost: some microseconds a node; nothing is computed.
    """
    survey = Survey()
    index, order = survey.nodes, list[Any]()
    for root in roots:
        if root not in index:
            index[root] = len(order)
            order.append(root)
    tokens: list[Any] = [tuple(index[root] for root in roots)]
    movers: list[Any] = []
    copies: list[Any] = []
    for node in order:  # which grows
        if node in stop and node not in roots:
            continue
        children = []
        for child, place in node.next_functions:
            if child is not None and child not in index:
                index[child] = len(order)
                order.append(child)
            children.append((index.get(child, -1), place))
        survey.below[node] = children
        kind = type(node).__name__
        before = len(movers)
        if kind in BATCH_NORMS and uses_batch_statistics(node):
            survey.batch_norms.append(node)
        elif kind == "CopySlices":
            copies.append(node)
        elif has_own_backward(node):
            _note_own(survey, node, movers)
        elif kind in _MOVERS and samples > 1 and node not in calls and _moves(kind, node, samples, look):
            movers.append(node)
        numbers = _numbers_of(kind, node, samples) if kind in _NUMBERS else None
        tokens.append((kind, numbers, len(movers) - before, *children))
    if copies:
        tokens.append(tuple(writes))
    if len(copies) > len(writes):  # into a view, where nothing says which
        movers += copies
    survey.order = order
    survey.signature = hash(tuple(tokens))
    survey.moved = survey.reached_from(movers)
    return survey


def _note_own(survey: Survey, node: Any, movers: list[Any]) -> None:
    """Note a node whose backward is Python code: known to be repeatable, to stay in place, or neither."""
    known = moves_rows(node)
    if known is None:
        survey.own.append(node)
        if not stays_in_place(node):
            survey.unknown.append(function_name(node))
    elif known:
        movers.append(node)


def _numbers_of(kind: str, node: Any, samples: int) -> Any:
    """Return the numbers by which a node moves rows; None where it moves none."""
    values = [getattr(node, name) for name in _NUMBERS[kind]]
    if kind in _SIZED:
        size = node._saved_self_sym_sizes[_as_signed(values[0])]
        if size % samples:
            return None
        if kind == "SliceBackward0":
            values[2] = -1 if values[2] >= size else values[2]
    return tuple(tuple(value) if isinstance(value, list | tuple) else value for value in values)


def _moves(kind: str, node: Any, samples: int, look: bool) -> bool:
    """Tell whether a node may put samples' rows in places that depend on data or chance."""
    if kind == "IndexBackward0":
        if not look:
            return True
        sizes = node._saved_self_sym_sizes
        return index_moves(
            sizes, tuple(slice(None) if i is None else i for i in node._saved_indices), samples
        )
    if kind in _ALONG:
        return _moves_along(node, samples, look)
    if kind in _PRODUCTS:
        return look and _mixes_rows(kind, node, samples)
    if kind == "CppFunction":  # of an extension
        return moves_rows(node) is not False
    return kind in _ANYWHERE


def _moves_along(node: Any, samples: int, look: bool) -> bool:
    sizes = getattr(node, "_saved_self_sym_sizes", None)
    if sizes is None and look and isinstance(like := getattr(node, "_saved_self", None), Tensor):
        sizes = like.shape
    return not sizes or sizes[_as_signed(node._saved_dim)] % samples == 0


def _as_signed(number: int) -> int:
    """Return a dimension as it was given: nodes keep -1 as 2⁶⁴ - 1."""
    return number - (1 << 64) if number >> 63 else number


def _mixes_rows(kind: str, node: Any, samples: int) -> bool:
    """Tell whether a product's second factor has rows of samples: a matrix may permute them."""
    places: dict[str, Callable[[], Any]] = {
        "MmBackward0": lambda: (node.next_functions[1][0], node._saved_mat2_sym_sizes),
        "AddmmBackward0": lambda: (node.next_functions[2][0], node._saved_mat2_sym_sizes),
        "BmmBackward0": lambda: (node.next_functions[1][0], node._saved_mat2),
        "BaddbmmBackward0": lambda: (node.next_functions[2][0], node._saved_batch2),
    }
    below, sizes = places[kind]()
    if below is None:
        return False
    sizes = sizes.shape if isinstance(sizes, Tensor) else sizes
    if sizes is None:  # the first factor is a constant
        return True
    if len(sizes) == 3 and sizes[0] % samples == 0:
        return False
    return bool(sizes[-2] % samples == 0)

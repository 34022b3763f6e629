"""The sample of each row as the user specifies it (`sample_of`): checked, and found in tensors of calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.batch_axis.forward_call import flat
from fisherscope.gram.batch_axis.inference import CallLayout, is_penalty
from fisherscope.gram.errors import GramError
from fisherscope.gram.grouping import Grouping, Layout, rows_grouping
from fisherscope.gram.interception.provenance import ParameterSources, tensors_in
from fisherscope.gram.options import Rows, SampleOf, check_samples

_TASK = "record_gram(model, sample_of=…)"


@dataclass(frozen=True)
class GivenRows:
    """The samples of one forward's rows.

    Args:
        samples: (n,) long, ascending: the step's numbers of the samples that have a row here.
        maps: For each kind of row (nodes, edges), (rows,) or (b, t) long: a position in `samples`, or -1.
        dims: The dimensions that the inputs have those rows along.
        pooled: Whether tensors may also have one row a sample, as after pooling.
    """

    samples: Tensor
    maps: tuple[Tensor, ...]
    dims: tuple[int, ...] = (0,)
    pooled: bool = True  # whether a tensor may have one row a sample instead

    @property
    def whole(self) -> bool:
        """Whether the samples are the step's first ones, in their order."""
        return bool((self.samples == torch.arange(len(self.samples))).all())

    @cached_property
    def has_unnamed(self) -> bool:
        """Whether some rows belong to no sample."""
        return any(bool((rows < 0).any()) for rows in self.maps)

    @cached_property
    def signature(self) -> int:
        """A number for these rows: what was read of others does not hold for them."""
        return -1 - abs(hash(tuple((tuple(rows.shape), rows.numpy().tobytes()) for rows in self.maps)))

    def find(self, shape: torch.Size, shared: Sequence[int] = ()) -> Grouping | None:
        """Find the rows, or one row a sample, in a tensor of this shape.

        Args:
            shape: Of the tensor.
            shared: Dimensions that every input of the call has as long.

        Returns:
            Its grouping; None where none or several dimensions could be meant.
        """
        found = self._candidates(shape)
        for chosen in (found, [c for c in found if c.lead > 1], *self._prefer(found, shared)):
            if len(chosen) == 1:
                return chosen[0]
        return None

    def _candidates(self, shape: torch.Size) -> list[Grouping]:
        n = len(self.samples)
        found: list[Grouping] = []
        for rows in (*self.maps, torch.arange(n)) if self.pooled else self.maps:
            places = [(d, 1) for d, size in enumerate(shape) if size == rows.numel()]
            if rows.dim() == 2 and shape[:2] == rows.shape:
                places.append((0, 2))
            for dim, lead in places:
                one = rows_grouping(rows.flatten(), dim, n, lead)
                if not any(_same(one, other) for other in found):
                    found.append(one)
        return found

    def _prefer(self, found: list[Grouping], shared: Sequence[int]) -> list[list[Grouping]]:
        by_call = [one for one in found if one.dim in shared]
        by_inputs = [one for one in found if one.dim in self.dims]
        return [by_call, by_inputs, [one for one in by_call if one.dim in self.dims]]

    def layout_of(
        self, name: str, values: dict[str, Any], out: Tensor, sources: ParameterSources
    ) -> CallLayout:
        """Return the layout of a call, by the dimension that has as many rows."""
        inputs = [tensor for _, tensor in tensors_in(values) if sources.get(tensor) is None]
        if not inputs:
            return CallLayout(derived=True)
        if is_penalty(name, out.shape):
            return CallLayout(shared=True)
        grouping = self.find(out.shape, self.shared_dims(inputs, out))
        if grouping is None:
            rows = " or ".join(str(rows.numel()) for rows in self.maps)
            return CallLayout(
                problem=f"its output {tuple(out.shape)} does not show which dimension holds the {rows} "
                f"rows of sample_of or their {len(self.samples)} samples"
            )
        return CallLayout({"out": Layout(grouping.dim)}, given=grouping)

    @staticmethod
    def shared_dims(inputs: Sequence[Tensor], out: Tensor) -> list[int]:
        """List the dimensions of a call's output that each of its inputs has as long."""
        return [
            d for d in range(out.dim()) if all(t.dim() > d and t.shape[d] == out.shape[d] for t in inputs)
        ]


def _same(one: Grouping, other: Grouping) -> bool:
    if (one.dim, one.lead, one.size) != (other.dim, other.lead, other.size):
        return False
    return torch.equal(one.sample_of(one.size), other.sample_of(other.size))


@dataclass
class SampleRows:
    """Read `sample_of` for each forward of a step.

    Args:
        sample_of: As `record_gram` received it.
    """

    sample_of: SampleOf
    taken: int = 0  # rows of a tensor for several forwards that forwards took so far
    _rows: int = 0  # of that tensor
    _earlier: set[int] = field(default_factory=set)  # samples of backward passes before
    _current: set[int] = field(default_factory=set)
    _known: list[Tensor] = field(default_factory=list)  # of the pass's latest forward
    _latest: list[Tensor] = field(default_factory=list)  # of the step's

    def of_forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> GivenRows | None:
        """Return the samples of the rows of a forward's inputs.

        Returns:
            The rows; None where `sample_of` was not given.

        Raises:
            GramError: A callable raised, or the rows can't be those of these inputs.
        """
        if self.sample_of is None:
            return None
        maps = self._latest = self._maps_of(args, kwargs)
        leaves = [t for t in flat((args, kwargs))[0] if isinstance(t, Tensor) and t.dim()]
        _check_numbers(maps)
        whole = [rows for rows in maps if not leaves or _dims(rows, leaves)]
        if whole:
            dims = tuple(d for rows in whole[:1] for d in _dims(rows, leaves)[:1]) or (0,)
            return GivenRows(torch.arange(int(maps[0].max()) + 1), tuple(maps), dims)
        if len(leaves[0]) == int(maps[0].max()) + 1 and leaves[0].grad_fn is not None:
            return GivenRows(torch.arange(len(leaves[0])), tuple(maps))  # one row a sample, as of a head
        return self._next_rows(maps, leaves)

    def _maps_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        """List the rows for these inputs; a module that takes what another returned has that one's."""
        try:
            self._known = _maps(_call(self.sample_of, args, kwargs))
        except GramError:
            leaves = [t for t in flat((args, kwargs))[0] if isinstance(t, Tensor)]
            if not self._known or not any(t.grad_fn is not None for t in leaves):
                raise
        return self._known

    def _next_rows(self, maps: list[Tensor], leaves: list[Tensor]) -> GivenRows:
        """Take a part of a tensor whose rows are those of several forwards, in turn."""
        rows, count = maps[0], len(leaves[0])
        if not self.taken:
            self._rows = rows.numel()
        if len(maps) > 1 or self.taken + count > rows.numel():
            given = " and ".join(str(one.numel()) for one in maps)
            before = f", of which forwards before it took {self.taken}" if self.taken else ""
            lengths = " and ".join(dict.fromkeys(str(len(t)) for t in leaves))
            raise GramError(
                f"{_TASK}: received the samples of {given} rows for inputs of {lengths}{before}; expected "
                "one number a row of an input, or of the inputs of all forwards in turn."
            )
        part = rows.flatten()[self.taken : self.taken + count]
        self.taken = (self.taken + count) % rows.numel()
        samples = part[part >= 0].unique()
        twice = self._earlier & set(samples.tolist())
        if twice:
            raise GramError(
                f"{_TASK}: sample {min(twice)} has rows in two backward passes, which would count it twice; "
                "expected one backward pass over all rows of a sample."
            )
        self._current |= set(samples.tolist())
        local = torch.where(part >= 0, torch.searchsorted(samples, part), -1)
        return GivenRows(samples, (local,), pooled=False)

    def begin_pass(self) -> None:
        """Note that a backward pass begins: the samples so far are its own."""
        self._earlier = self._earlier | self._current if self.taken else set()
        self._current = set()
        self._known = []

    @property
    def unnamed_rows(self) -> int:
        """Rows of the latest forward that belong to no sample."""
        return sum(int((rows < 0).sum()) for rows in self._latest)

    def unused_rows_problem(self) -> str:
        """Say which rows no forward took, "" if all were taken."""
        if not self.taken:
            return ""
        return (
            f"sample_of has {self._rows} rows and the forwards took {self.taken}; expected one "
            "number for each row of the step's forwards, in their order"
        )


def _call(sample_of: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Rows:
    if isinstance(sample_of, Tensor | Mapping | Sequence):
        return sample_of
    try:
        rows = sample_of(*args, **kwargs)
    except Exception as error:
        raise GramError(
            f"{_TASK}: called with the model's inputs it raised "
            f"{type(error).__name__}: {error}; expected the sample of each row, a tensor (rows,)."
        ) from error
    check_samples(None, rows)
    if rows is None or (callable(rows) and not isinstance(rows, Tensor)):
        kind = "None" if rows is None else "another function"
        raise GramError(
            f"{_TASK}: called with the model's inputs it returned {kind}; expected the sample of "
            "each row, a tensor (rows,)."
        )
    return rows  # type: ignore[no-any-return]


def _maps(rows: Rows) -> list[Tensor]:
    """List the tensors of rows, on the CPU."""
    if isinstance(rows, Tensor):
        found = [rows]
    else:
        found = list(rows.values() if isinstance(rows, Mapping) else rows)
        for length, one in rows.items() if isinstance(rows, Mapping) else ():
            if one.numel() != length:
                raise GramError(
                    f"{_TASK}: received {one.numel()} rows under the key {length}; expected a mapping of "
                    "number of rows → their samples, such as {len(batch): batch}."
                )
    return [one.detach().cpu().long() for one in found]


def _check_numbers(maps: list[Tensor]) -> None:
    """Refuse numbers with gaps, and rows of samples that the first map does not have."""
    first = maps[0][maps[0] >= 0]
    missing = (torch.bincount(first) == 0).nonzero().flatten() if len(first) else torch.zeros(1)
    if len(missing):
        raise GramError(
            f"{_TASK}: sample {int(missing[0])} has no row; expected whole "
            "numbers from 0 to the last sample's, each at least once (-1 for a row of no sample)."
        )
    for rows in maps[1:]:
        if rows.numel() and int(rows.max()) > int(first.max()):
            raise GramError(
                f"{_TASK}: {rows.numel()} rows name sample {int(rows.max())}, and the {maps[0].numel()} "
                f"rows before them end with sample {int(first.max())}; expected the same samples."
            )


def _dims(rows: Tensor, leaves: Sequence[Tensor]) -> list[int]:
    """List the dimensions, of the first two, that some input has these rows along.

    The second only where it is one of positions: of token ids, or of a tensor with features behind.

    Returns:
        Dimensions, ascending.
    """
    if rows.dim() == 2:
        return [0] if any(leaf.shape[:2] == rows.shape for leaf in leaves) else []
    along = [leaf for leaf in leaves if leaf.dim() > 2 or (leaf.dim() == 2 and not leaf.is_floating_point())]
    found = [0] if any(len(leaf) == len(rows) for leaf in leaves) else []
    return [*found, 1] if any(leaf.shape[1] == len(rows) for leaf in along) else found

"""Rows that a call takes over from one above it, where nothing between the two may move them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.errors import NotSplittableError
from fisherscope.gram.identity.carriers import Carrier, find_carriers, node_place
from fisherscope.gram.identity.pending import PendingCall
from fisherscope.gram.identity.row_ids import SILENT, RowReading
from fisherscope.gram.identity.survey import Survey
from fisherscope.gram.interception.call_ids import Key

FOUND_ELSEWHERE = (
    "the rows of `{name}` were taken over from another call in earlier measurements of this model and lie "
    "elsewhere now; from here on they are read, and those measurements may be wrong. Please report this fault"
)


@dataclass(frozen=True)
class RowMap:
    """Where a call's rows lie among those of the call above it, as one reading of both showed.

    The rows of the call above that had one sample make up a group; a row follows that of its own sample.

    Args:
        dim: The dimension of the call's rows.
        lead: How many leading dimensions they lie along.
        groups: (rows,) long: the group that each follows.
        its_dim: The dimension of the rows of the call above.
        its_lead: How many leading dimensions those lie along.
        its_groups: (its rows,) long: the group that each is in.
    """

    dim: int
    lead: int
    groups: Tensor
    its_dim: int
    its_lead: int
    its_groups: Tensor

    def fits(self, call: PendingCall, above: PendingCall) -> bool:
        """Tell whether two calls have as many rows as those that the map was learned from."""
        return _rows(call, self.dim, self.lead) == len(self.groups) and (
            _rows(above, self.its_dim, self.its_lead) == len(self.its_groups)
        )

    def take_over(self, its: RowReading) -> RowReading | None:
        """Give a call's rows the samples of the groups that they follow.

        Args:
            its: What was read of the rows of the call above.

        Returns:
            The samples of the call's rows; None where rows of one group have several by now.
        """
        if not its.clean or (its.dim, its.lead) != (self.its_dim, self.its_lead):
            return None
        read = its.ids >= 0
        samples = torch.full((int(self.its_groups.max()) + 1,), SILENT)
        samples[self.its_groups[read]] = its.ids[read]
        if not torch.equal(samples[self.its_groups[read]], its.ids[read]):
            return None
        return RowReading(self.dim, self.lead, samples[self.groups])


def learn_map(reading: RowReading, its: RowReading) -> RowMap | None:
    """Learn where rows lie from a reading of them and of those of the call above.

    Args:
        reading: Of the rows.
        its: Of those of the call above.

    Returns:
        The map; None where some row was not read, so that it may lie elsewhere.
    """
    if bool((reading.ids < 0).any()) or bool((its.ids < 0).any()):
        return None
    samples, groups = its.ids.unique(return_inverse=True)
    own = torch.searchsorted(samples, reading.ids).clamp_max(len(samples) - 1)
    if not torch.equal(samples[own], reading.ids):
        return None
    return RowMap(reading.dim, reading.lead, own, its.dim, its.lead, groups)


@dataclass
class CarriedRows:
    """What is known of graphs of one signature: which calls may take over rows from which.

    Args:
        count: How often rows of such a graph had to be read.
        carriers: By call, where its rows may come from; None before that was looked for.
        maps: By call, where its rows lie among those of its carrier.
        confirmed: Calls whose rows lay there at another reading, too.
        apart: Calls whose rows lay elsewhere.
    """

    count: int = 0
    carriers: dict[Key, Carrier] | None = None
    maps: dict[Key, RowMap] = field(default_factory=dict)
    confirmed: set[Key] = field(default_factory=set)
    apart: set[Key] = field(default_factory=set)

    def begin(self, calls: Sequence[PendingCall], survey: Survey) -> dict[Key, PendingCall]:
        """Find, as the rows of a step's calls have to be read, from which call each may take them.

        Args:
            calls: Those calls.
            survey: Of the graph.

        Returns:
            By a call's key, the one above it; only where both are the nodes that they were.
        """
        self.count += 1
        if self.carriers is None:
            self.carriers = find_carriers(calls, survey, self.apart)
            self.maps.clear()
            self.confirmed.clear()
        found = {}
        by_key = {call.key: call for call in calls}
        for call in calls:
            carrier = self.carriers.get(call.key)
            above = None if carrier is None else by_key.get(carrier.key)
            if carrier is None or above is None or above.key in self.carriers:
                continue
            if (carrier.place, carrier.own_place) == (node_place(above, survey), node_place(call, survey)):
                found[call.key] = above
        return found

    def takes(self, call: PendingCall, above: dict[Key, PendingCall]) -> bool:
        """Tell whether a call takes its rows over in this step.

        At the first, second, fourth, eighth … reading none does: all are read and compared.

        Args:
            call: The call.
            above: As `begin` returned it.

        Returns:
            Whether it does.
        """
        if call.key not in above or call.key not in self.confirmed or self.count & (self.count - 1) == 0:
            return False
        return self.maps[call.key].fits(call, above[call.key])

    def set_apart(self, call: PendingCall) -> None:
        """Have a call read in every step from now on."""
        self.apart.add(call.key)
        self.carriers = None

    def compare(
        self, call: PendingCall, reading: RowReading | None, above: PendingCall, its: RowReading | None
    ) -> str:
        """Compare a call's rows, as read, with those that it would take over.

        Args:
            call: The call.
            reading: Of its rows.
            above: The call above it.
            its: Of the rows of that.

        Returns:
            What to say where rows that were taken over before lie elsewhere; "" else.
        """
        if reading is None or its is None or not bool((reading.ids != SILENT).any()):
            return ""  # no gradient: nothing is known
        known = self.maps.get(call.key)
        if known is None or not known.fits(call, above):
            self.confirmed.discard(call.key)
            learned = learn_map(reading, its) if reading.clean and its.clean else None
            if learned is not None:
                self.maps[call.key] = learned
            return ""
        taken = known.take_over(its)
        if taken is not None and _agree(reading, taken):
            self.confirmed.add(call.key)
            return ""
        was_taken = call.key in self.confirmed and taken is not None and _contradict(reading, taken)
        self.set_apart(call)
        return FOUND_ELSEWHERE.format(name=call.call.name) if was_taken else ""


@dataclass
class StepReadings:
    """The calls of one forward whose rows have to be read in a step, and what was read of them so far.

    Args:
        calls: Those calls.
        survey: Of the graph.
        carried: What is known of such graphs; None where every call is to be read.
    """

    calls: Sequence[PendingCall]
    survey: Survey
    carried: CarriedRows | None

    def __post_init__(self) -> None:
        self.above = {} if self.carried is None else self.carried.begin(self.calls, self.survey)
        carried = self.carried
        self.taking = [c for c in self.calls if carried is not None and carried.takes(c, self.above)]
        self._takers = {call.key for call in self.taking}
        self.to_read = [call for call in self.calls if call.key not in self._takers]
        self.found: dict[Key, RowReading | None] = {}

    def record(self, call: PendingCall, reading: RowReading | None) -> None:
        """Note what was read of a call's rows; None where no gradient came."""
        self.found[call.key] = reading

    def compare(self, call: PendingCall) -> str:
        """Compare what was read of a call and of the one above it; see `CarriedRows.compare`."""
        above = self.above.get(call.key)
        if self.carried is None or above is None or call.key in self._takers:
            return ""
        return self.carried.compare(call, self.found.get(call.key), above, self.found.get(above.key))

    def taken_rows(self, call: PendingCall) -> RowReading | None:
        """Return the rows that a call takes over; None where those above don't tell."""
        its = self.found.get(self.above[call.key].key)
        if its is None or self.carried is None:
            return None
        return self.carried.maps[call.key].take_over(its)


@dataclass
class TakenRows:
    """A call that takes over, as its gradient arrives, the rows that were read of one above it.

    Args:
        call: The call.
        readings: What was read in this backward pass so far.
        settle: Gives the call its grouping.
    """

    call: PendingCall
    readings: StepReadings
    settle: Callable[[RowReading | None], None]

    def __call__(self, gradients: Any) -> None:
        """Take the rows over.

        Raises:
            NotSplittableError: A gradient came to rows of which the call above has none.
        """
        self.call.call.late = None
        gradient = gradients if isinstance(gradients, Tensor) else next(g for g in gradients if g is not None)
        reading = self.readings.taken_rows(self.call)
        if reading is None:
            if bool(gradient.any()):
                self._refuse("whose the rows are of the call above it could not be read")
        elif bool((silent := reading.ids == SILENT).any()):
            rows = (
                gradient.movedim(reading.dim, 0)
                if reading.lead == 1
                else gradient.flatten(0, reading.lead - 1)
            )
            if bool(rows[silent.to(rows.device)].any()):
                self._refuse("a gradient came to rows to which none came in the call above it")
        self.settle(reading)

    def _refuse(self, why: str) -> None:
        if self.readings.carried is not None:
            self.readings.carried.set_apart(self.call)
        raise NotSplittableError(f"{why}; from the next measurement on its rows are read themselves")


def _rows(call: PendingCall, dim: int, lead: int) -> int:
    shape = call.call.out_shape
    if len(shape) <= max(dim, lead - 1):
        return -1
    return shape[:lead].numel() if lead > 1 else shape[dim]


def _agree(reading: RowReading, taken: RowReading) -> bool:
    """Tell whether each row that was read is where it would be taken from."""
    if not reading.clean or (reading.dim, reading.lead) != (taken.dim, taken.lead):
        return False
    agrees = (reading.ids == taken.ids) | (reading.ids == SILENT)
    return bool((agrees if reading.weak is None else agrees | reading.weak).all())


def _contradict(reading: RowReading, taken: RowReading) -> bool:
    """Tell whether a row was read as another sample's than it would be taken for."""
    if len(reading.ids) != len(taken.ids):
        return True
    both = (reading.ids != SILENT) & (taken.ids != SILENT)
    return not torch.equal(reading.ids[both], taken.ids[both])

"""The step's forwards brought together: whose rows each call holds, read where it has to be, checked once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.batch_axis.forward_call import inputs_of
from fisherscope.gram.batch_axis.given_rows import GivenRows
from fisherscope.gram.batch_axis.tracker import Forward, ForwardTracker
from fisherscope.gram.grouping import Grouping, Layout
from fisherscope.gram.identity.cotangents import nodes_above
from fisherscope.gram.identity.counting import counting_doubt
from fisherscope.gram.identity.evidence import DERIVED, UNVERIFIED
from fisherscope.gram.identity.identify import settle
from fisherscope.gram.identity.pending import PendingCall
from fisherscope.gram.identity.reader import Pass, RowReader, StepSamples
from fisherscope.gram.identity.row_ids import SILENT
from fisherscope.gram.identity.tangents import element_samples, forward_rows
from fisherscope.gram.identity.term_readings import form_of, reductions_of, shared_terms

TERMS_UNREAD = "whether samples share a term of the loss could not be read ({})"


def _in_turn(forwards: list[Forward], rows: int) -> Tensor:
    """Return the samples of the forward that a further one over the same samples repeats."""
    again = sum(forward.linked == "again" for forward in forwards)
    first = [forward for forward in forwards if forward.linked != "again"]
    chosen = first[again % len(first)]
    return chosen.ids.clone() if chosen.rows == rows else torch.arange(rows)


def _numbers_of(numbers: Tensor, places: Tensor) -> Tensor:
    """Return numbers[places]; -1 stays -1."""
    return torch.where(places >= 0, numbers[places.clamp_min(0)], -1)


@dataclass
class OutsideCall:
    """A call in the user's own code whose rows are read forward from the model's outputs."""

    pending: PendingCall
    output: Tensor
    others: dict[str, Tensor]


@dataclass
class Settlement:
    """Settles forwards as their backward pass begins.

    Args:
        tracker: Of the step's forwards.
        quiet: A context in which nothing is recorded.
        budget: Bytes that gradients may take while rows are read.
    """

    tracker: ForwardTracker
    quiet: Callable[..., Any]
    budget: int
    outside: list[OutsideCall] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = RowReader(self.tracker, self.quiet, self.budget)

    @property
    def generator(self) -> torch.Generator:
        """The recorder's own random numbers."""
        return self.reader.generator

    def link(self, forward: Forward) -> None:
        """Find which samples a forward's rows are, where others ran before it in this pass."""
        earlier = [other for other in self.tracker.forwards if other is not forward]
        leaves = inputs_of(forward.call.args, forward.call.kwargs)
        dims = forward.call.dims or ((0,) * len(leaves) if forward.given is not None else ())
        rows = [
            (leaf, dim)
            for leaf, dim in zip(leaves, dims, strict=False)
            if isinstance(leaf, Tensor) and dim is not None and leaf.dim() > dim
        ]
        if earlier and forward.given is None:
            self._link_to(forward, earlier, rows)
        elif earlier and forward.given is not None:
            self._check_given(forward, forward.given, earlier, leaves)
        for leaf, dim in rows:
            if leaf.grad_fn is None and leaf.shape[dim] == forward.rows:
                self.tracker.storage.remember(leaf, dim, forward.ids)

    def _link_to(self, forward: Forward, earlier: list[Forward], rows: list[tuple[Tensor, int]]) -> None:
        for leaf, dim in rows:
            if leaf.grad_fn is not None and leaf.shape[dim] == forward.rows:
                ids = self._read_forward(leaf, dim, earlier)
                if ids is not None:
                    self.tracker.place(ids, "forward")
                    return
        total = max(int(other.ids.max()) + 1 for other in earlier if len(other.ids))
        for leaf, dim in rows:
            if leaf.grad_fn is None and leaf.shape[dim] == forward.rows:
                known = self.tracker.storage.samples_of(leaf, dim)
                if known is not None:
                    fresh = known < 0
                    known[fresh] = total + torch.arange(int(fresh.sum()))
                    self.tracker.place(known, "storage")
                    return
        expected = self.tracker.expected
        if forward.rows != earlier[-1].rows or (expected is not None and total + forward.rows <= expected):
            self.tracker.place(total + torch.arange(forward.rows), "others")
        elif expected is not None and total == expected:
            self.tracker.place(_in_turn(earlier, forward.rows), "again")
        else:
            self.tracker.place(earlier[-1].ids.clone(), "same")

    def _check_given(
        self, forward: Forward, given: GivenRows, earlier: list[Forward], leaves: Sequence[Any]
    ) -> None:
        """Read the rows of what earlier forwards returned, in place of what `sample_of` says of them."""
        dim = given.dims[0]
        for leaf in leaves:
            if isinstance(leaf, Tensor) and leaf.grad_fn is not None and leaf.dim() > dim:
                ids = self._read_forward(leaf, dim, earlier)
                if ids is not None and bool((ids >= 0).any()):
                    samples = ids[ids >= 0].unique()
                    local = torch.where(ids >= 0, torch.searchsorted(samples, ids), -1)
                    forward.given = GivenRows(samples, (local,), (dim,), pooled=False)
                    forward.rows = len(samples)
                    self.tracker.place(samples, "forward")
                    return

    def _read_forward(self, leaf: Tensor, dim: int, earlier: list[Forward]) -> Tensor | None:
        """Read the samples of a tensor's rows through what earlier forwards returned."""
        sources = self._sources(earlier)
        for tensor, ids in sources:
            if tensor is leaf and ids.numel() == leaf.shape[dim]:
                return ids.flatten()
        samples = max(int(ids.max()) + 1 for _, ids in sources) if sources else 0
        if not samples:
            return None
        try:
            with self.quiet():
                reading = forward_rows(sources, leaf, dim, samples, self.generator)
        except RuntimeError:  # a function that can't be differentiated twice
            return None
        if reading is None or not reading.clean:
            return None
        return torch.where(reading.ids == SILENT, -1, reading.ids)

    def _sources(self, forwards: list[Forward]) -> list[tuple[Tensor, Tensor]]:
        """List the outputs of forwards, with the step's sample of each row."""
        return [
            (tensor, _numbers_of(forward.ids, element_samples(tensor, grouping)))
            for forward in forwards
            for tensor, grouping in self.tracker.output_rows(forward)
        ]

    def begin(self, step: Pass) -> None:
        """Settle the forwards that a backward pass is about."""
        forwards = self._upstream(step.loss)
        if not forwards:
            return
        one = forwards[0] if len(forwards) == 1 and not self.outside else None
        if one is not None and not one.linked and (one.given is None or one.given.whole):
            self.tracker.terms.clear()
            rows = forwards[0].rows  # numbered 0, 1, 2, … already
            self.reader.settle(forwards[0], StepSamples(forwards[0].ids, rows, False), step, ())
            self._note_doubt(step.loss, forwards, rows)
            return
        used = torch.cat([forward.ids for forward in forwards])
        present = used[used >= 0].unique()
        number = torch.full((int(present.max()) + 1 if len(present) else 1,), -1)
        number[present] = torch.arange(len(present))
        samples = len(present)
        for forward in forwards:
            ids = torch.where(forward.ids >= 0, number[forward.ids.clamp_min(0)], -1)
            several = len(ids) != samples or not bool((ids == torch.arange(len(ids))).all())
            others = {t.grad_fn for other in forwards if other.number < forward.number for t in other.outputs}
            self.reader.settle(forward, StepSamples(ids, samples, several), step, others)
        self._settle_outside(forwards, number, samples)
        self._note_doubt(step.loss, forwards, samples)

    def _note_doubt(self, loss: Tensor, forwards: list[Forward], samples: int) -> None:
        """Note what the loss's terms show of the samples that were counted; read once a form of loss."""
        if any(forward.given is not None for forward in forwards):
            return
        try:
            reductions = reductions_of(loss)
        except Exception as error:  # noqa: BLE001  (a graph of another kind: the step goes on)
            self.tracker.notes.append(TERMS_UNREAD.format(type(error).__name__))
            return
        guessed = sum(forward.linked == "same" for forward in forwards)
        known, key = forwards[-1].known, (len(forwards), guessed, samples, *form_of(reductions))
        if key not in known.doubts:
            apart, outputs, start = [], [], 0
            for forward in forwards:
                numbers = start + torch.arange(forward.rows)
                outputs += [(t, of, numbers) for t, of in self.tracker.output_rows(forward)]
                apart += forward.ids.tolist()
                start += forward.rows
            try:
                with self.quiet():
                    groups = shared_terms(reductions, outputs, self.generator)
            except Exception as error:  # noqa: BLE001  (a graph that can't be passed twice: the step goes on)
                self.tracker.notes.append(TERMS_UNREAD.format(type(error).__name__))
                groups = []
            known.doubts[key] = counting_doubt(groups, apart, guessed + 1 if guessed else 0)
        self.tracker.doubt(known.doubts[key])

    def _upstream(self, loss: Tensor) -> list[Forward]:
        forwards = self.tracker.take_forwards()
        if len(forwards) < 2:
            return forwards
        nodes = set(nodes_above([loss.grad_fn]))
        mine = [f for f in forwards if not f.outputs or any(t.grad_fn in nodes for t in f.outputs)]
        self.tracker.forwards = [f for f in forwards if all(f is not one for one in mine)]
        return mine

    def _settle_outside(self, forwards: list[Forward], number: Tensor, samples: int) -> None:
        """Settle calls in the user's own code by the rows of the model's outputs."""
        outside, self.outside = self.outside, []
        if not outside:
            self.tracker.terms.clear()
            return
        sources = [(tensor, _numbers_of(number, ids)) for tensor, ids in self._sources(forwards)]
        for one in outside:
            call, expected = one.pending.call, one.pending.expected
            if call.weighted:
                self._split_terms(one, sources, samples)
                continue
            dim = expected.dim if expected is not None else 0
            reading = None
            if sources and one.output.dim() > dim:
                try:
                    with self.quiet():
                        reading = forward_rows(sources, one.output, dim, samples, self.generator)
                except RuntimeError:
                    reading = None
            if reading is None:
                if expected is None:
                    call.refusal = one.pending.problem
                else:
                    call.grouping = expected
            else:
                verdict = settle(one.pending, reading, torch.arange(samples), samples, False)
                call.evidence = DERIVED if verdict in ("as planned", "moved") else UNVERIFIED
        self.tracker.terms.clear()

    def _split_terms(self, one: OutsideCall, sources: list[tuple[Tensor, Tensor]], samples: int) -> None:
        """Split the numbers that a learned weight meets by sample."""
        call = one.pending.call

        def rows(tensor: Tensor) -> Tensor | None:
            for source, ids in sources:
                if source is tensor and ids.numel() == tensor.shape[0]:
                    return ids.flatten()
            reading = forward_rows(sources, tensor, 0, samples, self.generator) if sources else None
            return None if reading is None or not reading.clean else reading.ids

        terms = {}
        for name, tensor in one.others.items():
            if tensor.grad_fn is None:
                continue
            try:
                with self.quiet():
                    found = self.tracker.terms.shares(tensor, rows, samples)
            except (RuntimeError, TypeError):
                found = None
            if found is None:
                call.refusal = (
                    "it weights a number made of all samples together, whose parts can't be told: weight "
                    "each sample's loss before they are averaged"
                )
                return
            terms[name] = found
        call.grouping, call.terms, call.evidence = Grouping(samples, Layout(0)), terms, DERIVED

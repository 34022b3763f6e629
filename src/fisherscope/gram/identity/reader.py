"""Read the rows of one forward's calls where it has to be done, and remember what need not be read again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.batch_axis.forward_call import inputs_of
from fisherscope.gram.batch_axis.permutation import moves_with_samples
from fisherscope.gram.batch_axis.plan import SettledRows
from fisherscope.gram.batch_axis.tracker import Forward, ForwardTracker
from fisherscope.gram.errors import NotSplittableError
from fisherscope.gram.grouping import Grouping
from fisherscope.gram.identity.carried_rows import StepReadings, TakenRows
from fisherscope.gram.identity.evidence import DERIVED, GIVEN, UNKNOWN, UNVERIFIED, VERIFIED, way_out
from fisherscope.gram.identity.graph_nodes import RowShapes
from fisherscope.gram.identity.identify import read_calls, settle
from fisherscope.gram.identity.late import LateRows, empty_rows, loss_cotangents, scaled_gradients
from fisherscope.gram.identity.memory import is_moved, is_reached, recall_reading, serves
from fisherscope.gram.identity.pending import PendingCall
from fisherscope.gram.identity.row_ids import RowReading
from fisherscope.gram.identity.survey import Survey, survey_graph
from fisherscope.gram.identity.tangents import DRAWS, element_samples, forward_rows
from fisherscope.model_state import preserve_module_state

_EXACT = (torch.float32, torch.float64)


@dataclass
class Pass:
    """The backward pass that is about to begin.

    Args:
        loss: Where it begins.
        gradient: What it begins with; None for 1.
    """

    loss: Tensor
    gradient: Tensor | None


@dataclass
class StepSamples:
    """The step's samples as a forward has them.

    Args:
        ids: The step's sample of each of the forward's rows.
        count: Number of samples of the step.
        several: Whether the step's samples are others than the forward's rows.
    """

    ids: Tensor
    count: int
    several: bool


@dataclass
class RowReader:
    """Settle the calls of forwards whose backward pass begins.

    Args:
        tracker: Of the step's forwards.
        quiet: A context in which nothing is recorded.
        budget: Bytes that gradients may take while rows are read.
        hooked: Whether the user registered a hook on a tensor in this step: gradients may not be linear then.
    """

    tracker: ForwardTracker
    quiet: Callable[..., Any]
    budget: int
    hooked: bool = False
    _ordered: list[Forward] = field(default_factory=list)

    @cached_property
    def generator(self) -> torch.Generator:
        """The recorder's own random numbers: the user's are not drawn from."""
        return torch.Generator().manual_seed(torch.initial_seed() % (1 << 31))

    def settle(self, forward: Forward, to: StepSamples, step: Pass, stop: Collection[Any]) -> None:
        """Settle a forward's calls: as remembered, or read now, or as their gradients arrive."""
        pending, forward.pending = forward.pending, []
        if not pending:
            return
        known, outputs = forward.known, self.tracker.output_rows(forward)
        nodes = {edge.node for call in pending for _, edge in call.edges}
        roots = [tensor.grad_fn for tensor, _ in outputs]
        survey = survey_graph(roots, nodes, stop, _row_shapes(forward, outputs), forward.writes)
        self._note_unknown(survey)
        rows = forward.rows if forward.given is None else forward.given.signature
        memory = known.settled_for(rows, survey.signature)
        todo = []
        for call in pending:
            before = memory.get(call.key)
            if before is None or is_moved(call, survey) or not serves(before, call):
                todo.append(call)
            else:
                self._settle_as_before(forward, call, before, to, survey)
        if not todo:
            return
        carries = outputs and not (forward.given or forward.packs or survey.own)
        carried = (
            known.carried_for(rows, survey.signature)
            if carries and (survey.moved or known.readings)
            else None
        )
        step_readings = StepReadings(todo, survey, carried)
        fresh = any(call.key not in memory for call in todo) and not known.readings
        if not fresh and self._read_late(forward, step_readings, outputs, to, step, memory):
            return
        self._read_now(forward, step_readings, outputs, pending)
        for call in todo:
            self._settle_read(forward, call, step_readings.found.get(call.key), to, survey, memory)
        if known.keep is not None and not any(call.call.refusal for call in pending):
            known.keep()
            known.keep = None

    def _settle_as_before(
        self, forward: Forward, call: PendingCall, before: SettledRows, to: StepSamples, survey: Survey
    ) -> None:
        verdict = settle(call, None, to.ids, to.count, to.several)
        if verdict == "unread":
            verdict = before.verdict
        self._judge(forward, call, verdict, survey)
        self._watch_holes(forward, call, before)

    def _settle_read(
        self,
        forward: Forward,
        call: PendingCall,
        reading: RowReading | None,
        to: StepSamples,
        survey: Survey,
        memory: dict[Any, SettledRows],
    ) -> None:
        verdict = settle(call, reading, to.ids, to.count, to.several)
        self._judge(forward, call, verdict, survey)
        if verdict in ("mixed", "refused") or (verdict == "unread" and not is_reached(call, survey)):
            forward.known.hard.add(call.key)
        if verdict == "refused":
            call.call.refusal += way_out(survey)
        if call.call.refusal:
            return
        before = memory.get(call.key)
        found = recall_reading(call, reading, verdict, survey)
        if found is not None:
            found.tries = 1 if before is None else before.tries + 1
            memory[call.key] = found
            self._watch_holes(forward, call, found)

    def _watch_holes(self, forward: Forward, call: PendingCall, found: SettledRows) -> None:
        """Have rows that no cotangent reached read again, once a gradient comes to them."""
        if found.holes is None or call.call.late is not None:
            return
        holes, readings = found.holes, forward.known.readings

        def watch(gradient: Any) -> None:
            call.call.late = None
            mine = (
                gradient
                if isinstance(gradient, Tensor)
                else next((g for g in gradient if g is not None), None)
            )
            if mine is None or mine.shape != found.shape:
                return
            rows = mine.movedim(found.dim, 0) if found.lead == 1 else mine.flatten(0, found.lead - 1)
            if len(rows) == len(holes) and bool(rows[holes.to(rows.device)].any()):
                call.call.evidence = DERIVED if call.call.evidence == VERIFIED else call.call.evidence
                if readings >= 0 and found.tries & (found.tries - 1) == 0:
                    found.verdict = "again"
                found.tries += 1

        call.call.late = watch

    # Readings --------------------------------------------------------------------------------------

    def _read_now(
        self,
        forward: Forward,
        readings: StepReadings,
        outputs: Sequence[tuple[Tensor, Grouping]],
        pending: Sequence[PendingCall],
    ) -> None:
        """Read the rows of calls by passes of their own, but of those that take them over."""
        draws = 1 if forward.known.readings else DRAWS
        forward.known.readings += 1
        read = readings.to_read
        found = self._read(forward, read, outputs, draws, readings.survey)
        if not outputs:
            self._follow(forward, pending, read, found)
        for k, call in enumerate(read):
            readings.record(call, found.get(k))
        for call in read:
            self._note_elsewhere(readings.compare(call))
        for call in readings.taking:
            taken = readings.taken_rows(call)
            readings.record(call, None if taken is None or bool((taken.ids < 0).any()) else taken)
        rest = [call for call in readings.taking if readings.found[call.key] is None]
        found = self._read(forward, rest, outputs, draws, readings.survey) if rest else {}
        for k, call in enumerate(rest):
            readings.record(call, found.get(k))

    def _read(
        self,
        forward: Forward,
        calls: Sequence[PendingCall],
        outputs: Sequence[tuple[Tensor, Grouping]],
        draws: int,
        survey: Survey,
    ) -> dict[int, RowReading]:
        """Read the rows of calls on the step's graph, if a pass leaves no trace.

        Returns:
            Readings by position of the call; none if a backward is the user's own.
        """
        if survey.own:
            return {}  # a function of the user's own, whose backward may do more than give gradients
        try:
            with self.quiet(), preserve_module_state(forward.call.module):
                return read_calls(outputs, calls, forward.rows, draws, self.generator, self.budget)
        except RuntimeError as error:
            self.tracker.notes.append(
                f"the rows' samples could not be read on the step's graph: {error}"[:200]
            )
            return {}

    def _follow(
        self,
        forward: Forward,
        pending: Sequence[PendingCall],
        calls: Sequence[PendingCall],
        readings: dict[int, RowReading],
    ) -> None:
        """Follow samples forward where the model returns nothing that holds them, only its loss.

        From calls whose rows the values of the whole batch in another order confirm, to calls whose rows
        are not those of the batch.
        """
        lost = [k for k, call in enumerate(calls) if call.expected is None and call.output is not None]
        if not lost:
            return
        checked = forward.known.permuted
        with self.quiet(calls_seen=True):
            checked.update(moves_with_samples(forward.call, forward.known.plan, self.tracker.parameters))
        sources = [
            (call.output, element_samples(call.output, call.expected))
            for call in pending
            if call.output is not None and call.expected is not None and checked.get(call.key)
        ]
        for k in lost:
            target = calls[k].output
            if target is None or not target.dim() or not sources:
                continue
            try:
                with self.quiet():
                    found = forward_rows(sources, target, 0, forward.rows, self.generator)
            except RuntimeError:
                continue
            if found is not None:
                readings[k] = found

    def _read_late(
        self,
        forward: Forward,
        readings: StepReadings,
        outputs: Sequence[tuple[Tensor, Grouping]],
        to: StepSamples,
        step: Pass,
        memory: dict[Any, SettledRows],
    ) -> bool:
        """Read rows by one pass now and the step's own gradients as the other, if those are of the same kind.

        Returns:
            Whether that could be done: not where batch statistics, hooks or few bits change gradients, or
            where the loss takes another way to the calls than the outputs.
        """
        known, survey, calls = forward.known, readings.survey, readings.to_read
        size = sum(call.call.out_shape.numel() * call.call.out_dtype.itemsize for call in calls)
        if (
            survey.batch_norms or survey.own or self.hooked or forward.packs
            or (forward.given is not None and forward.given.has_unnamed)
            or size > self.budget
            or any(call.call.out_dtype not in _EXACT or call.key in known.hard for call in calls)
        ):  # fmt: skip
            return False
        tensors = [tensor for tensor, _ in outputs]
        nodes = {edge.node for call in readings.calls for _, edge in call.edges}
        try:
            with self.quiet():
                cotangents = loss_cotangents(step.loss, step.gradient, tensors, nodes, survey)
                if cotangents is None or any(c.dtype not in _EXACT for _, c in cotangents):
                    return False
                codes, scaled = scaled_gradients(outputs, cotangents, calls, forward.rows, self.generator)
        except RuntimeError:
            return False
        for call, gradients in zip(calls, scaled, strict=True):
            settlement = self._late_settlement(forward, call, to, readings, memory)
            call.call.late = LateRows(call, gradients, codes, settlement)
        for call in readings.taking:
            settlement = self._late_settlement(forward, call, to, readings, memory)
            call.call.late = TakenRows(call, readings, settlement)
        for call in readings.calls:
            call.call.grouping = call.expected or empty_rows(call, to.count)
        return True

    def _late_settlement(
        self,
        forward: Forward,
        call: PendingCall,
        to: StepSamples,
        readings: StepReadings,
        memory: dict[Any, SettledRows],
    ) -> Callable[[RowReading | None], None]:
        def settle_late(reading: RowReading | None) -> None:
            readings.record(call, reading)
            self._note_elsewhere(readings.compare(call))
            if reading is None:  # no gradient, whoever's rows they are
                call.call.grouping, call.call.evidence = empty_rows(call, to.count), VERIFIED
                return
            verdict = settle(call, reading, to.ids, to.count, to.several)
            if verdict not in ("as planned", "moved"):
                forward.known.hard.add(call.key)
                raise NotSplittableError(
                    "whose its rows are could not be read from the step's own gradient; the next "
                    "measurement reads them in passes of their own"
                )
            self._judge(forward, call, verdict, readings.survey)
            found = recall_reading(call, reading, verdict, readings.survey)
            if found is not None:
                memory[call.key] = found

        return settle_late

    # Evidence ----------------------------------------------------------------------------------------

    def _judge(self, forward: Forward, call: PendingCall, verdict: str, survey: Survey) -> None:
        if forward.given is not None:
            call.call.evidence = GIVEN
        elif verdict == "as planned":
            call.call.evidence = VERIFIED
        elif verdict == "moved":
            call.call.evidence = DERIVED
        elif verdict in ("unread", "mixed"):
            self._check_by_order(forward, call, survey)

    def _check_by_order(self, forward: Forward, call: PendingCall, survey: Survey) -> None:
        """Check a call that no cotangent could read: do its rows move with a permuted batch?

        Checked once a kind of input; in every step where an order may depend on data or chance.
        """
        checked = forward.known.permuted
        changing = forward.moves or bool(survey.unknown) or is_moved(call, survey)
        stale = changing and all(forward is not other for other in self._ordered)
        if call.key not in checked or stale:
            self._ordered.append(forward)
            with self.quiet(calls_seen=True):
                checked.update(moves_with_samples(forward.call, forward.known.plan, self.tracker.parameters))
            checked.setdefault(call.key, None)
        if checked[call.key] is False:
            call.call.refusal = (
                "its rows change places inside the forward, and whose each is could not be read"
            )
            call.call.refusal += way_out(survey)
            return
        call.call.evidence = UNVERIFIED if checked[call.key] is None else DERIVED

    def _note_elsewhere(self, text: str) -> None:
        if text and text not in self.tracker.notes:
            self.tracker.notes.append(text)

    def _note_unknown(self, survey: Survey) -> None:
        for name in dict.fromkeys(survey.unknown):
            text = UNKNOWN.format(name=name)
            if text not in self.tracker.notes:
                self.tracker.notes.append(text)


def _row_shapes(forward: Forward, outputs: Sequence[tuple[Tensor, Grouping]]) -> RowShapes:
    """Describe how the rows of a forward lie, by its inputs and outputs."""
    dims = forward.call.dims or ()
    lead = all(dim in (None, 0) for dim in dims) and all(grouping.dim == 0 for _, grouping in outputs)
    tensors = [leaf for leaf in inputs_of(forward.call.args, forward.call.kwargs) if isinstance(leaf, Tensor)]
    lengths = dict.fromkeys(
        size for tensor in tensors for size in tensor.shape if size not in (1, forward.rows)
    )
    return RowShapes(max(forward.rows, 1), lead, tuple(lengths), look=not forward.packs)

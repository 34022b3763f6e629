"""One optimizer step under a monitor: measured when it is due, counted in any case."""

import math
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import nn

from fisherscope.gram import GramRecord
from fisherscope.gram.nonfinite import nonfinite_samples, nonfinite_text
from fisherscope.gram.options import SampleOf
from fisherscope.guard import Refusal, RefusedState, RefusedValue, contain_errors, describe
from fisherscope.guard.step_guard import Guard
from fisherscope.monitor.breakdown import SampleId
from fisherscope.monitor.measurement import (
    MEASURES,
    Measurement,
    Row,
    diagnosis,
    is_valid,
    measurement,
    parameter_groups,
)
from fisherscope.monitor.optimizer_metric import METRIC_VALUES, resolved_metric
from fisherscope.monitor.safe_recording import Recording
from fisherscope.monitor.schedule import Position
from fisherscope.monitor.state import MonitorState
from fisherscope.runs.config_values import json_value

COUPLED = (
    "BatchNorm in training mode couples the samples: a column is a sample's path contribution to this step, "
    "not the gradient of its loss alone (semantics='per_loss' gives that)."
)


class Step:
    """Context manager of one optimizer step, as `Monitor.observe` returns it.

    Forward and backward run in its block. `loss` may be set in the block to the step's mean loss, where that
    is not what `backward` is called on.

    Example:
        ```python
        import torch
        import fisherscope as fs

        model = torch.nn.Linear(4, 1)
        monitor = fs.Monitor(model, torch.optim.SGD(model.parameters(), lr=0.1))
        with monitor.observe() as step:
            model(torch.randn(8, 4)).square().mean().backward()
        assert step.measured and monitor.measurement["batch_size"] == 8
        ```

    Args:
        state: What the monitor and its steps share.
        ids: Ids of the samples in batch order, (n,), texts or integers; or None.
        batch_size: Samples of the step, or None to read it off the model's inputs.
        sample_of: The sample of each row in this step; None for what the monitor was given.
    """

    __slots__ = (
        "_guard", "_recording", "_steps_before", "batch_size", "entered", "ids", "loader_count", "loss",
        "sample_of", "state",
    )  # fmt: skip

    def __init__(
        self,
        state: MonitorState,
        ids: "Sequence[SampleId] | torch.Tensor | None",
        batch_size: int | None,
        sample_of: "SampleOf" = None,
    ) -> None:
        self.state, self.ids, self.batch_size = state, ids, batch_size
        self.sample_of = state.options.get("sample_of") if sample_of is None else sample_of
        self.loader_count: int | None = None  # samples as a framework counts them
        self.loss: Any = None
        self.entered = False
        self._guard = Guard()
        self._recording: Recording | None = None
        self._steps_before: int | None = None

    @property
    def measured(self) -> bool:
        """Whether this step is measured; known once it is entered."""
        return self._recording is not None

    def fail(self, error: Exception) -> None:
        """Measure the step no further: its row will say why.

        Args:
            error: What was raised.

        Example:
            ```python
            model = torch.nn.Linear(4, 1)
            monitor = fs.Monitor(model, torch.optim.SGD(model.parameters(), lr=0.1))
            with monitor.observe() as step:
                model(torch.randn(8, 4)).square().mean().backward()
                step.fail(RuntimeError("the batch was not the one that was meant"))
            assert monitor.measurement["status"].startswith("error: RuntimeError")
            ```
        """
        self._guard.close()
        self._guard.fail(error)

    def _recover_enter(self, error: Exception) -> "Step":
        """Let the block run unmeasured."""
        self.entered = self.state.block_open = True
        self._steps_before = self.state.history.running.counters.steps
        self.fail(error)
        return self

    @contain_errors(_recover_enter)
    def __enter__(self) -> "Step":
        """Begin the step.

        Returns:
            The step, for `as`.

        Raises:
            RuntimeError: Another block of this monitor is open.
        """
        self.entered = True
        state = self.state
        if state.block_open:
            raise RefusedState(
                "observing a step: another observe() block of this monitor is still open; expected one block "
                "per optimizer step, with all its micro-batches inside"
            )
        self._steps_before = state.history.running.counters.steps
        state.measurement = None
        state.join_ranks()
        state.timer.tick(state.schedule)
        state.history.end_epoch_by_size()
        if state.agreement is not None:
            state.agreement.share_interval(state.schedule, state.history.running.counters.steps)
        if state.spikes is not None and state.agreement is None:
            state.publish_spike(state.spikes.begin(self._guard))
        due, accumulate = state.schedule.due(self._position()), state.batch_size.passes > 1
        if due or self.batch_size is None:
            state.batch_size.watch(state.model, self._guard, self.sample_of)
        if due:
            state.timer.mark_measured()
            options = {"accumulate": accumulate, **state.options, "loss_scale": state.loss_scale}
            options["sample_of"], options["batch_size"] = self.sample_of, self._find_expected()
            measured = state.history.running.counters.measured
            options["metric"] = resolved_metric(state.options.get("metric"), state.optimizer, measured)
            try:
                self._recording = Recording(state.model, state.strict, options)
            except Refusal:
                self._guard.close()
                raise
        state.block_open = True
        return self

    def _find_expected(self) -> int | None:
        """Return the number of samples of the step, as far as the loop says."""
        return self.batch_size or (len(self.ids) if self.ids is not None else self.loader_count) or None

    def _position(self) -> Position:
        count = self.state.history.running.counters
        return Position(count.steps, count.epoch_steps, count.epoch, count.epoch_samples, count.batch_size)

    def _recover_exit(
        self,
        failure: Exception,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write a row that says what failed, unless the loop's own error ended the step.

        Raises:
            Exception: `failure`, if `strict`.
        """
        self.state.block_open = False
        self.fail(failure)
        if self._recording is not None:
            self._recording.close(RuntimeError, RuntimeError("the step was not measured"), None)
        if error is None:
            self.state.report(failure, self._steps_before, self.batch_size)
            if self.state.strict:
                raise failure

    @contain_errors(_recover_exit)
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the step: count it and, if it was due, publish its row.

        A step whose block raised is not counted: it did not happen.
        """
        state, recording = self.state, self._recording
        state.block_open = False
        self._guard.close()
        state.batch_size.leave()
        if recording is not None:
            recording.close(kind, error, traceback)
        if error is not None:
            state.timer.drop()
            return
        if self._guard.error is not None:
            self._recover_exit(self._guard.error, kind, error, traceback)
            return
        size = self._size(None if recording is None else recording.record)
        counters = state.history.running.counters
        if state.agreement is None:
            counters.add(size, state.learning_rates)
        else:
            state.agreement.count(counters, size, state.learning_rates)
        if recording is None:
            state.timer.end_block(size)
        else:
            self._measure(recording, size)
        self._watch_for_spike(None if recording is None else recording.record)

    def _watch_for_spike(self, record: GramRecord | None) -> None:
        """Look at the step's gradient, where spikes are watched for."""
        state, count = self.state, self.state.history.running.counters
        if state.spikes is None or state.agreement is not None:
            return
        ids: Any = self.ids.tolist() if isinstance(self.ids, torch.Tensor) else self.ids
        about = {
            "step": count.steps - 1, "epoch": count.epoch, "samples": count.samples,
            "batch_size": count.batch_size,
        }  # fmt: skip
        state.publish_spike(state.spikes.end(about, ids, state.loss_scale, self.sample_of, record))

    def _size(self, record: GramRecord | None) -> int:
        reader, count = self.state.batch_size, self.state.history.running.counters
        if record is not None and record.measured:
            reader.learn(record.local_batch_size)
            return record.local_batch_size
        size = reader.counted_samples or (
            reader.read() if self.batch_size is None else self.batch_size
        )  # of this rank
        size = size if size is not None else self.loader_count
        if size is None:
            self.state.warn_once(
                "the batch size of a step could not be read, because the model was not called with a tensor "
                "inside the observe() block; the previous size is used. Pass observe(batch_size=…)"
            )
        return size if size is not None else reader.last or count.batch_size or 1

    # A step that was due

    def _measure(self, recording: Recording, size: int) -> None:
        """Publish the row of this step, whether or not it could be measured."""
        start, record, values = time.perf_counter(), recording.record, None
        count, agreement, failure = self.state.history.running.counters, self.state.agreement, None
        steps_since = count.since
        joint = agreement is not None and record is not None and record.ranks > 1
        if record is not None:
            self.state.history.add_notes(self._notes(record))
            try:
                ids: Any = self.ids.tolist() if isinstance(self.ids, torch.Tensor) else self.ids
                problem = self._batch_problem(record)
                if agreement is not None and joint:
                    ids, problem = agreement.exchange(count, ids, problem)
                if problem is not None:
                    raise RefusedValue(problem)
                if is_valid(record):
                    own_steps = count.own_steps
                    values = self._measurement(record, ids)
                    steps_since = own_steps
            except Exception as error:  # noqa: BLE001  (a measurement never kills training)
                failure = error
        own_seconds = time.perf_counter() - start + (record.wall_seconds if record is not None else 0.0)
        seconds = max(own_seconds, self.state.timer.extra_seconds(size))
        count.fisher_seconds += seconds
        try:
            row = self._row(recording, values, steps_since, seconds)
        except Exception as error:
            if not joint:
                raise
            failure = failure or error  # the other ranks wait for a row of this step
            row = self.state.status_row(describe(error))
        if failure is not None:
            row["status"] = describe(failure)
        if agreement is not None and joint:
            row = agreement.share_row(row, self.state.schedule)
        if failure is not None:
            recording.fail(failure)
        count.failed += values is None
        has_spectrum = values is not None and len(values.spectrum.eigenvalues) > 0
        self.state.publish(row, values.spectrum.eigenvalues if has_spectrum and values is not None else None)

    def _batch_problem(self, record: GramRecord) -> str | None:
        """Say how `ids` or `batch_size` contradict the batch that was measured; None where they don't."""
        size = record.local_batch_size
        if not record.measured:
            return None
        if self.ids is not None and len(self.ids) != size:
            return (
                f"observing a step: received {len(self.ids)} ids for a batch of {size} samples; "
                f"expected one id per sample{_why(record)}"
            )
        if self.batch_size not in (None, size):
            return (
                f"observing a step: received batch_size={self.batch_size} for a batch of "
                f"{size} samples; expected its size, or no batch_size{_why(record)}"
            )
        return None

    def _measurement(self, record: GramRecord, ids: Any) -> Measurement:
        """Measure the step and add it to the running totals."""
        state, running, settings = self.state, self.state.history.running, self.state.history.settings
        samples, seed = settings["max_samples"], (settings["seed"], running.counters.steps)
        result = measurement(
            record,
            state.learning_rates,
            parameter_groups(state.model, state.optimizer),
            self._loss(record),
            settings["rule"],
            None if samples is None else (samples, seed),
        )
        running.update(result, ids if record.spectrum == "global" else None)
        return result

    def _loss(self, record: GramRecord) -> float | None:
        if self.loss is not None:
            return float(self.loss.detach() if isinstance(self.loss, torch.Tensor) else self.loss)
        if record.loss is None:
            return None
        return record.loss / (record.batch_size if self.state.options.get("reduction") == "sum" else 1)

    def _row(self, recording: Recording, values: Measurement | None, since: int, seconds: float) -> Row:
        state, record, settings = self.state, recording.record, self.state.history.settings
        row: Row = state.history.running.axes(state.learning_rates, since, settings["dataset_size"])
        row |= values.values if values is not None else dict.fromkeys(MEASURES)
        if state.options.get("metric") is not None:
            row |= dict.fromkeys(METRIC_VALUES) if values is None else values.metric_values
        row |= state.history.running.totals()
        row["fisher/residual"] = math.nan if record is None else record.residual
        row["fisher/grouping"] = "unverified" if record is None else record.grouping
        row["fisher/note"] = " ".join(self._doubts(record)) or None
        if self.state.agreement is not None and record is not None:
            row["ranks"], row["local_batch_size"] = record.ranks, record.local_batch_size
            row["ranks/spectrum"], row["ranks/bytes"] = record.spectrum, record.bytes_sent
        row["time/step_s"] = state.timer.step_seconds
        row["time/fisher_s"] = seconds
        if settings["max_samples"] is not None:
            row["fisher/subset"] = settings["max_samples"]
        status = values.status if values else self._diagnosis(record) if record else ""
        row["status"] = recording.failure or status
        return {key: json_value(value) for key, value in row.items()}

    def _doubts(self, record: GramRecord | None) -> list[str]:
        """List why the samples that were counted may not be those that were meant."""
        if record is None:
            return []
        doubts, count = list(record.doubts), self.loader_count
        if record.measured and count not in (None, record.local_batch_size) and not doubts:
            doubts.append(
                f"the batch has {count} samples and {record.local_batch_size} were counted: where rows of "
                "the model's inputs are not samples, say which each belongs to (sample_of=…, see fs.samples)"
            )
        for text in doubts:
            self.state.warn_once(text)
        return doubts

    def _diagnosis(self, record: GramRecord) -> str:
        """Describe a record's status; samples that are not finite by their ids, where those are given."""
        status = diagnosis(record)
        ids = self.ids.tolist() if isinstance(self.ids, torch.Tensor) else self.ids
        if ids is None or not status.startswith("non-finite") or record.ranks > 1:
            return status  # of several ranks, each knows its own ids alone
        if len(ids) != len(record.gram):
            return status
        return nonfinite_text([ids[k] for k in nonfinite_samples(record.gram)], len(ids))

    def _notes(self, record: GramRecord) -> list[str]:
        has_batch_norm = record.semantics == "path" and any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
            for module in self.state.model.modules()
        )
        return [*record.notes, *([COUPLED] if has_batch_norm else [])]


def _why(record: GramRecord) -> str:
    return f". {record.doubts[0][0].upper()}{record.doubts[0][1:]}" if record.doubts else ""

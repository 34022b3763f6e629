"""One optimizer step under a monitor: measured when it is due, counted in any case."""

import math
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fisherscope.gram import GramRecord
from fisherscope.monitor.measurement import (
    MEASURES,
    Measurement,
    Row,
    believed,
    diagnosis,
    measurement,
    parameter_groups,
    plain,
)
from fisherscope.monitor.safe_recording import Recording
from fisherscope.monitor.schedule import Position

if TYPE_CHECKING:
    from fisherscope.monitor.monitor import Monitor

COUPLED = (
    "BatchNorm in training mode couples the samples: a column is a sample's path contribution to this step, "
    "not the gradient of its loss alone (semantics='per_loss' gives that)."
)


class Step:
    """One optimizer step, from `Monitor.observe`: enter it, run forward and backward inside.

    `loss` may be set to the step's mean loss where it is not what `backward` is called on.
    """

    __slots__ = ("_recording", "batch_size", "entered", "ids", "loss", "monitor")

    def __init__(self, monitor: "Monitor", ids: Any, batch_size: int | None) -> None:
        self.monitor, self.ids, self.batch_size = monitor, ids, batch_size
        self.loss: Any = None
        self.entered = False
        self._recording: Recording | None = None

    @property
    def measured(self) -> bool:
        """Once it is entered: whether this step is measured."""
        return self._recording is not None

    def __enter__(self) -> "Step":
        self.entered = True
        monitor = self.monitor
        monitor._begin()
        monitor._clock.tick(monitor.schedule)
        monitor._journal.end_epoch_by_size()
        due, several = monitor.schedule.due(self._position()), monitor._sizes.passes > 1
        if due or self.batch_size is None:
            monitor._sizes.watch(monitor.model, probed=due)
        if due:
            monitor._clock.note_measured()
            scale = monitor.grad_scaler.get_scale() if monitor.grad_scaler is not None else 1.0
            options = {"accumulate": several, **monitor.options, "loss_scale": scale}
            self._recording = Recording(monitor.model, monitor.strict, options)
        monitor._open = True
        return self

    def _position(self) -> Position:
        count = self.monitor._journal.account.counters
        return Position(count.steps, count.epoch_steps, count.epoch, count.epoch_samples, count.batch_size)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        monitor, recording = self.monitor, self._recording
        monitor._open = False
        monitor._sizes.leave()
        if recording is not None:
            recording.close(kind, error, traceback)
        if error is not None:
            return  # the loop's own error: this step did not happen
        size = self._size(None if recording is None else recording.record)
        monitor._journal.account.counters.add(size, monitor._rates)
        if recording is None:
            monitor._clock.block_ended(size)
        else:
            self._measure(recording, size)

    def _size(self, record: GramRecord | None) -> int:
        sizes, count = self.monitor._sizes, self.monitor._journal.account.counters
        if record is not None and record.measured:
            sizes.learn(record.batch_size)
            return record.batch_size
        size = self.batch_size or sizes.read()
        if size is None:
            self.monitor._say(
                "the batch size of a step could not be read: the model was not called with a tensor inside "
                "the observe() block, so the previous size is taken; give observe(batch_size=…)"
            )
        return size or count.batch_size or 1

    # A step that was due

    def _measure(self, recording: Recording, size: int) -> None:
        """Its row, whether or not it could be measured."""
        started, record, taken = time.perf_counter(), recording.record, None
        count = self.monitor._journal.account.counters
        since = count.since
        if record is not None:
            self.monitor._journal.note(self._notes(record))
        if record is not None and believed(record):
            try:
                taken = self._taken(record)
            except Exception as error:  # noqa: BLE001  (a measurement never kills training)
                recording.fail(error)
        count.failed += taken is None
        own = time.perf_counter() - started + (record.wall_seconds if record is not None else 0.0)
        seconds = max(own, self.monitor._clock.beyond(size))
        count.fisher_seconds += seconds
        row = self._row(recording, taken, since, seconds)
        self.monitor._publish(row, None if taken is None else taken.spectrum.eigenvalues)

    def _taken(self, record: GramRecord) -> Measurement:
        monitor, account, settings = self.monitor, self.monitor._journal.account, self.monitor.settings
        ids = self.ids.tolist() if isinstance(self.ids, torch.Tensor) else self.ids
        if ids is not None and len(ids) != record.batch_size:
            raise ValueError(
                f"observing a step: {len(ids)} ids were given for a batch of {record.batch_size} samples"
            )
        if self.batch_size not in (None, record.batch_size):
            raise ValueError(
                f"observing a step: batch_size={self.batch_size} was given for a batch of {record.batch_size}"
            )
        samples, seed = settings["max_samples"], (settings["seed"], account.counters.steps)
        taken = measurement(
            record,
            monitor._rates,
            parameter_groups(monitor.model, monitor.optimizer),
            self._loss(record),
            settings["rule"],
            None if samples is None else (samples, seed),
        )
        account.take(taken, ids)
        return taken

    def _loss(self, record: GramRecord) -> float | None:
        if self.loss is not None:
            return float(self.loss.detach() if isinstance(self.loss, torch.Tensor) else self.loss)
        if record.loss is None:
            return None
        return record.loss / (record.batch_size if self.monitor.options.get("reduction") == "sum" else 1)

    def _row(self, recording: Recording, taken: Measurement | None, since: int, seconds: float) -> Row:
        monitor, record = self.monitor, recording.record
        account, settings = monitor._journal.account, monitor.settings
        row: Row = account.axes(monitor._rates, since, settings["dataset_size"])
        row |= taken.values if taken is not None else dict.fromkeys(MEASURES)
        row |= account.totals()
        row["fisher/residual"] = math.nan if record is None else record.residual
        row["time/step_s"] = monitor._clock.step_seconds
        row["time/fisher_s"] = seconds
        if settings["max_samples"] is not None:
            row["fisher/subset"] = settings["max_samples"]
        row["status"] = recording.failure or (taken.status if taken else diagnosis(record) if record else "")
        return {key: plain(value) for key, value in row.items()}

    def _notes(self, record: GramRecord) -> list[str]:
        coupled = record.semantics == "path" and any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
            for module in self.monitor.model.modules()
        )
        return [*record.notes, *([COUPLED] if coupled else [])]

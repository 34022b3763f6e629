"""What a monitor and its steps share, so that neither reaches into the other."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from torch import nn
from torch.optim import Optimizer

from fisherscope.gram.ranks.process_group import RanksError
from fisherscope.guard import describe
from fisherscope.monitor.batch_size import BatchSizeReader
from fisherscope.monitor.history import History
from fisherscope.monitor.measurement import MEASURES, Row
from fisherscope.monitor.rank_agreement import RankAgreement
from fisherscope.monitor.schedule import SCHEDULE_SETTINGS, Schedule, schedule
from fisherscope.monitor.spikes.spike_watch import Spike, SpikeWatch
from fisherscope.monitor.timer import StepTimer

if TYPE_CHECKING:
    import numpy as np

Value = TypeVar("Value")


@dataclass(eq=False, repr=False)
class MonitorState:
    """The loop's objects, how they are measured, and what the measurements have given so far.

    Args:
        model: The module that the loop calls.
        optimizer: Gives the learning rates.
        schedule: Decides which steps are measured.
        history: Rows, running totals and settings.
        options: Arguments of `record_gram`.
        run: Receives rows and eigenvalues by `log_step`; None for none.
        strict: Raise errors of a measurement instead of recording them.
        grad_scaler: A `torch.amp.GradScaler`, or None.
        on_measure: Callbacks that receive a copy of each row.
        measurement: Row of the latest step; None where it was not measured.
        batch_size: Reads the batch size of unmeasured steps.
        timer: Times steps and measurements.
        block_open: Whether an `observe()` block is open.
        agreement: With the monitors of the other ranks; None for one process.
        spikes: Watches the gradients' norms; None where it was not asked for.
    """

    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    history: History
    options: dict[str, Any]
    run: Any = None
    strict: bool = False
    grad_scaler: Any = None
    on_measure: list[Callable[[Row], Any]] = field(default_factory=list)
    measurement: Row | None = None
    batch_size: BatchSizeReader = field(default_factory=BatchSizeReader)
    timer: StepTimer = field(default_factory=StepTimer)
    block_open: bool = False
    agreement: RankAgreement | None = None
    spikes: SpikeWatch | None = None
    _joined: bool = False
    _warned: set[str] = field(default_factory=set)

    @property
    def learning_rates(self) -> list[float]:
        """Learning rate of each parameter group in the step; a sampler may multiply a scheduler's."""
        gain = getattr(self.optimizer, "fisherscope_gain", 1.0)  # set by `fisherscope.sampler`
        return [float(group["lr"]) * gain for group in self.optimizer.param_groups]

    @property
    def loss_scale(self) -> float:
        """Factor by which the gradients are scaled now."""
        return 1.0 if self.grad_scaler is None else float(self.grad_scaler.get_scale())

    def join_ranks(self) -> None:
        """Find the other ranks at the first step, and agree with them on which steps are measured."""
        if self._joined:
            return
        self._joined = True
        try:
            self.agreement = RankAgreement.open(self.options.get("group", "auto"))
            if self.agreement is None:
                return
            settings, notes = self.agreement.agree_on_settings(self.history.settings)
        except RanksError as error:
            self.agreement, self.options["group"] = None, False
            if self.strict:
                raise
            self.warn_once(f"{error}; from now on this rank's own batches are measured")
            return
        for note in notes:
            self.warn_once(note)
        if self.agreement.ranks.rank and notes:
            self.history.settings.update(settings)
            self.schedule = schedule(**{key: self.history.settings[key] for key in SCHEDULE_SETTINGS})

    def publish(self, row: Row, eigenvalues: "np.ndarray[Any, Any] | None") -> None:
        """Hand a complete row to the history, the run and the callbacks.

        What the run or a callback raises is warned of once, and is the status of the row in the history.

        Args:
            row: The row of a measured step.
            eigenvalues: Of the Gram, shape (n,), descending; None where the measurement failed.

        Raises:
            Exception: What a callback or the run raises, if `strict`.
        """
        self.measurement = row
        self.history.rows.append(row)
        if row["status"] != "ok":
            self.warn_once(f"step {row['step']} was measured with status: {row['status']}", row["status"])
        if self.run is not None and (self.agreement is None or self.agreement.writes):
            lost = f"the row of step {row['step']} is not in the run: log_step"
            self._deliver(lost, self.run.log_step, row, eigenvalues)
        for callback in self.on_measure:
            self._deliver(f"the on_measure callback {callback!r}", callback, dict(row))

    def publish_spike(self, spike: "Spike | None") -> None:
        """Hand a spike to the run, and warn of it once a run.

        Args:
            spike: None for none.
        """
        if spike is None:
            return
        self.warn_once(
            f"step {spike['step']}: a gradient of norm {spike['norm']} where {spike['usual_norm']} is usual; "
            "see monitor.spikes",
            "spike",
        )
        if self.run is not None and hasattr(self.run, "log_spike"):
            self._deliver(
                f"the spike of step {spike['step']} is not in the run: log_spike", self.run.log_spike, spike
            )

    def rewind(self, callback: Any, step: int) -> None:
        """Tell a callback that rows of steps >= `step` will come again.

        Args:
            callback: A tracker with a method `rewind(step)`.
            step: Optimizer steps that the resumed training has completed.
        """
        try:
            callback.rewind(step)
        except Exception as error:
            if self.strict:
                raise
            self.warn_once(f"rewinding the tracker {callback!r} raised {type(error).__name__}: {error}")

    def _deliver(self, receiver: str, receive: Callable[..., Any], row: Row, *more: Any) -> None:
        try:
            receive(row, *more)
        except Exception as error:
            if self.strict:
                raise
            failure = f"{type(error).__name__}: {error}"
            self.warn_once(f"{receiver} raised {failure}", f"{receiver.partition(' of step')[0]} {failure}")
            if self.measurement is not None and self.measurement["status"] == "ok":
                self.measurement["status"] = f"error: {receiver} raised {failure}"

    def report(self, error: BaseException, steps_before: int | None = None, size: int | None = None) -> None:
        """Make an error of ours the status of the latest step's row; training goes on.

        Args:
            error: What was raised.
            steps_before: Steps counted when the step began, if it has still to be counted where it was not.
            size: Its samples, where they are known.
        """
        count, status = self.history.running.counters, describe(error)
        if count.steps == steps_before and self.agreement is not None:
            self.agreement.count(count, size or self.batch_size.last or 1, self.learning_rates)
        elif count.steps == steps_before:
            count.add(size or count.batch_size or 1, self.learning_rates)
        last = self.history.rows[-1] if self.history.rows else None
        if last is not None and last["step"] == count.steps - 1:
            last["status"] = status
            self.warn_once(f"step {last['step']}: {status}", status)
            return
        count.failed += 1
        self.publish(self.status_row(status), None)

    def status_row(self, status: str) -> Row:
        """Build the row of a step of which nothing is known but how it failed."""
        count = self.history.running.counters
        row: Row = dict.fromkeys((*self.history.rows[-1],) if self.history.rows else MEASURES)
        row |= {
            "step": count.steps - 1,
            "epoch": count.epoch,
            "samples": count.samples,
            "lr_sum": count.lr_sum,
        }
        row |= {"batch_size": count.batch_size, "steps_since": count.since, "fisher/grouping": "unverified"}
        return row | {"lr": self.learning_rates[0], "status": status}

    def warn_once(self, text: str, key: str | None = None) -> None:
        """Issue a `RuntimeWarning`, unless one with this key was issued before.

        Args:
            text: The warning.
            key: What makes two warnings the same; by default their text.
        """
        if (key or text) not in self._warned:
            self._warned.add(key or text)
            warnings.warn(f"Monitor: {text}", RuntimeWarning, stacklevel=3)


class StateAttribute(Generic[Value]):
    """An attribute of a monitor that lives in its `MonitorState`, under the same name."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, monitor: Any, owner: type | None = None) -> Value:
        return cast(Value, self if monitor is None else getattr(monitor.state, self._name))

    def __set__(self, monitor: Any, value: Value) -> None:
        setattr(monitor.state, self._name, value)

"""The monitor of a training loop: measures the steps that are due, counts all of them."""

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from statistics import median
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from fisherscope import measures
from fisherscope.gram import GramRecord
from fisherscope.monitor.account import Account, Counters
from fisherscope.monitor.recording import Recording, check_options
from fisherscope.monitor.rows import (
    MEASURES,
    Measurement,
    Row,
    believed,
    diagnosis,
    measurement,
    parameter_groups,
    plain,
)
from fisherscope.monitor.schedule import Position, schedule
from fisherscope.monitor.sizes import BatchSize
from fisherscope.monitor.summary import alerts, html, summary
from fisherscope.monitor.tallies import SampleId

if TYPE_CHECKING:
    import polars as pl

RECENT_STEPS = 64
"""Unmeasured steps whose times give `time/step_s`."""

COUPLED = (
    "BatchNorm in training mode couples the samples: a column is a sample's path contribution to this step, "
    "not the gradient of its loss alone (semantics='per_loss' gives that)."
)


class Step:
    """One optimizer step, from `Monitor.observe`: enter it, run forward and backward inside.

    `loss` may be set to the step's mean loss where it is not what `backward` is called on.
    """

    __slots__ = ("batch_size", "entered", "ids", "loss", "monitor")

    def __init__(self, monitor: "Monitor", ids: Any, batch_size: int | None) -> None:
        self.monitor, self.ids, self.batch_size = monitor, ids, batch_size
        self.loss: Any = None
        self.entered = False

    @property
    def measured(self) -> bool:
        """While it is open: whether this step is being measured."""
        return self.monitor._recording is not None

    def __enter__(self) -> "Step":
        self.entered = True
        self.monitor._begin(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.monitor._end(self, kind, error, traceback)


class Monitor:
    """Measures a training loop while it runs: a row a measured step, and running means over all steps.

    ```
    monitor = fs.Monitor(model, optimizer, every=50, dataset_size=len(data))
    for x, y in loader:
        optimizer.zero_grad()
        with monitor.observe():
            F.cross_entropy(model(x), y).backward()
        optimizer.step()
    ```

    Training is left as it is: parameters, gradients, buffers and random state are those of an unmeasured loop
    (with `fused=True` up to rounding). A measurement that fails becomes a row whose `status` says why, and a
    warning, unless `strict`.

    Args:
        model: Any module; the one that the loop calls.
        optimizer: Its `param_groups` give the learning rates; read at the end of each `observe` block.
        every: Steps an interval; one seeded random step of each is measured, and the first of the run.
        run: A `fisherscope.runs` run (anything with `log_step(row, eigenvalues)`); rows and spectra go there.
        dataset_size: Samples of an epoch in this process; gives `epoch` its fraction, and ends epochs where
            `epoch_end` is never called.
        seed: Of the measured steps and of the chosen samples.
        stride: Measure exactly every `every`-th step of an epoch, from its first (the paper's).
        per_epoch: Measure so many steps an epoch, whatever the batch size.
        budget: Share of the time that measuring may take; resolved once to an interval, which is then kept.
        fused: Take parameter gradients as the sums of the per-sample ones: cheaper, equal up to rounding.
        precision: Of the products, `float64` where c is to be measured above about 1e3 on float32 models.
        strict: Raise what else would be recorded.
        max_samples: Take the spectrum of so many seeded random samples of a larger batch. Another quantity:
            c grows with the number of samples, so smaller batches then have none.
        semantics: `path` (a sample's share of this step's gradient) or `per_loss` (its own loss's gradient).
        grad_scaler: A `torch.amp.GradScaler` whose scale the gradients carry.
        rule: Non-zero rule (`measures.RULES`), or `paper`.
        on_measure: Called with each row, after it is complete: trackers.
        recorder: Passed to `record_gram`: reduction, batch, sample_of, parameters, memory_budget; accumulate,
            by default whether the step before had several forward passes.

    Raises:
        ValueError: An argument is outside its range or contradicts another.
        TypeError: No optimizer, or an argument that neither the monitor nor `record_gram` has.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        every: int = 50,
        run: Any = None,
        dataset_size: int | None = None,
        seed: int = 0,
        *,
        stride: bool = False,
        per_epoch: int | None = None,
        budget: float | None = None,
        fused: bool = False,
        precision: Literal["default", "float64"] = "default",
        strict: bool = False,
        max_samples: int | None = None,
        semantics: Literal["path", "per_loss"] = "path",
        grad_scaler: Any = None,
        rule: str = "floor",
        on_measure: Sequence[Callable[[Row], Any]] = (),
        **recorder: Any,
    ) -> None:
        _check(optimizer, max_samples, rule, recorder)
        self.model, self.optimizer, self.run, self.strict = model, optimizer, run, strict
        self.grad_scaler, self.on_measure = grad_scaler, list(on_measure)
        self.schedule = schedule(every, seed, stride, per_epoch, budget, dataset_size)
        self.options: dict[str, Any] = {
            "fused": fused,
            "precision": precision,
            "semantics": semantics,
            **recorder,
        }
        self.settings: dict[str, Any] = {
            "every": every,
            "dataset_size": dataset_size,
            "seed": seed,
            "stride": stride,
            "per_epoch": per_epoch,
            "budget": budget,
            "precision": precision,
            "max_samples": max_samples,
            "semantics": semantics,
            "rule": rule,
        }
        self.notes: list[str] = []
        self.measurement: Row | None = None
        self._account = Account(Counters([0.0] * len(optimizer.param_groups)))
        self._size = BatchSize()
        self._rows: list[Row] = []
        self._epochs_given = False
        self._warned: set[str] = set()
        # Of the step that is open, and of the one before
        self._latest: Step | None = None
        self._open: Step | None = None
        self._recording: Recording | None = None
        self._began: float | None = None
        self._seconds: deque[float] = deque(maxlen=RECENT_STEPS)

    # The loop's side

    def observe(
        self, ids: "Sequence[SampleId] | torch.Tensor | None" = None, batch_size: int | None = None
    ) -> Step:
        """A context manager around forward and backward of one optimizer step; measures when it is due.

        Args:
            ids: Of the samples, in batch order; gives `samples`, those that stand out over the run.
            batch_size: |B| of this step, where it cannot be read off the model's inputs.

        Cost of an unmeasured step: microseconds.
        """
        if self._latest is not None and not self._latest.entered:
            self._say(
                "observe() was called but its block was never entered, so nothing is counted or measured; "
                "write `with monitor.observe():` around forward and backward"
            )
        self._latest = Step(self, ids, batch_size)
        return self._latest

    def epoch_end(self) -> Row:
        """Say that an epoch ended; gives what belongs in its row: C̄_K, and L_K with its tail.

        Call it once an epoch, after its last step: `run.log_epoch(**monitor.epoch_end(), val_error=…)`. Where
        it is never called, epochs are counted by `dataset_size`.
        """
        self._epochs_given = True
        self._account.counters.end_epoch()
        return self.totals()

    def totals(self) -> Row:
        """The running measures as of now, the steps since the last measurement counted in L_K."""
        count = self._account.counters
        axes = {"step": count.steps, "samples": count.samples, "lr_sum": count.lr_sum}
        return {**axes, "batch_size": count.batch_size, **self._account.totals()}

    # What it has seen

    @property
    def history(self) -> "pl.DataFrame":
        """The measured steps, a row each, as a polars frame; keys as in docs/measures.md."""
        from fisherscope.monitor.frames import frame

        return frame(self._rows)

    @property
    def layers(self) -> "pl.DataFrame":
        """Each parameter's share of the trace, mean |g_i|² and noise scale over the run."""
        from fisherscope.monitor.frames import frame

        return frame(self._account.layers.rows())

    @property
    def samples(self) -> "pl.DataFrame":
        """Of the samples in `observe(ids=…)`: times seen; |g_i|² over its batch's mean, cosine with ĝ."""
        from fisherscope.monitor.frames import frame

        return frame(self._account.samples.rows())

    def outliers(self, count: int = 10) -> "pl.DataFrame":
        """The `count` samples of the largest gradients, and the `count` that pull most against the rest."""
        from fisherscope.monitor.frames import outliers

        return outliers(self.samples, count)

    @property
    def alerts(self) -> list[str]:
        """What is wrong or wasted now, a sentence each."""
        return alerts(self._rows, self._account)

    def summary(self) -> str:
        """Where the run stands, in sentences, alerts last."""
        return summary(self._rows, self._account, self.notes, self.settings["rule"])

    def _repr_html_(self) -> str:
        return html(self._rows, self._account)

    # State

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs to go on as if it had not stopped, as JSON values.

        Rows are in it by column. Eigenvalues are not: they are the run's.
        """
        keys = list(dict.fromkeys(key for row in self._rows for key in row))
        return {
            "settings": dict(self.settings),
            "schedule": self.schedule.state_dict(),
            "account": self._account.state_dict(),
            "sizes": self._size.state_dict(),
            "epochs_given": self._epochs_given,
            "notes": list(self.notes),
            "rows": {key: [row.get(key) for row in self._rows] for key in keys},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError: The state is of a monitor that measures differently; its rows would not mix.
        """
        saved = state["settings"]
        differing = [
            f"{key}={saved.get(key)!r} (now {mine!r})"
            for key, mine in self.settings.items()
            if saved.get(key) != mine
        ]
        if differing:
            raise ValueError(
                f"loading a monitor's state: it was saved with {', '.join(differing)}; build the Monitor "
                "with the saved settings, for C̄ and L are not compared across ways of measuring"
            )
        self.schedule.load_state_dict(state["schedule"])
        self._account = Account.restored(state["account"])
        self._size.load_state_dict(state["sizes"])
        self._epochs_given, self.notes = state["epochs_given"], list(state["notes"])
        columns = state["rows"]
        self._rows = [
            dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
        ]
        self._began = self._recording = None
        self._seconds.clear()

    # One step

    def _begin(self, step: Step) -> None:
        if self._open is not None:
            raise RuntimeError(
                "observing a step: another observe() block of this monitor is still open; one block is one "
                "optimizer step, micro-batches included"
            )
        now = time.perf_counter()
        if self._began is not None:
            self._timed(now - self._began)
        self._began, self._recording, self.measurement = now, None, None
        count, size = self._account.counters, self.settings["dataset_size"]
        if not self._epochs_given and size and count.epoch_samples >= size:
            count.end_epoch()
        due = self.schedule.due(
            Position(count.steps, count.epoch_steps, count.epoch, count.epoch_samples, count.batch_size)
        )
        several = self._size.passes > 1
        if due or step.batch_size is None:
            self._size.watch(self.model, probed=due)
        if due:
            scale = self.grad_scaler.get_scale() if self.grad_scaler is not None else 1.0
            options = {"accumulate": several, **self.options, "loss_scale": scale}
            self._recording = Recording(self.model, self.strict, options)
        self._open = step

    def _end(
        self,
        step: Step,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        recording = self._recording
        self._open = None
        self._size.leave()
        if recording is not None:
            recording.close(kind, error, traceback)
        if error is not None:
            return  # the loop's own error: this step did not happen
        size = self._sized(step, None if recording is None else recording.record)
        self._account.counters.add(size, [float(group["lr"]) for group in self.optimizer.param_groups])
        if recording is not None:
            self._measured(step, recording)

    def _sized(self, step: Step, record: GramRecord | None) -> int:
        if record is not None and record.measured:
            self._size.learn(record.batch_size)
            return record.batch_size
        size = step.batch_size or self._size.read()
        if size is None:
            self._say(
                "the batch size of a step could not be read: the model was not called with a tensor inside "
                "the observe() block, so the previous size is taken; give observe(batch_size=…)"
            )
        return size or self._account.counters.batch_size or 1

    def _timed(self, seconds: float) -> None:
        measured = self._recording is not None
        if not measured:
            self._seconds.append(seconds)
        self.schedule.timed(seconds, measured)

    def _measured(self, step: Step, recording: Recording) -> None:
        """The row of a step that was due, whether or not it could be measured."""
        started, count, record, taken = time.perf_counter(), self._account.counters, recording.record, None
        since = count.since
        if record is not None:
            self._note(record)
        if record is not None and believed(record):
            try:
                taken = self._taken(step, record)
            except Exception as error:  # noqa: BLE001  (a measurement never kills training)
                recording.fail(error)
        count.failed += taken is None
        seconds = time.perf_counter() - started + (record.wall_seconds if record is not None else 0.0)
        count.fisher_seconds += seconds
        row = self._row(recording, taken, since, seconds)
        self.measurement = row
        self._rows.append(row)
        if row["status"] != "ok":
            self._say(f"step {row['step']} was measured with status: {row['status']}", once=row["status"])
        if self.run is not None:
            self.run.log_step(row, None if taken is None else taken.spectrum.eigenvalues)
        for tell in self.on_measure:
            self._tell(tell, row)

    def _taken(self, step: Step, record: GramRecord) -> Measurement:
        ids = step.ids.tolist() if isinstance(step.ids, torch.Tensor) else step.ids
        if ids is not None and len(ids) != record.batch_size:
            raise ValueError(
                f"observing a step: {len(ids)} ids were given for a batch of {record.batch_size} samples"
            )
        if step.batch_size not in (None, record.batch_size):
            raise ValueError(
                f"observing a step: batch_size={step.batch_size} was given for a batch of {record.batch_size}"
            )
        samples, seed = self.settings["max_samples"], self.settings["seed"]
        taken = measurement(
            record,
            [float(group["lr"]) for group in self.optimizer.param_groups],
            parameter_groups(self.model, self.optimizer),
            self._loss(step, record),
            self.settings["rule"],
            None if samples is None else (samples, (seed, self._account.counters.steps)),
        )
        self._account.take(taken, ids)
        return taken

    def _row(self, recording: Recording, taken: Measurement | None, since: int, seconds: float) -> Row:
        count, groups, record = self._account.counters, self.optimizer.param_groups, recording.record
        row: Row = {
            "step": count.steps - 1,
            "epoch": self._account.epoch(self.settings["dataset_size"]),
            "samples": count.samples,
            "lr_sum": count.lr_sum,
            "lr": float(groups[0]["lr"]),
            "batch_size": count.batch_size,
            "steps_since": since,
            "step_scale_sum": count.scale_sums[0],
        }
        for number, group in enumerate(groups[1:], start=1):
            row[f"lr_group{number}"] = float(group["lr"])
            row[f"step_scale_sum_group{number}"] = count.scale_sums[number]
        row |= taken.values if taken is not None else dict.fromkeys(MEASURES)
        row |= self._account.totals()
        row["fisher/residual"] = math.nan if record is None else record.residual
        row["time/step_s"] = median(self._seconds) if self._seconds else math.nan
        row["time/fisher_s"] = seconds
        if self.settings["max_samples"] is not None:
            row["fisher/subset"] = self.settings["max_samples"]
        row["status"] = recording.failure or (taken.status if taken else diagnosis(record) if record else "")
        return {key: plain(value) for key, value in row.items()}

    def _loss(self, step: Step, record: GramRecord) -> float | None:
        if step.loss is not None:
            return float(step.loss.detach() if isinstance(step.loss, torch.Tensor) else step.loss)
        if record.loss is None:
            return None
        return record.loss / (record.batch_size if self.options.get("reduction") == "sum" else 1)

    def _note(self, record: GramRecord) -> None:
        found = list(record.notes)
        if record.semantics == "path" and any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
            for module in self.model.modules()
        ):
            found.append(COUPLED)
        self.notes += [note for note in found if note not in self.notes]

    # Trouble

    def _say(self, text: str, once: str | None = None) -> None:
        if (once or text) not in self._warned:
            self._warned.add(once or text)
            warnings.warn(f"Monitor: {text}", RuntimeWarning, stacklevel=3)

    def _tell(self, tell: Callable[[Row], Any], row: Row) -> None:
        try:
            tell(dict(row))
        except Exception as error:
            if self.strict:
                raise
            self._say(f"the on_measure callable {tell!r} raised {type(error).__name__}: {error}")


def _check(optimizer: Any, max_samples: int | None, rule: str, recorder: dict[str, Any]) -> None:
    """Refuse what would fail at the first measurement.

    Raises:
        TypeError, ValueError: As `Monitor` says.
    """
    if not hasattr(optimizer, "param_groups"):
        raise TypeError(
            f"building a Monitor: the optimizer is a {type(optimizer).__name__} without param_groups; give "
            "the torch optimizer that steps this model"
        )
    if max_samples is not None and max_samples < 2:
        raise ValueError(
            f"building a Monitor: max_samples={max_samples}; a spectrum needs at least 2 samples"
        )
    if rule != "paper":
        measures.parse_rule(rule)
    check_options(recorder)

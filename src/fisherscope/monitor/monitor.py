"""The monitor of a training loop: measures the steps that are due, counts all of them."""

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from fisherscope import measures
from fisherscope.monitor.batch_size import BatchSize
from fisherscope.monitor.breakdown import SampleId
from fisherscope.monitor.history import History
from fisherscope.monitor.measurement import Row
from fisherscope.monitor.safe_recording import check_options
from fisherscope.monitor.schedule import schedule
from fisherscope.monitor.step import Step
from fisherscope.monitor.summary import alerts, html, summary
from fisherscope.monitor.timer import StepTimer

if TYPE_CHECKING:
    import numpy as np
    import polars as pl


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
        settings = {
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
        self._journal = History(settings, len(optimizer.param_groups))
        self._sizes, self._clock = BatchSize(), StepTimer()
        self.measurement: Row | None = None  # of the latest step, where it was measured
        self._latest: Step | None = None
        self._open = False
        self._said: set[str] = set()

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
        self._journal.end_epoch()
        return self.totals()

    def totals(self) -> Row:
        """The running measures as of now, the steps since the last measurement counted in L_K."""
        return self._journal.totals()

    # What it has seen

    @property
    def settings(self) -> dict[str, Any]:
        """How it measures."""
        return self._journal.settings

    @property
    def notes(self) -> list[str]:
        """What the reader of the run should know, a sentence each."""
        return self._journal.notes

    @property
    def history(self) -> "pl.DataFrame":
        """The measured steps, a row each, as a polars frame; keys as in docs/measures.md."""
        from fisherscope.monitor.frames import frame

        return frame(self._journal.rows)

    @property
    def layers(self) -> "pl.DataFrame":
        """Each parameter's share of the trace, mean |g_i|² and noise scale over the run."""
        from fisherscope.monitor.frames import frame

        return frame(self._journal.account.layers.rows())

    @property
    def samples(self) -> "pl.DataFrame":
        """Of the samples in `observe(ids=…)`: times seen; |g_i|² over its batch's mean, cosine with ĝ."""
        from fisherscope.monitor.frames import frame

        return frame(self._journal.account.samples.rows())

    def outliers(self, count: int = 10) -> "pl.DataFrame":
        """The `count` samples of the largest gradients, and the `count` that pull most against the rest."""
        from fisherscope.monitor.frames import outliers

        return outliers(self.samples, count)

    @property
    def alerts(self) -> list[str]:
        """What is wrong or wasted now, a sentence each."""
        return alerts(self._journal.rows, self._journal.account)

    def summary(self) -> str:
        """Where the run stands, in sentences, alerts last."""
        return summary(self._journal.rows, self._journal.account, self.notes, self.settings["rule"])

    def _repr_html_(self) -> str:
        return html(self._journal.rows, self._journal.account)

    # State

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs to go on as if it had not stopped, as JSON values.

        Rows are in it by column. Eigenvalues are not: they are the run's.
        """
        return {
            **self._journal.state_dict(),
            "schedule": self.schedule.state_dict(),
            "sizes": self._sizes.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError: The state is of a monitor that measures differently; its rows would not mix.
        """
        self._journal.load_state_dict(state)
        self.schedule.load_state_dict(state["schedule"])
        self._sizes.load_state_dict(state["sizes"])
        self._clock = StepTimer()

    # The step's side

    @property
    def _rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def _begin(self) -> None:
        if self._open:
            raise RuntimeError(
                "observing a step: another observe() block of this monitor is still open; one block is one "
                "optimizer step, micro-batches included"
            )
        self.measurement = None

    def _publish(self, row: Row, eigenvalues: "np.ndarray[Any, Any] | None") -> None:
        """A measured step's row is complete: to the history, the run, the trackers."""
        self.measurement = row
        self._journal.rows.append(row)
        if row["status"] != "ok":
            self._say(f"step {row['step']} was measured with status: {row['status']}", once=row["status"])
        if self.run is not None:
            self.run.log_step(row, eigenvalues)
        for tell in self.on_measure:
            self._tell(tell, row)

    def _tell(self, tell: Callable[[Row], Any], row: Row) -> None:
        try:
            tell(dict(row))
        except Exception as error:
            if self.strict:
                raise
            self._say(f"the on_measure callable {tell!r} raised {type(error).__name__}: {error}")

    def _say(self, text: str, once: str | None = None) -> None:
        if (once or text) not in self._said:
            self._said.add(once or text)
            warnings.warn(f"Monitor: {text}", RuntimeWarning, stacklevel=3)


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

"""The monitor of a training loop: it measures the steps that are due and counts all."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from fisherscope import measures
from fisherscope.gram.interception.parameter_selection import select_parameters, unwrap
from fisherscope.guard import RefusedType, RefusedValue, contain_errors
from fisherscope.monitor.breakdown import SampleId
from fisherscope.monitor.history import History
from fisherscope.monitor.measurement import Row
from fisherscope.monitor.optimizer_metric import resolved_metric
from fisherscope.monitor.safe_recording import check_options
from fisherscope.monitor.schedule import Schedule, schedule
from fisherscope.monitor.spikes.spike_watch import SpikeWatch
from fisherscope.monitor.state import MonitorState, StateAttribute
from fisherscope.monitor.step import Step
from fisherscope.monitor.summary import alerts, html, summary
from fisherscope.monitor.timer import StepTimer

if TYPE_CHECKING:
    import polars as pl

    from fisherscope.gram.options import SampleOf


class Monitor:
    """Measure a training loop while it runs.

    It records a row per measured step, and running means over all steps. Training is left as it is:
    parameters, gradients, buffers and random state are those of an unmeasured loop (with `fused=True` up to
    rounding). A measurement that fails becomes a row whose `status` says why, and a warning, unless `strict`.

    Example:
        ```python
        import torch
        import fisherscope as fs

        model = torch.nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        monitor = fs.Monitor(model, optimizer, every=2, dataset_size=96)
        for _ in range(6):
            x, y = torch.randn(16, 20), torch.randint(0, 10, (16,))
            optimizer.zero_grad()
            with monitor.observe():
                torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        print(monitor.summary(), monitor.outliers(count=2))
        print(monitor.epoch_end())
        monitor.load_state_dict(monitor.state_dict())
        ```

    Args:
        model: The module that the loop calls; any module.
        optimizer: Gives the learning rates (`param_groups`), read at the end of each `observe` block.
        every: Interval in steps; one seeded random step of each interval is measured, and the run's first.
        run: A `fisherscope.runs` run (anything with `log_step(row, eigenvalues)`) that records the rows.
        dataset_size: Samples of an epoch, of all ranks; gives `epoch` its fraction, and ends epochs where
            `epoch_end` is never called.
        seed: Seed of the measured steps and of the samples that `max_samples` selects.
        stride: Measure exactly every `every`-th step of an epoch, from its first, as in Liao et al. 2020.
        per_epoch: Measure this many steps per epoch, whatever the batch size.
        budget: Share of the time that measuring may take, in (0, 1); converted once to an interval, which
            then stays.
        fused: Take parameter gradients as the sums of the per-sample ones: cheaper, equal up to rounding.
        precision: Precision of the products; `float64` to measure c above about 1e3 on float32 models.
        strict: Raise errors of a measurement instead of recording them.
        max_samples: Take the spectrum of this many seeded random samples of a larger batch. A different
            quantity: c grows with the number of samples, so smaller batches then have no spectrum.
        semantics: `path` (a sample's share of this step's gradient) or `per_loss` (its own loss's gradient).
        grad_scaler: The `torch.amp.GradScaler` by which the gradients are scaled.
        rule: Non-zero rule (`measures.RULES`), or `paper`.
        on_spike: Watch every step's gradient norm; where it leaves its running band, run the step's forward
            again and name samples, micro-batches and layers (`spikes`). Keeps inputs and outputs of a step
            until the next; on one process.
        on_measure: Callbacks; each is called with a copy of every row. Trackers are such callbacks.
        recorder: Arguments of `record_gram`: reduction, batch, sample_of (of the model's inputs, see
            `fs.samples`), parameters, memory_budget, group, spectrum, max_bytes; accumulate, by default
            whether the step before had several forward passes; and metric="optimizer", which adds the
            measures in this optimizer's own metric to each row (docs/optimizers.md).

    Raises:
        ValueError: An argument is outside its range or contradicts another.
        TypeError: No optimizer, or an argument that neither the monitor nor `record_gram` has.
        GramError: `parameters` chooses none of the model's parameters.
    """

    # The steps read these too, so they live in the shared state.
    model = StateAttribute[nn.Module]()
    optimizer = StateAttribute[Optimizer]()
    schedule = StateAttribute[Schedule]()
    options = StateAttribute[dict[str, Any]]()
    run = StateAttribute[Any]()
    strict = StateAttribute[bool]()
    grad_scaler = StateAttribute[Any]()
    on_measure = StateAttribute[list[Callable[[Row], Any]]]()
    measurement = StateAttribute["Row | None"]()

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
        on_spike: bool = False,
        on_measure: Sequence[Callable[[Row], Any]] = (),
        **recorder: Any,
    ) -> None:
        _check(model, optimizer, max_samples, rule, recorder)
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
        self.state = MonitorState(
            model=model,
            optimizer=optimizer,
            schedule=schedule(every, seed, stride, per_epoch, budget, dataset_size),
            history=History(settings, len(optimizer.param_groups)),
            options={"fused": fused, "precision": precision, "semantics": semantics, **recorder},
            run=run,
            strict=strict,
            grad_scaler=grad_scaler,
            on_measure=list(on_measure),
        )
        if on_spike:
            self.state.spikes = SpikeWatch(model, self.options)
        self._latest: Step | None = None
        self._ask_for_metric()

    # In the loop

    def _recover_observe(
        self,
        error: Exception,
        ids: "Sequence[SampleId] | torch.Tensor | None" = None,
        batch_size: int | None = None,
    ) -> Step:
        """Return a step that is not measured."""
        self._latest = Step(self.state, ids, batch_size)
        self._latest.fail(error)
        return self._latest

    @contain_errors(_recover_observe)
    def observe(
        self,
        ids: "Sequence[SampleId] | torch.Tensor | None" = None,
        batch_size: int | None = None,
        *,
        sample_of: "SampleOf" = None,
    ) -> Step:
        """Return a context manager for forward and backward of one optimizer step.

        Args:
            ids: Ids of the samples in batch order, for `samples` and `outliers`; a sequence or a tensor of
                shape (n,).
            batch_size: Samples of this step, where it can't be read off the model's inputs. With several
                forward passes it tells those of other samples from those of the same.
            sample_of: The sample of each row in this step, as `record_gram` takes it.

        Returns:
            The step, to be used in a `with` statement.

        Raises:
            RuntimeError: On entering, if another block of this monitor is open.
            ValueError: On leaving, if `ids` or `batch_size` contradict the batch and `strict`.

        Cost:
            Microseconds in an unmeasured step; in a measured one per-sample gradients and one eigenvalue
            decomposition on the host.
        """
        if self._latest is not None and not self._latest.entered:
            self.state.warn_once(
                "observe() was called but its block was never entered, so nothing is counted or measured; "
                "write `with monitor.observe():` around forward and backward"
            )
        self._latest = Step(self.state, ids, batch_size, sample_of)
        return self._latest

    def epoch_end(self, epochs: int | None = None) -> Row:
        """End an epoch and compute its running measures: C̄_K, and L_K up to its last step.

        Call it once per epoch, after its last step: `run.log_epoch(**monitor.epoch_end(), val_error=…)`.
        If it is never called, epochs are counted by `dataset_size`.

        Args:
            epochs: Epochs completed, where the loop knows better; by default one more than before.

        Returns:
            The values of `totals`.
        """
        self.state.history.end_epoch(epochs)
        return self.totals()

    def totals(self) -> Row:
        """Compute the running measures, with the steps since the last measurement counted in L_K.

        Returns:
            Plain values by the keys of docs/measures.md; None where a value is undefined.
        """
        return self.state.history.totals()

    @property
    def progress(self) -> tuple[int, int]:
        """Optimizer steps and epochs that were counted."""
        count = self.state.history.running.counters
        return count.steps, count.epoch

    def skip_to(self, step: int, epoch: int) -> None:
        """Start counting at a step that another process trained, without its `state_dict`.

        Args:
            step: Optimizer steps completed there.
            epoch: Epochs completed there.

        Example:
            ```python
            model = torch.nn.Linear(4, 2)
            monitor = fs.Monitor(model, torch.optim.SGD(model.parameters(), lr=0.1))
            monitor.skip_to(step=120, epoch=3)
            assert monitor.progress == (120, 3)
            ```
        """
        self.state.history.running.counters.skip_to(step, epoch)
        self._rewind_trackers()

    # Results

    @property
    def settings(self) -> dict[str, Any]:
        """How the monitor measures, by the names of its arguments."""
        return self.state.history.settings

    @property
    def notes(self) -> list[str]:
        """What the reader of the run should know, one sentence each."""
        return self.state.history.notes

    @property
    def history(self) -> "pl.DataFrame":
        """The measured steps, one row each; columns as in docs/measures.md."""
        from fisherscope.monitor.frames import frame

        return frame(self.state.history.rows)

    @property
    def layers(self) -> "pl.DataFrame":
        """Each parameter's share of the trace, mean |g_i|² and noise scale over the run."""
        from fisherscope.monitor.frames import frame

        return frame(self.state.history.running.layers.rows())

    @property
    def samples(self) -> "pl.DataFrame":
        """Each sample of `observe(ids=…)`: steps, |g_i|² over its batch's mean, cosine with ĝ."""
        from fisherscope.monitor.frames import frame

        return frame(self.state.history.running.samples.rows())

    @property
    def spikes(self) -> list[dict[str, Any]]:
        """The steps whose gradient left its band, with `on_spike=True` (docs/how-to/spikes.md)."""
        return [] if self.state.spikes is None else list(self.state.spikes.spikes)

    def outliers(self, count: int = 10) -> "pl.DataFrame":
        """Select samples with the largest gradients, and those that most oppose their batch.

        Args:
            count: Samples of each kind.

        Returns:
            Rows of `samples`, at most 2·count, with a column `why`: "large" or "against".
        """
        from fisherscope.monitor.frames import outliers

        return outliers(self.samples, count)

    @property
    def alerts(self) -> list[str]:
        """What is wrong or wasted at present, one text each."""
        return alerts(self.state.history.rows)

    def summary(self) -> str:
        """Summarise the run in sentences, alerts last.

        Returns:
            Lines of text.
        """
        history = self.state.history
        return summary(history.rows, history.running, history.notes, history.settings)

    def _repr_html_(self) -> str:
        return html(self.state.history.rows, self.state.history.running)

    # Saving

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs to continue as if it had not stopped.

        Returns:
            JSON values, with rows by column. Eigenvalues are not included: the run has them.
        """
        return {
            **self.state.history.state_dict(),
            "schedule": self.schedule.state_dict(),
            "sizes": self.state.batch_size.state_dict(),
            **({} if self.state.spikes is None else {"spikes": self.state.spikes.state_dict()}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from what `state_dict` returned.

        Args:
            state: The value of `state_dict`, also after a round trip through JSON.

        Raises:
            ValueError: The state is that of a monitor that measures differently; its rows would not mix.
        """
        self.state.history.load_state_dict(state)
        self._ask_for_metric()
        self._rewind_trackers()
        self.schedule.load_state_dict(state["schedule"])
        self.state.batch_size.load_state_dict(state["sizes"])
        self.state.timer = StepTimer()
        if self.state.spikes is not None and "spikes" in state:
            self.state.spikes.load_state_dict(state["spikes"])

    def _ask_for_metric(self) -> None:
        """Average the measures in the optimizer's metric too, where they are asked for."""
        self.state.history.running.metric.asked = self.options.get("metric") is not None

    def _rewind_trackers(self) -> None:
        """Tell the callbacks that can rewind from which step on rows will come again."""
        for callback in self.on_measure:
            if hasattr(callback, "rewind"):
                self.state.rewind(callback, self.progress[0])


def _check(model: Any, optimizer: Any, max_samples: int | None, rule: str, recorder: dict[str, Any]) -> None:
    """Reject what would fail at the first measurement.

    Raises:
        TypeError, ValueError: As `Monitor` says.
    """
    if not hasattr(optimizer, "param_groups"):
        raise RefusedType(
            f"building a Monitor: received a {type(optimizer).__name__} as optimizer, without param_groups; "
            "expected the torch optimizer that steps this model"
        )
    if max_samples is not None and max_samples < 2:
        raise RefusedValue(
            f"building a Monitor: max_samples={max_samples}; a spectrum needs at least 2 samples"
        )
    if rule != "paper":
        try:
            measures.parse_rule(rule)
        except ValueError as error:
            raise RefusedValue(str(error)) from None
    check_options(recorder)
    resolved_metric(recorder.get("metric"), optimizer, 0)
    if recorder.get("parameters") is not None and isinstance(model, nn.Module):
        select_parameters(dict(unwrap(model).named_parameters()), recorder["parameters"])

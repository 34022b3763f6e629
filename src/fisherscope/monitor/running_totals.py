"""Sums over a run: counters of all steps, running measures of the measured ones."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fisherscope import measures
from fisherscope.guard import unchanged_on_error
from fisherscope.monitor.breakdown import Layers, SampleId, Samples
from fisherscope.monitor.measurement import Measurement
from fisherscope.monitor.optimizer_metric import MetricTotals
from fisherscope.runs.config_values import json_value


@dataclass
class Counters:
    """Counts over all steps, measured or not.

    `scale_sums` is S of each parameter group: Σ α/sqrt(|B|). `since` counts the steps since the previous
    measurement, the present one included. `sampling_ratio` is the measured share of steps in the last epoch
    that ended. `size_before` is the batch size of the step before the latest in its epoch, 0 for none.

    Of the steps in `since`, `early` are those of the previous measurement's batch size `measured_size`, with
    `early_scales` their part of S: where the size has changed by the next measurement, they count with the
    previous one. `since_samples` and `early_samples` are the samples in both.
    """

    scale_sums: list[float]
    steps: int = 0
    samples: int = 0
    lr_sum: float = 0.0
    batch_size: int = 0
    since: int = 0
    epoch: int = 0
    epoch_steps: int = 0
    epoch_samples: int = 0
    epoch_measured: int = 0
    sampling_ratio: float | None = None
    measured: int = 0
    failed: int = 0
    fisher_seconds: float = 0.0
    size_before: int = 0
    measured_size: int = 0
    since_samples: int = 0
    early: int = 0
    early_samples: int = 0
    early_scales: list[float] = field(default_factory=list)

    def add(self, batch_size: int, rates: Sequence[float]) -> None:
        """Count one step.

        Args:
            batch_size: Samples.
            rates: Learning rate of each parameter group.
        """
        self.size_before = self.batch_size if self.epoch_steps else 0
        self.steps += 1
        self.epoch_steps += 1
        self.since += 1
        self.batch_size = batch_size
        self.samples += batch_size
        self.epoch_samples += batch_size
        self.lr_sum += rates[0]
        if len(rates) > len(self.scale_sums):  # a group was added: it has not moved until now
            self.scale_sums += [0.0] * (len(rates) - len(self.scale_sums))
        for group, rate in enumerate(rates if batch_size else ()):
            self.scale_sums[group] += rate / math.sqrt(batch_size)
        self.since_samples += batch_size
        self._count_early(batch_size, rates)

    def correct(self, counted: int, batch_size: int, rates: Sequence[float], epoch: int) -> None:
        """Replace the batch size that a step was counted with, once it is known.

        Args:
            counted: Samples that it was counted with.
            batch_size: Samples that it had.
            rates: Learning rate of each parameter group in that step.
            epoch: Epochs that had ended when it was counted.
        """
        difference = batch_size - counted
        if not difference:
            return
        self.samples += difference
        if epoch == self.epoch:
            self.epoch_samples += difference
        for group, rate in enumerate(rates):
            self.scale_sums[group] += rate / math.sqrt(batch_size) - rate / math.sqrt(counted)
        self.since_samples += difference
        self._count_early(counted, rates, -1)
        self._count_early(batch_size, rates)

    def _count_early(self, batch_size: int, rates: Sequence[float], sign: int = 1) -> None:
        """Count a step since the last measurement if it has that one's batch size; -1 takes it back."""
        if not batch_size or batch_size != self.measured_size:
            return
        self.early += sign
        self.early_samples += sign * batch_size
        self.early_scales += [0.0] * (len(rates) - len(self.early_scales))
        for group, rate in enumerate(rates):
            self.early_scales[group] += sign * rate / math.sqrt(batch_size)

    def measured_now(self) -> None:
        """Start over: the step that was counted last is measured."""
        self.since = self.since_samples = self.early = self.early_samples = 0
        self.early_scales = []
        self.measured_size = self.batch_size
        self.measured += 1
        self.epoch_measured += 1

    @property
    def steps_before_change(self) -> int:
        """Steps since the last measurement that count with it, because the batch size is another now."""
        return self.early if self.batch_size != self.measured_size else 0

    @property
    def own_steps(self) -> int:
        """Steps that a measurement of the latest step stands for."""
        return self.since - self.steps_before_change

    def end_epoch(self) -> None:
        """End the epoch: the next step is the first of another."""
        if self.epoch_steps:
            self.sampling_ratio = self.epoch_measured / self.epoch_steps
        self.epoch += 1
        self.epoch_steps = self.epoch_measured = self.epoch_samples = 0

    @property
    def decided_size(self) -> int:
        """Batch size of the latest step; where an epoch ended in a smaller rest, that of the step before."""
        ragged = self.epoch_steps == 0 and self.batch_size < self.size_before
        return self.size_before if ragged else self.batch_size

    def skip_to(self, step: int, epoch: int) -> None:
        """Count on from a step that was trained elsewhere."""
        self.steps, self.epoch = step, epoch

    @property
    def ratio(self) -> float:
        """Measured share of the steps in the last finished epoch, or the first (docs/paper.md)."""
        if self.sampling_ratio is not None:
            return self.sampling_ratio
        return self.epoch_measured / self.epoch_steps if self.epoch_steps else math.nan


@dataclass
class RunningTotals:
    """Counters and running measures of one run."""

    counters: Counters
    cond: measures.RunningCond = field(default_factory=measures.RunningCond)
    energy: measures.RunningEnergy = field(default_factory=measures.RunningEnergy)
    noise: measures.RunningNoise = field(default_factory=measures.RunningNoise)
    layers: Layers = field(default_factory=Layers)
    samples: Samples = field(default_factory=Samples)
    metric: MetricTotals = field(default_factory=MetricTotals)

    def update(self, measurement: Measurement, ids: Sequence[SampleId] | None) -> None:
        """Add the measurement of the step that was counted last.

        Args:
            measurement: Its values.
            ids: Ids of its samples in batch order, or None.
        """
        count, spectrum = self.counters, measurement.spectrum
        early, own = count.steps_before_change, count.own_steps
        early_samples = count.early_samples if early else 0
        with unchanged_on_error(self.cond, self.energy, self.noise, self.layers, *self.metric.parts):
            if early:
                self.cond.credit_last(early, early_samples)
                self.noise.credit_last(early)
            own_samples = count.since_samples - early_samples
            self.cond.add(measurement.values["fisher/cond"], own, spectrum.censored, own_samples)
            self.energy.add(
                measurement.group_traces,
                measurement.batch_size,
                count.scale_sums,
                measurement.energy,
                count.early_scales if early else (),
            )
            self.noise.add(measurement.gradients.variance, measurement.gradients.signal, own)
            self.layers.add(measurement.traces, measurement.mean_squares, measurement.batch_size)
            if self.metric.asked:
                self.metric.add(measurement.metric_gradients, measurement.gradients, own, early)
            if ids is not None and isinstance(measurement.gradients, measures.Gradients):
                self.samples.add(ids, measurement.gradients)
        count.measured_now()

    def epoch(self, dataset_size: int | None) -> float:
        """Compute the epoch: those that ended, and the share of `dataset_size` in the present one."""
        part = self.counters.epoch_samples / dataset_size if dataset_size else 0.0
        return self.counters.epoch + min(part, 1.0)

    def axes(self, rates: Sequence[float], since: int, dataset_size: int | None) -> dict[str, Any]:
        """Describe where the run stands after the step that was counted last.

        Args:
            rates: Learning rate of each parameter group.
            since: Steps since the last measured one.
            dataset_size: Samples of an epoch, or None.

        Returns:
            Step, epoch, samples, learning rates and batch size, by the keys of a row.
        """
        count = self.counters
        axes: dict[str, Any] = {
            "step": count.steps - 1,
            "epoch": self.epoch(dataset_size),
            "samples": count.samples,
            "lr_sum": count.lr_sum,
            "lr": rates[0],
            "batch_size": count.batch_size,
            "steps_since": since,
            "step_scale_sum": count.scale_sums[0],
        }
        for number, rate in enumerate(rates[1:], start=1):
            axes[f"lr_group{number}"] = rate
            axes[f"step_scale_sum_group{number}"] = count.scale_sums[number]
        return axes

    def totals(self) -> dict[str, Any]:
        """Compute the running measures, with the steps since the last measurement counted in L_K."""
        cond, energy, count = self.cond, self.energy, self.counters
        values = {
            "fisher/cond_mean": cond.mean,
            "fisher/cond_mean_epochs": cond.epoch_mean,
            "fisher/cond_geomean": cond.geomean,
            "fisher/cond_median": cond.median,
            "fisher/cond_mean_paper": cond.paper_mean,
            "fisher/censored_share": cond.censored_share,
            "fisher/energy_sum": energy.at(count.scale_sums) if energy.scale_sums else math.nan,
            "fisher/energy_sum_paper": energy.paper_sum(count.ratio) if energy.scale_sums else math.nan,
            "noise/scale_mean": self.noise.scale,
            **self.metric.totals(),
        }
        return {key: json_value(value) for key, value in values.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return everything, as JSON values."""
        return {
            "counters": asdict(self.counters),
            "cond": self.cond.state_dict(),
            "energy": self.energy.state_dict(),
            "noise": self.noise.state_dict(),
            "layers": self.layers.state_dict(),
            "samples": self.samples.state_dict(),
            **({"metric": self.metric.state_dict()} if self.metric.asked else {}),
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "RunningTotals":
        """Build totals from what `state_dict` returned."""
        return cls(
            Counters(**state["counters"]),
            measures.RunningCond(**state["cond"]),
            measures.RunningEnergy(**state["energy"]),
            measures.RunningNoise(**state["noise"]),
            Layers(state["layers"]),
            Samples(state["samples"]),
            MetricTotals.from_state_dict(state.get("metric")),
        )

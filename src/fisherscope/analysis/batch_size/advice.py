"""The result of `advise`: the table of batch sizes, and one sentence of recommendation."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from fisherscope.analysis.batch_size.noise_scale import NoiseInterval, SizeTest
from fisherscope.plain_text import aligned_table

NEAR = 1.1
"""Batch sizes within this factor of the least time count as equally fast: timings vary as much."""

ASSUMPTIONS = (
    "the learning rate is tuned for each batch size (then steps to the same loss ∝ 1 + B_noise/B)",
    "the noise scale is that of plain SGD; for Adam it is approximate",
    "times are those of this machine, without data loading",
)
AGAIN = (
    "Repeat when the loss has halved, after a drop of the learning rate, or when the monitor's "
    "noise/scale_mean has doubled: the noise scale grows during training."
)


@dataclass(frozen=True)
class StepTime:
    """Time and memory of a training step at one batch size.

    Args:
        batch_size: Samples.
        seconds: The least of several measurements; None if it was not run.
        memory_bytes: Peak above what was allocated before; None if the platform does not report it.
        why: Why it does not fit, or was not measured; empty if it was.
        fits: None if it was not tried.
    """

    batch_size: int
    seconds: float | None = None
    memory_bytes: int | None = None
    why: str = ""
    fits: bool | None = True


@dataclass(frozen=True)
class AdviceRow:
    """A row of the table; times relative to the best size, samples to the fewest possible."""

    step: StepTime
    relative_time: float | None
    relative_samples: float | None

    @property
    def samples_per_second(self) -> float | None:
        """Throughput; None if it was not run."""
        return None if self.step.seconds is None else self.step.batch_size / self.step.seconds


@dataclass(frozen=True)
class Advice:
    """Which batch sizes are worth their time; made by `advise`. Print it, or read its parts.

    Args:
        name: Name of the model.
        noise: Noise scale with its interval.
        steps: Seconds and memory of each batch size.
        tests: Signal-to-noise ratio and norm test by batch size.
        every: Steps between measurements at which measuring takes 5 % of the time; None if not known.
        notes: What the reader must know of this measurement.
        dataset_size: Samples of an epoch; None for a stream or one batch.
        warmup: Steps that were trained before measuring (and undone).
        losses: Mean loss at the warm-up's beginning and end; None without one.
        coupled: Whether BatchNorm couples samples, so that the scale is approximate.
        seconds: Seconds that the advice took.
        device: Device of the model.
        doubts: Signs that other processes disturbed the timing; the sentence then says so.
    """

    name: str
    noise: NoiseInterval
    steps: tuple[StepTime, ...]
    tests: tuple[SizeTest, ...] = ()
    every: int | None = None
    notes: tuple[str, ...] = ()
    dataset_size: int | None = None
    warmup: int = 0
    losses: tuple[float, float] | None = None
    coupled: bool = False
    seconds: float = 0.0
    device: str = "cpu"
    doubts: tuple[str, ...] = ()

    @property
    def rows(self) -> list[AdviceRow]:
        """The table, by batch size."""
        best = min(self._times(self.noise.scale).values(), default=math.nan)
        times = self._times(self.noise.scale)
        return [
            AdviceRow(
                step,
                times[step.batch_size] / best if step.batch_size in times else None,
                1 + step.batch_size / self.noise.scale,
            )
            for step in self.steps
        ]

    @property
    def fastest(self) -> int | None:
        """The batch size with the least seconds(B)·(1 + B_noise/B); None if none ran."""
        return self._fastest(self.noise.scale)

    @property
    def near(self) -> list[int]:
        """Batch sizes within 10 % of that time."""
        times = [(row.step.batch_size, row.relative_time) for row in self.rows]
        return [size for size, time in times if time is not None and time <= NEAR]

    @property
    def range(self) -> tuple[int | None, int | None]:
        """The fastest batch size at the lower and at the upper end of the noise scale's interval."""
        return self._fastest(self.noise.low), self._fastest(self.noise.high)

    @property
    def sentence(self) -> str:
        """One sentence of recommendation."""
        if self.fastest is None:
            return "No batch size could be timed: try smaller sizes=, or more seconds=."
        low, high = self.range
        near = self.near
        text = f"Train with batch size {self.fastest}: the fastest to reach the same loss"
        if len(near) > 1:
            spent = (1 + min(near) / self.noise.scale) / (1 + self.fastest / self.noise.scale)
            text += f"; {near[0]} to {near[-1]} are within 10 %"
            text += f" ({near[0]} takes {1 - spent:.0%} fewer samples)" if spent < 0.95 else ""
        if low != high:
            text += f"; given the uncertainty of the noise scale, the fastest is between {low} and {high}"
        return text + ("; do not rely on it yet, the timing is in doubt." if self.doubts else ".")

    def _times(self, scale: float) -> dict[int, float]:
        """Return the relative time to the same loss; with an infinite scale, seconds per sample."""
        ran = [(step.batch_size, step.seconds) for step in self.steps if step.fits and step.seconds]
        if math.isinf(scale):
            return {size: seconds / size for size, seconds in ran}
        return {size: seconds * (1 + scale / size) for size, seconds in ran}

    def _fastest(self, scale: float) -> int | None:
        times = self._times(scale)
        return min(times, key=times.__getitem__) if times else None

    def scale_text(self) -> str:
        """Describe the noise scale.

        Returns:
            Such as `420 samples (90% interval 310 to 640)`.
        """
        noise = self.noise
        about = "about " if self.coupled else ""
        level = f"{noise.level:.0%} interval"
        if math.isinf(noise.high):
            return (
                f"at least {noise.low:.3g} samples (in {noise.samples} samples the gradient is mostly noise)"
            )
        return f"{about}{noise.scale:.3g} samples ({level} {noise.low:.3g} to {noise.high:.3g})"

    def lines(self) -> list[str]:
        """Return the sentences below the table.

        Returns:
            First what to do, then what it is based on.
        """
        lines = [self.sentence, f"Noise scale: {self.scale_text()}, from {self.noise.samples} samples."]
        if self.every is not None:
            lines.append(f"Monitoring at 5 % overhead: fs.Monitor(model, optimizer, every={self.every}).")
        lines += [f"In doubt: {doubt}." for doubt in self.doubts]
        lines += [f"Note: {note}" for note in self.notes]
        return [*lines, "Assumptions: " + "; ".join(ASSUMPTIONS) + ".", AGAIN]

    def __str__(self) -> str:
        head = ("batch", "s/step", "samples/s", "memory", "fits", "rel. time", "rel. samples")
        table = aligned_table(head, [cells(row) for row in self.rows], align="r")
        return "\n".join([f"Advice for {self.name} on {self.device}", "", *table, "", *self.lines()])

    def _repr_html_(self) -> str:
        """Return the table with a bar for the relative time; the fastest in bold."""
        head = "".join(
            f"<th>{t}</th>" for t in ("batch", "s/step", "samples/s", "memory", "time", "samples", "")
        )
        body = "".join(self._html_row(row) for row in self.rows)
        first, *rest = (escape(line) for line in self.lines())
        items = "".join(f"<li>{line}</li>" for line in rest)
        return (
            f"<p><b>{first}</b></p><table style='text-align:right'><tr>{head}</tr>{body}</table>"
            f"<ul style='font-size:smaller'>{items}</ul>"
        )

    def _html_row(self, row: AdviceRow) -> str:
        texts = cells(row)
        kept_texts = [texts[k] for k in (0, 1, 2, 3, 5, 6)]
        weight = "bold" if row.step.batch_size == self.fastest else "normal"
        width = 0 if row.relative_time is None else min(160, round(40 * row.relative_time))
        colour = "#2166ac" if row.step.batch_size in self.near else "#bbbbbb"
        last = (
            f"<div style='background:{colour};height:.7em;width:{width}px'></div>" if width else row.step.why
        )
        inner = "".join(f"<td style='font-weight:{weight}'>{escape(text)}</td>" for text in kept_texts)
        return f"<tr>{inner}<td style='text-align:left'>{last if width else escape(last)}</td></tr>"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON.

        Returns:
            The recommendation, the table and the assumptions; numbers that are not finite are None.
        """
        values: dict[str, Any] = {
            "name": self.name, "device": self.device, "recommended": self.fastest, "near": self.near,
            "range": list(self.range), "sentence": self.sentence,
            "noise": {**asdict(self.noise), "scale": self.noise.scale},
            "table": [
                {
                    **asdict(row.step), "samples_per_second": row.samples_per_second,
                    "relative_time": row.relative_time, "relative_samples": row.relative_samples,
                }
                for row in self.rows
            ],
            "tests": [asdict(test) for test in self.tests], "every": self.every, "warmup": self.warmup,
            "losses": self.losses, "coupled": self.coupled, "dataset_size": self.dataset_size,
            "notes": list(self.notes), "doubts": list(self.doubts), "assumptions": list(ASSUMPTIONS),
            "again": AGAIN, "seconds": self.seconds,
        }  # fmt: skip
        plain: dict[str, Any] = _plain(values)
        return plain


def cells(row: AdviceRow) -> tuple[str, ...]:
    """Format the cells of a row.

    Args:
        row: A row of the table.

    Returns:
        Batch, s/step, samples/s, memory, fits, relative time, relative samples.
    """
    step = row.step
    fits = {True: "yes", False: "no", None: "?"}[step.fits] + (f": {step.why}" if step.why else "")
    memory = "–" if step.memory_bytes is None else f"{step.memory_bytes / 2**20:.0f} MiB"
    return (
        str(step.batch_size), _number(step.seconds, ".3g"), _number(row.samples_per_second, ",.0f"), memory,
        fits, _number(row.relative_time, ".2f"), _number(row.relative_samples, ".2f"),
    )  # fmt: skip


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

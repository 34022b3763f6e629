"""What to make of a noise scale and of seconds a step: the table, and one sentence of recommendation."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from fisherscope.analysis.batch_size.noise_scale import NoiseInterval, SizeTest
from fisherscope.plain_text import aligned_table

NEAR = 1.1
"""Sizes within this factor of the least time are as good as the best: timings are no better."""

ASSUMPTIONS = (
    "the learning rate is tuned to each batch size (steps to the same loss ∝ 1 + B_noise/B holds for that)",
    "the gradient's noise is that of plain SGD; Adam and its like divide by its size, which moves the scale",
    "seconds are those of this machine with the batch at hand: a loader that can't keep up comes on top",
)
AGAIN = (
    "Ask again when the loss has halved, after a drop of the learning rate, or when the monitor's "
    "noise/scale_mean has doubled: the noise scale grows while a model trains."
)


@dataclass(frozen=True)
class StepTime:
    """What a training step of one batch size takes.

    Args:
        batch_size: Samples.
        seconds: The least of several; None where it was not run.
        memory_bytes: Peak above what was there before; None where the platform does not tell.
        why: Why it does not fit, or was not tried; empty where it was measured.
        fits: None where it was not tried.
    """

    batch_size: int
    seconds: float | None = None
    memory_bytes: int | None = None
    why: str = ""
    fits: bool | None = True


@dataclass(frozen=True)
class AdviceRow:
    """A line of the table; times relative to the best size, samples to the smallest possible number."""

    step: StepTime
    relative_time: float | None
    relative_samples: float | None

    @property
    def samples_per_second(self) -> float | None:
        """Throughput."""
        return None if self.step.seconds is None else self.step.batch_size / self.step.seconds


@dataclass(frozen=True)
class Advice:
    """Which batch sizes are worth their time; print it, show it in a notebook, or read its parts.

    Args:
        name: Of what was looked at.
        noise: Noise scale with its interval.
        steps: Seconds and memory of each size.
        tests: Signal-to-noise and norm test against the size.
        every: Steps between measurements at which measuring takes 5 % of the time; None where not known.
        notes: What the reader must know of this measurement.
        dataset_size: Samples of an epoch; None for a stream or one batch.
        warmup: Steps that were trained before measuring (and undone).
        losses: Mean loss at the warm-up's beginning and end; None without one.
        coupled: Whether BatchNorm couples samples, so that the scale is approximate.
        seconds: What the advice took.
        device: Where.
        doubts: Signs that the seconds are not a quiet machine's; the sentence then says so.
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
        """The size with the least time to the same progress, seconds(B)·(1 + B_noise/B); None if none ran."""
        return self._fastest(self.noise.scale)

    @property
    def near(self) -> list[int]:
        """Sizes within 10 % of that time."""
        times = [(row.step.batch_size, row.relative_time) for row in self.rows]
        return [size for size, time in times if time is not None and time <= NEAR]

    @property
    def range(self) -> tuple[int | None, int | None]:
        """The fastest size at the lower and at the upper end of the noise scale's interval."""
        return self._fastest(self.noise.low), self._fastest(self.noise.high)

    @property
    def sentence(self) -> str:
        """One sentence of recommendation."""
        if self.fastest is None:
            return "No batch size could be timed: give smaller sizes=, or more seconds=."
        low, high = self.range
        near = self.near
        text = f"Train with a batch of {self.fastest}: the least time to the same progress"
        if len(near) > 1:
            spent = (1 + min(near) / self.noise.scale) / (1 + self.fastest / self.noise.scale)
            text += f"; {near[0]} to {near[-1]} are within 10 % of it"
            text += f" ({near[0]} takes {1 - spent:.0%} fewer samples)" if spent < 0.95 else ""
        if low != high:
            text += f"; over the noise scale's interval the fastest goes from {low} to {high}"
        return text + ("; do not rely on it yet, the seconds are in doubt." if self.doubts else ".")

    def _times(self, scale: float) -> dict[int, float]:
        """Time to the same progress, to a factor: with an infinite scale, seconds a sample."""
        ran = [(step.batch_size, step.seconds) for step in self.steps if step.fits and step.seconds]
        if math.isinf(scale):
            return {size: seconds / size for size, seconds in ran}
        return {size: seconds * (1 + scale / size) for size, seconds in ran}

    def _fastest(self, scale: float) -> int | None:
        times = self._times(scale)
        return min(times, key=times.__getitem__) if times else None

    def scale_text(self) -> str:
        """The noise scale in words."""
        noise = self.noise
        about = "about " if self.coupled else ""
        level = f"{noise.level:.0%} interval"
        if math.isinf(noise.high):
            return f"at least {noise.low:.3g} samples ({noise.samples} samples did not show the gradient)"
        return f"{about}{noise.scale:.3g} samples ({level} {noise.low:.3g} to {noise.high:.3g})"

    def lines(self) -> list[str]:
        """What is said beside the table: first what to do, then on what it rests."""
        found = [self.sentence, f"Noise scale: {self.scale_text()}, from {self.noise.samples} samples."]
        if self.every is not None:
            found.append(f"Worth measuring: Monitor(every={self.every}) takes 5 % of the time.")
        found += [f"In doubt: {doubt}." for doubt in self.doubts]
        found += [f"Note: {note}" for note in self.notes]
        return [*found, "It assumes that " + "; ".join(ASSUMPTIONS) + ".", AGAIN]

    def __str__(self) -> str:
        head = ("batch", "s/step", "samples/s", "memory", "fits", "rel. time", "rel. samples")
        table = aligned_table(head, [cells(row) for row in self.rows], align="r")
        return "\n".join([f"Advice for {self.name} on {self.device}", "", *table, "", *self.lines()])

    def _repr_html_(self) -> str:
        """Table with a bar for the relative time; the fastest in bold."""
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
        shown = [texts[k] for k in (0, 1, 2, 3, 5, 6)]
        weight = "bold" if row.step.batch_size == self.fastest else "normal"
        width = 0 if row.relative_time is None else min(160, round(40 * row.relative_time))
        colour = "#2166ac" if row.step.batch_size in self.near else "#bbbbbb"
        last = (
            f"<div style='background:{colour};height:.7em;width:{width}px'></div>" if width else row.step.why
        )
        inner = "".join(f"<td style='font-weight:{weight}'>{escape(text)}</td>" for text in shown)
        return f"<tr>{inner}<td style='text-align:left'>{last if width else escape(last)}</td></tr>"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: not finite numbers are None."""
        found: dict[str, Any] = {
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
        plain: dict[str, Any] = _plain(found)
        return plain


def cells(row: AdviceRow) -> tuple[str, ...]:
    """A row's texts: batch, s/step, samples/s, memory, fits, relative time, relative samples."""
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

"""The result of `navigate`: both ways, the distance, the slopes, the advice and what it is worth."""

import math
from dataclasses import dataclass
from typing import Any

import polars as pl

from fisherscope.analysis.navigation.leave_one_out import NavigationBacktest
from fisherscope.plain_text import aligned_table

ROWS = 6
"""Epochs that are printed of both ways."""


@dataclass(frozen=True)
class Bounded:
    """A value with its 80 % interval.

    Args:
        value: The estimate.
        low: Lower bound.
        high: Upper bound.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Navigation:
    """The batch size and rate that bring a run nearest to a reference; made by `navigate`.

    Args:
        run: Name of the run or setting.
        reference: Name of the reference.
        task: Task of both.
        x: Measure across.
        y: Measure upwards.
        epoch: The last epoch that both have: distances and slopes are there.
        ways: A row per epoch that both have: `epoch, x, y, x_reference, y_reference, distance`. The distance
            is in the plane of the logarithms, scaled to the settings' ranges.
        slopes: Doublings of each measure per doubling of batch size and learning rate: `measure, coordinate,
            slope, low, high`; empty where the runs do not show them.
        copied: The reference's own setting, where it has a constant batch size; else empty.
        batch_size: Suggested batch size; None without slopes.
        lr: Suggested learning rate; None without slopes.
        nearest: The recorded setting nearest to the suggestion; empty without one.
        left: Distance that the slopes expect to be left; NaN without slopes.
        backtest: How often such advice was right on these runs; None where they are too few.
        notes: What is missing.
    """

    run: str
    reference: str
    task: str
    x: str
    y: str
    epoch: int
    ways: pl.DataFrame
    slopes: pl.DataFrame
    copied: str
    batch_size: Bounded | None = None
    lr: Bounded | None = None
    nearest: str = ""
    left: float = math.nan
    backtest: NavigationBacktest | None = None
    notes: tuple[str, ...] = ()

    @property
    def distance(self) -> float:
        """Distance at the last common epoch, in ranges of the settings."""
        return float(self.ways["distance"][-1])

    @property
    def gaps(self) -> tuple[float, float]:
        """Doublings from the run to the reference along x and y, at the last common epoch."""
        row = self.ways.row(-1, named=True)
        return math.log2(row["x_reference"] / row["x"]), math.log2(row["y_reference"] / row["y"])

    def answer(self) -> dict[str, Any]:
        """Return the answer as plain values, for scripts (see `navigate`).

        Returns:
            Values by field; `batch_size`, `lr` and `backtest` as mappings or None, tables as lists of rows.
        """
        names = ("run", "reference", "task", "x", "y", "epoch", "distance", "nearest", "copied", "notes")
        answer: dict[str, Any] = {name: getattr(self, name) for name in names}
        for name in ("batch_size", "lr", "backtest"):
            value = getattr(self, name)
            answer[name] = None if value is None else vars(value)
        answer["copying_is_better"] = self.backtest is not None and self.backtest.copying_is_better
        answer["left"] = self.left if math.isfinite(self.left) else None
        return answer | {"ways": self.ways.to_dicts(), "slopes": self.slopes.to_dicts()}

    def __str__(self) -> str:
        lines = [
            f"From {self.run} to {self.reference}{f' of {self.task}' if self.task else ''}",
            *self._table(),
        ]
        lines += [self._distance_text(), *self._slope_texts(), self._advice_text()]
        if self.backtest is not None:
            lines += [str(self.backtest), self._better_text()]
        return "\n".join(line for line in [*lines, *self.notes] if line)

    def _table(self) -> list[str]:
        step = max(1, -(-len(self.ways) // ROWS))
        rows = self.ways.reverse().gather_every(step).reverse()
        names = [self.x, f"{self.x} to", self.y, f"{self.y} to", "distance"]
        head = ["epoch", *(name.removeprefix("fisher/") for name in names)]
        keys = ("x", "x_reference", "y", "y_reference", "distance")
        cells = [[str(row["epoch"]), *(f"{row[key]:.4g}" for key in keys)] for row in rows.to_dicts()]
        return aligned_table(head, cells)

    def _distance_text(self) -> str:
        across, up = self.gaps
        return (
            f"At epoch {self.epoch} the reference lies {across:+.2f} doublings of {self.x} and {up:+.2f} of "
            f"{self.y} away: {self.distance:.2g} of the settings' range."
        )

    def _slope_texts(self) -> list[str]:
        texts = [
            f"{row['measure']} per doubling of {row['coordinate']}: {row['slope']:+.2f} doublings "
            f"({row['low']:+.2f} to {row['high']:+.2f})"
            for row in self.slopes.to_dicts()
        ]
        return [f"{text}." for text in texts]

    def _advice_text(self) -> str:
        if self.batch_size is None or self.lr is None:
            return ""
        return (
            f"Nearest to the reference by these slopes: batch size {self.batch_size}, learning rate "
            f"{self.lr} (80 % intervals); {self.left:.2f} of the range is left. Nearest recorded: "
            f"{self.nearest}."
        )

    def _better_text(self) -> str:
        if self.backtest is None or not self.backtest.copying_is_better:
            return ""
        use = f": use {self.copied}" if self.copied else ", where the network is the same"
        return f"Copying the reference's batch size and learning rate was right at least as often{use}."

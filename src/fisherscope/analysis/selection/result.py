"""What `select` answers, and how it says it."""

from dataclasses import dataclass

import polars as pl

RATES = ("error", "accuracy")
"""Metrics that are a share of the samples, and are shown in per cent."""
WORTH_TELLING = 1.1
"""How many times faster a setting has to be."""


@dataclass(frozen=True)
class Selection:
    """A recommendation with its evidence; made by `select`.

    Args:
        candidates: A row a setting, best first: `setting, batch_size, lr, state` (finished, predicted,
            diverged, unknown), `expected, low, high` (80 %), `in_set`, `gain` (expected improvement by it),
            `seconds` (all epochs), `left_epochs`, `left_seconds`, `seeds`.
        recommended: The best setting that has ended, or while none has, the best expected one; None where
            nothing can be said yet.
        fastest: Fastest setting that cannot be told from it, if faster.
        next_setting: Setting whose end would tell most; None where all have ended.
        next_run: A run of it that can be finished.
        distinguishable: Whether any setting can be told from the recommended one.
        predictor: Features of the prediction.
        epoch: At which they were read.
        spent_epochs: Trained so far, over all runs.
        all_epochs: Of all runs to their end.
    """

    candidates: pl.DataFrame
    recommended: str | None
    fastest: str | None
    next_setting: str | None
    next_run: str | None
    distinguishable: bool
    predictor: str
    epoch: int
    metric: str
    spent_epochs: int
    all_epochs: int
    task: str
    notes: tuple[str, ...]

    @property
    def indistinguishable(self) -> list[str]:
        """The set that cannot be told from the best, the recommended one first."""
        return self.candidates.filter(pl.col("in_set"))["setting"].to_list()

    def row(self, setting: str) -> dict[str, object]:
        """A candidate's row."""
        return next(iter(self.candidates.filter(pl.col("setting") == setting).iter_rows(named=True)))

    def __str__(self) -> str:
        lines = [
            self._headline(),
            self._set_told(),
            f"Spent {self.spent_epochs} of {self.all_epochs} epochs.",
        ]
        lines[-1] += self._next_told()
        return "\n".join(line for line in [*lines, *self.notes] if line)

    def _headline(self) -> str:
        if self.recommended is None:
            return "Nothing can be recommended yet."
        row = self.row(self.recommended)
        shown = [_shown(row[c], self.metric) for c in ("expected", "low", "high")]
        if self.metric.rpartition("/")[2] in RATES:
            shown = [shown[0], shown[1].removesuffix(" %"), shown[2].removesuffix(" %")]
        name = self.metric.replace("val/", "validation ").replace("test/", "test ")
        use = f"Use {_spelt(row)}: {'expected' if row['state'] == 'predicted' else 'measured'} {name}"
        if row["low"] is None:
            return f"{use} {shown[0]}; how sure that is cannot be told from so few runs."
        return f"{use} {shown[0]} (80 %: {shown[1]}–{shown[2]})."

    def _set_told(self) -> str:
        others = [name for name in self.indistinguishable if name != self.recommended]
        if self.recommended is None:
            return ""
        if not self.distinguishable and others:
            text = f"No setting is distinguishable: all {len(others) + 1} may be as good."
        elif others:
            more = f" and {len(others) - 8} more" if len(others) > 8 else ""
            text = f"Not distinguishable: {', '.join(others[:8])}{more}."
        elif len(self.candidates) == 1:
            text = "It is the only setting."
        elif (unknown := (self.candidates["state"] == "unknown").sum()) == len(self.candidates) - 1:
            text = "No other setting has ended, so there is nothing to compare it with."
        elif unknown:
            text = f"Every setting it can be compared with is worse; of {unknown} nothing is known yet."
        else:
            text = "Every other setting is worse, as far as this evidence goes."
        if self.fastest is not None:
            slow, fast = (self.row(name)["seconds"] for name in (self.recommended, self.fastest))
            if isinstance(slow, float) and isinstance(fast, float) and slow >= WORTH_TELLING * fast:
                text += f" {self.fastest} trains {slow / fast:.1f} times faster."
        return text

    def _next_told(self) -> str:
        if self.next_setting is None:
            return ""
        row = self.row(self.next_setting)
        cost = f"{row['left_epochs']} epochs"
        if isinstance(row["left_seconds"], float):
            cost += f", about {_duration(row['left_seconds'])}"
        return f" Next: {self.next_setting} ({cost})."


def _spelt(row: dict[str, object]) -> str:
    return f"batch {row['batch_size']}, rate {row['lr']:.6g} ({row['setting']})"


def _shown(value: object, metric: str) -> str:
    if not isinstance(value, float):
        return "?"
    return f"{100 * value:.2f} %" if metric.rpartition("/")[2] in RATES else f"{value:.4g}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

"""The result of `select`: a recommendation with its evidence."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from fisherscope.analysis.data.compared_metric import metric_text, value_text
from fisherscope.analysis.data.cost_model import Ratio
from fisherscope.plain_text import duration
from fisherscope.runs.dead_network import DEAD

CLEARLY_FASTER = 1.1
"""Ratio of training times from which a setting is called faster."""
AT_MOST = 8
"""Names that a sentence lists."""


@dataclass(frozen=True)
class Selection:
    """A recommendation with its evidence; made by `select`.

    Args:
        candidates: A row per setting, best first: `setting, batch_size, lr, state` (finished, predicted,
            diverged, unknown), `expected, low, high` (80 % interval), `in_set` (statistically tied with the
            best), `gain` (expected improvement), `steps` and modelled `seconds` of all epochs, `left_epochs`,
            `left_seconds`, `seeds`; seconds are null where those of a step are not known.
        recommended: The best setting that has finished, or while none has, the best expected one; None if
            nothing can be said yet.
        fastest: Fastest setting that is statistically tied with it, if another batch size is faster; without
            known seconds, the one of fewest steps.
        next_setting: Setting whose end is worth most; None if all have finished.
        next_run: A run of it that can be finished.
        distinguishable: Whether any setting is distinguishable from the recommended one.
        predictor: Features of the prediction.
        epoch: Epoch at which they were read.
        metric: Column of the epochs that settings are compared by.
        spent_epochs: Epochs trained so far, over all runs.
        all_epochs: Epochs of all runs to their end.
        task: Name of the task; empty if the runs do not say.
        notes: What a reader must know.
        speed_up: How many times faster `fastest` trains, with its interval; None unless clearly faster.
        time_note: Where times come from; empty if none is shown.
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
    speed_up: Ratio | None = None
    time_note: str = ""

    @property
    def indistinguishable(self) -> list[str]:
        """The settings statistically tied with the best, the recommended one first."""
        return self.candidates.filter(pl.col("in_set"))["setting"].to_list()

    def row(self, setting: str) -> dict[str, object]:
        """Return a candidate's row.

        Args:
            setting: Its name, such as `s32-lr0.1`.

        Returns:
            The columns of `candidates` and their values.

        Raises:
            StopIteration: There is no such candidate.
        """
        return next(iter(self.candidates.filter(pl.col("setting") == setting).iter_rows(named=True)))

    def answer(self) -> dict[str, Any]:
        """Return plain values, for JSON.

        Returns:
            The fields under their names, `indistinguishable`, and `candidates` as a list of rows.
        """
        names = ("recommended", "indistinguishable", "fastest", "next_setting", "next_run", "spent_epochs",
                 "all_epochs", "metric", "predictor", "epoch")  # fmt: skip
        return {
            **{name: getattr(self, name) for name in names},
            "candidates": self.candidates.to_dicts(),
            "speed_up": None if self.speed_up is None else self.speed_up._asdict(),
            "times": self.time_note,
            "notes": self.notes,
        }

    def __str__(self) -> str:
        cost = f"Spent {self.spent_epochs} of {self.all_epochs} epochs.{self._next_text()}"
        lines = [self._headline(), self._comparison_text(), cost, *self.notes, self.time_note]
        return "\n".join(line for line in lines if line)

    def _headline(self) -> str:
        if self.recommended is None:
            return self._nothing_text()
        row = self.row(self.recommended)
        value, low, high = (value_text(row[c], self.metric) for c in ("expected", "low", "high"))
        origin = "expected" if row["state"] == "predicted" else "measured"
        use = f"{use_text(row['batch_size'], row['lr'], row['setting'])}: {origin} {metric_text(self.metric)}"
        if row["low"] is None:
            return f"{use} {value}; too few runs for an interval."
        return f"{use} {value} (80 % interval {low.removesuffix(' %')} to {high})."

    def _nothing_text(self) -> str:
        """Say why nothing can be recommended."""
        if (self.candidates["state"] == "diverged").all():
            return "Nothing can be recommended: every setting diverged. Try smaller learning rates."
        open_ = ~pl.col("state").is_in(["finished", "diverged", DEAD])
        complete = len(self.candidates.filter(open_, pl.col("left_epochs") <= 0))
        if not complete:
            return "Nothing can be recommended yet: no run has finished."
        return (
            "Nothing can be recommended yet: no run has finished. Settings with all their epochs whose runs "
            f"were not closed: {complete}; call run.finish()."
        )

    def _comparison_text(self) -> str:
        """Say which settings may be as good as the recommended one."""
        others = [name for name in self.indistinguishable if name != self.recommended]
        if self.recommended is None:
            return ""
        if not self.distinguishable and others:
            text = f"No setting is distinguishable: all {len(others) + 1} may be as good."
        elif others:
            more = f" and {len(others) - AT_MOST} more" if len(others) > AT_MOST else ""
            text = f"Statistically tied with: {', '.join(others[:AT_MOST])}{more}."
        elif len(self.candidates) == 1:
            text = "It is the only setting."
        elif (unknown := (self.candidates["state"] == "unknown").sum()) == len(self.candidates) - 1:
            text = "No other setting has finished, so there is nothing to compare it with."
        elif unknown:
            text = f"Every setting it can be compared with is worse; {self._unknown_text(int(unknown))}."
        else:
            text = "All other settings are worse, according to this evidence."
        return f"{text} {self._fastest_text()}".strip()

    def _fastest_text(self) -> str:
        """Say which tied setting trains faster, or takes fewer steps; empty if none clearly does."""
        if self.recommended is None or self.fastest is None:
            return ""
        if self.speed_up is not None:
            return f"{self.fastest} trains {self.speed_up.text} times faster."
        slow, fast = (self.row(name) for name in (self.recommended, self.fastest))
        if slow["seconds"] is None and isinstance(slow["steps"], float) and isinstance(fast["steps"], float):
            return (
                f"{self.fastest} takes {fast['steps']:,.0f} steps, {self.recommended} {slow['steps']:,.0f}."
            )
        return ""

    def _unknown_text(self, count: int) -> str:
        """Say how far those settings are that can't be compared yet."""
        rows = self.candidates.filter(pl.col("state") == "unknown")
        planned = self.all_epochs / self.candidates["seeds"].sum()
        started = rows.filter(pl.col("left_epochs") < planned)
        if not len(started):
            return f"nothing is known yet of {count} others"
        left = min(started["left_epochs"].to_list())
        return f"{count} others can't be compared yet, the furthest of them with {left} epochs to go"

    def _next_text(self) -> str:
        """Say what to finish next, and what it costs."""
        if self.next_setting is None:
            return ""
        row = self.row(self.next_setting)
        cost = f"{row['left_epochs']} epochs"
        if isinstance(row["left_seconds"], float):
            cost += f", about {duration(row['left_seconds'])}"
        return f" Next: {self.next_setting} ({cost})."


def use_text(batch_size: object, lr: object, setting: object) -> str:
    """Begin a recommendation with a setting's batch size, learning rate and name."""
    return f"Use batch size {batch_size}, learning rate {lr:.6g} ({setting})"

"""The result of `table`: entries and comparisons in several formats."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from fisherscope.analysis.data.cost_model import Ratio
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.tables.formats import latex, markdown
from fisherscope.plain_text import aligned_table, short_text

Test = Literal["welch", "student"]
Format = Literal["text", "markdown", "latex", "csv"]
LEGEND = {"s#": "fixed", "-∅": "staged over the whole run", "-MS": "staged within each learning-rate level"}


@dataclass(frozen=True)
class Table:
    """Entries and their comparisons; made by `table` and `table_of_means`.

    Args:
        entries: A row per task and kind: `task, kind, setting, mean, std, n, hours, steps`; hours are
            modelled (`analysis.data.cost_model`), null where the seconds of a step are not known.
        comparisons: A row per task and pair: `task, a, b, difference, low, high` (95 %), `p_welch, p_student,
            p_holm` (the chosen test, over all pairs of the table), `hedges_g`, `margin, p_equivalent`, and
            `time_ratio, time_low, time_high`: modelled time of b over that of a, with its 95 % interval.
        metric: Metric of mean and std.
        chosen_by: The metric that picked the settings.
        test: The test behind `low, high, p_holm, p_equivalent`.
        notes: What a reader must know.
    """

    entries: pl.DataFrame
    comparisons: pl.DataFrame
    metric: str
    chosen_by: str
    test: Test
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.render("text")

    def render(self, form: Format) -> str:
        """Format the table: entries, then p-values.

        Args:
            form: `text`, `markdown`, `latex` or `csv`.

        Returns:
            The table.

        Raises:
            AnalysisError: There is no such format.
        """
        forms: dict[str, Callable[[], str]] = {
            "text": self._text,
            "markdown": self._markdown,
            "latex": self._latex,
            "csv": lambda: self.entries.write_csv() + "\n" + self.comparisons.write_csv(),
        }
        if form not in forms:
            raise AnalysisError(f"printing a table: format {form!r}; expected one of {', '.join(forms)}")
        return forms[form]()

    def _grid(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows: a row per kind, a column per task."""
        tasks = list(dict.fromkeys(self.entries["task"].to_list()))
        rows = []
        for kind in dict.fromkeys(self.entries.sort("order")["kind"].to_list()):
            cells = [kind]
            for task in tasks:
                entry = self.entries.filter((pl.col("task") == task) & (pl.col("kind") == kind))
                cells.append(_entry(next(entry.iter_rows(named=True)), self.metric) if len(entry) else "–")
            rows.append(cells)
        return ["", *map(short_text, tasks)], rows

    def _tests(self) -> tuple[list[str], list[list[str]]]:
        timed = self.comparisons["time_ratio"].is_not_null().any()
        head = ["task", "pair", "difference (95 %)", "p Welch", "p Student", "p Holm", "g", "p (equivalence)"]
        head += ["time of the second over the first"] if timed else []
        rows = [
            [
                short_text(row["task"]),
                f"{short_text(row['a'])} – {short_text(row['b'])}",
                _difference(row, self.metric),
                *(_p(row[c]) for c in ("p_welch", "p_student", "p_holm")),
                "–" if row["hedges_g"] is None else f"{row['hedges_g']:.2f}",
                _p(row["p_equivalent"]),
                *([_ratio(row)] if timed else []),
            ]
            for row in self.comparisons.iter_rows(named=True)
        ]
        return head, rows

    def _footer(self) -> list[str]:
        by = f"{self.metric}, chosen by {self.chosen_by}; intervals and corrected p by {self.test.title()}."
        kinds = self.entries["kind"].to_list()
        legend = "; ".join(f"{kind}: {words}" for kind, words in LEGEND.items() if kind in kinds)
        return ["", by, *([f"{legend}."] if legend else []), *self.notes]

    def _text(self) -> str:
        tests = ["", *aligned_table(*self._tests(), rule=True)] if len(self.comparisons) else []
        return "\n".join([*aligned_table(*self._grid(), rule=True), *tests, *self._footer()])

    def _markdown(self) -> str:
        tests = ["", *markdown(*self._tests())] if len(self.comparisons) else []
        return "\n".join([*markdown(*self._grid()), *tests, *self._footer()])

    def _latex(self) -> str:
        blocks = [latex(*self._grid()), *([latex(*self._tests())] if len(self.comparisons) else [])]
        return "\n\n".join(
            [*blocks, "\n".join(f"% {line.replace('∅', 'empty set')}" for line in self._footer() if line)]
        )


def number(value: object) -> float:
    """Return a number as a float, anything else as NaN."""
    return float(value) if isinstance(value, int | float) else math.nan


def _scale(metric: str) -> float:
    """Return the factor of a metric that is shown in per cent."""
    return 100.0 if metric.rpartition("/")[2] in ("error", "accuracy") else 1.0


def _entry(row: dict[str, object], metric: str) -> str:
    scale = _scale(metric)
    text = f"{short_text(str(row['setting']))} {scale * number(row['mean']):.2f}"
    if math.isfinite(number(row["std"])):
        text += f"±{scale * number(row['std']):.2f}"
    hours = number(row["hours"])
    if math.isfinite(hours):
        return text + (f" {hours:.2g}h" if hours >= 0.1 else f" {3600 * hours:.3g}s")
    steps = number(row["steps"])
    return text + (f" {steps:,.0f} steps" if math.isfinite(steps) else "")


def _difference(row: dict[str, object], metric: str) -> str:
    scale = _scale(metric)
    text = f"{scale * number(row['difference']):+.2f}"
    if row["low"] is None:
        return text
    return f"{text} ({scale * number(row['low']):+.2f} to {scale * number(row['high']):+.2f})"


def _ratio(row: dict[str, object]) -> str:
    ratio = Ratio(*(number(row[name]) for name in ("time_ratio", "time_low", "time_high")))
    return ratio.text if math.isfinite(ratio.estimate) else "–"


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"

"""Table 1: the best fixed setting against the best schedules, with tests; as text, Markdown, LaTeX or CSV."""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import polars as pl

from fisherscope.analysis.data.settings import RunsLike, settings_of
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.landscapes.plane import margin
from fisherscope.analysis.stats.hypothesis_tests import Difference, Sample, holm, student, welch
from fisherscope.analysis.tables.formats import latex, markdown
from fisherscope.analysis.tables.policy_kinds import COLUMNS, KINDS, best_of_kinds
from fisherscope.plain_text import aligned_table
from fisherscope.runs.reader import Runs, load_runs

Test = Literal["welch", "student"]
Format = Literal["text", "markdown", "latex", "csv"]
NUMBERS = (
    "difference", "low", "high", "p_welch", "p_student", "p_holm", "hedges_g", "margin", "p_equivalent",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Entries and their comparisons; made by `table` and `table_of_means`.

    Args:
        entries: A row a task and kind: `task, kind, setting, mean, std, n, hours`.
        comparisons: A row a task and pair: `task, a, b, difference, low, high` (95 %), `p_welch, p_student,
            p_holm` (the chosen test, over all pairs of the table), `hedges_g`, `margin, p_equivalent`.
        metric: What mean and std are of.
        chosen_by: The metric that picked the settings.
        test: The test behind `low, high, p_holm, p_equivalent`.
    """

    entries: pl.DataFrame
    comparisons: pl.DataFrame
    metric: str
    chosen_by: str
    test: Test
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.rendered("text")

    def rendered(self, form: Format) -> str:
        """The table in a format; entries, then p-values.

        Raises:
            AnalysisError: No such format.
        """
        forms: dict[str, Callable[[], str]] = {
            "text": self._text,
            "markdown": self._markdown,
            "latex": self._latex,
            "csv": lambda: self.entries.write_csv() + "\n" + self.comparisons.write_csv(),
        }
        if form not in forms:
            raise AnalysisError(f"printing a table: format {form!r} is none of {', '.join(forms)}")
        return forms[form]()

    def _grid(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows: a row a kind, a column a task."""
        tasks = list(dict.fromkeys(self.entries["task"].to_list()))
        rows = []
        for kind in dict.fromkeys(self.entries.sort("order")["kind"].to_list()):
            cells = [kind]
            for task in tasks:
                found = self.entries.filter((pl.col("task") == task) & (pl.col("kind") == kind))
                cells.append(_entry(next(found.iter_rows(named=True)), self.metric) if len(found) else "–")
            rows.append(cells)
        return ["", *tasks], rows

    def _tests(self) -> tuple[list[str], list[list[str]]]:
        head = ["task", "pair", "difference (95 %)", "p Welch", "p Student", "p Holm", "g", "p as good"]
        rows = [
            [
                row["task"],
                f"{row['a']} – {row['b']}",
                _difference(row, self.metric),
                *(_p(row[c]) for c in ("p_welch", "p_student", "p_holm")),
                "–" if row["hedges_g"] is None else f"{row['hedges_g']:.2f}",
                _p(row["p_equivalent"]),
            ]
            for row in self.comparisons.iter_rows(named=True)
        ]
        return head, rows

    def _feet(self) -> list[str]:
        by = f"{self.metric}, chosen by {self.chosen_by}; intervals and corrected p by {self.test.title()}."
        return ["", by, *self.notes]

    def _text(self) -> str:
        tests = ["", *aligned_table(*self._tests(), rule=True)] if len(self.comparisons) else []
        return "\n".join([*aligned_table(*self._grid(), rule=True), *tests, *self._feet()])

    def _markdown(self) -> str:
        tests = ["", *markdown(*self._tests())] if len(self.comparisons) else []
        return "\n".join([*markdown(*self._grid()), *tests, *self._feet()])

    def _latex(self) -> str:
        blocks = [latex(*self._grid()), *([latex(*self._tests())] if len(self.comparisons) else [])]
        return "\n\n".join([*blocks, "\n".join(f"% {line}" for line in self._feet() if line)])


def table(
    runs: RunsLike,
    *,
    lr: float | None = None,
    metric: str | None = None,
    test: Test = "welch",
    paper: bool = False,
) -> Table:
    """Table 1 of any set of runs: of each task the best of each kind, and how they differ.

    The validation metric picks, the test metric is shown; only finished runs count. Picked on the same seeds
    as they are tested on: read small p-values with that in mind, or confirm on other seeds.

    Args:
        runs: From `load_runs`, or a directory; several tasks are columns.
        lr: Only runs of this initial learning rate (0.1 in the paper).
        metric: Metric that picks; by default the validation metric.
        test: `welch` or `student`.
        paper: Pick by the test metric, as the paper does.

    Raises:
        AnalysisError: No run has finished.
    """
    _known_test(test)
    loaded = runs if isinstance(runs, Runs) else load_runs(runs)
    tasks = _tasks(loaded)
    rows: list[dict[str, object]] = []
    notes: list[str] = []
    names: tuple[str, str] = ("", "")
    for task in tasks:
        source = settings_of(loaded if len(loaded) else runs, task=task)
        picked, names = best_of_kinds(source, lr, metric, paper)
        rows += picked
        notes += [f"{task}: {note}" if task else note for note in source.notes]
    if not rows:
        at = f" at rate {lr:g}" if lr is not None else ""
        raise AnalysisError(f"making the table: none of {len(loaded)} runs has finished{at}")
    if paper:
        notes.append("Picked on the numbers that are shown: p-values are too small.")
    return _table(rows, names[1], names[0], test, notes)


def table_of_means(
    entries: pl.DataFrame | str | os.PathLike[str], *, metric: str = "error %", test: Test = "welch"
) -> Table:
    """The table from a frame, or a CSV file, of `task, kind, setting, mean, std, n, hours`.

    Raises:
        AnalysisError: A column is missing (only `hours` may be).
    """
    _known_test(test)
    frame = entries if isinstance(entries, pl.DataFrame) else pl.read_csv(Path(entries))
    missing = [name for name in COLUMNS[:-1] if name not in frame.columns]
    if missing:
        raise AnalysisError(
            f"making a table of means: {', '.join(missing)} missing; found columns {', '.join(frame.columns)}"
        )
    rows = [{name: row.get(name) for name in COLUMNS} for row in frame.iter_rows(named=True)]
    return _table(rows, metric, "whoever made the means", test, [])


def _table(
    rows: Sequence[dict[str, object]], metric: str, chosen_by: str, test: Test, notes: Iterable[str]
) -> Table:
    kinds = {kind: k for k, kind in enumerate(KINDS)}
    overrides = {"mean": pl.Float64, "std": pl.Float64, "hours": pl.Float64, "n": pl.Int64}
    entries = pl.DataFrame(
        [row | {"order": kinds.get(str(row["kind"]), len(kinds))} for row in rows],
        schema_overrides=overrides,
        infer_schema_length=None,
    )
    comparisons = []
    for task in dict.fromkeys(entries["task"].to_list()):
        found = (
            entries.filter(pl.col("task") == task).sort("order", maintain_order=True).iter_rows(named=True)
        )
        comparisons += [_compared(a, b, metric, test) for a, b in combinations(found, 2)]
    corrected = holm([_number(row.get(f"p_{test}")) for row in comparisons])
    for row, p in zip(comparisons, corrected, strict=True):
        row["p_holm"] = p if math.isfinite(p) else None
    schema = dict.fromkeys(("task", "a", "b"), pl.String) | dict.fromkeys(NUMBERS, pl.Float64)
    return Table(entries, pl.DataFrame(comparisons, schema=schema), metric, chosen_by, test, tuple(notes))


def _compared(a: dict[str, object], b: dict[str, object], metric: str, test: Test) -> dict[str, object]:
    one, two = (Sample(_number(s["mean"]), _number(s["std"]), int(_number(s["n"]))) for s in (a, b))
    row: dict[str, object] = {
        "task": a["task"],
        "a": f"{a['kind']} {a['setting']}",
        "b": f"{b['kind']} {b['setting']}",
        "difference": one.mean - two.mean,
        "margin": margin(one.mean, metric),
    }
    if min(one.n, two.n) < 2 or math.isnan(one.std) or math.isnan(two.std):
        return row
    both: dict[str, Difference] = {"welch": welch(one, two), "student": student(one, two)}
    found = both[test]
    return row | {
        "low": found.low,
        "high": found.high,
        "p_welch": both["welch"].p,
        "p_student": both["student"].p,
        "hedges_g": found.hedges_g if math.isfinite(found.hedges_g) else None,
        "p_equivalent": found.p_equivalent(margin(one.mean, metric)),
    }


def _tasks(runs: Runs) -> list[str | None]:
    if not len(runs) or "task" not in runs.runs.columns:
        return [None]
    return [str(task) for task in dict.fromkeys(runs.runs["task"].to_list())]


def _known_test(test: str) -> None:
    if test not in ("welch", "student"):
        raise AnalysisError(f"making a table: test={test!r} is none of welch, student")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _scale(metric: str) -> float:
    """Rates are shown in per cent."""
    return 100.0 if metric.rpartition("/")[2] in ("error", "accuracy") else 1.0


def _entry(row: dict[str, object], metric: str) -> str:
    scale = _scale(metric)
    text = f"{row['setting']} {scale * _number(row['mean']):.2f}"
    if math.isfinite(_number(row["std"])):
        text += f"±{scale * _number(row['std']):.2f}"
    hours = _number(row["hours"])
    if math.isfinite(hours):
        text += f" {hours:.2g}h" if hours >= 0.1 else f" {3600 * hours:.3g}s"
    return text


def _difference(row: dict[str, object], metric: str) -> str:
    scale = _scale(metric)
    text = f"{scale * _number(row['difference']):+.2f}"
    if row["low"] is None:
        return text
    return f"{text} ({scale * _number(row['low']):+.2f} to {scale * _number(row['high']):+.2f})"


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"

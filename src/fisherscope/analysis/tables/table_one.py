"""Table 1: the best fixed setting against the best schedules, with tests."""

import math
import os
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import polars as pl

from fisherscope.analysis.data.cost_model import NO_TIMES, CostModel, Duration
from fisherscope.analysis.data.run_times import RunTimes, run_times
from fisherscope.analysis.data.settings import RunsLike, Settings, settings_of
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.landscapes.plane import margin
from fisherscope.analysis.stats.hypothesis_tests import Difference, Sample, holm, student, welch
from fisherscope.analysis.tables.policy_kinds import COLUMNS, KINDS, best_of_kinds
from fisherscope.analysis.tables.result import Table, Test, number
from fisherscope.plain_text import short_repr, short_text
from fisherscope.runs.reader import Runs, load_runs

NUMBERS = (
    "difference", "low", "high", "p_welch", "p_student", "p_holm", "hedges_g", "margin", "p_equivalent",
    "time_ratio", "time_low", "time_high",
)  # fmt: skip
Durations = dict[tuple[object, object], Duration | None]
"""Modelled time of a run by task and kind."""


def table(
    runs: RunsLike,
    *,
    lr: float | None = None,
    metric: str | None = None,
    test: Test = "welch",
    paper: bool = False,
) -> Table:
    """Make Table 1: the best setting of each kind for each task, and how they differ.

    The validation metric picks, the test metric is shown; only finished runs count. Settings are picked on
    the seeds they are tested on: read small p-values with that in mind, or confirm on other seeds.

    Args:
        runs: From `load_runs`, or a directory; several tasks are columns.
        lr: Only runs of this initial learning rate (0.1 in the paper).
        metric: Metric that picks; the validation metric by default.
        test: `welch` or `student`.
        paper: Pick by the test metric, as the paper does.

    Returns:
        The table; printing it gives text, `render` other formats.

    Raises:
        AnalysisError: No run has finished.

    Source: Liao et al. 2020, Table 1.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope import analysis

        for policy, error in (("s8", 0.10), ("s8-to-32", 0.09)):
            for seed in (0, 1):
                config = {"task": "mine", "policy": policy, "lr": 0.1, "epochs": 1, "seed": seed}
                with fs.open_run(f"runs/table/{policy}-seed{seed}", config) as run:
                    run.log_epoch(val_error=error + 0.001 * seed, test_error=error)
        print(analysis.table("runs/table").render("markdown"))
        ```
    """
    _check_test(test)
    store = runs if isinstance(runs, Runs) else load_runs(runs)
    tasks = _tasks(store)
    rows: list[dict[str, object]] = []
    notes: list[str] = []
    names: tuple[str, str] = ("", "")
    durations: Durations = {}
    for task in tasks:
        name = None if task is None else short_text(task)
        try:
            source = settings_of(store if len(store) else runs, task=task)
            times = run_times(source.runs)
            best, names = best_of_kinds(source, times, lr, metric, paper)
        except AnalysisError as error:
            if len(tasks) == 1:
                raise
            notes.append(f"{name}: left out: {error}")  # one task without settings does not hide the others
            continue
        rows += best
        durations |= {(row["task"], row["kind"]): _duration_of(source, times, row["setting"]) for row in best}
        if best:
            notes.append(time_note(times.model, [row["hours"] for row in best], name))
        notes += [f"{name}: {note}" if name else note for note in source.notes]
    if not rows:
        at = f" at learning rate {lr:g}" if lr is not None else ""
        raise AnalysisError(f"making the table: none of {len(store)} runs has finished{at}")
    if paper:
        notes.append("Picked by the numbers that are shown: p-values are too small.")
    return _table(rows, names[1], names[0], test, notes, durations)


def table_of_means(
    entries: pl.DataFrame | str | os.PathLike[str], *, metric: str = "error %", test: Test = "welch"
) -> Table:
    """Make the table from means and deviations that are known already.

    Args:
        entries: A frame or a CSV file of `task, kind, setting, mean, std, n, hours, steps`.
        metric: Name of the metric.
        test: `welch` or `student`.

    Returns:
        The table, as `table` makes it.

    Raises:
        AnalysisError: A column is missing (only `hours` and `steps` may be).

    Example:
        ```python
        import polars as pl
        from fisherscope import analysis

        means = pl.DataFrame({
            "task": ["CIFAR-10", "CIFAR-10"], "kind": ["s#", "-MS"], "setting": ["s32", "s32-to-128"],
            "mean": [4.78, 4.76], "std": [0.05, 0.13], "n": [5, 5],
        })
        print(analysis.table_of_means(means))
        ```
    """
    _check_test(test)
    frame = entries if isinstance(entries, pl.DataFrame) else _read_means(Path(entries))
    missing = [name for name in COLUMNS[:-2] if name not in frame.columns]
    if missing:
        raise AnalysisError(
            f"making a table of means: {', '.join(missing)} missing; the columns are "
            f"{', '.join(frame.columns)}"
        )
    rows = [{name: row.get(name) for name in COLUMNS} for row in frame.iter_rows(named=True)]
    return _table(rows, metric, "the author of the means", test, [])


def _read_means(path: Path) -> pl.DataFrame:
    try:
        return pl.read_csv(path)
    except (pl.exceptions.PolarsError, UnicodeError) as error:
        raise AnalysisError(
            f"making a table of means: {path} is no CSV file ({short_repr(str(error))}); expected the "
            f"columns {', '.join(COLUMNS)}"
        ) from error


def _table(
    rows: Sequence[dict[str, object]], metric: str, chosen_by: str, test: Test, notes: Iterable[str],
    durations: Durations | None = None,
) -> Table:  # fmt: skip
    kinds = {kind: k for k, kind in enumerate(KINDS)}
    overrides = {
        "mean": pl.Float64,
        "std": pl.Float64,
        "hours": pl.Float64,
        "steps": pl.Float64,
        "n": pl.Int64,
    }
    entries = pl.DataFrame(
        [row | {"order": kinds.get(str(row["kind"]), len(kinds))} for row in rows],
        schema_overrides=overrides,
        infer_schema_length=None,
    )
    comparisons = []
    for task in dict.fromkeys(entries["task"].to_list()):
        entries_of_task = (
            entries.filter(pl.col("task") == task).sort("order", maintain_order=True).iter_rows(named=True)
        )
        comparisons += [
            _comparison(a, b, metric, test) | _time_ratio(a, b, durations or {})
            for a, b in combinations(entries_of_task, 2)
        ]
    p_holm = holm([number(row.get(f"p_{test}")) for row in comparisons])
    for row, p in zip(comparisons, p_holm, strict=True):
        row["p_holm"] = p if math.isfinite(p) else None
    schema = dict.fromkeys(("task", "a", "b"), pl.String) | dict.fromkeys(NUMBERS, pl.Float64)
    return Table(entries, pl.DataFrame(comparisons, schema=schema), metric, chosen_by, test, tuple(notes))


def _duration_of(source: Settings, times: RunTimes, setting: object) -> Duration | None:
    """Return the mean modelled time of a setting's finished runs."""
    runs = source.frame.filter(pl.col("setting") == pl.lit(setting), pl.col("status") == "finished")
    return times.mean_duration(runs["run_id"].to_list())


def _time_ratio(a: dict[str, object], b: dict[str, object], durations: Durations) -> dict[str, object]:
    """Return the time of b over that of a with its interval; nothing where one is not known."""
    one, two = (durations.get((row["task"], row["kind"])) for row in (a, b))
    if one is None or two is None:
        return {}
    names = ("time_ratio", "time_low", "time_high")
    return {name: v if math.isfinite(v) else None for name, v in zip(names, two.over(one), strict=True)}


def time_note(model: CostModel | None, hours: Sequence[object], task: str | None) -> str:
    """Say where the times of a task's entries come from, or why there are none."""
    where = f"{short_text(task)}: " if task else ""
    if model is None:
        return f"{where}{NO_TIMES}"
    unknown = "" if None not in hours else " Some batch sizes were not timed; their steps are shown."
    return f"{where}{model.note}{unknown}"


def _comparison(a: dict[str, object], b: dict[str, object], metric: str, test: Test) -> dict[str, object]:
    one, two = (Sample(number(s["mean"]), number(s["std"]), int(number(s["n"]))) for s in (a, b))
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
    difference = both[test]
    return row | {
        "low": difference.low,
        "high": difference.high,
        "p_welch": both["welch"].p,
        "p_student": both["student"].p,
        "hedges_g": difference.hedges_g if math.isfinite(difference.hedges_g) else None,
        "p_equivalent": difference.p_equivalent(margin(one.mean, metric)),
    }


def _tasks(runs: Runs) -> list[str | None]:
    if not len(runs) or "task" not in runs.runs.columns:
        return [None]
    return [str(task) for task in dict.fromkeys(runs.runs["task"].to_list())]


def _check_test(test: str) -> None:
    if test not in ("welch", "student"):
        raise AnalysisError(f"making a table: test={test!r}; expected one of welch, student")

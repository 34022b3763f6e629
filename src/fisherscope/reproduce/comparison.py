"""Compare what the paper published with what runs reached."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from fisherscope.analysis import AnalysisError, settings_of
from fisherscope.analysis.data.run_measures import at_epoch
from fisherscope.analysis.data.settings import RunsLike
from fisherscope.analysis.tables.policy_kinds import kind_of
from fisherscope.reproduce.published_results import KINDS, PublishedResult, paper_results


@dataclass(frozen=True)
class Compared:
    """Hold a published result beside what runs reached.

    Args:
        what: "best of the grid", or a kind of Table 1.
        published: The paper's; None where it has none.
        same: What the published setting reached: "error ± deviation", per cent; empty if it has not finished.
        best: What the best setting of the kind reached, with its name.

    Example: see `compare`.
    """

    what: str
    published: PublishedResult | None
    same: str
    best: str


def compare(runs: RunsLike, task: str) -> list[Compared]:
    """Compare the published results of a task with finished runs, by final test error.

    Args:
        runs: From `load_runs`, or a directory.
        task: Name of the task.

    Returns:
        A row for the best of the grid and for each kind of Table 1 at learning rate 0.1.

    Raises:
        AnalysisError: There is no run, or none of this task.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope.reproduce import compare

        config = {"task": "mnist/resnet8", "batch_size": 16, "lr": 0.1, "epochs": 1, "seed": 0}
        with fs.open_run("runs/compared/one", config) as run:
            run.log_epoch(test_error=0.01)
        assert compare("runs/compared", "mnist/resnet8")[0].same == "1.00 (1 seed)"
        ```
    """
    source = settings_of(runs, task=task)
    finished = source.where(pl.col("status") == "finished")
    try:
        values = at_epoch(finished, "test/error")
    except AnalysisError:
        values = pl.DataFrame(schema={"run_id": pl.String, "value": pl.Float64})
    frame = finished.frame.join(values, on="run_id", how="inner")
    means = frame.group_by("setting", "fixed", "lr", maintain_order=True).agg(
        pl.col("value").mean(), pl.col("value").std().alias("std"), pl.len().alias("seeds")
    )
    by_what = {one.what: one for one in paper_results(task)}
    return [_row(what, by_what.get(what), means) for what in ("best of the grid", *KINDS)]


def _row(what: str, one: PublishedResult | None, means: pl.DataFrame) -> Compared:
    rows = [
        row
        for row in means.sort("value", maintain_order=True).iter_rows(named=True)
        if (row["fixed"] if what == "best of the grid" else _is_kind(row, what))
    ]
    same = next((row for row in rows if one is not None and row["setting"] == one.setting), None)
    best = f"{rows[0]['setting']} {_result(rows[0])}" if rows else ""
    return Compared(what, one, "" if same is None else _result(same), best)


def _is_kind(row: dict[str, object], kind: str) -> bool:
    at_rate = isinstance(row["lr"], float) and math.isclose(row["lr"], 0.1)
    return at_rate and kind_of(str(row["setting"]), bool(row["fixed"])) == kind


def _result(row: dict[str, object]) -> str:
    value, std, seeds = row["value"], row["std"], row["seeds"]
    spread = f" ± {100 * std:.2f}" if isinstance(std, float) and math.isfinite(std) else ""
    return f"{100 * float(str(value)):.2f}{spread} ({seeds} seed{'s' if seeds != 1 else ''})"


def comparison_rows(compared: list[Compared]) -> list[list[str]]:
    """Return the cells of the table *published | reached*.

    Args:
        compared: From `compare`.

    Returns:
        For each row: what, published setting, published error, the same setting here, the best here.

    Example:
        ```python
        from fisherscope.reproduce import Compared, comparison_rows

        rows = comparison_rows([Compared("best of the grid", None, "", "s16-lr0.1 1.00 (1 seed)")])
        assert rows == [["best of the grid", "–", "–", "–", "s16-lr0.1 1.00 (1 seed)"]]
        ```
    """
    rows = []
    for one in compared:
        paper = one.published
        said = ["–", "–"] if paper is None else [paper.setting, f"{paper.error:.2f} ± {paper.std:.2f}"]
        rows.append([one.what, *said, one.same or "–", one.best or "–"])
    return rows


HEAD = ["", "published setting", "published error (%)", "the same setting here", "best here"]

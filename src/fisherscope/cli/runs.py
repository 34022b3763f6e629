"""Run `fisherscope runs DIR`: list runs with their status and last measures."""

import json
import math
from pathlib import Path
from textwrap import fill
from typing import Annotated

import typer

from fisherscope.plain_text import one_line

COLUMNS = (
    "run_id",
    "status",
    "reason",
    "epoch",
    "val/error",
    "test/error",
    "fisher/cond_mean",
    "fisher/energy_sum",
)
REASON_WIDTH = 60
"""Characters per line of a reason."""
LONGEST_REASON = 1000
"""Characters of a reason that are shown; --json has all."""


def runs(
    directory: Annotated[Path, typer.Argument(help="Directory of runs.", metavar="DIR")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the runs below a directory: status, epochs, last errors and measures."""
    import polars as pl

    import fisherscope as fs

    loaded = fs.load_runs(directory)
    if not len(loaded) and not as_json:
        from fisherscope.analysis import settings_of

        settings_of(directory)  # raises an error that says what the directory holds instead
    reason = pl.col("run_id").replace_strict(loaded.dead, default=None, return_dtype=pl.String)
    table = loaded.runs.with_columns(reason.alias("dead")).with_columns(
        status=pl.when(pl.col("dead").is_null()).then(pl.col("status")).otherwise(pl.lit(fs.runs.DEAD)),
        reason=pl.coalesce("dead", "reason"),
    )
    if len(loaded.epochs):
        last = loaded.epochs.sort("epoch").group_by("run_id").last()
        table = table.join(last, on="run_id", how="left", suffix="_epoch")
    table = table.select([name for name in COLUMNS if name in table.columns]).sort("run_id")
    if as_json:
        rows = [{key: _json_number(value) for key, value in row.items()} for row in table.to_dicts()]
        print(json.dumps(rows, ensure_ascii=False, allow_nan=False))
        return
    _print_table(table.columns, table.rows())


def _json_number(value: object) -> object:
    """Write a number that JSON does not have as text: Infinity, -Infinity or NaN."""
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _print_table(columns: list[str], rows: list[tuple[object, ...]]) -> None:
    from fisherscope.plain_text import aligned_table

    head = [name.removeprefix("fisher/") for name in columns]
    print("\n".join(aligned_table(head, [[_cell(value) for value in row] for row in rows])))


def _cell(value: object) -> str:
    """Format a value of the table; a long reason takes several lines."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = one_line(str(value or ""))
    text = text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"
    return fill(text, REASON_WIDTH, break_long_words=False, break_on_hyphens=False)

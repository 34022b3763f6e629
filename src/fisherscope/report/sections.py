"""Turn results into what the page's sections show: recommendation, figures, settings, claims, Table 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import polars as pl

from fisherscope.analysis import AnalysisError, Claims, Landscape, Selection, Settings, Table
from fisherscope.analysis.claim_tests.verdicts import Verdict
from fisherscope.analysis.data.labels import shown_scale
from fisherscope.plain_text import duration
from fisherscope.report.chart_data import label
from fisherscope.report.html_text import json_script, number

VERDICTS: tuple[Verdict, ...] = ("supported", "contradicted", "inconclusive", "not testable")


class Cell(NamedTuple):
    """A cell of the grid of batch sizes and rates."""

    text: str = ""
    band: int | None = None
    """Colour, as in the plane; None where there is no final metric."""
    best: bool = False


def result_or_reason(make: Callable[[], Any]) -> Any:
    """Call `make` and return its result, or the text of the error that says why there is none."""
    try:
        return make()
    except AnalysisError as error:
        return str(error)


def recommendation(selection: Selection | str) -> dict[str, Any]:
    """Return `head, lines, notes`: what to use, or why nothing can be recommended."""
    if isinstance(selection, str):
        return {"head": "No recommendation", "lines": [selection], "notes": []}
    head, *rest = str(selection).splitlines()
    lines = [line for line in rest if line not in selection.notes]
    return {"head": head, "lines": lines, "notes": [line for line in rest if line in selection.notes]}


def tiles(source: Settings, landscape: Landscape | str, claims: Claims | str) -> list[tuple[str, str]]:
    """Return a few figures at a glance, each with its words."""
    states = Counter(source.frame["status"].to_list())
    words = ", ".join(f"{count} {status}" for status, count in states.most_common())
    figures = [(f"{len(source.frame)}", f"runs: {words}"), _setting_count(source)]
    if not isinstance(landscape, str) and len(landscape.best):
        best = landscape.best.row(0, named=True)
        value = number(best["metric"] * shown_scale(landscape.metric), 3)
        figures.append((value, f"{label(landscape.metric)}, best: {best['setting']}"))
        inside = f"{len(landscape.region)} of {len(landscape.surface_settings)}"
        figures.append((inside, "settings within the margin of the best"))
    if not isinstance(claims, str):
        verdicts = Counter(claim.verdict for claim in claims.claims)
        words = ", ".join(f"{verdicts[v]} {v}" for v in VERDICTS[1:] if verdicts[v])
        figures.append((f"{verdicts['supported']} of {len(claims.claims)}", f"claims supported; {words}"))
    return figures


def _setting_count(source: Settings) -> tuple[str, str]:
    frame = source.frame
    fixed = frame.filter(pl.col("fixed"))["setting"].n_unique()
    moving = frame.filter(~pl.col("fixed"))["setting"].n_unique()
    schedules = f", {moving} schedule{'' if moving == 1 else 's'}" if moving else ""
    seeds = frame["seed"].n_unique()
    return str(fixed + moving), f"settings: {fixed} fixed{schedules}; {seeds} seed{'' if seeds == 1 else 's'}"


def landscape_section(landscape: Landscape | str, data: dict[str, Any]) -> dict[str, Any] | str:
    """Return what the charts' sections show, or in words why there are none.

    Args:
        landscape: The landscape, or the text of an error.
        data: What the charts draw (`chart_data`); empty with an error.

    Returns:
        `x, y, metric, sizes, grid, head, settings, words, data`.
    """
    if isinstance(landscape, str):
        return landscape
    metrics = data["metrics"]
    sizes, rows = _grid(landscape, metrics[0]["levels"])
    head, settings = _settings(landscape, metrics)
    return {
        "x": label(landscape.x), "y": label(landscape.y), "metric": label(landscape.metric),
        "sizes": sizes, "grid": rows, "head": head, "settings": settings,
        "words": str(landscape), "data": json_script(data, "data"),
    }  # fmt: skip


def _grid(landscape: Landscape, levels: list[float | None]) -> tuple[list[int], list[tuple[str, list[Cell]]]]:
    """Return the batch sizes, and by learning rate, largest first, the final metric at each size."""
    rows = landscape.points.filter(
        pl.col("fixed") & pl.col("batch_size").is_not_null() & pl.col("lr").is_not_null()
    )
    sizes, rates = (sorted(set(rows[c].to_list())) for c in ("batch_size", "lr"))
    at = {(row["lr"], row["batch_size"]): row for row in rows.iter_rows(named=True)}
    return sizes, [
        (f"{lr:g}", [_cell(at.get((lr, size)), landscape, levels) for size in sizes])
        for lr in reversed(rates)
    ]


def _cell(row: dict[str, Any] | None, landscape: Landscape, levels: list[float | None]) -> Cell:
    if row is None:
        return Cell()
    if row["diverged"] or row["metric"] is None:
        return Cell("diverged" if row["diverged"] else "…")
    inner = [level for level in levels[1:-1] if level is not None]
    above = sum(row["metric"] > level for level in inner)
    band = above if landscape.smaller_is_better else len(inner) - above
    return Cell(number(shown_scale(landscape.metric) * row["metric"], 3), band, bool(row["in_region"]))


def _settings(landscape: Landscape, metrics: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table of settings, best first."""
    scale = shown_scale(landscape.metric)
    ordered = landscape.points.sort("metric", descending=not landscape.smaller_is_better, nulls_last=True)
    axes = [label(name).partition(",")[0] for name in (landscape.x, landscape.y)]
    rows = []
    for row in ordered.iter_rows(named=True):
        finals = [m["finals"].get(row["setting"]) for m in metrics]
        state = "diverged" if row["diverged"] else "" if row["metric"] is not None else "not finished"
        rows.append([
            row["setting"], str(row["seeds"]),
            *(number(_times(v, m["scale"])) for v, m in zip(finals, metrics, strict=True)),
            number(_times(row["metric_std"], scale), 2), number(row["x"]), number(row["y"]), state,
        ])  # fmt: skip
    return ["setting", "seeds", *(m["label"] for m in metrics), "± seeds", *axes, ""], rows


def claim_rows(claims: Claims | str) -> list[dict[str, str]] | str:
    """Return each of the paper's claims with its verdict and weakest figure, or why none was tested."""
    if isinstance(claims, str):
        return claims
    rows = []
    for claim in claims.claims:
        part = claim.weakest
        rows.append({
            "number": str(claim.number), "text": claim.text, "verdict": claim.verdict,
            "figure": f"{part.name}: {number(part.estimate, 3)}" if part else "–",
            "interval": f"{number(part.low, 3)} to {number(part.high, 3)}" if part else "–",
            "n": str(part.n) if part else "–", "p": number(claim.p_corrected, 2),
        })  # fmt: skip
    return rows


def table_one(table: Table | str) -> dict[str, Any] | str:
    """Return the best fixed size and the best schedules with their comparisons, or why there is no table."""
    if isinstance(table, str):
        return table
    scale = shown_scale(table.metric)
    entries = [
        [row["kind"], row["setting"], number(scale * row["mean"]), number(_times(row["std"], scale), 2),
         str(row["n"]), _time_text(row["hours"], row["steps"])]
        for row in table.entries.iter_rows(named=True)
    ]  # fmt: skip
    comparisons = [
        [f"{row['a']} against {row['b']}", number(scale * row["difference"], 3),
         f"{number(_times(row['low'], scale), 3)} to {number(_times(row['high'], scale), 3)}",
         number(row["p_welch"], 2), number(row["p_holm"], 2), number(row["p_equivalent"], 2)]
        for row in table.comparisons.iter_rows(named=True)
    ]  # fmt: skip
    return {
        "head": ["", "setting", label(table.metric), "±", "n", "time a run"], "entries": entries,
        "comparisons": comparisons, "chosen_by": label(table.chosen_by), "metric": label(table.metric),
        "notes": table.notes,
    }  # fmt: skip


def _times(value: float | None, scale: float) -> float | None:
    return None if value is None else scale * value


def _time_text(hours: float | None, steps: float | None) -> str:
    """Format modelled hours; steps where the seconds of a step are not known."""
    if hours is None:
        return "–" if steps is None else f"{steps:,.0f} steps"
    return duration(3600 * hours)

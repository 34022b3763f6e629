"""The page's parts in words and tables: recommendation, settings, claims, Table 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import polars as pl

from fisherscope.analysis import AnalysisError, Claims, Landscape, Selection, Settings, Table
from fisherscope.analysis.claim_tests.verdicts import Verdict
from fisherscope.analysis.data.labels import shown_scale
from fisherscope.report.chart_data import label
from fisherscope.report.html_text import number, safe, table

WORTH: tuple[Verdict, ...] = ("supported", "contradicted", "inconclusive", "not testable")


def attempted(make: Callable[[], Any]) -> Any:
    """What `make` gives, or the text of why it cannot."""
    try:
        return make()
    except AnalysisError as error:
        return str(error)


def heading(title: str, words: str = "") -> str:
    """A section's title, and what it shows."""
    return f"<h2>{safe(title)}</h2>" + (f"<p>{words}</p>" if words else "")


def recommendation(found: Selection | str) -> str:
    """What to use, first; or why nothing can be recommended."""
    if isinstance(found, str):
        return f'<section class="card lead"><strong>No recommendation</strong><p>{safe(found)}</p></section>'
    head, *rest = str(found).splitlines()
    notes = [line for line in rest if line in found.notes]
    said = [line for line in rest if line not in found.notes]
    return (
        f'<section class="card lead"><strong>{safe(head)}</strong>'
        + "".join(f"<p>{safe(line)}</p>" for line in said)
        + "".join(f'<p class="note">{safe(line)}</p>' for line in notes)
        + "</section>"
    )


def tiles(source: Settings, found: Landscape | str, tested: Claims | str) -> str:
    """A few figures at a glance."""
    frame = source.frame
    states = Counter(frame["status"].to_list())
    told = ", ".join(f"{count} {status}" for status, count in states.most_common())
    shown = [(f"{len(frame)}", f"runs: {told}"), _counted(source)]
    if not isinstance(found, str) and len(found.best):
        best = found.best.row(0, named=True)
        shown.append(
            (
                number(best["metric"] * shown_scale(found.metric), 3),
                f"{label(found.metric)}, best: {best['setting']}",
            )
        )
        shown.append(
            (f"{len(found.region)} of {len(found.mapped)}", "settings within the margin of the best")
        )
    if not isinstance(tested, str):
        verdicts = Counter(claim.verdict for claim in tested.claims)
        told = ", ".join(f"{verdicts[v]} {v}" for v in WORTH[1:] if verdicts[v])
        shown.append((f"{verdicts['supported']} of {len(tested.claims)}", f"claims supported; {told}"))
    return '<div class="tiles">' + "".join(
        f'<div class="card"><b>{safe(value)}</b><span>{safe(words)}</span></div>' for value, words in shown
    ) + "</div>"  # fmt: skip


def _counted(source: Settings) -> tuple[str, str]:
    frame = source.frame
    fixed = frame.filter(pl.col("fixed"))["setting"].n_unique()
    moving = frame.filter(~pl.col("fixed"))["setting"].n_unique()
    schedules = f", {moving} schedule{'' if moving == 1 else 's'}" if moving else ""
    seeds = frame["seed"].n_unique()
    return str(fixed + moving), f"settings: {fixed} fixed{schedules}; {seeds} seed{'' if seeds == 1 else 's'}"


def grid(found: Landscape, levels: list[float | None]) -> str:
    """The final metric by batch size and rate, coloured as in the plane."""
    rows = found.points.filter(
        pl.col("fixed") & pl.col("batch_size").is_not_null() & pl.col("lr").is_not_null()
    )
    sizes, rates = (sorted(set(rows[c].to_list())) for c in ("batch_size", "lr"))
    cells = {(row["lr"], row["batch_size"]): row for row in rows.iter_rows(named=True)}
    scale = shown_scale(found.metric)
    body = ""
    for lr in reversed(rates):
        body += f"<tr><td>{lr:g}</td>" + "".join(
            _cell(cells.get((lr, size)), scale, levels, found.smaller_is_better) for size in sizes
        ) + "</tr>"  # fmt: skip
    head = "<th scope=col>rate \\ batch</th>" + "".join(f"<th scope=col>{size}</th>" for size in sizes)
    inside = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="wide"><table class="grid-table">{inside}</table></div>'


def _cell(row: dict[str, Any] | None, scale: float, levels: list[float | None], smaller: bool) -> str:
    if row is None:
        return "<td></td>"
    if row["diverged"]:
        return "<td>diverged</td>"
    if row["metric"] is None:
        return "<td>…</td>"
    inner = [level for level in levels[1:-1] if level is not None]
    band = sum(row["metric"] > level for level in inner)
    band = band if smaller else len(inner) - band
    text = number(scale * row["metric"], 3)
    return f'<td class="b{band}">{f"<strong>{text}</strong>" if row["in_region"] else text}</td>'


def settings_table(found: Landscape, metrics: list[dict[str, Any]]) -> str:
    """Every setting, best first; the charts point at a row that the pointer is on."""
    scale = shown_scale(found.metric)
    ordered = found.points.sort("metric", descending=not found.smaller_is_better, nulls_last=True)
    names = [
        "setting",
        "seeds",
        *(m["label"] for m in metrics),
        "± seeds",
        *(label(n).partition(",")[0] for n in (found.x, found.y)),
        "",
    ]
    rows = []
    for row in ordered.iter_rows(named=True):
        finals = [m["finals"].get(row["setting"]) for m in metrics]
        state = "diverged" if row["diverged"] else "" if row["metric"] is not None else "not finished"
        std = None if row["metric_std"] is None else scale * row["metric_std"]
        rows.append([
            safe(row["setting"]), str(row["seeds"]),
            *(number(None if v is None else m["scale"] * v) for v, m in zip(finals, metrics, strict=True)),
            number(std, 2), number(row["x"]), number(row["y"]), state,
        ])  # fmt: skip
    shown = table(names, rows, names=True)
    return (
        shown
        if len(rows) <= 15
        else f"<details open><summary>{len(rows)} settings</summary>{shown}</details>"
    )


def claims_table(tested: Claims | str) -> str:
    """The paper's claims with verdicts; every figure that a claim rests on folds out."""
    if isinstance(tested, str):
        return f"<p>{safe(tested)}</p>"
    rows = []
    for claim in tested.claims:
        part = claim.weakest
        kind = claim.verdict.replace(" ", "-")
        interval = f"{number(part.low, 3)} to {number(part.high, 3)}" if part else "–"
        rows.append([
            str(claim.number), safe(claim.text), f'<span class="verdict {kind}">{claim.verdict}</span>',
            f"{safe(part.name)}: {number(part.estimate, 3)}" if part else "–", interval,
            str(part.n) if part else "–", number(claim.p_corrected, 2),
        ])  # fmt: skip
    head = ["", "claim", "verdict", "figure", "95 % interval", "n", "p (Holm)"]
    whole = "".join(f"<pre>{safe(claim)}</pre>" for claim in tested.claims)
    return (
        table(head, rows, kind="claims")
        + f"<details><summary>every figure behind the verdicts</summary>{whole}</details>"
    )


def table_one(made: Table | str) -> str:
    """The best fixed size against the best schedules."""
    if isinstance(made, str):
        return f"<p>{safe(made)}</p>"
    scale = shown_scale(made.metric)
    entries = [
        [safe(row["kind"]), safe(row["setting"]), number(scale * row["mean"]),
         number(None if row["std"] is None else scale * row["std"], 2), str(row["n"]), _spent(row["hours"])]
        for row in made.entries.iter_rows(named=True)
    ]  # fmt: skip
    compared = [
        [safe(f"{row['a']} against {row['b']}"), number(scale * row["difference"], 3),
         f"{number(_times(row['low'], scale), 3)} to {number(_times(row['high'], scale), 3)}",
         number(row["p_welch"], 2), number(row["p_holm"], 2), number(row["p_equivalent"], 2)]
        for row in made.comparisons.iter_rows(named=True)
    ]  # fmt: skip
    text = table(["", "setting", label(made.metric), "±", "n", "time a run"], entries)
    if compared:
        text += table(
            ["comparison", "difference", "95 % interval", "p (Welch)", "p (Holm)", "p (equivalent)"], compared
        )
    notes = "".join(f"<p>{safe(note)}</p>" for note in made.notes)
    return (
        f"{text}<p>Picked by {safe(label(made.chosen_by))}, shown by {safe(label(made.metric))}.</p>{notes}"
    )


def _times(value: float | None, scale: float) -> float | None:
    return None if value is None else scale * value


def _spent(hours: float | None) -> str:
    if hours is None:
        return "–"
    return f"{hours:.2g} h" if hours >= 0.1 else f"{3600 * hours:.3g} s"

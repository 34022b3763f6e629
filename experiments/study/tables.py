"""The tables of docs/study.md, and where the page takes them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from experiments.study.candidates import CANDIDATES

FOUND_ON = ("digits-resnet8", "digits-mlp")
"""Where the first lead was results: shown, and not counted in the choice of the measure."""
MEANS = ("arithmetic", "geometric")
MARKS = {"supported": "yes", "contradicted": "NO", "inconclusive": "·", "not testable": "–"}


def sweep_table(results: dict[str, Any]) -> str:
    """List what was trained."""
    head = [
        "sweep",
        "settings",
        "seeds",
        "finished",
        "diverged",
        "chosen by validation",
        "its test error",
        "statistically tied",
    ]
    rows = [
        [
            r["sweep"], r["settings"], r["seeds"], r["finished"], r["diverged"], r["recommended"],
            f"{r['test_error']:.2f}" + (f" ± {r['test_std']:.2f}" if known(r["test_std"]) else "") + " %",
            r["indistinguishable"],
        ]
        for r in results["sweeps"]
    ]  # fmt: skip
    return markdown(head, rows)


def claim_table(results: dict[str, Any]) -> str:
    """Write a row a claim, a column a sweep."""
    names = [r["sweep"] for r in results["sweeps"]]
    verdicts = {(r["number"], r["sweep"]): MARKS[r["verdict"]] for r in results["claims"]}
    texts = {r["number"]: r["claim"] for r in results["claims"]}
    rows = []
    for number, text in texts.items():
        marks = [verdicts.get((number, name), "–") for name in names]
        tally = f"{marks.count('yes')} / {marks.count('NO')} of {sum(m != '–' for m in marks)}"
        rows.append([f"{number}. {text}", *marks, tally])
    return markdown(["claim", *names, "yes / no"], rows)


def figure_table(results: dict[str, Any]) -> str:
    """List the deciding figure of each claim on each sweep."""
    rows = [
        [
            r["number"],
            r["sweep"],
            r["verdict"],
            r["figure"] or r["reason"],
            interval(r),
            r["n"] or "",
            p_value(r["p_corrected"]),
        ]
        for r in sorted(results["claims"], key=lambda r: r["number"])
        if r["verdict"] != "not testable"
    ]
    return markdown(
        ["claim", "sweep", "verdict", "its weakest figure", "estimate (95 %)", "n", "p (Holm)"], rows
    )


def candidate_table(results: dict[str, Any], key: str, form: str = "{:+.2f}") -> str:
    """Write a row a measure, a column a sweep; the mean of the confirming ones last."""
    names = [r["sweep"] for r in results["sweeps"]]
    values = {(r["measure"], r["sweep"]): r.get(key) for r in results["candidates"]}
    rows = []
    for measure in CANDIDATES:
        cells = [values.get((measure, name)) for name in names]
        confirming = [c for c, n in zip(cells, names, strict=True) if n not in FOUND_ON and known(c)]
        mean = form.format(np.mean(confirming)) if confirming else "–"
        rows.append([measure, *(form.format(c) if known(c) else "–" for c in cells), mean])
    return markdown(["measure", *names, "mean of the confirming"], rows)


def gain_table(results: dict[str, Any]) -> str:
    """List what (C̄, L) add to the forecast, by sweep."""
    rows = [
        [
            r["sweep"],
            r["without"],
            f"{r['gain']:+.3f}" if known(r["gain"]) else "–",
            span(r["low"], r["high"]),
        ]
        for r in results["backtest"]["gains"]
    ]
    return markdown(["sweep", "(C̄, L) added to", "gain in ρ", "95 %"], rows)


def regret_table(results: dict[str, Any]) -> str:
    """Regret of every way of choosing, by budget."""
    rows = [
        [
            r["rival"],
            f"{r['budget']:.0%}",
            f"{100 * r['regret']:.2f}",
            f"{r['within']:.0%}",
            f"{r['epochs']:.0%}",
        ]
        for r in results["backtest"]["summary"]
        if known(r["regret"])
    ]
    return markdown(
        ["way of choosing", "budget", "mean regret (points)", "within the margin", "epochs spent"], rows
    )


def interval_table(results: dict[str, Any]) -> str:
    """How far measuring one step in fifty is off."""
    rows = [
        [
            r["setting"], r["steps"], r["measured"],
            *(f"{r[f'{mean}_bias']:+.2f} ± {r[f'{mean}_spread']:.2f}" for mean in MEANS),
        ]
        for r in results["interval"]
    ]  # fmt: skip
    return markdown(
        ["setting", "steps", "measured at 1 in 50", "log C̄, arithmetic", "log C̄, geometric"], rows
    )


def semantics_table(results: dict[str, Any]) -> str:
    """Path against per-loss columns."""
    rows = [
        [
            r["epoch"], f"{r['trace_ratio']:.2f}", f"{math.exp(r['log_cond_ratio']):.2f}",
            f"{r['log_cond_spread']:.2f}", f"{r['log_eigenvalue_correlation']:.3f}",
            f"{r['norm_correlation']:.3f}",
        ]
        for r in results["semantics"]
    ]  # fmt: skip
    head = [
        "after epochs",
        "trace, path / per-loss",
        "c, path / per-loss (geometric mean)",
        "spread of log c",
        "correlation of log eigenvalues",
        "of log ‖g_i‖²",
    ]
    return markdown(head, rows)


def fitted_table(results: dict[str, Any]) -> str:
    """How c, c of the cosines and the spread of lengths go with the batch size."""
    rows = [
        [
            r["task"], r["lr"], f"{r['sizes'][0]} to {r['sizes'][-1]}",
            *(f"{r[key][0]:.2f} to {r[key][-1]:.2f} ({r['tau_' + key]:+.2f})" for key in FITTED),
        ]
        for r in results["fitted"]
    ]  # fmt: skip
    head = [
        "task",
        "α",
        "|B|",
        "log10 c (τ)",
        "log10 of longest over shortest (τ)",
        "log10 c of the cosines (τ)",
    ]
    return markdown(head, rows)


FITTED = ("log_cond", "log_lengths", "log_cond_cosines")


def transfer_table(results: dict[str, Any]) -> str:
    """Write the share within the margin and the median regret, by what is carried over to a sweep."""
    head = ["carried over", "pairs of sweeps", "within the margin", "median regret (points)"]
    rows = []
    for kind, carried in (("setting", "(|B|, α) of the best"), ("position", "its final (C̄_K, L_K)")):
        pairs = results["transfer"]
        regrets = np.array([r[kind] for r in pairs])
        within = np.mean(regrets <= [r["margin"] for r in pairs])
        rows.append([carried, len(pairs), f"{within:.0%}", f"{100 * np.median(regrets):.2f}"])
    chance = np.mean([r["random_within"] for r in results["transfer"]])
    rows.append(["nothing: any setting of the grid", len(results["transfer"]), f"{chance:.0%}", ""])
    return markdown(head, rows)


def headline(results: dict[str, Any]) -> str:
    """Three sentences for the README."""
    gains = [r for r in results["backtest"]["gains"] if r["without"] == "metric+grid"]
    above = sum(known(r["low"]) and r["low"] > 0 for r in gains)
    below = sum(known(r["high"]) and r["high"] < 0 for r in gains)
    rank = [r for r in results["candidates"] if r["measure"] == "effective rank"]
    paper = [r for r in results["candidates"] if r["measure"] == "arithmetic mean of c"]
    normed = [r["tau_batch"] for r in paper if not r["sweep"].endswith("-mlp")]
    plain = [r["tau_batch"] for r in paper if r["sweep"].endswith("-mlp")]
    played = [r for r in results["backtest"]["summary"] if r["budget"] == 0.2]
    best, ways = min(played, key=lambda r: r["regret"]), len(played)
    return "\n".join(
        (
            f"- The paper's C̄ grows with the batch size on the {len(normed)} sweeps with BatchNorm "
            f"(Kendall's τ {min(normed):.2f} to {max(normed):.2f}) and not on the {len(plain)} of MLPs "
            f"({min(plain):.2f} to {max(plain):.2f}). The effective rank does on all "
            f"({min(r['tau_batch'] for r in rank):.2f} to {max(r['tau_batch'] for r in rank):.2f}).",
            "- Adding C̄ and L to a forecast of the final error from early validation error, batch size and "
            f"learning rate improved it significantly on {above} of {len(gains)} sweeps and worsened it on "
            f"{below}.",
            f"- Within 20 % of a grid's epochs, {best['rival']} ends {100 * best['regret']:.2f} points above "
            f"the grid's best error on average, the smallest regret of the {ways} methods compared.",
        )
    )


BLOCKS: dict[str, Callable[[dict[str, Any]], str]] = {
    "sweeps": sweep_table,
    "claims": claim_table,
    "figures of claims": figure_table,
    "gain": lambda results: candidate_table(results, "gain"),
    "stability": lambda results: candidate_table(results, "stability", "{:.2f}"),
    "beyond": lambda results: candidate_table(results, "stability_beyond_grid", "{:.2f}"),
    "tau batch": lambda results: candidate_table(results, "tau_batch"),
    "tau lr": lambda results: candidate_table(results, "tau_lr"),
    "gains": gain_table,
    "regret": regret_table,
    "interval": interval_table,
    "semantics": semantics_table,
    "transfer": transfer_table,
    "fitted": fitted_table,
}


def rewrite(page: Path, blocks: dict[str, str]) -> None:
    """Put the blocks where the page marks them."""
    text = page.read_text()
    for name, block in blocks.items():
        pattern = rf"(<!-- begin: {re.escape(name)} -->\n).*?(\n?<!-- end -->)"
        text = re.sub(
            pattern, lambda match, block=block: f"{match[1]}\n{block}\n{match[2]}", text, flags=re.S
        )
    page.write_text(text)


def markdown(head: list[str], rows: list[list[Any]]) -> str:
    """Write a table in Markdown."""
    whole = [head, ["---"] * len(head), *rows]
    lines = ["| " + " | ".join(str(cell).replace("|", r"\|") for cell in row) + " |" for row in whole]
    return "\n".join(lines)


def interval(row: dict[str, Any]) -> str:
    """Estimate with its interval."""
    if not known(row["estimate"]):
        return ""
    return f"{row['estimate']:.2f} {span(row['low'], row['high'])}".strip()


def span(low: float | None, high: float | None) -> str:
    """Write an interval, empty where there is none."""
    return f"({low:.2f} to {high:.2f})" if known(low) and known(high) else ""


def p_value(p: float | None) -> str:
    """To two digits."""
    return f"{p:.2g}" if known(p) else ""


def known(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)

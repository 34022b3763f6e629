"""The page of what is covered, from the result."""

# ruff: noqa: E501  (sentences and tables)

from __future__ import annotations

from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"
VERDICTS = {
    "exact": "the relative error is below 1e-9 (or that of float32, for a model that computes in float32 by itself)",
    "partial": "refused; with `strict=False` the parameters left out are named, and the rest is exact",
    "refused": "a `GramError`, and no matrix",
    "WRONG": "a matrix that is not the oracle's, and no word of it",
    "coupled": "the samples act on each other, so that a sample alone is no oracle",
    "error": "another error",
    "–": "not run",
}
HEAD = """# Coverage

Which families of models are measured, and is the matrix right? Small models with random weights, in float64 and in training mode
without dropout (mixtures of experts in float32, as their product of groups needs), BatchNorm frozen, 3 or 4 samples a batch, padded to different lengths where the family knows padding. The oracle
is a loop over the samples, each in a batch of its own, and shares nothing with the engine. Made by `python -m experiments.coverage`
(torch {torch}, transformers {transformers}).

"""
GROUPING = """
*Rows* says how it is known whose each row is, for the call of which it is known worst: **verified**, read on the step's own graph and as
the probe had it; **derived**, read there or seen by a pass in another order, and moved; **unverified**, by the probe alone. The sum of the
columns is checked in all of them. *Covered* is the share of the parameters that receive a gradient, with `strict=False`. A number in
brackets is the relative error, where it is above 1e-12.
"""


def write(found: dict[str, Any]) -> None:
    """Write `docs/coverage.md`."""
    PAGE.write_text(text(found))


def text(found: dict[str, Any]) -> str:
    """Return the page."""
    rows = found["rows"]
    lines = [HEAD.format(**found["versions"]), "| | 0.1 | now |\n|---|---|---|\n"]
    verdicts = {
        name: [row.get(engine, {}).get("verdict", "–") for engine in ("0.1", "now")]
        for name, row in rows.items()
    }
    for verdict, meaning in VERDICTS.items():
        counts = [sum(pair[place] == verdict for pair in verdicts.values()) for place in (0, 1)]
        if any(counts):
            lines.append(f"| {verdict}: {meaning} | {counts[0]} | {counts[1]} |\n")
    left = [sum(not neutral(row.get(engine, {})) for row in rows.values()) for engine in ("0.1", "now")]
    lines.append(
        f"| a measured step changes a gradient, a buffer or the random state | {left[0]} | {left[1]} |\n"
    )
    lines.append(GROUPING)
    for group in dict.fromkeys(row["group"] for row in rows.values()):
        lines.append(
            f"\n## {group[0].upper() + group[1:]}\n\n| family | 0.1 | now | rows | covered |\n|---|---|---|---|---|\n"
        )
        lines += [line(name, row) for name, row in rows.items() if row["group"] == group]
    reasons = [
        f"| {name} | {row['now']['message'].removeprefix('Measuring the Gram matrix: ').replace('|', chr(92) + '|')} … |\n"
        for name, row in rows.items() if row.get("now", {}).get("verdict") in {"partial", "refused"}
    ]  # fmt: skip
    if reasons:
        lines += [
            "\n## What is said where something is left out { #messages }\n\n| family | beginning of the message |\n|---|---|\n",
            *reasons,
        ]
    return "".join(lines)


def line(name: str, row: dict[str, Any]) -> str:
    """Return a family's row."""
    now = row.get("now", {})
    covered = now.get("covered", 0.0 if now.get("verdict") == "refused" else None)
    share = (
        "" if covered is None else f"{100 * covered:.0f} %" if covered in {0, 1} else f"{100 * covered:.1f} %"
    )
    cells = [name, cell(row.get("0.1", {})), cell(now), now.get("grouping") or "", share]
    return f"| {' | '.join(cells)} |\n"


def cell(row: dict[str, Any]) -> str:
    """Return a verdict, and its error if there is one."""
    mark = "" if neutral(row) else ", step changed"
    error = f" ({row['error']:.0e})" if row.get("error") is not None and row.get("error", 0) > 1e-12 else ""
    return row.get("verdict", "–") + error + mark


def neutral(row: dict[str, Any]) -> bool:
    """Whether a measured step is not known to differ from an unmeasured one."""
    return row.get("neutral", "yes") == "yes" or row["neutral"].startswith("not compared")

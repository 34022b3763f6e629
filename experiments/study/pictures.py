"""The pictures of docs/study.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fisherscope.figures import FIGURES
from fisherscope.figures.style import CATEGORIES, INK, SOFT, note, panels, paper_style
from fisherscope.runs.reader import Runs

DPI = 110
SHOWN = {
    "successive halving": "successive halving",
    "hyperband": "hyperband",
    "best early metric": "best early error",
    "train_loss": "early training loss",
    "metric+grid": "early error, |B|, α",
    "metric+grid+measures": "… with C̄ and L",
    "random": "random",
}
"""Ways of choosing that the picture has, in this order of colours; the table has all."""
MEASURES = {
    "arithmetic mean of c": "C̄ (the paper's mean)",
    "geometric mean of c": "C̄, geometric",
    "arithmetic, σ cut at 1e-3 σ_max": "C̄, σ cut at 1e-3",
    "geometric, 99 % of the energy": "C̄, 99 % of energy",
    "effective rank": "effective rank",
    "noise scale": "noise scale",
}
PAPER = {
    "mnist-mlp": ("1a", "1b", "1c", "1d", "2", "4", "5", "6", "7"),
    "mnist-resnet8": ("1a", "1b", "1c", "2", "3", "4", "6"),
}
"""The paper's figures on MNIST, as far as a sweep has what they show."""


def draw(results: dict[str, Any], sweeps: dict[str, Runs], folder: Path) -> None:
    """Write every picture of the page.

    Args:
        results: What `experiments.study` results.
        sweeps: Its runs.
        folder: Where the files go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with paper_style():
        written(choosing(results), folder / "choosing.png")
        written(measures(results), folder / "measures.png")
        for name, numbers in PAPER.items():
            if name in sweeps:
                for number in numbers:
                    written(FIGURES[number](sweeps[name]), folder / f"{name}-{number}.png")


def written(figure: Figure, path: Path) -> None:
    """Save a picture in the page's size."""
    figure.savefig(path, dpi=DPI)


def choosing(results: dict[str, Any]) -> Figure:
    """Draw what (C̄, L) add to a forecast, and what each method of choosing loses."""
    figure, (left, right) = panels(1, 2, (5.4, 4.2))
    _gains(left, results["backtest"]["gains"])
    _regrets(right, results["backtest"]["summary"])
    settings = [r["settings"] for r in results["sweeps"]]
    words = f"{len(settings)} sweeps of {min(settings)} to {max(settings)} settings; intervals are 95 %."
    note(figure, (words, "Points are percent of validation error."))
    return figure


def _gains(axes: Axes, gains: list[dict[str, Any]]) -> None:
    rows = [r for r in gains if r["without"] == "metric+grid" and r["gain"] is not None]
    for place, row in enumerate(reversed(rows)):
        low, high = (row["gain"] if row[k] is None else row[k] for k in ("low", "high"))
        colour = CATEGORIES[2] if low > 0 else CATEGORIES[1] if high < 0 else SOFT
        axes.plot([low, high], [place, place], color=colour, lw=2)
        axes.plot(row["gain"], place, "o", color=colour)
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_yticks(range(len(rows)), [r["sweep"] for r in reversed(rows)])
    axes.set(xlabel="gain in Spearman's ρ", title="(C̄, L) added to early error, |B|, α")


def _regrets(axes: Axes, summary: list[dict[str, Any]]) -> None:
    for (rival, label), colour in zip(SHOWN.items(), CATEGORIES, strict=True):
        rows = sorted((r for r in summary if r["rival"] == rival), key=lambda r: r["budget"])
        shares, points = [100 * r["budget"] for r in rows], [100 * r["regret"] for r in rows]
        axes.plot(shares, points, "o-", color=colour, label=label)
    axes.set(
        xlabel="budget, % of one seed's epochs", ylabel="mean regret (points)", title="Choosing in a budget"
    )
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8.5)


def measures(results: dict[str, Any]) -> Figure:
    """How each measure goes with the batch size, and how early its ranks are those of the end, by sweep."""
    figure, axes = panels(1, 2, (5.4, 3.8))
    titles = (("tau_batch", "Kendall's τ with |B| at fixed α"), ("stability", "ρ of early and final ranks"))
    for panel, (key, title) in zip(axes, titles, strict=True):
        for normed, marker, colour in ((True, "o", CATEGORIES[0]), (False, "D", CATEGORIES[1])):
            rows = [r for r in results["candidates"] if r["sweep"].endswith("-mlp") is not normed]
            _marks(panel, rows, key, 0.12 if normed else -0.12, marker=marker, color=colour,
                   label="BatchNorm" if normed else "MLP")  # fmt: skip
        panel.set_yticks(range(len(MEASURES)), list(reversed(MEASURES.values())))
        panel.axvline(0, color=INK, lw=0.8)
        panel.set(title=title, xlim=(-1.08, 1.08))
    axes[0].legend(loc="lower left")
    axes[1].set_yticklabels([])
    note(figure, ("One mark a sweep.",))
    return figure


def _marks(axes: Axes, rows: list[dict[str, Any]], key: str, shift: float, **look: Any) -> None:
    """Draw a mark a row, on its measure's line."""
    lines = {name: place for place, name in enumerate(reversed(MEASURES))}
    known = [(r[key], lines[r["measure"]] + shift) for r in rows
             if r["measure"] in lines and r.get(key) is not None and np.isfinite(r[key])]  # fmt: skip
    axes.plot(*zip(*known, strict=True), linestyle="none", alpha=0.75, **look)

"""One style for every figure, with colours for colour-blind readers, and saving."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure

from fisherscope.runs.atomic_io import replace

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "mathtext.fontset": "dejavusans",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#4a5260",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.7,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "xtick.color": "#4a5260",
    "ytick.color": "#4a5260",
    "legend.fontsize": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # text stays text in the PDF
    "svg.hashsalt": "fisherscope",  # the same figure is the same file
}
INK, SOFT = "#1b1f24", "#6b7480"
REGION = "#d55e00"
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Okabe and Ito's colours, distinguishable in every common kind of colour blindness."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
ORDERED = LinearSegmentedColormap.from_list("ordered", mpl.colormaps["plasma"](np.linspace(0.0, 0.86, 256)))
"""For a batch size or a learning rate: dark is small."""

SURFACE = LinearSegmentedColormap.from_list("surface", ["#2a6a9a", "#8dbad6", "#dbe8ec", "#f3e2bf"])
"""For a metric behind points: dark is good."""

FORMATS = ("png", "pdf", "svg")
NOTE_WIDTH = 15.5
"""Characters of a note to the inch."""


@contextmanager
def paper_style() -> Iterator[None]:
    """Apply the style to everything that is drawn inside the block."""
    with mpl.rc_context(RC):
        yield


def panels(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels that do not overlap.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        size: Width and height of a panel, inches.

    Returns:
        The figure and its panels, row by row.
    """
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr,call-arg]
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.ravel())


def colour_ramp(count: int) -> list[Any]:
    """Return colours of an ordered quantity, dark to light."""
    return [ORDERED(x) for x in np.linspace(0.0, 1.0, max(count, 1))] if count > 1 else [ORDERED(0.0)]


def metric_map(smaller_is_better: bool) -> Colormap:
    """Return the colour map of a metric: dark is good."""
    return SURFACE if smaller_is_better else SURFACE.reversed()


def legend(figure: Figure, axes: Axes, **options: Any) -> None:
    """Draw a legend beside the panel, where there is no data."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles, names, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, **options
        )


def note(figure: Figure, notes: Sequence[str]) -> None:
    """Print notes below the panels, in small type."""
    text = " ".join(text for text in notes if text)
    if text:
        width = int(figure.get_figwidth() * NOTE_WIDTH)
        figure.supxlabel(fill(text, width), fontsize=8.5, color=SOFT, x=0.01, ha="left")


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG, PDF or SVG by the suffix.

    Args:
        figure: The figure.
        path: File to write; no date is stored, so the same figure is the same file.

    Returns:
        The path.

    Raises:
        ValueError: The suffix is another.
        RunError: The disk is full or read-only; an older figure is still there, whole.

    Example:
        ```python
        from matplotlib.figure import Figure

        from fisherscope import figures

        figures.save(Figure(), "empty.svg")
        ```
    """
    target = Path(path)
    suffix = check_suffix(target)
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(suffix, {})
    with paper_style():
        replace(target, lambda file: figure.savefig(file, format=suffix, metadata=metadata))
    return target


def check_suffix(path: Path) -> str:
    """Return the format that a file's suffix names.

    Raises:
        ValueError: The suffix is another.
    """
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise ValueError(
            f"saving a figure as {path}: suffix {path.suffix!r}; expected one of "
            + ", ".join(f".{name}" for name in FORMATS)
        )
    return suffix

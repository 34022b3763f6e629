"""The pictures of docs/figures.md: `python -m experiments.pictures.gallery`, from the committed sweeps."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

import fisherscope as fs
from fisherscope.figures import FIGURES
from fisherscope.figures.paper_options import paper_options
from fisherscope.figures.style import paper_style

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
DPI, COLOURS = 110, 128
SCHEDULES = (
    "s4-to-64-lr0.03", "s4-to-64-MS-lr0.03", "s64-to-4-lr0.03", "s16-to-64-lr0.03", "s8-to-128-lr0.03",
    "s128-to-8-lr0.03",
)  # fmt: skip
SHOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "1a": ("digits-resnet8", {}),
    "1b": ("digits-resnet8", {}),
    "1c": ("digits-resnet8", {}),
    "1d": ("digits-resnet8", {"settings": SCHEDULES}),
    "2": ("digits-resnet8", {"lr": 0.1}),
    "3": ("digits-resnet8", {}),
    "4": ("digits-resnet8", {}),
    "5": ("digits-resnet8", {"settings": SCHEDULES}),
    "6": ("digits-resnet8", {"settings": ("s8-lr0.01", "s16-lr0.03", *SCHEDULES[:3])}),
    "7": ("mnist-mlp", {}),
}
"""The figure's sweep and options, as on the page."""


SHARE = "mnist-mlp-0.002"
AT_SHARE = ("s16-to-64-lr0.1", "s32-to-128-lr0.1", "s32-to-128-MS-lr0.1", "s32-to-512-lr0.1",
            "s128-to-512-lr0.1", "s512-to-32-lr0.1")  # fmt: skip
REPRODUCED: dict[str, tuple[str, dict[str, Any]]] = {
    "1d": (SHARE, {**paper_options("1d"), "settings": AT_SHARE}),
    "4": (SHARE, paper_options("4")),
    "5": (SHARE, {**paper_options("5"), "settings": AT_SHARE}),
    "6": (SHARE, {**paper_options("6"), "settings": AT_SHARE[1:5]}),
}
"""Those of docs/reproduce.md, by the formulas of the paper's authors."""


def main() -> None:
    """Draw the pictures of docs/figures.md."""
    draw_figures(SHOWN, ROOT / "experiments" / "results" / "sweeps", "figure")


def draw_figures(shown: dict[str, tuple[str, dict[str, Any]]], folder: Path, stem: str) -> None:
    """Draw each, with few enough colours that a page of them stays light.

    Args:
        shown: Sweep and options of each figure, by its number.
        folder: Where the sweeps' exports are.
        stem: Beginning of the pictures' names.
    """
    sweeps = {name: fs.load_runs(folder / f"{name}.zip") for name, _ in shown.values()}
    for number, (sweep, options) in shown.items():
        drawn = io.BytesIO()
        with paper_style():
            FIGURES[number](sweeps[sweep], **options).savefig(drawn, format="png", dpi=DPI)
        path = IMAGES / f"{stem}-{number}.png"
        Image.open(drawn).convert("RGB").quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE).save(
            path, optimize=True
        )
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()

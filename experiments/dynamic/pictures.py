"""Figures 1d, 5 and 6 of docs/policies.md from committed runs: `python -m experiments.dynamic.pictures`."""

from __future__ import annotations

import io
from typing import Any

import polars as pl
from experiments.dynamic.designs import SWEEPS
from experiments.pictures.gallery import COLOURS, DPI, IMAGES
from PIL import Image

import fisherscope as fs
from fisherscope.analysis import settings_of
from fisherscope.figures import FIGURES
from fisherscope.figures.style import paper_style

RUNS = SWEEPS / "dynamic-digits-resnet8.zip"
SCHEDULES = ("s8-to-32-lr0.03", "s16-to-64-MS-lr0.03", "s8-increase:share=0.427-lr0.03",
             "s8-norm-test+bounds:max=128-lr0.03", "s8-to-128+adascale-lr0.03")  # fmt: skip
"""The chosen settings of some families; `BeaconPolicy` comes before them."""


def main() -> None:
    """Draw the travel of the chosen policies among the fixed sizes of their rate, and their error curves."""
    runs = fs.load_runs(RUNS)
    there = settings_of(runs).frame["setting"].unique(maintain_order=True)
    names = (next(name for name in there if name.startswith("beacon:")), *SCHEDULES)
    alike = runs.filter(pl.col("lr") == 0.03)
    shown: dict[str, tuple[Any, dict[str, Any]]] = {
        "1d": (runs, {"settings": names}),
        "5": (alike, {"settings": names}),
        "6": (alike, {"settings": ("s8-lr0.03", *names[:4]), "metric": "test/error"}),
    }
    for number, (what, options) in shown.items():
        drawn = io.BytesIO()
        with paper_style():
            FIGURES[number](what, **options).savefig(drawn, format="png", dpi=DPI)
        path = IMAGES / f"dynamic-figure-{number}.png"
        Image.open(drawn).convert("RGB").quantize(COLOURS).save(path, optimize=True)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

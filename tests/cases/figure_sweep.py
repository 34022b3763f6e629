"""A planted sweep with schedules, and the lines of a panel."""

from __future__ import annotations

from matplotlib.figure import Figure
from tests.cases.planted_sweep import Truth

TRUTH = Truth(seeds=2, epochs=8, diverged=("s8-lr0.2",), unfinished={"s64-lr0.025": 3})


SCHEDULES = ("s8-to-32", "s32-to-8-MS")


def small_print(figure: Figure) -> str:
    return str(figure._supxlabel.get_text()).replace("\n", " ") if figure._supxlabel else ""  # type: ignore[attr-defined]

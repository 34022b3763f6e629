"""Planted beacons and rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fisherscope.policy import (
    Beacon,
    Beacons,
    Place,
    Rate,
    Spread,
)
from fisherscope.policy.beacon.forecast import RunSoFar

FILE = Path(__file__).parents[1] / "data" / "beacons-digits-mlp.json"


SIZES = (8, 16, 32)


RATE = Rate(0.1, 40)


NEW = RunSoFar(0, 0, 0.0, 0.0, 0.0, (0.0, 0.0), (0.0, 0.0))
"""Nothing done, and no doubt."""


def planted(**changes: Any) -> Beacons:
    """c = B at every step, density 1: so log C̄ is the steps' mean of log B, and L follows by hand."""
    made = [Beacon(size, lr, (float(size),) * 20, (1.0,) * 20) for size in SIZES for lr in (0.05, 0.2)]
    places = [Place(f"s{s}", float(s), _energy([s] * 20), s == 16) for s in SIZES]
    given: dict[str, Any] = {
        "task": "t", "meant_for": "t", "samples": 320, "epochs": 40, "milestones": (0.5, 0.75), "factor": 0.1,
        "axis": "cond_geomean", "sizes": SIZES, "seconds": (1.0, 1.0, 1.0), "region": tuple(places),
        "beacons": tuple(made), "cond_spread": Spread(0.05, 0.05), "energy_spread": Spread(0.05, 0.05),
    }  # fmt: skip
    return Beacons(**{**given, **changes})


def _energy(sizes: list[int]) -> float:
    """L of a run with density 1, written out step by step."""
    total = 0.0
    for part, size in enumerate(sizes):
        rate = 0.1 if part < 10 else 0.01 if part < 15 else 0.001
        total += sum(rate / math.sqrt(size) for _ in range(640 // size))
    return total

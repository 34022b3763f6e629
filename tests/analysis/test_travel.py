"""The angle of travel on planted curves, against the angle of their directions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import fisherscope as fs
from fisherscope.analysis import settings_of
from fisherscope.analysis.claim_tests.travel import travel_angle

EPOCHS = 20


def write(root: Path, curves: dict[str, np.ndarray], sizes: dict[str, list[int]]) -> None:
    for name, path in curves.items():
        for seed in (0, 1):
            config = {"policy": name, "lr": 0.1, "seed": seed, "epochs": EPOCHS}
            with fs.open_run(root / f"{name}-seed{seed}", config) as run:
                for epoch in range(1, EPOCHS + 1):
                    x, y = np.exp(path[epoch - 1])
                    row = {"fisher/cond_mean": float(x), "fisher/energy_sum": float(y), "val/error": 0.1}
                    run.log_epoch({"epoch": epoch, "batch_size": sizes[name][epoch - 1], **row})


@pytest.mark.parametrize("salt", range(6))
def test_the_angle_is_that_of_the_directions(tmp_path: Path, salt: int) -> None:
    """Beacons on parallel lines, a schedule along another: the angle of the two on the scaled axes."""
    numbers = np.random.default_rng(salt)
    time = np.arange(1, EPOCHS + 1) / EPOCHS
    along, offset = numbers.uniform(-1, 1, 2), numbers.uniform(0.5, 2, 2) * numbers.choice([-1, 1], 2)
    across = numbers.uniform(-1, 1, 2)
    curves = {f"s{8 << k}": k * offset + np.outer(time, along) for k in range(3)}
    curves["s8-to-32"] = 0.5 * offset + np.outer(time, across)
    sizes = {f"s{8 << k}": [8 << k] * EPOCHS for k in range(3)} | {"s8-to-32": [8] * 4 + [16] * 8 + [32] * 8}
    write(tmp_path, curves, sizes)
    found = travel_angle(settings_of(tmp_path), 0.1)
    assert found is not None
    assert found.n == 4  # from the end of the first stage: 4 to 8, 12, 16, 20
    ends = np.array([curves[f"s{8 << k}"][-1] for k in range(3)])
    one, other = across / np.ptp(ends, axis=0), along / np.ptp(ends, axis=0)
    cosine = abs(one @ other) / math.hypot(*one) / math.hypot(*other)
    assert found.estimate == pytest.approx(math.degrees(math.acos(cosine)), abs=1e-6)
    assert found.low <= found.estimate + 1e-9


def test_too_few_beacons_or_schedules(tmp_path: Path) -> None:
    time = np.outer(np.arange(1, EPOCHS + 1), [0.1, 0.2])
    write(
        tmp_path / "a", {"s8": time, "s8-to-32": time}, {"s8": [8] * EPOCHS, "s8-to-32": [8] * 10 + [32] * 10}
    )
    assert travel_angle(settings_of(tmp_path / "a"), 0.1) is None
    write(
        tmp_path / "b",
        {"s8": time, "s16": time + np.array([1, 2])},
        {"s8": [8] * EPOCHS, "s16": [16] * EPOCHS},
    )
    assert travel_angle(settings_of(tmp_path / "b"), 0.1) is None

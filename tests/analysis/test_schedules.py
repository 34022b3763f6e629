"""Claim 13 on planted schedules whose error and time are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import fisherscope as fs
from fisherscope.analysis.claim_tests.verdicts import Claim
from fisherscope.runs.step_times import StepTimesRecord, add_step_times, timed_config

SAMPLES, EPOCHS, ALIKE = 256, 5, {"task": "planted/schedules", "device": "cpu"}


def write(
    root: Path, settings: dict[str, list[int]], errors: dict[str, float], seeds: int, noise: float
) -> None:
    """Record runs; an error is that of its setting, plus what all runs of its seed share, plus noise."""
    numbers = np.random.default_rng(len(errors))
    shared = 0.004 * numbers.normal(size=seeds)
    for name, sizes in settings.items():
        for seed in range(seeds):
            config = {**ALIKE, "policy": name, "lr": 0.1, "seed": seed, "epochs": EPOCHS}
            with fs.open_run(root / f"{name}-seed{seed}", config) as run:
                step = 0
                for epoch, size in enumerate(sizes, 1):
                    step += SAMPLES // size
                    error = errors[name] + shared[seed] + noise * numbers.normal()
                    run.log_epoch({
                        "epoch": epoch, "step": step, "samples": epoch * SAMPLES, "batch_size": size,
                        "val/error": error + 0.001, "test/error": error,
                    })  # fmt: skip


def record(overhead: float, each: float, sizes: list[int]) -> StepTimesRecord:
    """Steps of overhead + each × batch size seconds, in rounds of ± 2 %."""
    pace = np.random.default_rng(1).uniform(0.98, 1.02, (len(sizes), 15))
    plain = {size: tuple(((overhead + each * size) * pace[k]).tolist()) for k, size in enumerate(sizes)}
    return StepTimesRecord(timed_config(ALIKE), plain, rounds=15)


SETTINGS = {
    "s8": [8] * EPOCHS, "s16": [16] * EPOCHS, "s32": [32] * EPOCHS,
    "s8-to-32": [8, 8, 16, 16, 32], "s16-to-32": [16, 16, 16, 32, 32],
}  # fmt: skip


@pytest.mark.parametrize(
    ("worse", "overhead", "verdict"),
    [
        (0.0, 1e-3, "supported"),
        (0.0, 0.0, "inconclusive"),
        (0.03, 1e-3, "contradicted"),
        (0.03, 0.0, "contradicted"),
    ],
)
def test_as_good_and_faster(tmp_path: Path, worse: float, overhead: float, verdict: str) -> None:
    """Without any cost of a step itself a schedule of the same samples takes the same time."""
    errors = {"s8": 0.05, "s16": 0.08, "s32": 0.09, "s8-to-32": 0.05 + worse, "s16-to-32": 0.09 + worse}
    write(tmp_path, SETTINGS, errors, seeds=6, noise=0.0003)
    add_step_times(tmp_path, record(overhead, 1e-5, [8, 16, 32]))
    claim = fs.claims(tmp_path)[13]
    assert claim.verdict == verdict, str(claim)
    good, ratio, bar = claim.parts
    assert good.name.startswith("test/error of s8-to-32-lr0.1 minus s8-lr0.1, margin 0.00")
    assert good.n == 3
    seconds = {
        name: sum(SAMPLES // size * (overhead + 1e-5 * size) for size in SETTINGS[name])
        for name in ("s8", "s8-to-32")
    }
    assert ratio.estimate == pytest.approx(seconds["s8-to-32"] / seconds["s8"], rel=0.02)
    assert ratio.low <= ratio.estimate <= ratio.high
    assert bar.beside
    assert "Chosen on seeds 0, 1, 2 by val/error, judged on 3, 4, 5" in claim.reason


def test_seeds_that_choose_are_not_tested(tmp_path: Path) -> None:
    """Whatever the test errors of the choosing seeds are, and the validation errors of the judging ones."""
    found: list[Claim] = []
    for k, wrong in enumerate((0.0, 0.4)):
        root = tmp_path / str(k)
        errors = dict.fromkeys(SETTINGS, 0.05) | {"s8": 0.04}
        write(root, SETTINGS, errors, seeds=4, noise=0.0)
        for run in fs.runs.run_directories(root):
            seed = int(run.name[-1])
            lines = (run / "epochs.jsonl").read_text().splitlines()
            key = "test/error" if seed < 2 else "val/error"
            changed = [
                line.replace(f'"{key}":', f'"{key}":{wrong or ""}') if not wrong else _set(line, key)
                for line in lines
            ]
            (run / "epochs.jsonl").write_text("\n".join(changed) + "\n")
        add_step_times(root, record(1e-3, 1e-5, [8, 16, 32]))
        found.append(fs.claims(root)[13])
    assert [part.estimate for part in found[0].parts] == [part.estimate for part in found[1].parts]


def _set(line: str, key: str) -> str:
    import json

    row = json.loads(line)
    row[key] = 0.4 + 0.1 * math.sin(row["step"] * len(key))
    return json.dumps(row)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    errors = dict.fromkeys(SETTINGS, 0.05)
    write(tmp_path / "a", SETTINGS, errors, seeds=4, noise=0.001)
    assert "fisherscope times DIR" in fs.claims(tmp_path / "a")[13].reason
    write(tmp_path / "b", SETTINGS, errors, seeds=2, noise=0.001)
    add_step_times(tmp_path / "b", record(1e-3, 1e-5, [8, 16, 32]))
    assert "Needs 3 seeds" in fs.claims(tmp_path / "b")[13].reason
    fixed = {name: sizes for name, sizes in SETTINGS.items() if "-to-" not in name}
    write(tmp_path / "c", fixed, errors, seeds=4, noise=0.001)
    add_step_times(tmp_path / "c", record(1e-3, 1e-5, [8, 16, 32]))
    assert "found no finished schedule" in fs.claims(tmp_path / "c")[13].reason

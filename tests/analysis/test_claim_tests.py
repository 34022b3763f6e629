"""Claims on sweeps with a planted truth: supported where it holds, contradicted where not, else neither."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from tests.cases.planted_sweep import Truth, write

import fisherscope as fs
from fisherscope.analysis import AnalysisError, claims
from fisherscope.analysis.claim_tests.verdicts import Claim, Claims, Evidence, judge

HOLDS = Truth(
    cond_slopes=(0.8, 0.2),
    density_slopes=(0.1, 0.0),
    own=0.1,
    step_noise=0.6,
    bowl=0.02,
    batch_sizes=(8, 16, 32, 64, 128),
)


@pytest.fixture(scope="module")
def holds(tmp_path_factory: pytest.TempPathFactory) -> Claims:
    return claims(write(tmp_path_factory.mktemp("holds"), HOLDS))


@pytest.fixture(scope="module")
def opposite(tmp_path_factory: pytest.TempPathFactory) -> Claims:
    truth = dataclasses.replace(
        HOLDS, cond_slopes=(-0.8, 0.9), own=0.0, salt=1, bowl=-0.001, floor=0.2, batch_sizes=(8, 16, 32, 64)
    )
    return claims(write(tmp_path_factory.mktemp("opposite"), truth))


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Claims:
    truth = Truth(
        cond_slopes=(0, 0), density_slopes=(0.5, -1), own=0, seed_noise=1.0, bowl=0, error_noise=0.01,
        seeds=3, salt=2, batch_sizes=(8, 16, 32),
    )  # fmt: skip
    return claims(write(tmp_path_factory.mktemp("noise"), truth))


@pytest.mark.parametrize("number", [1, 2, 9])
def test_what_holds_is_supported(holds: Claims, number: int) -> None:
    claim = holds[number]
    assert claim.verdict == "supported", str(claim)
    assert claim.p_corrected >= claim.p
    assert claim.p_corrected <= 0.05


def test_growth_is_shown_beside_its_nulls(holds: Claims) -> None:
    beside = [part.name for part in holds[2].parts if part.beside]
    assert any("c of 8 samples" in name for name in beside)
    assert any("L over" in name for name in beside)


def test_early_ranks_agree_and_the_mean_is_less_noisy(holds: Claims) -> None:
    parts = {part.name: part for part in holds[3].parts}
    assert parts["ρ(C̄ early, C̄ at the end)"].estimate > 0.9
    assert parts["intraclass correlation of C̄ minus that of c_k"].low > 0


def test_slopes_are_the_planted_ones(holds: Claims) -> None:
    parts = {part.name: part for part in holds[5].parts}
    for name, slope in (("C̄: b_B", 0.8), ("C̄: b_α", 0.2), ("L: b_α (1 is the null)", 1.0)):
        part = parts[name]
        assert part.low - 0.05 <= slope <= part.high + 0.05, str(part)
    assert parts["L: b_B + ½ (0 is the null)"].estimate == pytest.approx(0.1, abs=0.05)
    assert parts["L: b_B + ½ (0 is the null)"].p < 0.01


def test_the_opposite_is_contradicted(opposite: Claims) -> None:
    assert opposite[2].verdict == "contradicted", str(opposite[2])
    assert opposite[5].verdict == "contradicted", str(opposite[5])
    assert opposite[9].verdict in ("contradicted", "inconclusive")


def test_noise_is_inconclusive(noise: Claims) -> None:
    for number in (2, 4, 9):
        assert noise[number].verdict == "inconclusive", str(noise[number])
    assert noise[1].verdict in ("inconclusive", "contradicted")
    assert noise[1].p > 0.05


def test_noise_is_seldom_a_verdict(tmp_path: Path) -> None:
    """Claims 2 and 4 over eight sweeps of pure noise: at most one verdict of sixteen (5 % a claim)."""
    wrong = 0
    for salt in range(8):
        truth = Truth(
            cond_slopes=(0, 0), density_slopes=(0.5, -1), seed_noise=1.0, bowl=0, error_noise=0.01, seeds=1,
            salt=10 + salt, epochs=2, batch_sizes=(8, 16, 32),
        )  # fmt: skip
        found = claims(write(tmp_path / str(salt), truth))
        wrong += sum(found[number].verdict in ("supported", "contradicted") for number in (2, 4))
    assert wrong <= 1


def test_what_is_not_there_is_not_tested(holds: Claims) -> None:
    for number in (7, 8, 10):
        assert holds[number].verdict == "not testable"
        assert holds[number].reason
    frame = holds.frame
    assert frame["number"].to_list() == list(range(1, 14))
    assert "NOT TESTABLE" in str(holds)
    assert set(holds.parts["number"]) <= set(frame["number"])


def test_transfer_between_tasks(tmp_path: Path) -> None:
    same = dataclasses.replace(HOLDS, seeds=3, epochs=2, task="b", salt=5, batch_sizes=(8, 16, 32))
    first = write(tmp_path / "a", dataclasses.replace(same, task="a", salt=6))
    assert claims(first, other=write(tmp_path / "b", same))[8].verdict == "supported"
    moved = dataclasses.replace(same, ratio=-4.0, task="c")
    assert claims(first, other=write(tmp_path / "c", moved))[8].verdict == "contradicted"


def test_rank_deficiency_grows_with_the_rate(tmp_path: Path) -> None:
    rates = (0.1, 0.4, 1.6, 6.4, 25.6)
    steep = Truth(cond_slopes=(0, 4), seeds=3, epochs=3, step_noise=0.3, lrs=rates, spectra=True)
    again = claims(write(tmp_path / "spectra", steep))[6]
    assert again.verdict == "supported", str(again)
    floored = claims(write(tmp_path / "none", dataclasses.replace(steep, spectra=False)))[6]
    assert floored.verdict == "not testable"  # c_k under a floor says nothing of rank
    assert "spectra" in floored.reason


def dynamic(root: Path, name: str, seed: int, cond: float, energy: float) -> None:
    config = {"task": "planted/task", "policy": name, "lr": 0.1, "epochs": 4, "seed": seed}
    with fs.open_run(root / f"{name}-seed{seed}", config) as run:
        for epoch in range(1, 5):
            run.log_epoch(
                epoch=epoch, step=epoch * 50, batch_size=8 if epoch < 3 else 64, val_error=0.1,
                fisher_cond_mean=cond, fisher_energy_sum=energy * epoch / 4,
            )  # fmt: skip


@pytest.mark.parametrize(("up", "down", "verdict"), [(1.0, 1.0, "supported"), (1.0, 1.5, "contradicted")])
def test_paths_of_schedules(tmp_path: Path, up: float, down: float, verdict: str) -> None:
    write(tmp_path, dataclasses.replace(HOLDS, batch_sizes=(8, 64), lrs=(0.1,), epochs=4))
    numbers = np.random.default_rng(0)
    for seed in range(4):
        wobble = 1 + 0.01 * numbers.normal(size=6)
        dynamic(tmp_path, "s8-to-64", seed, 100 * up * wobble[0], 10 * wobble[1])
        dynamic(tmp_path, "s64-to-8", seed, 100 * down * wobble[2], 5 * wobble[3])
        dynamic(tmp_path, "s8-to-64-MS", seed, 100 * up * wobble[4], 7 * wobble[5])
    found = claims(tmp_path)
    assert found[7].verdict == verdict, str(found[7])
    assert found[10].verdict == "supported", str(found[10])
    assert any("mixture" in part.name for part in found[7].parts)


def part(p: float, against: float = 1.0, estimate: float = 1.0) -> Evidence:
    return Evidence("x", estimate, math.nan, math.nan, 5, p, against, 0.5)


def test_verdicts_follow_p_effect_and_correction() -> None:
    def one(number: int, *parts: Evidence) -> Claim:
        return Claim(number, "c", parts)

    found = judge(
        [
            one(1, part(0.001), part(0.002)),
            one(2, part(0.03)),  # not after correction: 0.03 of four left
            one(3, part(0.001, estimate=0.2)),  # smaller than what counts
            one(4, part(0.9, 0.0001)),
            Claim(5, "c", reason="nothing there"),
        ]
    )
    verdicts = [claim.verdict for claim in found]
    assert verdicts == ["supported", "inconclusive", "inconclusive", "contradicted", "not testable"]
    assert found[0].p == 0.002
    assert found[0].p_corrected == pytest.approx(0.002 * 3)
    missing = judge([one(1, part(0.001), part(math.nan))])
    assert missing[0].verdict == "inconclusive"


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no run"):
        claims(tmp_path)
    write(tmp_path, Truth(batch_sizes=(8,), lrs=(0.1,), seeds=1, epochs=2))
    found = claims(tmp_path)
    assert {claim.verdict for claim in found.claims} == {"not testable"}
    assert "One seed" in str(found)


def test_unmeasured_runs_say_so(tmp_path: Path) -> None:
    write(tmp_path, Truth(measures=False, seeds=2, epochs=2))
    found = claims(tmp_path)
    assert "Monitor" in found[2].reason
    assert found[9].verdict != "not testable"


def test_unfinished_and_diverged_runs_are_left_out_and_named(tmp_path: Path) -> None:
    truth = Truth(seeds=2, epochs=4, unfinished={"s8-lr0.1": 2}, diverged=("s8-lr0.2",), lrs=(0.05, 0.1, 0.2))
    found = claims(write(tmp_path, truth))
    assert "2 of 24 runs are not finished" in str(found)
    assert found[2].parts[0].n == 10


def test_equal_runs_equal_verdicts(tmp_path: Path) -> None:
    root = write(tmp_path, Truth(seeds=2, epochs=2, batch_sizes=(8, 16)))
    assert claims(root).frame.equals(claims(root).frame)


def test_the_axes_are_any_measures(tmp_path: Path) -> None:
    path = write(tmp_path / "runs", Truth(seeds=3, epochs=6))
    swapped = claims(path, x="energy_sum", y="cond_mean")
    cond_batch, energy_batch, cond_lr, energy_lr = (part.estimate for part in claims(path)[2].parts[:4])
    found = [part.estimate for part in swapped[2].parts[:4]]
    assert found == pytest.approx([-energy_batch, -cond_batch, energy_lr, cond_lr])
    assert "C̄_K is energy_sum, L_K is cond_mean" in swapped.about
    assert "no nonsense" in claims(path, x="nonsense")[1].reason

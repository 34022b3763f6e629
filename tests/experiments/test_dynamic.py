"""The comparison of dynamic sampling: names that exist, time by hand, choice and verdict on planted runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from experiments.dynamic.designs import DESIGNS
from experiments.dynamic.page import comparison
from experiments.dynamic.tables import _seconds, choice, missing, verdicts

from fisherscope.policy import parse

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
COST = {"seconds": {"8": 1.0, "32": 2.0, "128": 4.0}, "measured": {"8": 2.0, "32": 4.0, "128": 8.0}}
DESIGN = replace(
    DESIGNS["digits/mlp"], sizes=(8, 32), fixed_rates=(0.03,), rates=(0.03,), seeds=(0, 1),
    confirm=(10, 11, 12), families={"good": ("fast", "slow"), "bad": ("poor",)}, pairs=(),
)  # fmt: skip


def planted() -> pl.DataFrame:
    """s8 is the best fixed size; `fast` as good in half of the time, `slow` as good, `poor` worse."""
    made = {
        "s8": ("fixed", 0.040, 10.0), "s32": ("fixed", 0.060, 3.0),
        "fast": ("good", 0.040, 5.0), "slow": ("good", 0.039, 9.0), "poor": ("bad", 0.060, 2.0),
    }  # fmt: skip
    rows = [
        {"run_id": f"{name}{seed}", "policy": name, "family": family, "lr": 0.03, "seed": seed,
         "diverged": False, "val": error, "test": error + 0.0001 * (seed % 3), "samples": 1, "steps": 1.0,
         "seconds": time, "cond": 1.0, "cond_mean": 1.0, "energy": 1.0, "final_size": 8}
        for name, (family, error, time) in made.items() for seed in (0, 1, 10, 11, 12)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def test_every_policy_of_the_designs_can_be_named() -> None:
    for design in DESIGNS.values():
        for name in (*design.names, *design.pairs):
            assert parse(name, lr=design.rates[0], epochs=design.settings["epochs"])


def test_seconds_are_steps_at_their_size() -> None:
    design = replace(DESIGN, samples=320)
    plain = _seconds([40, 50], COST, design, closed=False)  # an epoch of 8, one of 32
    assert plain == pytest.approx(40 * 1.0 + 10 * 2.0)
    assert _seconds([40, 50], COST, design, closed=True) == pytest.approx(plain + 2 * (1.0 + 2.0))


def test_a_family_is_its_fastest_good_one_and_judged_on_other_seeds() -> None:
    chosen, reference = choice(planted(), DESIGN)
    assert reference["policy"] == "s8"
    assert [arm["policy"] for arm in chosen if arm["family"] in DESIGN.families] == ["fast", "poor"]
    found = {row["policy"]: row for row in verdicts(planted(), DESIGN, chosen, reference)}
    assert found["fast"]["verdict"] == "supported"
    assert found["fast"]["time_ratio"] == 0.5
    assert found["poor"]["verdict"] == "contradicted"
    assert found["s8"]["n"] == 3
    assert missing(planted(), DESIGN, [])[0].startswith("0 of")


@pytest.mark.parametrize("path", sorted(RESULTS.glob("dynamic-*.json")), ids=lambda p: p.stem)
def test_the_committed_results_are_the_page(path: Path) -> None:
    held = json.loads(path.read_text())
    page = (RESULTS.parents[1] / "docs" / "policies.md").read_text()
    if held["confirmation"]:
        assert comparison(held["confirmation"]) in page

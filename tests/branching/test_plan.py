"""What is planned, and what is refused before anything trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases.small_branches import SETTINGS

from fisherscope.branching import BranchError
from fisherscope.branching.plan import plan_branches
from fisherscope.branching.point import BranchingPoint
from fisherscope.training import Configuration

POINT = BranchingPoint(
    "at-0", "run", "digits/mlp", "AdamW", 2, 38, 600, 300, 16, 2e-4, True, 0.5, run_ended=False
)
GIVEN: dict[str, Any] = {
    "sizes": ("0.5x", "1x", "2x"), "samples": 1024, "steps": None, "rescale": (), "base_rates": ("1x",),
    "betas": None, "orders": 2,
}  # fmt: skip


def planned_with(point: BranchingPoint = POINT, optimizer: str = "AdamW", **options: Any) -> Any:
    config = Configuration.of({**SETTINGS, "optimizer": optimizer})
    return plan_branches(point, config, **{**GIVEN, **options})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 64}, "samples=1024 and steps=64; give one of the two"),
        ({"sizes": (8, 16, 301)}, "batches of 301 from 300 training samples"),
        ({"sizes": ("0.01x", "1x", "2x")}, "batch size 0.16"),
        ({"sizes": ("1x", "2x", 16)}, "2 batch sizes; the trade-off has two unknowns"),
        ({"sizes": ("1x", "two", 16)}, "batch size 'two'"),
        ({"sizes": ("1x", "nanx", 16)}, "batch size 'nanx'"),
        ({"samples": 800}, "6.2 steps of 32; expected at least 8"),
        ({"samples": -5}, "expected at least 8"),
        ({"rescale": ("cubic",)}, "rescaling 'cubic'; expected one of none, linear, sqrt"),
        ({"betas": "none"}, "betas 'none'; expected one of per-step"),
        ({"base_rates": ("-1x",)}, "base rate '-1x'; expected a positive number"),
        ({"orders": 0}, "orders=0"),
        ({"sizes": (1, 16, 3000), "samples": 30_000}, "from 300"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BranchError, match=words.replace("(", r"\(")):
        planned_with(**options)


def test_betas_that_an_optimizer_cannot_have_are_refused() -> None:
    with pytest.raises(BranchError, match="planning branches of batch size 8"):
        planned_with(replace(POINT, optimizer="SGD", adaptive=False), "SGD", betas="in-samples")
    wide = replace(POINT, training_samples=10**6)
    with pytest.raises(BranchError, match="batch size 16384"):  # 0.999^1024 and 0.9
        planned_with(wide, sizes=(16, 32, 16384), samples=10**6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 64), min_size=3, max_size=5, unique=True), st.integers(2048, 20_000))
def test_every_branch_has_the_same_samples_in_whole_segments(sizes: list[int], samples: int) -> None:
    plan = planned_with(sizes=sizes, samples=samples)
    assert plan.segment >= max(sizes)
    assert plan.lengths == (plan.samples // 4, plan.samples // 2, plan.samples)
    assert 0.6 * samples <= plan.samples <= 1.6 * samples
    for config in plan.branches():
        assert config.segment * config.epochs in plan.lengths
        _, first = config.policy_of().update(config.policy_of().init(), _start(plan.segment))
        assert first.batch_size == config.batch_size
        expected = 2e-4 * (config.batch_size / 16) ** 0.5
        assert first.lr == pytest.approx(expected)
        assert first.beta2_power == pytest.approx(config.batch_size / 16)


def _start(segment: int) -> Any:
    import fisherscope as fs

    return fs.policy.Observation(0, 0, segment)


def test_rescalings_share_the_branches_of_the_run_s_own_size() -> None:
    plan = planned_with(rescale=("sqrt", "none", "linear"), base_rates=("1x", 1e-3))
    assert len(plan.arms) == 6
    assert len(plan.branches()) == 3 * 2 * (
        2 * 3 * 2 + 2
    )  # lengths, orders, rates × rescalings × other sizes
    assert planned_with(replace(POINT, optimizer="SGD", adaptive=False), "SGD").arms[0].rescale == "linear"


def test_steps_count_at_the_run_s_own_size() -> None:
    assert planned_with(samples=None, steps=128).samples == 128 * 16
    assert planned_with(samples=None).samples == pytest.approx(100 * 32, rel=0.3)

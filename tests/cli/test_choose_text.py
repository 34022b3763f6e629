"""What `choose` says of planted sweeps."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cases.planted_sweep import Truth, final_error, write
from tests.cases.small_search import ran

import fisherscope as fs
from fisherscope.analysis.selection.halving_from_runs import halving_from_runs
from fisherscope.analysis.selection.halving_result import Candidate, HalvingResult
from fisherscope.analysis.selection.successive_halving import HalvingPlan, Rung, halving_plan
from fisherscope.cli import choose_text
from fisherscope.cli.choose import choose

TRUTH = Truth(seeds=1, epochs=9, early_noise=0.0, error_noise=0.0, step_seconds=(1e-3, 1e-6))


PLAN = HalvingPlan((Rung(16, 1), Rung(5, 3), Rung(1, 9)), 60)


def looked(root: Path, truth: Truth, samples: int | None = 2000) -> HalvingResult:
    """`halving_from_runs` on runs of a whole planted grid, those that halving would not train among them."""
    write(root, truth)
    places = [(size, lr) for size in truth.batch_sizes for lr in truth.lrs]
    candidates = [Candidate(f"s{size}-lr{lr:g}-seed0", size, lr) for size, lr in places]
    return halving_from_runs(fs.load_runs(root), candidates, PLAN, metric="val/error", samples=samples)


def test_the_planted_best_is_chosen_and_its_like_is_named(tmp_path: Path) -> None:
    made = looked(tmp_path, TRUTH)
    error = {c.name: final_error(TRUTH, c.batch_size, c.lr) for c in made.candidates}
    assert made.recommended is not None
    best = made.recommended.name
    assert error[best] == min(error.values())
    ties = {name for name, value in error.items() if value < min(error.values()) + 1e-9} - {best}
    assert ties <= {c.name for c, _ in made.rivals}
    text = str(made)
    assert f"({best}): measured validation error {100 * min(error.values()):.2f} %" in text
    assert "2000 validation samples" in text
    assert "Statistically tied with: " in text
    assert "times faster" in text
    kept = choose_text.comparison_text(made, made.state.rounds[0])
    assert "Epoch 1: 16 settings compared, 5 kept." in kept
    assert len(re.findall(r"^  s\d", kept, re.MULTILINE)) == 5


def test_a_choice_that_got_worse_after_it_was_made_is_told(tmp_path: Path) -> None:
    made = looked(tmp_path, TRUTH)
    assert made.better_at is None
    assert "Do not rely" not in str(made)
    chosen = made.state.chosen
    assert chosen is not None
    values = made.values.copy()
    values[chosen, 1:] = [0.22, 0.22, 0.22, *[0.46] * 6]
    fell = replace(made, values=values)
    assert fell.better_at == (1, 0.22)
    assert "it was better at epoch 1 (22.00 %)" in str(fell)
    assert "smaller learning rates, the --optimizer you train with" in str(fell)
    assert fell.answer()["better_at"] == {"epoch": 1, "value": 0.22}
    assert replace(fell, samples=None).better_at is None


def test_the_optimizer_is_the_user_s_and_goes_into_what_comes_next(tmp_path: Path) -> None:
    words = ["digits/mlp", "--batch-sizes", 32, "--lrs", 0.001, "--epochs", 1, "--limit-train", 64]
    words += ["--budget", "100%", "--jobs", 1]
    said = ran(choose, *words, "--optimizer", "AdamW", "--out", tmp_path)
    assert "--optimizer AdamW" in said.output, said.output
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "run.json").read_text())["config"]["optimizer"] == "AdamW"
    with pytest.raises(ValueError, match="AdamW"):
        raise ran(choose, *words, "--optimizer", "AdanW", "--out", tmp_path / "none").exception
    assert not (tmp_path / "none").exists()


def test_an_edge_is_told_with_the_command_that_goes_beyond(tmp_path: Path) -> None:
    made = looked(tmp_path, Truth(**{**TRUTH.__dict__, "ratio": -14.0, "bowl": 0.001}))
    assert "64 is the largest batch size tried; try 128" in str(made)
    command = choose_text.next_commands(
        made, "a/b", "20%", 0, {"epochs": 9, "data-dir": None, "out": Path("my runs")}
    )
    assert (
        "--batch-sizes 8,16,32,64,128 --lrs 0.0125,0.025,0.05,0.1,0.2 --epochs 9 --out 'my runs'" in command
    )


def test_other_seeds_are_the_next_step_inside_the_grid(tmp_path: Path) -> None:
    made = looked(tmp_path, TRUTH)
    assert made.edges == []
    command = choose_text.next_commands(made, "a/b", "20%", 3, {"epochs": 9, "out": Path("runs")})
    assert "--seeds 4,5 --epochs 9 --out runs\n  fisherscope select runs" in command


def test_all_diverged_and_a_metric_without_known_noise(tmp_path: Path) -> None:
    lost = tuple(f"s{b}-lr{a:g}" for b in TRUTH.batch_sizes for a in TRUTH.lrs)
    made = looked(tmp_path / "lost", Truth(**{**TRUTH.__dict__, "diverged": lost}))
    assert made.recommended is None
    assert "Nothing can be recommended" in str(made)
    assert choose_text.next_commands(made, "a/b", "20%", 0, {"out": Path("runs")}) == ""
    assert "the noise of validation error is not" in str(looked(tmp_path / "b", TRUTH, None))


def test_settings_whose_network_died_are_named(tmp_path: Path) -> None:
    """Those planted are named where they were dropped and in the answer; those that diverged are not dead."""
    planted = {"s8-lr0.2", "s16-lr0.2"}
    made = looked(tmp_path, replace(TRUTH, dead=(*planted, "s8-lr0.1"), diverged=("s8-lr0.1",)))
    reason = "the training loss stood at 2.3 for the last 3 epochs, at an error of 90 %"
    assert made.answer()["dead"] == dict.fromkeys(planted, reason)
    sentence = f"2 runs are dead (s8-lr0.2, s16-lr0.2): {reason}. Their errors count as they are."
    assert f"\n{sentence}" in str(made)
    first, *later = (choose_text.comparison_text(made, comparison) for comparison in made.state.rounds)
    assert f"\n  {sentence}" in first
    assert "dead" not in "".join(later)
    assert "Do not use" not in str(made)
    assert "dead" not in str(looked(tmp_path / "alive", TRUTH))


def test_a_dead_network_that_is_left_over_is_not_to_be_used(tmp_path: Path) -> None:
    names = tuple(f"s{size}-lr{lr:g}" for size in TRUTH.batch_sizes for lr in TRUTH.lrs)
    made = looked(tmp_path, replace(TRUTH, dead=names))
    assert made.recommended is not None
    assert "\nDo not use it: its network is dead: the training loss stood at 2.3" in str(made)
    assert "Try smaller learning rates." in str(made)


def test_a_budget_at_which_it_lost_more_is_told() -> None:
    assert "Small budget" in choose_text.plan_text("a/b", "10%", halving_plan(36, 40, 144))
    assert "Small budget" not in choose_text.plan_text("a/b", "20%", halving_plan(36, 40, 288))


def test_nothing_on_disk_yet() -> None:
    made = halving_from_runs(
        None, [Candidate("a", 8, 0.1), Candidate("b", 16, 0.1)], PLAN, metric="val/error"
    )
    assert (made.state.todo, made.state.until, made.spent_epochs) == ((0, 1), 1, 0)

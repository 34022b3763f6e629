"""Killed and started again, successive halving trains what the back-test simulates."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cases.small_search import WORDS, ran

import fisherscope as fs
from fisherscope.analysis import settings_of
from fisherscope.analysis.backtests.baselines import RIVALS
from fisherscope.analysis.data.setting_grid import SettingGrid
from fisherscope.analysis.selection.halving_result import HalvingResult
from fisherscope.analysis.selection.learning_curves import LearningCurves
from fisherscope.analysis.selection.successive_halving import HalvingPlan, Round
from fisherscope.cli.choose import choose
from fisherscope.cli.select import select
from fisherscope.search import SearchListener

SIZES, RATES, EPOCHS, BUDGET = (8, 16, 32), (0.02, 0.2), 6, 0.5


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """The directory, the answer and the progress of a `choose` that was killed once on its way."""
    out = tmp_path_factory.mktemp("chosen")
    command = [sys.executable, "-m", "fisherscope", "choose", *WORDS, "--out", str(out), "--json"]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(out.glob("*/epochs.jsonl")):  # of six
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    return out, json.loads(again.stdout), again.stderr


def test_killed_and_started_again_it_chooses_what_the_back_test_plays(
    chosen: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    _, answer, _ = chosen
    grid = {"task": "digits/mlp", "batch_sizes": SIZES, "lrs": RATES, "epochs": EPOCHS, "limit_train": 64}
    assert fs.run_sweep({**grid, "per_epoch": 4}, tmp_path, jobs=2).complete
    recorded = LearningCurves.of(
        SettingGrid.of(settings_of(tmp_path), without_diverged=False), "val/error", True
    )
    numbers = np.random.default_rng(0)
    play = RIVALS["successive halving"](recorded, 0, BUDGET * 6 * EPOCHS, 1, numbers)
    assert answer["recommended"]["setting"] == recorded.grid.names[play.chosen]
    assert answer["spent_epochs"] == play.trained.sum() <= answer["allowed_epochs"] == 18
    assert answer["value"] == pytest.approx(np.exp(recorded.final[play.chosen, 0]))


def test_it_says_what_it_does_and_what_next(chosen: tuple[Path, dict[str, Any], str]) -> None:
    out, answer, said = chosen
    assert "all to epoch 1; the best 2 to epoch 3; the best one to epoch 6. Total: 13 epochs." in said
    assert "C̄ and L are shown for information only" in said
    assert f"  {answer['recommended']['setting']}" in said
    assert "fisherscope choose digits/mlp --budget 50% --batch-sizes" in said  # of 2 rates one is at the edge
    assert ran(choose, *WORDS, "--out", out).output.count("of training") == 1  # nothing is left


def test_select_reads_what_it_leaves_and_goes_on(chosen: tuple[Path, dict[str, Any], str]) -> None:
    out, answer, _ = chosen
    now = ran(select, out)
    assert f"Use batch size {answer['recommended']['batch_size']}, learning rate" in now.output
    assert f"Spent {answer['spent_epochs']} of 36 epochs. Next:" in now.output
    assert f"Spent {answer['spent_epochs'] + 5} of 36 epochs" in ran(select, out, "--run-next").output


def test_a_run_that_another_process_trains_is_not_taken_for_a_failed_one(tmp_path: Path) -> None:
    config = fs.training.Configuration.of(
        {"task": "digits/mlp", "batch_size": 8, "lr": 0.02, "epochs": 6, "limit_train": 64, "per_epoch": 4,
         "threads": 1}
    )  # fmt: skip
    with fs.open_run(tmp_path / config.id, config.identity()):
        error = ran(choose, *WORDS, "--out", tmp_path).exception
    assert type(error).__name__ == "RunLockedError"
    assert "run the same command again when it has ended" in str(error)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--budget", "10%"), "takes 11; give a budget of at least 31%"),
        (("--budget", "lots"), "such as 20%"),
        (("--lrs", "0.1,x"), "reading the list '0.1,x'"),
        (("--lrs", ""), "is empty; give at least one of each"),
    ],
)
def test_what_cannot_be_chosen_is_told(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    assert told in str(ran(choose, *WORDS, *words, "--out", tmp_path / "runs").exception)
    assert not (tmp_path / "runs").exists()


def test_shares() -> None:
    assert parse_share("20%") == parse_share("0.2")


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


def test_a_budget_at_which_it_lost_more_is_told() -> None:
    assert "Small budget" in choose_text.plan_text("a/b", "10%", halving_plan(36, 40, 144))
    assert "Small budget" not in choose_text.plan_text("a/b", "20%", halving_plan(36, 40, 288))


def test_nothing_on_disk_yet() -> None:
    made = halving_from_runs(
        None, [Candidate("a", 8, 0.1), Candidate("b", 16, 0.1)], PLAN, metric="val/error"
    )
    assert (made.state.todo, made.state.until, made.spent) == ((0, 1), 1, 0)


def test_a_share_s_interval_covers_as_it_says() -> None:
    """Of 500 samples at 3 %: 80 % intervals of 4000 draws, within five standard errors of 80 %."""
    drawn = np.random.default_rng(0).binomial(500, 0.03, 4000) / 500
    inside = [low <= 0.03 <= high for low, high in (share_interval(v, 500) for v in drawn)]
    assert np.mean(inside) == pytest.approx(0.8, abs=0.03 + 5 * np.sqrt(0.16 / 4000))
    assert share_deviation(0.03, 500) == pytest.approx(drawn.std(), rel=0.05)
    assert share_interval(0.0, 500)[0] == 0.0
    assert share_deviation(0.0, 500) > 0


def test_choose_in_python_reports_and_resumes(tmp_path: Path) -> None:
    """The function trains, reports each comparison, and called again trains nothing more."""
    heard: list[tuple[str, object]] = []

    class Listener(SearchListener):
        def on_plan(self, plan: HalvingPlan) -> None:
            heard.append(("planned", plan.rungs[0].settings))

        def on_comparison(self, result: HalvingResult, comparison: Round) -> None:
            heard.append(("compared", comparison.epoch))

        def training(self, configurations: object, until: int) -> AbstractContextManager[None]:
            heard.append(("training", until))
            return nullcontext()

    def search() -> HalvingResult:
        return fs.choose(
            "digits/mlp", budget=0.6, batch_sizes=(32, 64), lrs=(0.02, 0.1), epochs=3, limit_train=300,
            jobs=1, out=tmp_path, listener=Listener(),
        )  # fmt: skip

    first = search()
    assert not first.state.todo
    assert first.recommended is not None
    assert first.spent <= 0.6 * 4 * 3
    assert heard[0] == ("planned", 4)
    trained = [what for what in heard if what[0] == "training"]
    assert trained
    heard.clear()
    again = search()
    assert again.answer() == first.answer()
    assert not [what for what in heard if what[0] == "training"]


def test_choose_refuses_a_budget_that_is_no_share(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"budget=20: expected a share in \(0, 1\]"):
        fs.choose("digits/mlp", budget=20, out=tmp_path)
    assert not list(tmp_path.iterdir())

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
from fisherscope.analysis.backtests.baselines import STRATEGIES
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
    play = STRATEGIES["successive halving"](recorded, 0, BUDGET * 6 * EPOCHS, 1, numbers)
    assert answer["recommended"]["setting"] == recorded.grid.names[play.chosen]
    assert answer["spent_epochs"] == play.trained.sum() <= answer["allowed_epochs"] == 18
    assert answer["value"] == pytest.approx(np.exp(recorded.final[play.chosen, 0]))


def test_it_says_what_it_does_and_what_next(chosen: tuple[Path, dict[str, Any], str]) -> None:
    out, answer, said = chosen
    assert "all to epoch 1; the best 2 to epoch 3; the best one to epoch 6. Total: 13 epochs." in said
    assert "C̄ and L are shown for information only" in said
    assert f"  {answer['recommended']['setting']}" in said
    assert "fisherscope choose digits/mlp --budget 50% --batch-sizes" in said  # of 2 rates one is at the edge
    assert ran(choose, *WORDS, "--out", out).output.count("epochs allowed") == 1  # nothing is left


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
    assert "run the same command again when it has finished" in str(error)


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
    assert first.spent_epochs <= 0.6 * 4 * 3
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

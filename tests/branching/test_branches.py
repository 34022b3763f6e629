"""Branches are ordinary runs that begin where the checkpoint is, and survive what runs survive."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.cases.small_branches import OPTIONS, SETTINGS, WORDS
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.branching import BranchError
from fisherscope.training import train


def test_a_branch_is_that_of_a_loop_by_hand(parent: Path, measured: tuple[Path, Any]) -> None:
    """AdamW stepped by hand from the checkpoint, over the same samples, with the stated rates and betas."""
    out, result = measured
    size, reference, order = 32, 16, 1
    config = result.plan.branch(result.plan.arms[0], size, order)
    saved = torch.load(parent / "checkpoint.pt", weights_only=True)["state"]
    task = fs.tasks.get("digits/mlp")
    model = task.model()
    model.load_state_dict(saved["model"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=1e-4)
    optimizer.load_state_dict(saved["optimizer"])
    base = saved["optimizer"]["param_groups"][0]["lr"]
    samples, segment = result.plan.samples, result.plan.segment
    seen = np.zeros(len(task.train), dtype=int)
    for start in range(0, samples, size):
        epoch, within = divmod(start, segment)
        shuffled = np.random.default_rng((order, epoch)).permutation(segment)[within : within + size]
        positions = epoch * segment + shuffled
        numbers = [
            int(np.random.default_rng((order, p // 300, 300)).permutation(300)[p % 300]) for p in positions
        ]
        seen[numbers] += 1
        group = optimizer.param_groups[0]
        group["lr"] = base * math.sqrt(size / reference) * (1 - 0.99 * start / samples)
        group["betas"] = (0.9, 0.999 ** (size / reference))
        images, labels = task.batch("train", numbers)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    evaluated = task.evaluated_on(200).evaluate(model, "validation")
    row = fs.runs.epoch_rows(config.path_in(out / "branches"))[-1]
    assert row["val/loss"] == pytest.approx(evaluated.loss, rel=1e-4)
    assert seen.min() >= 1
    assert seen.max() == 4  # 1024 of 300


def test_every_size_of_an_order_takes_the_same_samples(measured: tuple[Path, Any]) -> None:
    _, result = measured
    tasks = [
        fs.training.task_of(result.plan.branch(result.plan.arms[0], size, 1)) for size in result.plan.sizes
    ]
    numbers = torch.arange(result.plan.segment)
    images = [task.train.batch(numbers, 1)[0] for task in tasks]
    assert all(torch.equal(images[0], other) for other in images)
    other_order = fs.training.task_of(result.plan.branch(result.plan.arms[0], 16, 0))
    assert not torch.equal(images[0], other_order.train.batch(numbers, 1)[0])


def test_the_answer_is_complete_and_every_verb_reads_the_branches(measured: tuple[Path, Any]) -> None:
    out, result = measured
    answer = json.loads(json.dumps(result.answer(), allow_nan=False))
    assert result.complete
    assert answer["sizes"] == [8, 16, 32]
    assert answer["point"]["step"] == 38
    assert np.shape(answer["arms"][0]["curves"]) == (2, 3, 8)
    assert np.shape(answer["arms"][0]["ends"]) == (2, 3, 3)
    assert [p["measurements"] for p in answer["predictions"]] == [10, 10]
    assert all(p["scale"] is None or p["scale"] > 0 for p in answer["predictions"])
    assert "Critical batch size" in str(result)
    assert "in AdamW's metric" in str(result)
    runs = fs.load_runs(out / "branches")
    assert len(runs.paths) == 3 * 2 * 3 + 1  # and the one that measured the noise scales
    for verb in ("runs", "report"):
        command = [sys.executable, "-m", "fisherscope", verb, str(out / "branches")]
        done = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_killed_in_a_branch_it_trains_only_what_is_missing(
    parent: Path, measured: tuple[Path, Any], tmp_path: Path
) -> None:
    """Killed by SIGKILL once branches are on their way, then run again: the same answer, to the last bit."""
    command = [sys.executable, "-m", "fisherscope", "branch", str(parent), *WORDS, "--out", str(tmp_path)]
    process = subprocess.Popen([*command, "--json"], start_new_session=True, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(tmp_path.glob("branches/*/epochs.jsonl"))) < 3:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = {
        path: path.stat().st_mtime_ns
        for path in tmp_path.glob("branches/*/outcomes.npz")
        if fs.runs.has_ended(path.parent)
    }
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert again.returncode in (0, 1), again.stderr  # 1: not defined here
    answer, expected = json.loads(again.stdout), json.loads(json.dumps(measured[1].answer()))
    assert {k: v for k, v in answer.items() if k != "runs"} == {
        k: v for k, v in expected.items() if k != "runs"
    }
    assert all(path.stat().st_mtime_ns == before for path, before in done.items())


def test_a_damaged_branch_and_a_damaged_beginning_are_named(
    parent: Path, measured: tuple[Path, Any], tmp_path: Path
) -> None:
    shutil.copytree(measured[0], tmp_path / "out")
    branch = measured[1].plan.branch(measured[1].plan.arms[0], 16, 0).path_in(tmp_path / "out" / "branches")
    rows = (branch / "epochs.jsonl").read_bytes()
    (branch / "epochs.jsonl").write_bytes(b"\x00garbage\n" + rows)
    with pytest.raises(fs.runs.DamagedRunError, match=re.escape(branch.name)):
        fs.branch(parent, out=tmp_path / "out", **OPTIONS)
    (branch / "epochs.jsonl").write_bytes(rows[: rows.index(b"\n") + 1])
    with pytest.raises(fs.runs.DamagedRunError, match=rf"{re.escape(branch.name)}: 1 epochs of"):
        fs.branch(parent, out=tmp_path / "out", **OPTIONS)
    frozen = next((tmp_path / "out" / "branches" / ".start").glob("at-*/checkpoint.pt"))
    frozen.write_bytes(frozen.read_bytes()[:1000])
    with pytest.raises(fs.runs.DamagedRunError, match=str(frozen)):
        fs.branch(parent, out=tmp_path / "out", **OPTIONS)


def test_a_diverged_branch_leaves_its_size_out(parent: Path, tmp_path: Path) -> None:
    result = fs.branch(
        parent, sizes=(8, 16, 32), samples=1024, orders=1, base_rates=("1e38",), rescale=("linear",), jobs=2,
        out=tmp_path,
    )  # fmt: skip
    assert 32 in result.arms[0].diverged
    assert "diverged" in result.arms[0].reason
    assert "not defined here" in str(result)
    assert result.interval == (0.0, math.inf)


def test_runs_that_cannot_be_branched_are_refused(parent: Path, tmp_path: Path) -> None:
    diverged = train({**SETTINGS, "optimizer": "SGD", "lr": 1e12}, tmp_path / "diverged")
    assert diverged.status == "diverged"
    with pytest.raises(BranchError, match="it diverged"):
        fs.branch(diverged.path, out=tmp_path)
    with fs.open_run(tmp_path / "bare", SETTINGS) as run:
        run.log_epoch(val_error=0.5)
    with pytest.raises(fs.runs.RunError, match="it has none"):
        fs.branch(tmp_path / "bare", out=tmp_path)
    with fs.open_run(tmp_path / "own", {"model": "mine"}) as run:
        run.save_checkpoint({"step": 1})
    with pytest.raises(BranchError, match="not trained by fisherscope train"):
        fs.branch(tmp_path / "own", out=tmp_path)
    with pytest.raises(BranchError, match="it holds runs, such as"):
        fs.branch(parent.parent, out=tmp_path)
    with pytest.raises(fs.tasks.TaskError, match="did you mean digits/mlp"):
        fs.branch("digits/mlpp", out=tmp_path)
    with pytest.raises(BranchError, match="settings are for a task"):
        fs.branch(parent, settings={"lr": 0.1}, out=tmp_path)
    with pytest.raises(BranchError, match=r"train_share=1.5"):
        fs.branch("digits/mlp", train_share=1.5, out=tmp_path)


def test_code_that_a_run_names_is_not_run_unasked(parent: Path, tmp_path: Path) -> None:
    shutil.copytree(parent, tmp_path / "run")
    head = json.loads((tmp_path / "run" / "run.json").read_text())
    head["config"]["task"] = "hostile:factory"
    (tmp_path / "run" / "run.json").write_text(json.dumps(head))
    with pytest.raises(fs.tasks.TaskError, match="is not run only because a run directory names it"):
        fs.branch(tmp_path / "run", out=tmp_path)

"""Runs that version 0.1 recorded are read and resumed, and end as 0.1 ended them."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import fisherscope as fs
from fisherscope.training import train

RECORDED = Path(__file__).parents[1] / "data" / "recorded-0.1"
SAMPLERS = json.loads((RECORDED / "samplers.json").read_text())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def copy_of(kind: str, tmp_path: Path) -> Path:
    """A copy of the one recorded run of this kind."""
    (run,) = (RECORDED / kind).iterdir()
    return Path(shutil.copytree(run, tmp_path / "runs" / run.name))


NEW_EPOCH_KEYS = {
    "train/error_running", "time/plain_process_s", "time/plain_steps", "time/measured_process_s",
    "fisher/cond_mean_epochs",
}  # fmt: skip
"""Keys of an epoch's row that 0.2 added."""


GAPS = 0.05
"""What a change of rule leaves: the steps before a change of size count with their own stage now."""


def assert_epochs_equal(run: Path, kind: str) -> None:
    """The same keys and counters; numbers as near as another machine's rounding lets 500 steps end."""
    ended, expected = lines(run / "epochs.jsonl"), lines(RECORDED / "uninterrupted" / f"{kind}-epochs.jsonl")
    assert len(ended) == len(expected) > 2
    for mine, theirs in zip(ended, expected, strict=True):
        assert [key for key in mine if key not in NEW_EPOCH_KEYS] == list(theirs)
        for key in ("epoch", "step", "samples", "lr_sum", "batch_size", "lr", "policy/decisions"):
            assert mine.get(key) == theirs.get(key)
        for key, rounding in (
            ("fisher/cond_geomean", GAPS),
            ("fisher/energy_sum", GAPS),
            ("train/loss", 1e-2),
        ):
            if key in theirs:
                assert mine[key] == pytest.approx(theirs[key], rel=rounding)


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_state_resumes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(RECORDED.parents[2])  # a beacon policy's name has a path relative to the project
    recorded = SAMPLERS[name]
    (steps,) = (RECORDED / "train").glob("*/steps.jsonl")
    rows = lines(steps)
    policy = fs.policy.parse(name, lr=0.1, epochs=10)
    assert (repr(policy), policy.name) == (recorded["repr"], recorded["name"])
    sampler = fs.DynamicBatchSampler(recorded["length"], policy, seed=3)
    assert list(sampler.state_dict()) == list(recorded["state"])
    sampler.load_state_dict(recorded["state"])
    batches = iter(sampler)
    for k, (indices, lr) in enumerate(recorded["following"], start=recorded["state"]["steps"] + 1):
        assert next(batches) == indices
        assert sampler.current.decision.lr == lr
        sampler.step(rows[k] if policy.closed_loop else None)


def test_trained_run_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(RECORDED))
    run = copy_of("train", tmp_path)
    before = lines(run / "steps.jsonl")
    config = json.loads((run / "run.json").read_text())["config"]
    result = train({**config, "threads": 1}, run.parent)
    assert (result.path, result.status) == (run, "finished")
    after = lines(run / "steps.jsonl")
    kept = [row for row in before if row["step"] < 330]
    assert after[: len(kept)] == kept
    added = {
        "fisher/grouping",
        "fisher/note",
        "fisher/cond_mean_epochs",
    }  # by 0.2; rows without the first are unverified
    assert [key for key in after[-1] if key not in added] == list(before[-1])
    assert [row["step"] for row in after] == sorted({row["step"] for row in after})
    assert_epochs_equal(run, "train")


def test_own_loop_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(RECORDED))
    run = copy_of("own-loop", tmp_path)
    assert importlib.import_module("own_loop").run(run.parent) == run
    assert_epochs_equal(run, "own-loop")
    assert fs.load_runs(run).runs["status"].to_list() == ["finished"]


def test_recorded_runs_are_read(tmp_path: Path) -> None:
    run = copy_of("train", tmp_path)
    copy_of("own-loop", tmp_path)
    runs = fs.load_runs(run.parent)
    assert not runs.damaged
    assert runs.runs["status"].to_list() == ["interrupted"] * 2
    assert runs.steps["step"].max() == 359
    assert runs.epochs["fisher/cond_mean"].null_count() == 0
    assert len(runs.spectra(run.name)) == len(lines(run / "steps.jsonl")) == 37

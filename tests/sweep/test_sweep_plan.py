"""What a sweep will take: disk, steps and memory against runs that were trained, and what does not fit."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

import fisherscope as fs
from fisherscope.cli import main
from fisherscope.sweep import Grid, StepProbe, SweepPlan, plan_sweep, probe_steps
from fisherscope.sweep.sweep_plan import _measured_share, _steps
from fisherscope.training import Configuration, train


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 16, "stride": True, "every": 3},
        {"batch_size": 64, "every": 4},
        {"policy": "s8-to-128", "per_epoch": 2},
        {"policy": "s64-to-16-MS", "every": 5},
    ],
)
def test_a_trained_run_is_as_large_as_planned(changes: dict[str, object], tmp_path: Path) -> None:
    config = Configuration.of({"task": "digits/mlp", "epochs": 12, "lr": 0.01, "threads": 1, **changes})
    plan = plan_sweep([config], tmp_path, jobs=1, seconds=0.2)
    path = train(config, tmp_path).path
    written = sum(file.stat().st_size for file in path.iterdir())
    state = 2 * 4 * sum(p.numel() for p in fs.tasks.get("digits/mlp").model().parameters())
    assert plan.disk - state == pytest.approx(written, rel=0.15)  # beside it lies the checkpoint to come
    steps = fs.load_runs(path).epochs["step"].to_list()[-1]
    assert sum(count for _, count in _steps(config, 300)) == pytest.approx(steps, rel=0.2)
    rows = len((path / "steps.jsonl").read_text().splitlines())
    planned = sum(n * _measured_share(config, 300 / size) for size, n in _steps(config, 300))
    assert planned == pytest.approx(rows, rel=0.3)


def test_seconds_and_memory_follow_the_batch() -> None:
    probe = StepProbe(
        plain={8: 0.1, 16: 0.18}, measured={8: 0.3}, evaluated=1e-3, samples=100, evaluated_samples=50,
        state_bytes=1, row_bytes=1, row_values=1, memory=100, step_memory={8: 80, 16: 160},
    )  # fmt: skip
    assert [probe.step_seconds(size) for size in (8, 12, 16, 512)] == pytest.approx([0.1, 0.14, 0.18, 5.14])
    assert probe.step_seconds(512, measured=True) == pytest.approx(3 * 5.14)
    assert probe.memory_of(32) == 100 + round(1.2 * 320)
    assert replace(probe, memory=None).memory_of(32) is None


def test_a_larger_batch_takes_longer_and_more() -> None:
    config = Configuration.of({"task": "digits/resnet8", "threads": 1})
    probe = probe_steps(config, [8, 64, 256], seconds=2.0)
    assert probe.step_seconds(8) < probe.step_seconds(256)
    assert probe.step_seconds(64) < probe.step_seconds(64, measured=True)


@pytest.mark.parametrize("sizes", [[10**6], [8, 10**18], [2000, 2**63]])
def test_sizes_without_limit_are_not_tried(sizes: list[int]) -> None:
    config = Configuration.of({"task": "digits/mlp", "threads": 1})
    probe = probe_steps(config, sizes, seconds=0.1)
    samples = len(fs.tasks.get("digits/mlp").train)
    assert max(probe.plain) <= samples
    assert max(probe.measured) <= samples
    assert probe.step_seconds(sizes[-1]) > probe.step_seconds(samples)


PLAN = SweepPlan({"a": 7200.0, "b": 3600.0}, 2, 1, 10**9, 10**10, 10**9, 10**10, "from steps")


def test_it_says_hours_and_what_does_not_fit() -> None:
    assert str(PLAN).splitlines() == [
        "2 runs, about 2.0 h with 2 at a time (from steps)",
        "3 core-hours, 1.0 GB on disk (10 GB free), up to 2.0 GB of memory (10 GB free)",
    ]
    assert PLAN.obstacle() is None
    assert "take about 1.0 GB on disk and 900 MB are free" in (
        replace(PLAN, free_disk=9 * 10**8).obstacle() or ""
    )
    assert "use --jobs 1" in (replace(PLAN, free_memory=15 * 10**8).obstacle() or "")
    assert "a smaller batch size" in (replace(PLAN, free_memory=5 * 10**8).obstacle() or "")
    assert replace(PLAN, memory=None, free_memory=1).obstacle() is None


def test_it_is_said_before_anything_starts(  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    def said(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["fisherscope", "sweep", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return f"{told.out}{told.err}[{ended.value.code}]"

    # a grid that needs more than any disk has: 300 samples, every one of 10⁸ epochs measured once
    huge = ("digits/mlp", "--batch-sizes", "8,16", "--epochs", 10**8, "--every", 1, "--jobs", 1)
    told = said(*huge, "--out", "runs")
    assert "on disk and" in told
    assert "--no-check" in told
    assert told.endswith("[2]")
    assert not Path("runs").exists()
    told = said("digits/mlp", "--batch-sizes", "8,16", "--epochs", 10**8, "--every", 1, "--dry-run")
    assert "This does not fit" in told
    assert "timing steps of digits/mlp …" in told
    part = tmp_path / "empty" / "cifar10" / "cifar-10-binary.tar.gz.part"
    part.mkdir(parents=True)  # so that no download can begin
    told = said("cifar10/mlp", "--batch-sizes", 8, "--data-dir", tmp_path / "empty", "--out", "runs")
    assert "downloading cifar-10-binary.tar.gz" in told
    assert "--data-dir" in told
    assert told.endswith("[2]")
    assert not Path("runs").exists()


def test_an_empty_grid_of_what_is_left(tmp_path: Path) -> None:
    plan = plan_sweep([], tmp_path)
    assert (plan.seconds, plan.disk, plan.obstacle()) == ({}, 0, None)
    assert len(Grid("digits/mlp", (8,)).configurations()) == 1

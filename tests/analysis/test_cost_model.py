"""Times that screens show: planted runs whose clock was contended, against seconds known beforehand."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import fisherscope as fs
from fisherscope import analysis
from fisherscope.analysis.data.cost_estimation import cost_model
from fisherscope.analysis.data.run_measures import measure_of_runs
from fisherscope.analysis.data.run_times import run_times
from fisherscope.runs.step_times import STEP_TIMES, StepTimesRecord, add_step_times, timed_config

SAMPLES = 240
ALIKE = {"task": "planted/times", "device": "cpu", "threads": 1}


@dataclasses.dataclass(frozen=True)
class Plant:
    """A sweep whose steps take overhead + each × batch size seconds, and whose clock ran as it liked."""

    overhead: float
    each: float
    sizes: tuple[int, ...]
    contention: float
    seeds: int
    process: bool
    salt: int

    def seconds(self, size: float) -> float:
        return self.overhead + self.each * size

    def run_seconds(self, sizes_by_epoch: list[int]) -> float:
        """Brute force: every step of every epoch, the last batch of an epoch smaller."""
        total = 0.0
        for size in sizes_by_epoch:
            left = SAMPLES
            while left > 0:
                total += self.seconds(min(size, left))
                left -= size
        return total


def draw(salt: int) -> Plant:
    numbers = np.random.default_rng(salt)
    sizes = sorted(numbers.choice([8, 16, 24, 32, 64, 80], 3, replace=False).tolist())
    return Plant(
        float(10 ** numbers.uniform(-4, -2)), float(10 ** numbers.uniform(-6, -4)), tuple(sizes),
        float(numbers.uniform(3, 10)), int(numbers.integers(2, 4)), bool(numbers.random() < 0.5), salt,
    )  # fmt: skip


def write_run(root: Path, plant: Plant, name: str, lr: float, seed: int, schedule: list[int]) -> None:
    """Record a run of one size an epoch; the clock is slowed by the others at random."""
    numbers = np.random.default_rng([plant.salt, seed, len(name), round(1e4 * lr)])
    config = {**ALIKE, "policy": name, "lr": lr, "seed": seed, "epochs": len(schedule)}
    slowed = float(numbers.uniform(1, plant.contention))
    with fs.open_run(root / f"{name}-lr{lr:g}-seed{seed}", config) as run:
        step = 0
        for epoch, size in enumerate(schedule, 1):
            steps = math.ceil(SAMPLES / size)
            step += steps
            busy = plant.run_seconds([size])
            own = {
                "time/plain_process_s": busy * float(numbers.normal(1, 0.02)),
                "time/plain_steps": steps,
                "time/measured_process_s": 0.0,
            }
            error = 0.05 + 0.001 * float(numbers.normal())
            row = {
                "epoch": epoch, "step": step, "samples": epoch * SAMPLES, "batch_size": size, "lr": lr,
                "val/error": error, "test/error": error, "time/train_s": busy * slowed,
            }  # fmt: skip
            run.log_epoch(row | (own if plant.process else {}))


def write_sweep(root: Path, plant: Plant) -> Path:
    low, _, high = plant.sizes
    for seed in range(plant.seeds):
        for lr in (0.05, 0.1):
            for size in plant.sizes:
                write_run(root, plant, f"s{size}", lr, seed, [size] * 5)
        write_run(
            root, plant, f"s{low}-to-{high}", 0.1, seed, [low, low, plant.sizes[1], plant.sizes[1], high]
        )
    return root


def interleaved(plant: Plant, rounds: int = 11) -> StepTimesRecord:
    """Every size in each round; a round is slow or fast for all of them."""
    numbers = np.random.default_rng([plant.salt, 7])
    pace = numbers.uniform(0.98, 1.02, rounds)
    plain = {size: tuple((plant.seconds(size) * pace).tolist()) for size in plant.sizes}
    measured = {size: tuple((3 * plant.seconds(size) * pace).tolist()) for size in plant.sizes}
    return StepTimesRecord(timed_config(ALIKE), plain, measured, rounds=rounds)


@pytest.mark.parametrize("salt", range(8))
def test_times_are_those_of_the_steps(tmp_path: Path, salt: int) -> None:
    """Whatever the clock said, seconds and ratios are those of the planted steps; else none is shown."""
    plant = draw(salt)
    root = write_sweep(tmp_path, plant)
    if salt % 2:
        add_step_times(root, interleaved(plant))
    runs = fs.load_runs(root)
    times = run_times(runs)
    model = times.model
    expected_kind = "interleaved" if salt % 2 else "process" if plant.process else None
    assert (model and model.kind) == expected_kind
    low, _, high = plant.sizes
    schedules = {f"s{s}": [s] * 5 for s in plant.sizes}
    schedules[f"s{low}-to-{high}"] = [low, low, plant.sizes[1], plant.sizes[1], high]
    for run_id, steps, seconds in times.frame.select("run_id", "steps", "seconds").iter_rows():
        schedule = schedules[run_id.partition("-lr")[0]]
        assert steps == sum(math.ceil(SAMPLES / size) for size in schedule)
        if model is None:
            assert seconds is None
        else:
            assert seconds == pytest.approx(plant.run_seconds(schedule), rel=0.04)
    table = str(analysis.table(root, lr=0.1))
    selection = analysis.select(root)
    if model is None:
        assert "steps are compared" in table
        assert " steps" in table
        assert selection.speed_up is None
        assert "times faster" not in str(selection)
        return
    first = analysis.table(root, lr=0.1).comparisons.row(0, named=True)
    fixed = int(first["a"].split("s# s")[1].partition("-")[0])
    truth = plant.run_seconds(schedules[f"s{low}-to-{high}"]) / plant.run_seconds([fixed] * 5)
    assert first["time_ratio"] == pytest.approx(truth, rel=0.05)
    assert first["time_low"] <= first["time_ratio"] <= first["time_high"]
    assert ("CPU seconds" in table) == (model.kind == "process")


@pytest.mark.parametrize("salt", range(8))
def test_equal_batch_sizes_are_never_faster(tmp_path: Path, salt: int) -> None:
    plant = dataclasses.replace(draw(salt), process=True)
    selection = analysis.select(write_sweep(tmp_path, plant))
    seconds = selection.candidates.group_by("batch_size").agg(pl.col("seconds").n_unique())
    assert seconds["seconds"].to_list() == [1] * 3
    if selection.fastest is not None:
        slow, fast = (selection.row(name) for name in (selection.recommended, selection.fastest))
        assert slow["batch_size"] != fast["batch_size"]
        assert fast["seconds"] <= slow["seconds"]
    if selection.speed_up is not None:
        truth = plant.run_seconds([slow["batch_size"]]) / plant.run_seconds([fast["batch_size"]])
        assert selection.speed_up.estimate == pytest.approx(truth, rel=0.05)


def test_seconds_are_an_axis(tmp_path: Path) -> None:
    plant = dataclasses.replace(draw(3), process=True)
    runs = fs.load_runs(write_sweep(tmp_path, plant))
    axis = measure_of_runs(runs, "seconds").sort("run_id", "epoch")
    for (run_id,), part in axis.group_by("run_id", maintain_order=True):
        size = int(str(run_id)[1:].partition("-")[0])
        if "-to-" not in str(run_id):
            wanted = [plant.run_seconds([size] * epoch) for epoch in range(1, 6)]
            assert part["value"].to_list() == pytest.approx(wanted, rel=0.04)


def test_an_export_keeps_measured_times(tmp_path: Path) -> None:
    plant = draw(1)
    root = write_sweep(tmp_path / "runs", plant)
    add_step_times(root, interleaved(plant))
    fs.export_runs(root, tmp_path / "all.zip", measures=())
    before, after = cost_model(fs.load_runs(root)), cost_model(fs.load_runs(tmp_path / "all.zip"))
    assert before is not None
    assert after is not None
    assert (after.kind, after.seconds.tolist()) == ("interleaved", before.seconds.tolist())


def test_times_of_another_configuration_do_not_count(tmp_path: Path) -> None:
    plant = dataclasses.replace(draw(1), process=False)
    root = write_sweep(tmp_path, plant)
    for other in ({"device": "cuda:1"}, {"threads": 2}, {"task": "planted/other"}, {"precision": "bfloat16"}):
        add_step_times(root, dataclasses.replace(interleaved(plant), config=timed_config(ALIKE | other)))
    assert len(fs.load_runs(root).step_times) == 4
    assert cost_model(fs.load_runs(root)) is None


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 1}', '{"format": 9, "records": []}', '{"format": 1, "records": [3]}']
)
def test_a_damaged_file_of_times_loses_times_only(tmp_path: Path, text: str) -> None:
    root = write_sweep(tmp_path, dataclasses.replace(draw(1), process=False))
    (root / STEP_TIMES).write_text(text)
    with pytest.warns(RuntimeWarning, match="fisherscope times"):
        table = str(analysis.table(root))
    assert "steps are compared" in table


def test_sizes_that_were_not_timed_show_steps(tmp_path: Path) -> None:
    plant = dataclasses.replace(draw(1), process=False)
    root = write_sweep(tmp_path, plant)
    record = interleaved(plant)
    few = {size: record.plain[size] for size in plant.sizes[:2]}
    add_step_times(root, dataclasses.replace(record, plain=few, measured={}))
    frame = run_times(fs.load_runs(root)).frame
    largest = frame.filter(
        pl.col("run_id").str.contains(f"s{plant.sizes[-1]}-") | pl.col("run_id").str.contains("-to-")
    )
    assert largest["seconds"].null_count() == len(largest)
    assert "were not timed" in str(analysis.table(root)) or "s# " in str(analysis.table(root))

"""Weights of running means, from the rows of a run, against the monitor's own."""

import numpy as np
import polars as pl
import pytest
from tests.cases.monitor_loop import Loop
from tests.oracles import measures as oracle

import fisherscope as fs
from fisherscope.analysis.data.credited_steps import credited_steps
from fisherscope.analysis.data.run_measures import BY_EPOCHS, measure_of_runs

SIZES = [16] * 10 + [32] * 10 + [8] * 12


def recorded(path, *, drop=()):
    """Record a run of three stages; `drop` leaves keys of its rows out, as version 0.1 did."""
    loop = Loop(every=4, stride=True)
    with fs.open_run(path, {"policy": "mine", "lr": 0.1, "seed": 0, "epochs": 2}) as run:
        for number, size in enumerate(SIZES):
            before = len(loop.monitor.history)
            loop.take(slice(0, size))
            if len(loop.monitor.history) > before:
                row = loop.monitor.history.row(-1, named=True)
                run.log_step({key: value for key, value in row.items() if key not in drop})
            if number + 1 in (16, 32):
                totals = loop.monitor.epoch_end()
                run.log_epoch({key: value for key, value in totals.items() if key not in drop})
    return loop.monitor


def test_weights_are_those_of_every_step_written_out(tmp_path):
    history = recorded(tmp_path / "run").history
    credits = credited_steps(history)
    measured = history["step"].to_list()
    counts_with = oracle.measurement_of_each_step(measured, SIZES)
    for number, step in enumerate(measured):
        mine = [size for size, m in zip(SIZES, counts_with, strict=False) if m == step]
        assert credits.steps[credits.rows == number].sum() == len(mine)
        assert credits.epochs[credits.rows == number].sum() == pytest.approx(sum(mine))


@pytest.mark.parametrize("name", ["cond_mean_epochs", "noise/variance_mean_epochs"])
def test_a_mean_by_epochs_is_had_from_the_rows(tmp_path, name):
    history = recorded(tmp_path / "run", drop=(BY_EPOCHS,)).history
    value = measure_of_runs(fs.load_runs(tmp_path), name)["value"][-1]
    measured = history["step"].to_list()
    column = "fisher/cond" if name.startswith("cond") else "noise/variance"
    values = dict(zip(measured, history[column].to_list(), strict=True))
    counts_with = oracle.measurement_of_each_step(measured, SIZES)
    sizes = SIZES[: len(counts_with)]
    assert value == pytest.approx(np.average([values[m] for m in counts_with], weights=sizes))


def test_runs_with_and_without_the_mean_by_epochs_are_read_together(tmp_path):
    recorded(tmp_path / "new")
    recorded(tmp_path / "old", drop=(BY_EPOCHS,))
    values = measure_of_runs(fs.load_runs(tmp_path), "cond_mean_epochs")
    assert values["run_id"].n_unique() == 2
    last = values.sort("epoch").group_by("run_id").last()["value"]
    assert last[0] == pytest.approx(last[1])


def test_rows_of_version_0_1_keep_their_rule():
    rows = pl.DataFrame({
        "step": [0, 4, 8], "steps_since": [1, 4, 4], "batch_size": [16, 16, 32], "epoch": [0.1, 0.5, 1.0],
    })  # fmt: skip
    credits = credited_steps(rows)
    assert credits.steps.tolist() == [1, 4, 4]
    assert credits.epochs.tolist() == pytest.approx([0.1, 0.4, 0.5])


def test_no_rows_have_no_weights():
    assert all(len(part) == 0 for part in credited_steps(pl.DataFrame({"step": []})))

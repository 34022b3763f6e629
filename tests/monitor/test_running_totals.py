"""Running means and sums over all steps, measured or not."""

import json
import math

import numpy as np
import pytest
from tests.cases.monitor_loop import Loop
from tests.oracles import measures as oracle
from torch.nn import functional as F

import fisherscope as fs


def test_axes_count_every_step():
    monitor = Loop(every=3, stride=True, dataset_size=96).run(8)
    last = monitor.history.row(-1, named=True)
    assert monitor.history["step"].to_list() == [0, 3, 6]
    assert last["steps_since"] == 3
    assert last["samples"] == 7 * 16
    assert last["lr_sum"] == pytest.approx(0.7)
    assert last["step_scale_sum"] == pytest.approx(7 * 0.1 / 4)
    assert last["epoch"] == pytest.approx(1 + 1 / 6)


def test_energy_sum_over_all_steps_is_the_sum_of_step_energies_when_all_are_measured():
    loop = Loop(every=1)
    rates, sizes = [], []
    for number, size in enumerate([16, 8, 32, 5, 1, 16]):
        loop.optimizer.param_groups[0]["lr"] = 0.1 / (1 + number)
        loop.take(slice(0, size))
        rates.append(0.1 / (1 + number))
        sizes.append(size)
    history = loop.monitor.history
    expected = oracle.energy_sum(history["fisher/trace"], rates, sizes)
    assert history["fisher/energy_sum"][-1] == pytest.approx(expected)
    assert history["fisher/energy"].sum() == pytest.approx(expected)
    assert history["batch_size"].to_list() == sizes


def test_running_means_can_be_had_from_the_rows():
    history = Loop(every=4).run(30).history
    conds, steps = history["fisher/cond"].to_list(), history["steps_since"].to_list()
    mean, geomean, median = oracle.cond_means(conds, steps)
    last = history.row(-1, named=True)
    assert last["fisher/cond_mean"] == pytest.approx(mean)
    assert last["fisher/cond_geomean"] == pytest.approx(geomean)
    assert last["fisher/cond_median"] == pytest.approx(median)
    assert last["fisher/cond_mean_paper"] == pytest.approx(np.mean(conds))
    scale = np.diff([0.0, *history["step_scale_sum"]])
    density = np.sqrt(history["fisher/trace"].to_numpy() / history["batch_size"].to_numpy())
    assert last["fisher/energy_sum"] == pytest.approx(float(density @ scale))


def test_parameter_groups_weigh_their_own_traces():
    loop = Loop(groups=True, every=1)
    with fs.record_gram(loop.model) as record:
        F.cross_entropy(loop.model(loop.x[:16]), loop.y[:16]).backward()
    weights = sum(trace for name, trace in record.traces.items() if "weight" in name)
    biases = sum(trace for name, trace in record.traces.items() if "bias" in name)
    row = loop.run(1).measurement
    energy = math.sqrt(0.1**2 * weights + 0.025**2 * biases) / 16
    assert row["fisher/energy"] == pytest.approx(energy)
    assert row["fisher/energy_sum"] == pytest.approx(energy)
    assert row["lr_group1"] == 0.025
    assert row["step_scale_sum_group1"] == pytest.approx(0.025 / 4)


def test_the_epochs_row_has_the_tail_of_the_energy_sum():
    monitor = Loop(every=100, dataset_size=96).run(6)
    first = monitor.history.row(0, named=True)
    totals = monitor.epoch_end()
    assert totals["fisher/energy_sum"] == pytest.approx(6 * first["fisher/energy"])
    assert totals["fisher/energy_sum_paper"] == pytest.approx(6 * first["fisher/energy"])
    assert totals["samples"] == 96


SIZES = [16] * 6 + [5] + [16] * 3 + [32] * 7 + [8] * 4 + [5] + [8] * 6
"""Batch sizes of a run with three stages and two ragged batches."""


def loop_with_stages(state_at=None):
    loop = Loop(every=4, stride=True)
    for number, size in enumerate(SIZES):
        for group in loop.optimizer.param_groups:
            group["lr"] = 0.1 / (1 + number)
        if number == state_at:  # a resumed run counts on
            state = json.loads(json.dumps(loop.monitor.state_dict()))
            loop.monitor = fs.Monitor(loop.model, loop.optimizer, every=4, stride=True)
            loop.monitor.load_state_dict(state)
        loop.take(slice(0, size))
    return loop.monitor


@pytest.mark.parametrize("state_at", [None, 9, 11])
def test_steps_before_a_change_of_size_count_with_their_own_stage(state_at):
    history = loop_with_stages(state_at=state_at).history
    measured, last = history["step"].to_list(), history.row(-1, named=True)
    counts_with = oracle.measurement_of_each_step(measured, SIZES)
    row = {step: number for number, step in enumerate(measured)}
    conds = [history["fisher/cond"][row[step]] for step in counts_with]
    sizes = SIZES[: len(counts_with)]
    assert last["fisher/cond_mean"] == pytest.approx(np.mean(conds))
    assert last["fisher/cond_geomean"] == pytest.approx(math.exp(np.mean(np.log(conds))))
    assert last["fisher/cond_mean_epochs"] == pytest.approx(np.average(conds, weights=sizes))
    density = (history["fisher/trace"] / history["batch_size"]).to_list()
    traces = [density[row[step]] * size for step, size in zip(counts_with, sizes, strict=True)]
    rates = [0.1 / (1 + number) for number in range(len(sizes))]
    assert last["fisher/energy_sum"] == pytest.approx(oracle.energy_sum(traces, rates, sizes))
    variance, signal = (
        sum(history[f"noise/{part}"][row[step]] for step in counts_with) for part in ("variance", "signal")
    )
    assert last["noise/scale_mean"] == (pytest.approx(variance / signal) if signal > 0 else None)
    own = [row["steps_since"] for row in history.iter_rows(named=True)]
    assert own == [
        sum(m == step and (measured[k - 1] if k else -1) < s <= step for s, m in enumerate(counts_with))
        for k, step in enumerate(measured)
    ]
    assert own != np.diff([-1, *measured]).tolist()


def test_at_one_size_the_mean_by_epochs_is_that_by_steps():
    last = Loop(every=4).run(30).history.row(-1, named=True)
    assert last["fisher/cond_mean_epochs"] == pytest.approx(last["fisher/cond_mean"])

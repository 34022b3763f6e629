"""Running means and sums, against every step written out."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles import measures as oracle

from fisherscope import measures


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 1e6), st.integers(1, 9)), min_size=1, max_size=20))
def test_running_means_equal_every_step_spelled_out(taken):
    running = measures.RunningCond()
    for cond, steps in taken:
        running.add(cond, steps)
    mean, geomean, median = oracle.cond_means(*zip(*taken, strict=True))
    assert running.mean == pytest.approx(mean)
    assert running.geomean == pytest.approx(geomean)
    assert running.median == median
    assert running.paper_mean == pytest.approx(sum(c for c, _ in taken) / len(taken))


def test_running_means_leave_out_what_is_not_finite():
    running = measures.RunningCond()
    assert math.isnan(running.mean)
    assert math.isnan(running.median)
    running.add(3.0, 1)
    running.add(math.nan, 50)
    running.add(math.inf, 50)
    assert (running.mean, running.geomean, running.median) == pytest.approx((3.0, 3.0, 3.0))


def test_energy_sum_is_exact_where_the_trace_holds_between_measurements():
    rng = np.random.default_rng(3)
    rates, sizes = rng.uniform(0.01, 1, 40), rng.choice([8, 16, 64], 40)
    measured = [0, 7, 8, 31]
    scale_sums = np.cumsum(rates / np.sqrt(sizes))
    # density Tr F̃/|B| holds over the steps a measurement stands for: those since the previous one
    density = rng.uniform(1, 5, len(measured))
    traces = [density[np.searchsorted(measured, k)] * sizes[k] for k in range(32)]
    tail = [density[-1] * sizes[k] for k in range(32, 40)]
    running = measures.RunningEnergy()
    for number, k in enumerate(measured):
        trace = density[number] * sizes[k]
        running.add([trace], int(sizes[k]), [scale_sums[k]], energy=1.0)
    assert running.total == pytest.approx(oracle.energy_sum(traces, rates[:32], sizes[:32]))
    assert running.at([scale_sums[-1]]) == pytest.approx(oracle.energy_sum(traces + tail, rates, sizes))
    assert running.paper_sum(len(measured) / 40) == pytest.approx(40)


def test_energy_sum_of_parameter_groups_at_constant_rates_is_energy_times_steps():
    rates, traces, size, every = (0.1, 0.02), (5.0, 80.0), 16, 10
    running = measures.RunningEnergy()
    for step in range(1, 101, every):
        running.add(traces, size, [step * rate / math.sqrt(size) for rate in rates], energy=0.0)
    energy = math.sqrt(sum(rate**2 * trace for rate, trace in zip(rates, traces, strict=True))) / size
    assert running.total == pytest.approx(91 * energy)


def test_a_trace_that_is_not_finite_leaves_its_steps_to_the_next_measurement():
    running = measures.RunningEnergy()
    running.add([4.0], 1, [1.0], energy=2.0)
    running.add([math.nan], 1, [2.0], energy=math.nan)
    running.add([4.0], 1, [3.0], energy=2.0)
    assert running.total == pytest.approx(6.0)


def test_smoothed_noise_scale_is_a_ratio_of_means():
    running = measures.RunningNoise()
    running.add(10.0, -1.0, 1)
    assert math.isnan(running.scale)
    running.add(20.0, 3.0, 2)
    running.add(math.nan, 3.0, 2)
    assert running.scale == pytest.approx((10 + 40) / (-1 + 6))


@pytest.mark.parametrize("kind", [measures.RunningCond, measures.RunningEnergy, measures.RunningNoise])
def test_running_state_goes_through_json(kind):
    running = kind()
    if kind is measures.RunningEnergy:
        running.add([4.0], 2, [0.5], energy=1.0)
    elif kind is measures.RunningCond:
        running.add(3.0, 4)
    else:
        running.add(2.0, 1.0, 3)
    assert kind(**json.loads(json.dumps(running.state_dict()))) == running

"""Non-zero rules, running means and the instruments of one Gram against naive computations."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles import measures as oracle

from fisherscope import measures

CANCELLATION = 1e-9  # float64 eps × the condition of Σ|g|² − n|ĝ|² in these batches (below 1e5), with room


def batch(size, width=7, shift=0.5, seed=0):
    rng = np.random.default_rng([seed, size, width])
    return list(rng.normal(size=(size, width)) + shift)


@pytest.mark.parametrize("size", [2, 3, 17])
@pytest.mark.parametrize("shift", [0.0, 0.5, 30.0])
def test_each_instrument_equals_the_naive_one(size, shift):
    gradients = batch(size, shift=shift)
    read = measures.instruments(oracle.gram(gradients), lr=0.1, loss=2.5)
    variance, signal = oracle.noise_scale_two_batches(gradients)
    naive = {
        "gradient/norm": np.linalg.norm(oracle.mean_gradient(gradients)),
        "gradient/diversity": oracle.diversity(gradients),
        "gradient/cosine": oracle.mean_cosine(gradients),
        "noise/scale": variance / signal if signal > 0 else math.nan,
        "noise/variance": oracle.covariance_trace(gradients),
        "noise/signal": signal,
        "noise/snr": size * signal / variance if signal > 0 else math.nan,
        "test/norm": oracle.norm_test(gradients),
        "test/inner_product": oracle.inner_product_test(gradients),
        "test/orthogonality": oracle.orthogonality_test(gradients),
        "test/big_batch": oracle.norm_test(gradients) ** 2,
        "adascale/gain": oracle.adascale_gain(gradients, size),
        "cabs/batch_size": oracle.cabs(gradients, 0.1, 2.5),
    }
    assert set(naive) == set(read)
    for name, value in naive.items():
        assert read[name] == pytest.approx(value, rel=CANCELLATION, abs=1e-12, nan_ok=True), name


def test_norm_test_of_a_draw_without_replacement():
    gradients = batch(6)
    read = measures.norm_test(measures.Gradients(oracle.gram(gradients), population=10))
    assert read == pytest.approx(oracle.norm_test(gradients, population=10), rel=CANCELLATION)


def test_noise_scale_is_unbiased_in_both_parts_over_every_draw_without_replacement():
    population = batch(7, shift=0.3)
    full = oracle.mean_gradient(population)
    draws = [
        measures.Gradients(oracle.gram([population[i] for i in chosen]), population=7)
        for chosen in itertools.combinations(range(7), 3)
    ]
    assert np.mean([d.variance for d in draws]) == pytest.approx(oracle.covariance_trace(population))
    assert np.mean([d.signal for d in draws]) == pytest.approx(float(full @ full))


def test_noise_scale_is_unbiased_in_both_parts_over_every_independent_draw():
    population = batch(4, shift=0.3)
    full = oracle.mean_gradient(population)
    draws = [
        measures.Gradients(oracle.gram([population[i] for i in chosen]))
        for chosen in itertools.product(range(4), repeat=3)
    ]
    assert np.mean([d.variance for d in draws]) == pytest.approx(oracle.covariance_trace(population, ddof=0))
    assert np.mean([d.signal for d in draws]) == pytest.approx(float(full @ full))


def test_plug_in_estimator_of_the_noise_scale():
    gradients = batch(9)
    mean = oracle.mean_gradient(gradients)
    read = measures.noise_scale(measures.Gradients(oracle.gram(gradients)), "plug_in")
    assert read == pytest.approx(oracle.covariance_trace(gradients) / float(mean @ mean))


def test_adascale_gain_over_a_base_batch_that_is_s_times_smaller():
    gradients = measures.Gradients(oracle.gram(batch(12)))
    noise = gradients.variance * 4 / 12
    signal = gradients.mean_square - noise / 4
    assert measures.adascale_gain(gradients, 4) == pytest.approx((noise + signal) / (noise / 4 + signal))
    assert 1 <= measures.adascale_gain(gradients, 4) <= 4


def test_equal_gradients_have_no_noise_and_least_diversity():
    read = measures.instruments(oracle.gram([np.ones(3)] * 5))
    assert read["gradient/diversity"] == pytest.approx(1 / 5)
    assert read["gradient/cosine"] == pytest.approx(1)
    assert read["noise/variance"] == pytest.approx(0, abs=1e-12)
    assert read["adascale/gain"] == pytest.approx(1)


@pytest.mark.parametrize("gradients", [[np.ones(3)], [np.zeros(3)] * 4], ids=["one sample", "all zero"])
def test_what_is_undefined_is_nan_and_not_an_error(gradients):
    read = measures.instruments(oracle.gram(gradients), lr=0.1, loss=0.0)
    for name in ("noise/scale", "noise/snr", "test/norm", "test/inner_product", "test/orthogonality"):
        assert math.isnan(read[name]), name


def test_a_gram_of_the_wrong_shape_or_population_is_refused():
    with pytest.raises(ValueError, match=r"expected shape \(B, B\).*received \(2, 3\)"):
        measures.Gradients(np.ones((2, 3)))
    with pytest.raises(ValueError, match="population=3 is below the batch size 4"):
        measures.Gradients(np.ones((4, 4)), population=3)


# --- non-zero rules


EIGENVALUES = np.array([100.0, 4.0, 1.0, 1e-3, 1e-12, 0.0, -1e-13])


@pytest.mark.parametrize(
    ("rule", "floor", "kept", "censored"),
    [
        ("floor", 1e-10, 4, True),
        ("floor", 0.0, 5, True),
        ("exact", 1e-10, 5, False),
        ("relative:0.1", 1e-10, 2, False),
        ("relative", 1e-10, 4, False),
        ("relative:1e-8", 1e-10, 4, True),
        ("relative:0.1", 2.0, 2, False),
        ("energy:0.95", 1e-10, 1, False),
        ("energy:0.99", 1e-10, 2, False),
        ("energy:1", 1e-10, 4, True),
    ],
)
def test_rules_keep_what_they_say(rule, floor, kept, censored):
    shuffled = EIGENVALUES[[3, 0, 6, 2, 5, 1, 4]]
    left = measures.nonzero(shuffled, rule, floor)
    assert sorted(left) == sorted(EIGENVALUES[:kept])
    assert measures.censored(shuffled, rule, floor) is censored
    assert measures.cond(shuffled, rule, floor) == pytest.approx(math.sqrt(100 / EIGENVALUES[kept - 1]))


def test_the_energy_share_is_reached_and_no_eigenvalue_too_many_is_kept():
    kept = measures.nonzero(EIGENVALUES, "energy:0.96")
    total = EIGENVALUES.clip(0).sum()
    assert kept.sum() >= 0.96 * total
    assert kept[:-1].sum() < 0.96 * total


@pytest.mark.parametrize("rule", ["flor", "floor:3", "relative:x", "energy:1.5", "relative:0"])
def test_a_rule_that_is_none_is_refused(rule):
    with pytest.raises(ValueError, match="choosing a non-zero rule"):
        measures.nonzero(EIGENVALUES, rule)


@pytest.mark.parametrize("rule", measures.RULES)
def test_an_all_zero_spectrum_has_no_condition_number(rule):
    assert math.isnan(measures.cond(np.zeros(3), rule))
    assert math.isnan(measures.effective_rank(np.zeros(3)))


def test_effective_rank_counts_equal_singular_values_and_weighs_unequal_ones():
    assert measures.effective_rank(np.array([9.0, 9.0, 9.0, 0.0, -1e-20])) == pytest.approx(3)
    shares = np.array([2.0, 1.0]) / 3
    assert measures.effective_rank(np.array([4.0, 1.0])) == pytest.approx(np.prod(shares**-shares))


# --- running means


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

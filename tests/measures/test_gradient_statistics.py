"""Noise scale, diversity and gain of one Gram, against naive ones."""

import itertools
import math

import numpy as np
import pytest
from tests.cases.sample_gradients import CANCELLATION, batch
from tests.oracles import measures as oracle

from fisherscope import measures


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

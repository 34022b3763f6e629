"""The interval of the noise scale covers what was planted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import fisherscope as fs
from fisherscope.advice.noise_estimation import Blocks
from fisherscope.analysis import AnalysisError
from fisherscope.analysis.batch_size.noise_scale import fieller, noise_interval, size_tests


def planted(blocks: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Products and inner variances of blocks of draws N(G, Σ), and tr Σ/|G|²."""
    spread, mean = np.arange(1, 41) ** -0.5, np.full(40, 0.1)
    draws = mean + spread * rng.standard_normal((blocks, size, 40))
    means = draws.mean(1)
    within = draws.var(1, ddof=1).sum(1) if size > 1 else np.zeros(blocks)
    return means @ means.T, within, float((spread**2).sum() / (mean**2).sum())


@pytest.mark.parametrize(("blocks", "size", "between"), [(16, 32, False), (16, 32, True), (64, 1, True)])
def test_the_interval_covers_what_was_planted(blocks: int, size: int, between: bool) -> None:
    rng, hits = np.random.default_rng(7), 0
    for _ in range(200):
        products, within, truth = planted(blocks, size, rng)
        found = noise_interval(products, size, None if between else within)
        hits += found.low <= truth <= found.high
    assert 0.84 <= hits / 200 <= 0.96  # 90 % nominal; binomial deviation 2.1 %


def test_a_gram_alone_is_a_case_and_agrees_with_the_instrument() -> None:
    rng = np.random.default_rng(1)
    columns = rng.standard_normal((30, 50)) + 0.5
    gram = columns @ columns.T
    assert noise_interval(gram).scale == pytest.approx(fs.measures.instruments(gram)["noise/scale"])


def test_the_left_out_estimates_are_those_of_the_rest() -> None:
    """The jackknife's shortcut against leaving blocks out one by one."""
    products, within, _ = planted(9, 8, np.random.default_rng(2))
    whole = noise_interval(products, 8, within)
    pseudo = []
    for left in range(9):
        keep = [k for k in range(9) if k != left]
        part = noise_interval(products[np.ix_(keep, keep)], 8, within[keep])
        pseudo.append([9 * whole.variance - 8 * part.variance, 9 * whole.signal - 8 * part.signal])
    from scipy.stats import t

    ends = fieller(whole.variance, whole.signal, np.cov(np.array(pseudo).T) / 9, float(t.ppf(0.95, 8)))
    assert (whole.low, whole.high) == pytest.approx(ends)


def test_a_gradient_lost_in_noise_has_no_upper_end() -> None:
    rng = np.random.default_rng(4)
    draws = rng.standard_normal((16, 200))
    found = noise_interval(draws @ draws.T)
    assert math.isinf(found.high)
    assert found.low >= 0


def test_batches_without_replacement_vary_less() -> None:
    """Batches of 30 of 40 samples: the variance between them, corrected, is that of single samples."""
    rng = np.random.default_rng(5)
    samples = rng.standard_normal((40, 10)) + 1
    truth = samples.var(0, ddof=1).sum()
    means = np.stack([samples[rng.permutation(40)[:30]].mean(0) for _ in range(2000)])
    found = noise_interval(means @ means.T, 30, correction=1 - 30 / 40)
    assert found.variance == pytest.approx(truth, rel=0.05)
    assert found.signal == pytest.approx((samples.mean(0) ** 2).sum(), rel=0.01)


def test_too_few_blocks_are_refused() -> None:
    with pytest.raises(AnalysisError, match=r"J of at least 4.*measure more samples"):
        noise_interval(np.eye(3))
    with pytest.raises(AnalysisError, match="1 that are not finite"):
        noise_interval(np.diag([1.0, 1.0, 1.0, math.nan]))


def test_full_blocks_are_means_of_their_batches() -> None:
    gradients = torch.randn(11, 3, dtype=torch.float64)
    blocks = Blocks(limit=4)
    for k, gradient in enumerate(gradients):
        blocks.add(gradient.clone(), float(k))
    products, within = blocks.full()
    means = gradients[:8].view(2, 4, 3).mean(1)
    assert blocks.each == 4
    np.testing.assert_allclose(products, (means @ means.T).numpy())
    np.testing.assert_allclose(within, [1.5, 5.5])


def test_size_tests_are_those_of_the_principal_submatrices() -> None:
    columns = np.random.default_rng(6).standard_normal((16, 30)) + 0.3
    found = {test.batch_size: test for test in size_tests([columns @ columns.T])}
    assert set(found) == {4, 8, 16}
    assert found[8].batches == 2
    parts = [fs.measures.instruments(c @ c.T)["test/norm"] for c in (columns[:8], columns[8:])]
    assert found[8].norm_test == pytest.approx(np.median(parts))

"""Statistics of per-sample gradients from one Gram: noise scale, SNR, diversity, cosine.

Each is a function of a few sums, so together they cost O(B²). Letters as in `gram_sums`.
"""

import math
from typing import Literal

import numpy as np

from fisherscope.measures.batch_size_tests import (
    adascale_gain,
    big_batch_ratio,
    cabs_batch_size,
    inner_product_test,
    norm_test,
    orthogonality_test,
)
from fisherscope.measures.gram_sums import Gradients, GradientSums, ratio_or_nan
from fisherscope.measures.nonzero_rules import FloatArray

Estimator = Literal["unbiased", "plug_in"]


def noise_scale(gradients: Gradients | GradientSums, estimator: Estimator = "unbiased") -> float:
    """Return the simple gradient noise scale tr Σ/|G|².

    `unbiased`: numerator and denominator are each unbiased (appendix A.1 with B_small = 1 and B_big = n,
    which for one Gram is the sample variance, and |ĝ|² less its own variance). `plug_in`: |ĝ|² in place of
    |G|²; biased low, hardly ever above n.

    Source: McCandlish, Kaplan & Amodei, "An empirical model of large-batch training", 2018, eq. 2.9.

    Args:
        gradients: Sums over the batch's Gram.
        estimator: `unbiased` or `plug_in`.

    Returns:
        Samples, in [0, ∞); NaN for n = 1, or if the estimate of |G|² is not positive: the gradient is lost in
        the noise of this batch.

    Example:
        ```python
        import numpy as np

        columns = np.array([[1.0, 3.0]])  # two samples, one parameter: tr Σ̂ = 2, |G|² = 4 - 1
        assert fs.measures.noise_scale(fs.measures.Gradients(columns.T @ columns)) == 2 / 3
        ```
    """
    signal = gradients.signal if estimator == "unbiased" else gradients.mean_square
    return ratio_or_nan(gradients.variance, signal)


def snr(gradients: Gradients | GradientSums) -> float:
    """Return the power signal-to-noise ratio of the batch gradient.

    |G|²/E|ĝ − G|², both unbiased. For independent draws it is n/noise scale: 1 where the batch is as large as
    its noise scale.

    Source: McCandlish et al. 2018, eq. 2.9 and appendix A.1, as a ratio.

    Args:
        gradients: Sums over the batch's Gram.

    Returns:
        A number without unit, in (0, ∞); NaN for n = 1, or if the estimate of |G|² is not positive.

    Example:
        ```python
        import numpy as np

        columns = np.array([[1.0, 3.0]])
        assert fs.measures.snr(fs.measures.Gradients(columns.T @ columns)) == 3.0
        ```
    """
    signal = gradients.signal
    return ratio_or_nan(signal, gradients.error) if signal > 0 else math.nan


def diversity(gradients: Gradients | GradientSums) -> float:
    """Return the gradient diversity; times n it bounds the batch size.

    Σ|g_i|²/|Σ g_i|².

    Source: Yin, Pananjady, Lam, Papailiopoulos, Ramchandran & Bartlett, AISTATS 2018, definition 1.

    Args:
        gradients: Sums over the batch's Gram.

    Returns:
        A number without unit, in [1/n, ∞): 1/n if all gradients are equal, 1 if they are orthogonal; NaN for
        a zero gradient.

    Example:
        ```python
        import numpy as np

        assert fs.measures.diversity(fs.measures.Gradients(np.eye(4))) == 1.0
        ```
    """
    return ratio_or_nan(gradients.trace, gradients.n**2 * gradients.mean_square)


def mean_cosine(gradients: Gradients) -> float:
    """Return the mean cosine of the angle between two samples' gradients.

    Mean of g_i·g_j/(|g_i||g_j|) over i ≠ j; samples without a gradient are left out.

    Source: Fort, Nowak, Jastrzębski & Narayanan, "Stiffness", 2019 (their cosine stiffness, within a batch).

    Args:
        gradients: Sums over the batch's Gram.

    Returns:
        A number without unit, in [−1, 1]; NaN if fewer than two samples have a gradient.

    Cost: O(n²) time, one copy of the Gram.

    Example:
        ```python
        import numpy as np

        assert abs(fs.measures.mean_cosine(fs.measures.Gradients(np.ones((3, 3)))) - 1) < 1e-12
        ```
    """
    norms = np.sqrt(gradients.square_norms)
    nonzero = norms > 0
    count = int(nonzero.sum())
    if count < 2:
        return math.nan
    units = gradients.gram[np.ix_(nonzero, nonzero)] / np.outer(norms[nonzero], norms[nonzero])
    return float((units.sum() - np.trace(units)) / (count * (count - 1)))


def instruments(
    gram: FloatArray,
    lr: float | None = None,
    loss: float | None = None,
    population: int | None = None,
) -> dict[str, float]:
    """Return every statistic of one Gram, under the monitor's row keys.

    Formulas and sources stand at the functions that compute the values (McCandlish et al. 2018 for
    `noise/…`, and so on).

    Args:
        gram: F̃, shape (n, n), float64, columns not divided by n, in units of a squared gradient.
        lr: Learning rate α, for CABS.
        loss: Mean loss of the batch, for CABS.
        population: Training samples N if the batch was drawn without replacement.

    Returns:
        A number for each key of `INSTRUMENTS`; NaN where one is undefined.

    Raises:
        ValueError: The Gram is not square, is empty, or is larger than the population.

    Cost: O(n²) time, one copy of the Gram for the cosine.

    Example:
        ```python
        import numpy as np

        values = fs.measures.instruments(4 * np.eye(2), lr=0.5, loss=0.25)
        assert (values["test/norm"], values["cabs/batch_size"]) == (1.0, 4.0)
        ```
    """
    gradients = Gradients(np.asarray(gram, dtype=np.float64), population)
    return {
        **sum_instruments(gradients, lr, loss),
        "gradient/cosine": mean_cosine(gradients),
        "test/inner_product": inner_product_test(gradients),
        "test/orthogonality": orthogonality_test(gradients),
    }


def sum_instruments(
    gradients: Gradients | GradientSums, lr: float | None = None, loss: float | None = None
) -> dict[str, float]:
    """Return the statistics that need no inner product of two samples; NaN for the others.

    Args:
        gradients: Sums over the batch.
        lr: Learning rate α, for CABS.
        loss: Mean loss of the batch, for CABS.

    Returns:
        A number for each key of `INSTRUMENTS`, in order; NaN where one is undefined or needs a Gram.

    Source: of each statistic, at its function.

    Example:
        ```python
        values = fs.measures.sum_instruments(fs.measures.GradientSums(n=2, trace=8.0, mean_square=2.0))
        assert values["test/norm"] == 1.0
        assert values["gradient/cosine"] != values["gradient/cosine"]
        ```
    """
    return {
        "gradient/norm": math.sqrt(max(gradients.mean_square, 0.0)),
        "gradient/diversity": diversity(gradients),
        "gradient/cosine": math.nan,
        "noise/scale": noise_scale(gradients),
        "noise/variance": gradients.variance,
        "noise/signal": gradients.signal,
        "noise/snr": snr(gradients),
        "test/norm": norm_test(gradients),
        "test/inner_product": math.nan,
        "test/orthogonality": math.nan,
        "test/big_batch": big_batch_ratio(gradients),
        "adascale/gain": adascale_gain(gradients),
        "cabs/batch_size": math.nan if lr is None or loss is None else cabs_batch_size(gradients, lr, loss),
    }


INSTRUMENTS = tuple(instruments(np.eye(2)))
"""Keys of `instruments`, in order."""

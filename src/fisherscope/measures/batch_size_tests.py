"""Published tests for the batch size and learning rate, as numbers from one Gram.

Letters as in `gram_sums`.
"""

import math

import numpy as np

from fisherscope.measures.gram_sums import Gradients, GradientSums, ratio_or_nan


def norm_test(gradients: Gradients | GradientSums) -> float:
    """Return the smallest θ at which the norm test passes.

    sqrt(E|ĝ − G|²)/|ĝ|. The batch size that the test asks for at a chosen θ is n·(this/θ)² for independent
    draws (their eq. 3.11).

    Source: Byrd, Chin, Nocedal & Wu, Math. Program. 134, 2012, eq. 3.9.

    Args:
        gradients: Sums over the batch's Gram.

    Returns:
        A number without unit, in [0, ∞); NaN for n = 1 or a zero gradient.

    Example:
        ```python
        import numpy as np

        noisy = fs.measures.Gradients(np.array([[4.0, 0.0], [0.0, 4.0]]))
        assert fs.measures.norm_test(noisy) == 1.0
        ```
    """
    return math.sqrt(ratio_or_nan(gradients.error, gradients.mean_square))


def inner_product_test(gradients: Gradients) -> float:
    """Return the smallest θ at which the inner-product test passes.

    sqrt(Var(g_i·ĝ)/n)/|ĝ|², the variance with n − 1.

    Source: Bollapragada, Byrd & Nocedal, SIAM J. Optim. 28(4), 2018, eq. 2.6.

    Args:
        gradients: Sums over the batch's Gram.

    Returns:
        A number without unit, in [0, ∞); NaN for n = 1 or a zero gradient.

    Example:
        ```python
        import numpy as np

        equal = fs.measures.Gradients(np.ones((3, 3)))
        assert fs.measures.inner_product_test(equal) == 0.0
        ```
    """
    if gradients.n < 2:
        return math.nan
    variance = float(np.sum((gradients.projections - gradients.mean_square) ** 2)) / (gradients.n - 1)
    return math.sqrt(ratio_or_nan(variance / gradients.n * gradients.correction, gradients.mean_square**2))


def orthogonality_test(gradients: Gradients) -> float:
    """Return the smallest ν at which the orthogonality test passes.

    sqrt(Σ|g_i − (g_i·ĝ/|ĝ|²)ĝ|²/((n − 1)n))/|ĝ|.

    Source: Bollapragada, Byrd & Nocedal, SIAM J. Optim. 28(4), 2018, eq. 3.3.

    Args:
        gradients: Sums over the batch's Gram.

    Returns:
        A number without unit, in [0, ∞); NaN for n = 1 or a zero gradient.

    Example:
        ```python
        import numpy as np

        orthogonal = fs.measures.Gradients(4 * np.eye(2))
        assert fs.measures.orthogonality_test(orthogonal) == 1.0
        ```
    """
    if gradients.n < 2 or gradients.mean_square <= 0:
        return math.nan
    along = float(np.sum(gradients.projections**2)) / gradients.mean_square
    variance = max(gradients.trace - along, 0.0) / (gradients.n - 1)
    return math.sqrt(variance / gradients.n * gradients.correction / gradients.mean_square)


def big_batch_ratio(gradients: Gradients | GradientSums) -> float:
    """Return the noise-to-signal ratio that Big Batch SGD compares with θ².

    (tr Σ̂/n)/|ĝ|²: a larger batch is needed above θ², θ ≤ 1. It is the square of the norm test without the
    finite-population factor.

    Source: De, Yadav, Jacobs & Goldstein, AISTATS 2017.

    Args:
        gradients: Sums over the batch's Gram.

    Returns:
        A number without unit, in [0, ∞); NaN for n = 1 or a zero gradient.

    Example:
        ```python
        import numpy as np

        assert fs.measures.big_batch_ratio(fs.measures.Gradients(4 * np.eye(2))) == 1.0
        ```
    """
    return ratio_or_nan(gradients.variance / gradients.n, gradients.mean_square)


def cabs_batch_size(gradients: Gradients | GradientSums, lr: float, loss: float) -> float:
    """Return the batch size that CABS asks for.

    α·tr Σ/L, with their covariance estimate (divided by n) and a loss L whose smallest value is near 0.

    Source: Balles, Romero & Hennig, UAI 2017, eq. 22.

    Args:
        gradients: Sums over the batch's Gram.
        lr: Learning rate α.
        loss: Mean loss of the batch.

    Returns:
        Samples, not rounded, in [0, ∞); NaN for n = 1 or a loss that is not positive.

    Example:
        ```python
        import numpy as np

        assert fs.measures.cabs_batch_size(fs.measures.Gradients(4 * np.eye(2)), lr=0.5, loss=0.25) == 4.0
        ```
    """
    return lr * ratio_or_nan(gradients.variance * (gradients.n - 1) / gradients.n, loss)


def adascale_gain(gradients: Gradients | GradientSums, scale: float | None = None) -> float:
    """Return AdaScale's gain of this batch over one that is S times smaller.

    r = (σ² + μ²)/(σ²/S + μ²) with σ² = tr Σ̂·S/n, the variance of the smaller batch's gradient, and
    μ² = max(|ĝ|² − σ²/S, 0).

    Source: Johnson, Agrawal, Gu & Guestrin, ICML 2020 (their r_t).

    Args:
        gradients: Sums over the whole batch's Gram.
        scale: S; by default n, a base batch of one sample.

    Returns:
        A number without unit, in [1, S]; NaN for n = 1 or a zero Gram.

    Example:
        ```python
        import numpy as np

        assert fs.measures.adascale_gain(fs.measures.Gradients(np.ones((4, 4)))) == 1.0
        ```
    """
    times = gradients.n if scale is None else scale
    noise = gradients.variance * times / gradients.n
    signal = max(gradients.mean_square - noise / times, 0.0)
    return ratio_or_nan(noise + signal, noise / times + signal)

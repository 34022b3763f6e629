"""Naive measures from explicit per-sample gradients: loops, float64, nothing of the package.

J is a list of per-sample gradients (columns of the Jacobian), each a 1-d array.
"""

import math

import numpy as np


def gram(gradients):
    size = len(gradients)
    return np.array([[float(gradients[i] @ gradients[j]) for j in range(size)] for i in range(size)])


def mean_gradient(gradients):
    total = np.zeros_like(gradients[0])
    for gradient in gradients:
        total = total + gradient
    return total / len(gradients)


def covariance_trace(gradients, ddof=1):
    centre = mean_gradient(gradients)
    return sum(float(((g - centre) ** 2).sum()) for g in gradients) / (len(gradients) - ddof)


def noise_scale_two_batches(gradients):
    """McCandlish et al. 2018, appendix A.1, with B_small = 1 averaged over the samples and B_big = n."""
    small, big = 1, len(gradients)
    small_square = sum(float(g @ g) for g in gradients) / big
    mean = mean_gradient(gradients)
    big_square = float(mean @ mean)
    signal = (big * big_square - small * small_square) / (big - small)
    variance = (small_square - big_square) / (1 / small - 1 / big)
    return variance, signal


def norm_test(gradients, population=None):
    mean, n = mean_gradient(gradients), len(gradients)
    factor = 1.0 if population is None else (population - n) / population
    return math.sqrt(covariance_trace(gradients) / n * factor) / math.sqrt(float(mean @ mean))


def inner_product_test(gradients):
    mean, n = mean_gradient(gradients), len(gradients)
    square = float(mean @ mean)
    variance = sum((float(g @ mean) - square) ** 2 for g in gradients) / (n - 1)
    return math.sqrt(variance / n) / square


def orthogonality_test(gradients):
    mean, n = mean_gradient(gradients), len(gradients)
    square = float(mean @ mean)
    variance = sum(float(((g - (g @ mean) / square * mean) ** 2).sum()) for g in gradients) / (n - 1)
    return math.sqrt(variance / n / square)


def cabs(gradients, lr, loss):
    centre = mean_gradient(gradients)
    second = sum(g**2 for g in gradients) / len(gradients)
    return lr * float((second - centre**2).sum()) / loss


def diversity(gradients):
    total = sum(gradients)
    return sum(float(g @ g) for g in gradients) / float(total @ total)


def mean_cosine(gradients):
    cosines = []
    for i, a in enumerate(gradients):
        for j, b in enumerate(gradients):
            if i != j and a.any() and b.any():
                cosines.append(float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)))
    return sum(cosines) / len(cosines)


def adascale_gain(gradients, shards):
    """Johnson et al. 2020, from the gradients of `shards` equal shards, averaged over nothing else.

    Only for shards of one sample the estimate from shards and from samples is the same number.
    """
    means = [mean_gradient(part) for part in np.array_split(np.array(gradients), shards)]
    mean = mean_gradient(means)
    spread = sum(float(m @ m) for m in means) / shards - float(mean @ mean)
    variance = shards / (shards - 1) * spread
    signal = max(float(mean @ mean) - variance / shards, 0.0)
    return (variance + signal) / (variance / shards + signal)


def singular_values(gradients):
    return np.linalg.svd(np.array(gradients), compute_uv=False)


def cond_means(conds, steps):
    """Every step spelled out: arithmetic and geometric mean and (lower) median over steps."""
    spelled = [c for c, count in zip(conds, steps, strict=True) for _ in range(count)]
    ordered = sorted(spelled)
    return (
        sum(spelled) / len(spelled),
        math.exp(sum(math.log(c) for c in spelled) / len(spelled)),
        ordered[(len(ordered) - 1) // 2],
    )


def energy_sum(traces, rates, sizes):
    """L_K of a run in which every step's Tr F̃ is known: Σ (α/|B|)·sqrt(Tr F̃)."""
    return sum(a / b * math.sqrt(t) for t, a, b in zip(traces, rates, sizes, strict=True))


def measurement_of_each_step(measured, sizes):
    """The measured step that each step counts with.

    A step counts with the end of its gap; where the batch sizes at both ends of a gap differ, a step of the
    first one's size counts with that one.
    """
    of_step = []
    for step in range(measured[-1] + 1):
        end = min(m for m in measured if m >= step)
        before = max((m for m in measured if m < end), default=end)
        stays = step != end and sizes[before] != sizes[end] and sizes[step] == sizes[before]
        of_step.append(before if stays else end)
    return of_step

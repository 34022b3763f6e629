"""Batch sizes that published tests ask for, from the per-sample gradients themselves. Naive, float64."""

import math

import numpy as np


def mean_gradient(columns):
    """ĝ, of columns shape (p, n) that are not divided by n."""
    return sum(columns.T) / columns.shape[1]


def covariance_trace(columns):
    """Σ|g_i − ĝ|²/(n − 1)."""
    mean = mean_gradient(columns)
    return sum(float(np.dot(g - mean, g - mean)) for g in columns.T) / (columns.shape[1] - 1)


def norm_test_size(columns, theta):
    mean = mean_gradient(columns)
    return math.ceil(covariance_trace(columns) / (theta**2 * float(mean @ mean)))


def inner_product_size(columns, theta, nu):
    mean, n = mean_gradient(columns), columns.shape[1]
    square = float(mean @ mean)
    along = sum((float(g @ mean) - square) ** 2 for g in columns.T) / (n - 1)
    rests = [g - (float(g @ mean) / square) * mean for g in columns.T]
    across = sum(float(r @ r) for r in rests) / (n - 1)
    return math.ceil(max(along / (theta**2 * square**2), across / (nu**2 * square)))


def big_batch_passes(columns, theta):
    """Whether |ĝ|² θ² exceeds the batch gradient's variance."""
    mean = mean_gradient(columns)
    return theta**2 * float(mean @ mean) > covariance_trace(columns) / columns.shape[1]


def cabs_size(columns, lr, loss):
    return round(lr * covariance_trace(columns) / loss)


def signal(columns):
    """|G|², unbiased: the mean of g_i·g_j over pairs of different samples."""
    n = columns.shape[1]
    pairs = [float(columns[:, i] @ columns[:, j]) for i in range(n) for j in range(n) if i != j]
    return sum(pairs) / len(pairs)


def noise_scale(columns):
    return covariance_trace(columns) / signal(columns)


def diversity_size(columns, delta):
    """1 + δ·E|g_i|²/|G|²."""
    return math.ceil(1 + delta * float(np.mean([g @ g for g in columns.T])) / signal(columns))

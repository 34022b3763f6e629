"""Naive statistics: loops and textbook formulas, nothing of the package."""

import itertools
import math


def mean(values):
    return sum(values) / len(values)


def variance(values):
    centre = mean(values)
    return sum((v - centre) ** 2 for v in values) / (len(values) - 1)


def t_tail(t, freedom, steps=20000):
    """P(T > t) by Simpson's rule over x = tan, from the density of Student's t."""
    norm = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)

    def f(angle):
        x = math.tan(angle)
        return norm * (1 + x * x / freedom) ** (-(freedom + 1) / 2) / math.cos(angle) ** 2

    low, high = math.atan(t), math.pi / 2 - 1e-9
    width = (high - low) / steps
    total = f(low) + f(high) + sum((4 if k % 2 else 2) * f(low + k * width) for k in range(1, steps))
    return total * width / 3


def welch(a, b):
    va, vb = variance(a) / len(a), variance(b) / len(b)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    t = (mean(a) - mean(b)) / math.sqrt(va + vb)
    return 2 * t_tail(abs(t), freedom)


def student(a, b):
    freedom = len(a) + len(b) - 2
    pooled = ((len(a) - 1) * variance(a) + (len(b) - 1) * variance(b)) / freedom
    t = (mean(a) - mean(b)) / math.sqrt(pooled * (1 / len(a) + 1 / len(b)))
    return 2 * t_tail(abs(t), freedom)


def kendall(a, b):
    pairs = list(itertools.combinations(range(len(a)), 2))
    agree = sum(
        (a[i] > a[j]) * (b[i] > b[j]) + (a[i] < a[j]) * (b[i] < b[j])
        - (a[i] > a[j]) * (b[i] < b[j]) - (a[i] < a[j]) * (b[i] > b[j])
        for i, j in pairs
    )  # fmt: skip
    tied_a = sum(a[i] == a[j] for i, j in pairs)
    tied_b = sum(b[i] == b[j] for i, j in pairs)
    return agree / math.sqrt((len(pairs) - tied_a) * (len(pairs) - tied_b))


def rank(values):
    return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]


def spearman(a, b):
    a, b = rank(a), rank(b)
    ma, mb = mean(a), mean(b)
    top = sum((x - ma) * (y - mb) for x, y in zip(a, b, strict=True))
    return top / math.sqrt(sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b))


def auc(scores, positive):
    pairs = [(u, d) for u, p in zip(scores, positive, strict=True) if p
             for d, q in zip(scores, positive, strict=True) if not q]  # fmt: skip
    return sum(1.0 if u > d else 0.5 if u == d else 0.0 for u, d in pairs) / len(pairs)


def holm(p):
    out = [0.0] * len(p)
    for k, value in enumerate(p):
        smaller = [j for j in range(len(p)) if (p[j], j) <= (value, k)]
        out[k] = min(
            1.0, max(p[j] * (len(p) - sum((p[i], i) < (p[j], j) for i in range(len(p)))) for j in smaller)
        )
    return out

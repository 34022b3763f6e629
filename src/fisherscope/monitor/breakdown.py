"""Sums over the measured steps of a run: by parameter, and by sample."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fisherscope.measures import Gradients

SampleId = int | str


class Layers:
    """Mean trace and noise scale of each parameter over the measurements, at no further cost.

    Args:
        state: Rows (name, measurements, Σ trace/n, Σ variance, Σ signal), as `state_dict` returns them.
    """

    def __init__(self, state: Iterable[Sequence[Any]] = ()) -> None:
        self.sums: dict[str, list[float]] = {name: list(sums) for name, *sums in state}

    def add(self, traces: Mapping[str, float], mean_squares: Mapping[str, float], batch_size: int) -> None:
        """Add one measurement.

        Args:
            traces: Tr F̃ of each parameter.
            mean_squares: |Σ g_i|² of each parameter.
            batch_size: Samples of the step, n.
        """
        sums: dict[str, list[float]] = {}
        for name, trace in traces.items():
            mean_square = mean_squares.get(name, math.nan) / batch_size**2
            variance = (trace - batch_size * mean_square) / (batch_size - 1) if batch_size > 1 else math.nan
            row = (1.0, trace / batch_size, variance, mean_square - variance / batch_size)
            if all(map(math.isfinite, row)):
                sums[name] = [a + b for a, b in zip(self.sums.get(name, [0.0] * 4), row, strict=True)]
        self.sums.update(sums)

    def rows(self) -> list[dict[str, Any]]:
        """List each parameter's share of the trace, mean |g_i|² and noise scale.

        Returns:
            A row for each parameter; the noise scale is None where no signal was measured.
        """
        whole = sum(sums[1] / sums[0] for sums in self.sums.values())
        return [
            {
                "parameter": name,
                "trace_share": square / count / whole if whole > 0 else None,
                "square_norm": square / count,
                "noise_scale": variance / signal if signal > 0 else None,
                "measurements": int(count),
            }
            for name, (count, square, variance, signal) in self.sums.items()
        ]

    def state_dict(self) -> list[list[Any]]:
        """Return everything, as JSON values."""
        return [[name, *sums] for name, sums in self.sums.items()]


class Samples:
    """Gradient norm and direction of each sample, over the measured steps it was part of.

    Args:
        state: Rows (id, steps, Σ relative |g|², Σ cosine), as `state_dict` returns them.
    """

    def __init__(self, state: Iterable[Sequence[Any]] = ()) -> None:
        self.sums: dict[SampleId, list[float]] = {sample: list(sums) for sample, *sums in state}

    def add(self, ids: Sequence[SampleId], gradients: Gradients) -> None:
        """Add one measurement.

        Args:
            ids: Id of each sample, in the order of the Gram's columns.
            gradients: Sums over the Gram.
        """
        mean = gradients.trace / gradients.n
        length = math.sqrt(max(gradients.mean_square, 0.0))
        if not mean > 0:
            return
        added: dict[SampleId, list[float]] = {}
        for sample, square, along in zip(
            ids, gradients.square_norms.tolist(), gradients.projections.tolist(), strict=True
        ):
            cosine = along / (math.sqrt(square) * length) if square > 0 and length > 0 else 0.0
            count, squares, cosines = added.get(sample) or self.sums.get(sample) or (0, 0.0, 0.0)
            added[sample] = [count + 1, squares + square / mean, cosines + cosine]
        self.sums.update(added)

    def rows(self) -> list[dict[str, Any]]:
        """List how often each sample was measured, its relative |g_i|² and its cosine with ĝ.

        Returns:
            A row for each sample: `id`; `seen`, measured steps that held it; `relative_square_norm`, mean of
            |g_i|² over its batch's mean; `cosine`, mean cosine with the batch gradient.
        """
        return [
            {
                "id": sample,
                "seen": int(count),
                "relative_square_norm": square / count,
                "cosine": cosine / count,
            }
            for sample, (count, square, cosine) in self.sums.items()
        ]

    def state_dict(self) -> list[list[Any]]:
        """Return everything, as JSON values."""
        return [[sample, *sums] for sample, sums in self.sums.items()]

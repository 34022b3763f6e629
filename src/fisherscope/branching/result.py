"""The answer of `branch`: trade-offs, the critical batch size, and what the noise scales predicted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fisherscope.branching.plan import EVALUATIONS, LENGTHS, Arm, BranchPlan
from fisherscope.branching.predictions import Prediction
from fisherscope.branching.trade_off import (
    FEWEST_SIZES,
    EqualSamples,
    FloatArray,
    TradeOff,
    equal_samples,
    samples_to,
    smooth,
    trade_off,
)

FARTHEST = 2.0
"""Factor beyond the lengths trained up to which the samples to a loss are extrapolated."""


@dataclass(frozen=True)
class ArmResult:
    """Hold the branches of one rescaling and base rate, and what follows from them.

    Args:
        arm: The rescaling and base rate.
        sizes: Batch sizes whose branches all ended.
        curves: (orders, sizes, evaluations) smoothed validation losses of the longest branches.
        ends: (orders, sizes, lengths) losses at the branches' ends, as evaluated.
        diverged: Batch sizes that diverged.
        trade_offs: Fits by target loss, the lowest first; empty where there are none.
        equal: The reading at equal samples; None where there are too few sizes.
        why: Why there is no fit; empty where there is one.
    """

    arm: Arm
    sizes: tuple[int, ...]
    curves: FloatArray
    ends: FloatArray
    diverged: tuple[int, ...] = ()
    trade_offs: tuple[TradeOff, ...] = ()
    equal: EqualSamples | None = None
    why: str = ""

    @property
    def reason(self) -> str:
        """Why there is no critical batch size at the first target; empty where there is one."""
        return self.trade_offs[0].why if self.trade_offs else self.why


@dataclass(frozen=True)
class BranchResult:
    """Hold what branches from one point of a training say about its batch size; see `fs.branch`.

    Args:
        plan: What was trained.
        arms: Results by rescaling and base rate; the first is the answer.
        predictions: Noise scales at the branching point.
        root: Directory of the branches, ordinary runs.
        unfinished: Why branches are missing, by run; empty where the answer is complete.
        signal: Number of the signal that stopped the work; None if none did.
    """

    plan: BranchPlan
    arms: tuple[ArmResult, ...]
    predictions: tuple[Prediction, ...]
    root: Path
    unfinished: Mapping[str, str] = field(default_factory=dict)
    signal: int | None = None

    @property
    def complete(self) -> bool:
        """Whether all branches were trained."""
        return not self.unfinished

    @property
    def critical(self) -> float:
        """The critical batch size, samples; NaN where it is not defined."""
        fits = self.arms[0].trade_offs if self.arms else ()
        return fits[0].critical if fits else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Its interval over the orders of the data; (0, inf) where nothing is known."""
        fits = self.arms[0].trade_offs if self.arms else ()
        return (fits[0].low, fits[0].high) if fits else (0.0, math.inf)

    def answer(self) -> dict[str, Any]:
        """Return everything as JSON values, non-finite numbers as None.

        Returns:
            Keys `point`, `sizes`, `samples`, `lengths`, `orders`, `betas`, `critical`, `low`, `high`, `why`,
            `arms` (with `ends` by order, size and length, `curves` over `evaluated_at`, `trade_offs`,
            `equal_samples`), `predictions`, `runs` and `unfinished`.
        """
        plan, first = self.plan, self.arms[0] if self.arms else None
        values = {
            "point": asdict(plan.point), "sizes": plan.sizes, "samples": plan.samples, "orders": plan.orders,
            "betas": plan.betas, "critical": self.critical, "low": self.interval[0],
            "high": self.interval[1], "why": first.reason if first else "no branch is trained",
            "lengths": plan.lengths,
            "evaluated_at": [plan.segment * (k + 1) for k in range(EVALUATIONS)],
            "arms": [_arm_values(result) for result in self.arms],
            "predictions": [asdict(prediction) for prediction in self.predictions],
            "runs": str(self.root), "unfinished": dict(self.unfinished),
        }  # fmt: skip
        return {key: _json(value) for key, value in values.items()}

    def __str__(self) -> str:
        from fisherscope.branching.result_text import result_text

        return result_text(self)


def arm_result(plan: BranchPlan, arm: Arm, losses: FloatArray, tolerance: float) -> ArmResult:
    """Draw the conclusions from the losses of one rescaling and base rate.

    Args:
        plan: What was trained.
        arm: The rescaling and base rate.
        losses: (orders, sizes, lengths, evaluations) validation losses; NaN after a branch's end, and after a
            divergence.
        tolerance: Of the reading at equal samples, in units of the loss.

    Returns:
        The result.
    """
    ends = np.stack([losses[:, :, k, length - 1] for k, length in enumerate(LENGTHS)], 2)
    whole: Any = np.isfinite(ends).all((0, 2))
    diverged = tuple(size for size, good in zip(plan.sizes, whole, strict=True) if not good)
    sizes = tuple(size for size in plan.sizes if size not in diverged)
    ends, curves = ends[:, whole], smooth(losses[:, whole, -1])
    if len(sizes) < FEWEST_SIZES:
        why = f"branches of {', '.join(map(str, diverged))} diverged, and {len(sizes)} sizes are left"
        return ArmResult(arm, sizes, curves, ends, diverged, why=why)
    equal = equal_samples(sizes, ends[..., -1], tolerance)
    mean = ends.mean(0)
    rising = [size for size, of_size in zip(sizes, mean, strict=True) if not (np.diff(of_size) < 0).all()]
    if rising:
        why = (
            f"longer branches of {', '.join(map(str, rising))} do not end lower: no loss is reached by "
            "longer training here; branch earlier, or give other base rates"
        )
        return ArmResult(arm, sizes, curves, ends, diverged, equal=equal, why=why)
    fits = tuple(fit for target in mean.max(0)[::-1] if (fit := _fit(plan, sizes, ends, float(target))))
    why = "" if fits else "the sizes' losses lie too far apart; leave out the smallest or the largest"
    return ArmResult(arm, sizes, curves, ends, diverged, fits, equal, why)


def _fit(plan: BranchPlan, sizes: tuple[int, ...], ends: FloatArray, target: float) -> TradeOff | None:
    """Fit the trade-off at a loss; None where that lies too far from what was trained, or above the start."""
    lengths = np.array(plan.lengths, dtype=np.float64)
    samples = np.array([[samples_to(target, lengths, of_size) for of_size in order] for order in ends])
    low, high = lengths[0] / FARTHEST, lengths[-1] * FARTHEST
    if target >= plan.point.loss or not ((samples >= low) & (samples <= high)).all():
        return None
    return trade_off(target, sizes, samples)


def _arm_values(result: ArmResult) -> dict[str, Any]:
    return {
        "rescale": result.arm.rescale, "base_rate": result.arm.base_rate, "sizes": result.sizes,
        "diverged": result.diverged, "ends": result.ends, "curves": result.curves, "why": result.reason,
        "trade_offs": [asdict(fit) | {"steps": fit.steps} for fit in result.trade_offs],
        "equal_samples": None if result.equal is None else asdict(result.equal),
    }  # fmt: skip


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _json(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return _json(value.tolist())
    if isinstance(value, list | tuple):
        return [_json(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Wrappers that couple the learning rate to the batch size: linear, square root, AdaScale."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from fisherscope.policy.closed_loop import means, read_parts, smooth
from fisherscope.policy.decision import Decision, Observation, State, require_size
from fisherscope.policy.wrappers import Wrapper


@dataclass(frozen=True)
class Coupling(Wrapper):
    """The inner rate times a gain that follows from S, the size over the reference size.

    Without a coupling the rate does not depend on the size. Put it last, so that S is the size that is used.

    Args:
        policy: The policy whose rate is coupled.
        reference: Size at which the inner rate holds; None is the size of the run's first batch.
    """

    reference: int | None = None

    def __post_init__(self) -> None:
        if self.reference is not None:
            require_size(f"building a {self.family} coupling", self.reference)

    def gain(self, state: State, scale: float) -> float:
        """What the rate is multiplied by at `scale` times the reference size."""
        raise NotImplementedError

    def change(self, state: State, decision: Decision, observation: Observation) -> tuple[State, Decision]:
        reference = state.get("reference", self.reference or decision.batch_size)
        state = {**state, "reference": reference}
        gain = self.gain(state, decision.batch_size / reference)
        return state, replace(decision, lr=decision.lr * gain)


@dataclass(frozen=True)
class Linear(Coupling):
    """`+linear`: gain S, which keeps rate/size (Goyal et al. 2017)."""

    family: ClassVar[str] = "linear"

    def gain(self, state: State, scale: float) -> float:
        return scale


@dataclass(frozen=True)
class SquareRoot(Coupling):
    """`+sqrt`: gain √S, which keeps the variance of a step's noise (Krizhevsky 2014)."""

    family: ClassVar[str] = "sqrt"

    def gain(self, state: State, scale: float) -> float:
        return math.sqrt(scale)


@dataclass(frozen=True)
class AdaScale(Coupling):
    """`+adascale`: gain (σ² + μ²)/(σ²/S + μ²), between 1 (no noise) and S (noise only).

    σ² is the variance of a reference batch's gradient, tr Σ/reference; μ² = max(|G|², 0). Both are smoothed
    over measurements; before the first the gain is 1. The source also stretches the schedule by the gain (its
    scale-invariant steps); here schedules stay in epochs. Source: Johnson, Agrawal, Gu & Guestrin, ICML 2020.
    """

    memory: float = 0.9

    family: ClassVar[str] = "adascale"
    closed_loop = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.memory < 1:
            raise ValueError(f"building an adascale coupling: memory={self.memory!r} must be in [0, 1)")

    def gain(self, state: State, scale: float) -> float:
        if not state.get("sums"):
            return 1.0
        parts = means(state["sums"])
        noise, signal = parts["variance"], max(parts["signal"], 0.0) * state["reference"]
        return (noise + signal) / (noise / scale + signal) if noise + signal > 0 else 1.0

    def change(self, state: State, decision: Decision, observation: Observation) -> tuple[State, Decision]:
        if observation.measurement is not None:
            parts = read_parts(observation, ("variance", "signal"))
            if not isinstance(parts, str):
                state = {**state, "sums": smooth(state.get("sums", {}), parts, self.memory)}
        return super().change(state, decision, observation)

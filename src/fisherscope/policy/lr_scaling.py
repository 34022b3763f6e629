"""Wrappers that scale the learning rate with the batch size: linear, square root, AdaScale."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from fisherscope.policy.closed_loop import means, read_parts, smooth
from fisherscope.policy.decision import Decision, Observation, State, require_size
from fisherscope.policy.wrappers import Wrapper


@dataclass(frozen=True)
class Coupling(Wrapper):
    """Multiply the learning rate by a gain that follows from S.

    S is the batch size over a reference batch size. Without such a wrapper the learning rate does not depend
    on the batch size. Put it last in the text given to `parse`, so that S counts the batch size that is used.

    Args:
        policy: The policy whose learning rate is scaled.
        reference: Batch size for which the wrapped policy's learning rate was chosen (S = 1); None for the
            run's first.

    Raises:
        ValueError: The reference is not a whole number of at least 1.
    """

    reference: int | None = None

    def __post_init__(self) -> None:
        if self.reference is not None:
            require_size(f"building a {self.family} coupling", self.reference)

    def gain(self, state: State, scale: float) -> float:
        """Return the factor of the learning rate.

        Args:
            state: The wrapper's state.
            scale: S, the batch size over the reference.

        Returns:
            The factor, positive.
        """
        raise NotImplementedError

    def change(self, state: State, decision: Decision, observation: Observation) -> tuple[State, Decision]:
        """Return the state, and the decision with the scaled rate; see `Wrapper.change`."""
        reference = state.get("reference", self.reference or decision.batch_size)
        state = {**state, "reference": reference}
        gain = self.gain(state, decision.batch_size / reference)
        return state, replace(decision, lr=decision.lr * gain, gain=decision.gain * gain)


@dataclass(frozen=True)
class Linear(Coupling):
    """Scale the learning rate linearly, `+linear`: gain S: rate over batch size stays constant.

    Source: Goyal et al., "Accurate, large minibatch SGD", 2017.

    Args:
        policy: The policy whose learning rate is scaled.
        reference: Batch size for which the wrapped policy's learning rate was chosen (S = 1); None for the
            run's first.

    Raises:
        ValueError: The reference is not a whole number of at least 1.

    Example:
        ```python
        policy = fs.policy.parse("s32-to-128+constant+linear", lr=0.1, epochs=5)
        state, first = policy.update(policy.init(), fs.policy.Observation(0, 0, 1000))
        _, last = policy.update(state, fs.policy.Observation(4, 0, 1000))
        assert (last.batch_size, last.lr) == (128, 0.4)
        ```
    """

    family: ClassVar[str] = "linear"

    def gain(self, state: State, scale: float) -> float:
        """Return S; see `Coupling.gain`."""
        return scale


@dataclass(frozen=True)
class SquareRoot(Coupling):
    """Scale the learning rate by √S, `+sqrt`: the variance of an update stays constant.

    Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014.

    Args:
        policy: The policy whose learning rate is scaled.
        reference: Batch size for which the wrapped policy's learning rate was chosen (S = 1); None for the
            run's first.

    Raises:
        ValueError: The reference is not a whole number of at least 1.

    Example:
        ```python
        policy = fs.policy.parse("s32-to-128+constant+sqrt", lr=0.1, epochs=5)
        state, first = policy.update(policy.init(), fs.policy.Observation(0, 0, 1000))
        _, last = policy.update(state, fs.policy.Observation(4, 0, 1000))
        assert (last.batch_size, last.lr) == (128, 0.2)
        ```
    """

    family: ClassVar[str] = "sqrt"

    def gain(self, state: State, scale: float) -> float:
        """Return √S; see `Coupling.gain`."""
        return math.sqrt(scale)


@dataclass(frozen=True)
class AdaScale(Coupling):
    """Scale the learning rate by AdaScale's gain, `+adascale`.

    The gain lies between 1 (no noise) and S (only noise). It is (σ² + μ²)/(σ²/S + μ²), with σ² the variance
    of a reference batch's gradient, tr Σ/reference (Σ the covariance of per-sample gradients), and
    μ² = max(|G|², 0), |G|² the unbiased estimate of the gradient's squared norm. Both are smoothed over
    measurements; before the first the gain is 1. The source also stretches the schedule by the gain (its
    scale-invariant steps); here schedules stay in epochs.

    Source: Johnson, Agrawal, Gu & Guestrin, ICML 2020.

    Args:
        policy: The policy whose learning rate is scaled.
        reference: Batch size for which the wrapped policy's learning rate was chosen (S = 1); None for the
            run's first.
        memory: Weight in [0, 1) of the previous average in the moving averages; 0 for none.

    Raises:
        ValueError: An argument is outside its range; from `update`: a measurement lacks
            `noise/variance` or `noise/signal`.

    Example:
        ```python
        policy = fs.policy.parse("s32-to-128+constant+adascale", lr=0.1, epochs=5)
        state, _ = policy.update(policy.init(), fs.policy.Observation(0, 0, 1000))
        noise_only = {"noise/variance": 8.0, "noise/signal": 0.0}
        _, last = policy.update(state, fs.policy.Observation(4, 0, 1000, noise_only))
        assert (last.batch_size, last.lr) == (128, 0.4)
        ```
    """

    memory: float = 0.9

    family: ClassVar[str] = "adascale"
    closed_loop = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.memory < 1:
            raise ValueError(f"building an adascale coupling: memory={self.memory!r} must be in [0, 1)")

    def gain(self, state: State, scale: float) -> float:
        """Return AdaScale's gain; see `Coupling.gain`."""
        if not state.get("sums"):
            return 1.0
        parts = means(state["sums"])
        noise, signal = parts["variance"], max(parts["signal"], 0.0) * state["reference"]
        return (noise + signal) / (noise / scale + signal) if noise + signal > 0 else 1.0

    def change(self, state: State, decision: Decision, observation: Observation) -> tuple[State, Decision]:
        """Return the state, and the decision with the scaled rate; see `Wrapper.change`."""
        if observation.measurement is not None:
            parts = read_parts(observation, ("variance", "signal"))
            if not isinstance(parts, str):  # a text says why the measurement is of no use
                state = {**state, "sums": smooth(state.get("sums", {}), parts, self.memory)}
        return super().change(state, decision, observation)

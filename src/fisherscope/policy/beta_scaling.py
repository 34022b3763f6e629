"""Wrappers that keep the half-life of an Adam-like optimizer's averages in samples, not in steps."""

from dataclasses import dataclass, replace
from typing import ClassVar

from fisherscope.policy.decision import Decision, Observation, State, require_size
from fisherscope.policy.wrappers import Wrapper


@dataclass(frozen=True)
class Beta2(Wrapper):
    """Raise the second beta to the power S, `+beta2`: its half-life in samples stays constant.

    S is the batch size over a reference batch size. An average of squared gradients with β₂ forgets half in
    ln 2/(1 - β₂) steps; with β₂^S it does so after as many samples whatever the size. The optimizer's state
    is not reset; its bias correction takes the new β₂ for all steps, which matters in its first
    1/(1 - β₂) steps only. `attach` refuses √β₂ < β₁, where Adam-like steps have no bound.

    Source: Marek et al., "Small batch size training for language models", arXiv:2507.07101, 2025.

    Args:
        policy: The policy whose sizes are followed.
        reference: Batch size for which the optimizer's betas were chosen (S = 1); None for the run's first.

    Raises:
        ValueError: The reference is not a whole number of at least 1.

    Example:
        ```python
        policy = fs.policy.parse("s32-to-128+constant+beta2", lr=0.1, epochs=5)
        state, first = policy.update(policy.init(), fs.policy.Observation(0, 0, 1000))
        _, last = policy.update(state, fs.policy.Observation(4, 0, 1000))
        assert (first.beta2_power, last.beta2_power, last.beta1_power) == (1.0, 4.0, 1.0)
        ```
    """

    reference: int | None = None

    family: ClassVar[str] = "beta2"

    def __post_init__(self) -> None:
        if self.reference is not None:
            require_size(f"building a {self.family} wrapper", self.reference)

    def change(self, state: State, decision: Decision, observation: Observation) -> tuple[State, Decision]:
        """Return the state, and the decision with powers of the betas; see `Wrapper.change`."""
        reference = state.get("reference", self.reference or decision.batch_size)
        one, two = self.powers(decision.batch_size / reference)
        return {**state, "reference": reference}, replace(decision, beta1_power=one, beta2_power=two)

    def powers(self, scale: float) -> tuple[float, float]:
        """Return the powers of both betas.

        Args:
            scale: S, the batch size over the reference.

        Returns:
            The power of the first, and of the second.
        """
        return 1.0, scale


@dataclass(frozen=True)
class Betas(Beta2):
    """Raise both betas to the power S, `+betas`: the half-lives in samples stay constant.

    Source: Marek et al., "Small batch size training for language models", arXiv:2507.07101, 2025 (β₂); the
    same rule for β₁.

    Args:
        policy: The policy whose sizes are followed.
        reference: Batch size for which the optimizer's betas were chosen (S = 1); None for the run's first.

    Raises:
        ValueError: The reference is not a whole number of at least 1.

    Example:
        ```python
        policy = fs.policy.parse("s32-to-128+constant+betas", lr=0.1, epochs=5)
        state, _ = policy.update(policy.init(), fs.policy.Observation(0, 0, 1000))
        _, last = policy.update(state, fs.policy.Observation(4, 0, 1000))
        assert (last.beta1_power, last.beta2_power) == (4.0, 4.0)
        ```
    """

    family: ClassVar[str] = "betas"

    def powers(self, scale: float) -> tuple[float, float]:
        """Return S for both; see `Beta2.powers`."""
        return scale, scale

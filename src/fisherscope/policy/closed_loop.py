"""The base of closed-loop policies: a batch size from smoothed measurements."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from fisherscope.policy.decision import Decision, Observation, State, require_size
from fisherscope.policy.lr_schedule import Rate
from fisherscope.policy.options import option_suffix

Parts = Mapping[str, float]
"""Sums of one Gram that may be averaged over steps: numerators and denominators, never ratios."""

_PARTS: dict[str, Callable[[Callable[[str], float]], float]] = {
    "variance": lambda row: row("noise/variance"),  # tr Σ̂, of one sample's gradient
    "signal": lambda row: row("noise/signal"),  # |G|², unbiased; may be negative
    "square": lambda row: row("gradient/norm") ** 2,  # |ĝ|², of the batch gradient
    "along": lambda row: row("test/inner_product") ** 2 * row("batch_size") * row("gradient/norm") ** 4,
    "across": lambda row: row("test/orthogonality") ** 2 * row("batch_size") * row("gradient/norm") ** 2,
    "loss": lambda row: row("train/loss"),
    "count": lambda row: row("batch_size"),  # |B| of the measured_samples batch
}


def read_parts(observation: Observation, names: tuple[str, ...]) -> dict[str, float] | str:
    """Read the named parts of the row, or return the key of the first that is not finite.

    Returns:
        The parts by name, or a key.

    Raises:
        ValueError: The row lacks a key altogether.
    """
    row, invalid = observation.measurement or {}, ""

    def number(key: str) -> float:
        nonlocal invalid
        if key not in row:
            raise ValueError(
                f"reading a measurement: the row has no {key!r}; it has {', '.join(sorted(row)) or 'none'}; "
                "pass the monitor's rows to the sampler: sampler.step(row)"
            )
        value = observation.value(key)
        invalid = invalid or (key if value is None else "")
        return math.nan if value is None else value

    parts = {name: _PARTS[name](number) for name in names}
    return invalid or parts


def smooth(sums: Mapping[str, float], parts: Parts, memory: float) -> dict[str, float]:
    """Add a measurement to running sums: Σ memory^age · part, and of 1 under "weight"."""
    new = {name: memory * sums.get(name, 0.0) + part for name, part in parts.items()}
    return {**new, "weight": memory * sums.get("weight", 0.0) + 1.0}


def means(sums: Mapping[str, float]) -> dict[str, float]:
    """Return the weighted means of running sums, not biased towards zero at the start."""
    return {name: total / sums["weight"] for name, total in sums.items() if name != "weight"}


@dataclass(frozen=True)
class ClosedLoop:
    """Choose a batch size that each measurement may change; between measurements it stays.

    A family names the `parts` it reads and computes a `target_size` from them. If a part is not finite, or no
    size follows (a zero gradient, a gradient lost in noise), the size is kept and the decision says so. Sizes
    stay between 2, the smallest that shows a variance, and the size of the data.

    Args:
        batch_size: Batch size of the first batches, at least 2.
        rate: Learning-rate schedule, unaffected by the batch size (see the learning-rate scalings).
        memory: Weight in [0, 1) of the previous measurements' numerators and denominators; 0 for none.

    Raises:
        ValueError: An argument is outside its range; from `update`: a row lacks a key.

    Cost: a few dozen float operations per measurement.
    """

    batch_size: int
    rate: Rate
    memory: float = 0.0

    closed_loop = True
    family: ClassVar[str]
    parts: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        require_size(f"building a {self.family} policy", self.batch_size, least=2)
        if not 0 <= self.memory < 1:
            raise ValueError(f"building a {self.family} policy: memory={self.memory!r} must be in [0, 1)")

    def target_size(self, parts: Parts, measured_samples: int, size: int, lr: float) -> float | None:
        """Return the batch size that the parts ask for.

        Args:
            parts: Smoothed parts.
            measured_samples: Samples in the measured batch.
            size: Batch size of the last decision.
            lr: Learning rate of the next batch.

        Returns:
            Samples, not yet rounded or limited; None if no size follows.
        """
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The name that `parse` reads; see `Policy.name`."""
        return f"s{self.batch_size}-{self.family}{option_suffix(self, 2)}{self.rate.suffix}"

    def init(self) -> State:
        """Return the state before the first batch; see `Policy.init`."""
        return {"size": self.batch_size, "sums": {}}

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        """Return the next state and the decision for the next batch; see `Policy.update`."""
        lr, size = self.rate.at(observation), int(state["size"])
        if observation.measurement is None:
            return state, Decision(size, lr)
        parts = read_parts(observation, (*self.parts, "count"))
        if isinstance(parts, str):
            return state, Decision(size, lr, f"{self.family}: kept {size}, {parts} is not a finite number")
        measured_samples = int(parts.pop("count"))
        sums = smooth(state["sums"], parts, self.memory)
        target = self.target_size(means(sums), measured_samples, size, lr)
        if target is None or not math.isfinite(target):
            return {**state, "sums": sums}, Decision(
                size, lr, f"{self.family}: kept {size}, no gradient seen"
            )
        new = min(max(math.ceil(target), 2), observation.epoch_samples)
        reason = f"{self.family}: {size} to {new}, {target:.4g} asked for" if new != size else ""
        return {"size": new, "sums": sums}, Decision(new, lr, reason)


def ratio(numerator: float, denominator: float) -> float | None:
    """Return the ratio; None if the denominator is not positive."""
    return numerator / denominator if denominator > 0 else None

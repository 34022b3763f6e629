"""What closed-loop policies share: a size from each measurement, smoothed before any ratio is formed."""

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
    "count": lambda row: row("batch_size"),  # |B| of the measured batch
}


def read_parts(observation: Observation, names: tuple[str, ...]) -> dict[str, float] | str:
    """The named parts of the observation's row, or the key of the first that is not finite.

    Raises:
        ValueError: The row lacks a key altogether.
    """
    row, bad = observation.measurement or {}, ""

    def number(key: str) -> float:
        nonlocal bad
        if key not in row:
            raise ValueError(
                f"reading a measurement: the row has no {key!r}; it has {', '.join(sorted(row)) or 'none'}; "
                "give the sampler the monitor's rows: sampler.step(row)"
            )
        value = observation.value(key)
        bad = bad or (key if value is None else "")
        return math.nan if value is None else value

    parts = {name: _PARTS[name](number) for name in names}
    return bad or parts


def smooth(sums: Mapping[str, float], parts: Parts, memory: float) -> dict[str, float]:
    """Running sums with one more measurement: Σ memory^age · part, and of 1 under "weight"."""
    new = {name: memory * sums.get(name, 0.0) + part for name, part in parts.items()}
    return {**new, "weight": memory * sums.get("weight", 0.0) + 1.0}


def means(sums: Mapping[str, float]) -> dict[str, float]:
    """Weighted means of the running sums: no pull towards zero at the start."""
    return {name: total / sums["weight"] for name, total in sums.items() if name != "weight"}


@dataclass(frozen=True)
class ClosedLoop:
    """A batch size that each measurement may change; between measurements it stays.

    A family says which `parts` it reads and which size it `wants`. Where a part is not finite, or no size
    follows (a zero gradient, a gradient lost in noise), the size is kept and the decision says so. Sizes stay
    between 2, the least that shows a variance, and the data's. Cost: a few dozen float operations.

    Args:
        batch_size: Of the first batches, at least 2.
        rate: Learning rate, unaffected by the size (see the couplings).
        memory: Weight in [0, 1) of the previous measurements' numerators and denominators; 0 is none.

    Raises:
        ValueError: An argument is outside its range; from `update`: a row lacks a key.
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

    def wants(self, parts: Parts, measured: int, size: int, lr: float) -> float | None:
        """The size that the parts ask for, in samples; None if none follows.

        Args:
            parts: Smoothed parts.
            measured: Samples of the batch that was measured.
            size: The size last decided.
            lr: The learning rate of the batch to come.
        """
        raise NotImplementedError

    @property
    def name(self) -> str:
        return f"s{self.batch_size}-{self.family}{option_suffix(self, 2)}{self.rate.suffix}"

    def init(self) -> State:
        return {"size": self.batch_size, "sums": {}}

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        lr, size = self.rate.at(observation), int(state["size"])
        if observation.measurement is None:
            return state, Decision(size, lr)
        parts = read_parts(observation, (*self.parts, "count"))
        if isinstance(parts, str):
            return state, Decision(size, lr, f"{self.family}: kept {size}, {parts} is not a finite number")
        measured = int(parts.pop("count"))
        sums = smooth(state["sums"], parts, self.memory)
        wanted = self.wants(means(sums), measured, size, lr)
        if wanted is None or not math.isfinite(wanted):
            return {**state, "sums": sums}, Decision(
                size, lr, f"{self.family}: kept {size}, no gradient seen"
            )
        new = min(max(math.ceil(wanted), 2), observation.epoch_samples)
        reason = f"{self.family}: {size} to {new}, {wanted:.4g} asked for" if new != size else ""
        return {"size": new, "sums": sums}, Decision(new, lr, reason)


def ratio(numerator: float, denominator: float) -> float | None:
    """Their ratio; None where the denominator is not positive."""
    return numerator / denominator if denominator > 0 else None

"""Plan branches: sizes, rates, lengths and orders, as configurations of ordinary runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from torch import nn

import fisherscope as fs
from fisherscope.branching.errors import BranchError
from fisherscope.branching.point import BranchingPoint
from fisherscope.branching.trade_off import FEWEST_SIZES
from fisherscope.plain_text import short_repr
from fisherscope.training import Configuration
from fisherscope.training.optimizer import make_optimizer

RESCALINGS = ("none", "linear", "sqrt")
BETAS = {"per-step": "", "beta2-in-samples": "beta2", "in-samples": "betas"}
"""How betas follow the batch size, and the policies' wrapper that does it."""
FEWEST_STEPS = 8
"""Steps of the largest size below which the shortest branch says nothing."""
DIGITS = 6
"""Significant digits of a rate, as runs' names show it."""
DEFAULT_STEPS = 100
"""Steps of the largest size, where no length is given."""
EVALUATIONS = 8
"""Evaluations of a longest branch."""
LENGTHS = (2, 4, 8)
"""Evaluations of the branches of each size: a quarter, half and whole, each decayed to its own end."""
PROBE_STEPS, PROBE_EVERY = 50, 5
"""Steps over which the noise scales are averaged, and steps from one measurement to the next."""


@dataclass(frozen=True)
class Arm:
    """Name how branches of one comparison are trained.

    Args:
        rescale: How the rate follows the batch size: "none", "linear" or "sqrt".
        base_rate: Learning rate at the run's own batch size.
    """

    rescale: str
    base_rate: float

    def rate(self, size: int, reference: int) -> float:
        """Return the learning rate at a batch size, before it decays."""
        power = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}[self.rescale]
        return self.base_rate * float((size / reference) ** power)


@dataclass(frozen=True)
class BranchPlan:
    """Hold what is trained from a branching point.

    Args:
        point: The branching point.
        config: Configuration of its run.
        sizes: Batch sizes, increasing.
        arms: Rescalings and base rates; the first is the answer, the others show how it moves.
        betas: "per-step", "beta2-in-samples" or "in-samples".
        orders: Orders of the data.
        seed: Seed of the first of them.
        segment: Samples from one evaluation to the next.
    """

    point: BranchingPoint
    config: Configuration
    sizes: tuple[int, ...]
    arms: tuple[Arm, ...]
    betas: str
    orders: int
    seed: int
    segment: int

    @property
    def samples(self) -> int:
        """Samples of a longest branch."""
        return self.segment * EVALUATIONS

    @property
    def lengths(self) -> tuple[int, ...]:
        """Samples of the branches of each size and order."""
        return tuple(self.segment * evaluations for evaluations in LENGTHS)

    def branch(self, arm: Arm, size: int, order: int, evaluations: int = EVALUATIONS) -> Configuration:
        """Return the configuration of one branch; at the run's own size all rescalings are one."""
        reference, wrappers = self.point.batch_size, ""
        if size != reference:
            scaling = "" if arm.rescale == "none" else f"+{arm.rescale}"
            betas = f"+{BETAS[self.betas]}" if BETAS[self.betas] else ""
            wrappers = "".join(f"{part}:reference={reference}" for part in (scaling, betas) if part)
        return Configuration.of(
            self._common_settings(order) | {
                "policy": f"s{size}+linear-decay{wrappers}", "batch_size": size, "lr": arm.base_rate,
                "epochs": evaluations, "segment": self.segment, "measure": False,
            }
        )  # fmt: skip

    def probe(self) -> Configuration:
        """Return the configuration of the run that measures the noise scales at the branching point."""
        size = self.point.batch_size
        return Configuration.of(
            self._common_settings(0) | {
                "policy": f"s{size}+constant", "batch_size": size, "lr": _six_digits(self.point.lr),
                "epochs": 1, "segment": PROBE_STEPS * size, "every": PROBE_EVERY, "stride": True,
                "measure": True, "measure_metric": "optimizer",
            }
        )  # fmt: skip

    def branches(self) -> list[Configuration]:
        """Return all branches, each once."""
        cells = product(self.arms, self.sizes, range(self.orders), LENGTHS)
        return list({config.id: config for config in (self.branch(*cell) for cell in cells)}.values())

    def _common_settings(self, order: int) -> dict[str, object]:
        left_out = {"every": 50, "per_epoch": None, "stride": False, "on_spike": None, "measure_metric": None}
        return self.config.model_dump() | left_out | {"start": self.point.name, "seed": self.seed + order}


def plan_branches(
    point: BranchingPoint,
    config: Configuration,
    *,
    sizes: Sequence[str | int],
    samples: int | None,
    steps: int | None,
    rescale: Sequence[str],
    base_rates: Sequence[str | float],
    betas: str | None,
    orders: int,
    seed: int = 0,
) -> BranchPlan:
    """Plan branches, and check that they can be trained.

    Args:
        point: The branching point.
        config: Configuration of its run.
        sizes: Batch sizes, or multiples of the run's such as "0.5x".
        samples: Length of the longest branches; None for `steps`, or for 100 steps of the largest size.
        steps: Their length in steps of the run's own size.
        rescale: Rules by which the rate follows the batch size; empty for linear with SGD, else sqrt.
        base_rates: Rates at the run's own size, or multiples of the rate at the branching point.
        betas: How betas follow the batch size; None for "beta2-in-samples" where there are betas.
        orders: Orders of the data.
        seed: Seed of the first of them.

    Returns:
        The plan.

    Raises:
        BranchError: The arguments contradict each other, or do not fit the data or the optimizer.
    """
    check_options(sizes, samples, steps, rescale, base_rates, betas, orders)
    numbers = _sizes(sizes, point)
    rules = tuple(dict.fromkeys(rescale)) or (("linear",) if point.optimizer == "SGD" else ("sqrt",))
    betas = betas or ("beta2-in-samples" if point.adaptive else "per-step")
    rates = dict.fromkeys(_number_of(rate, point.lr, "base rate") for rate in base_rates)
    length = samples if samples is not None else None if steps is None else steps * point.batch_size
    segment = _segment(DEFAULT_STEPS * numbers[-1] if length is None else length, numbers)
    arms = tuple(Arm(rule, rate) for rule, rate in product(rules, rates))
    plan = BranchPlan(point, config, numbers, arms, betas, orders, seed, segment)
    _check_optimizer(plan)
    return plan


def check_options(
    sizes: Sequence[str | int],
    samples: int | None,
    steps: int | None,
    rescale: Sequence[str],
    base_rates: Sequence[str | float],
    betas: str | None,
    orders: int,
) -> None:
    """Check what can be checked before there is a branching point; arguments as of `plan_branches`.

    Raises:
        BranchError: They contradict each other, or one can't be read.
    """
    if samples is not None and steps is not None:
        raise BranchError(
            f"planning branches: received samples={samples} and steps={steps}; give one of the two: steps "
            "count at the run's own batch size"
        )
    if orders < 1:
        raise BranchError(f"planning branches: orders={orders}; expected at least 1, and 3 for an interval")
    for rule in rescale:
        _check_word("rescaling", rule, RESCALINGS)
    _check_word("betas", betas or "per-step", tuple(BETAS))
    for size in sizes:
        _number_of(size, 1.0, "batch size")
    for rate in base_rates:
        _number_of(rate, 1.0, "base rate")


def _check_word(what: str, word: str, names: tuple[str, ...]) -> None:
    if word not in names:
        raise BranchError(f"planning branches: {what} {short_repr(word)}; expected one of {', '.join(names)}")


def _sizes(sizes: Sequence[str | int], point: BranchingPoint) -> tuple[int, ...]:
    """Return the batch sizes, increasing."""
    wanted = [_number_of(size, point.batch_size, "batch size") for size in sizes]
    odd = [size for size in wanted if size != int(size) or size < 1]
    if odd:
        raise BranchError(
            f"planning branches: batch size {odd[0]:g} at a run of {point.batch_size}; expected whole "
            "numbers of samples, at least 1"
        )
    numbers = tuple(sorted({int(size) for size in wanted}))
    if len(numbers) < FEWEST_SIZES:
        raise BranchError(
            f"planning branches: {len(numbers)} batch sizes; the trade-off has two unknowns, so that at "
            f"least {FEWEST_SIZES} are needed, such as 0.5x,1x,2x,4x"
        )
    if numbers[-1] > point.training_samples:
        raise BranchError(
            f"planning branches: batches of {numbers[-1]} from {point.training_samples} training samples; "
            "leave out sizes above that"
        )
    return numbers


def _number_of(value: str | float, unit: float, what: str) -> float:
    """Read a number, or a multiple of a unit such as "0.5x"."""
    text = str(value).strip()
    try:
        number = float(text.removesuffix("x")) * (unit if text.endswith("x") else 1.0)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise BranchError(
            f"planning branches: {what} {short_repr(text)}; expected a positive number, or a multiple of the "
            "run's such as 0.5x"
        )
    return _six_digits(number)


def _six_digits(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")


def _segment(samples: int, sizes: Sequence[int]) -> int:
    """Return the samples between two evaluations, whole steps of every size where that is possible.

    Raises:
        BranchError: The shortest branch has too few steps of the largest size.
    """
    largest, share = sizes[-1], EVALUATIONS // LENGTHS[0]
    if samples < share * FEWEST_STEPS * largest:
        raise BranchError(
            f"planning branches: of {samples} samples the shortest branches have a {share}th, "
            f"{samples / share / largest:.2g} steps of {largest}; expected at least {FEWEST_STEPS}: leave "
            f"that size out, or give at least {share * FEWEST_STEPS * largest} samples"
        )
    common = math.lcm(*sizes)
    unit = common if common <= samples // EVALUATIONS else largest
    return unit * max(1, round(samples / EVALUATIONS / unit))


def _check_optimizer(plan: BranchPlan) -> None:
    """Let a sampler of each size refuse what the optimizer does not allow, before anything trains.

    Raises:
        BranchError: The optimizer has no betas, or they would not fit a size.
    """
    for size in plan.sizes:
        config = plan.branch(plan.arms[0], size, 0)
        sampler = fs.DynamicBatchSampler(plan.segment, config.policy_of())
        try:
            sampler.attach(make_optimizer(config, nn.Linear(2, 2)))
        except ValueError as error:
            raise BranchError(f"planning branches of batch size {size}: {error}") from error

"""What each comparison of dynamic sampling trains, as data; experiments/PREREGISTERED-dynamic.md says why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SWEEPS = Path(__file__).parents[1] / "results" / "sweeps"


@dataclass(frozen=True)
class Design:
    """One task's comparison.

    Args:
        samples: Of an epoch.
        settings: Of every run, besides task, policy, rate and seed.
        sizes: Fixed sizes that are compared, each at its own best rate.
        fixed_rates: Rates that these have.
        rates: First rates of the policies.
        seeds: Of the fixed runs and the policies that choose.
        confirm: Of the runs that are judged.
        families: Names of policies by family; of each family one is confirmed.
        fixed_runs: An exported sweep that holds the fixed runs; None where this experiment trains them.
        rounds: Of the cost model.
        chosen: Whether a family's setting is chosen by runs of `seeds`; else each has one name.
        front: Whether fixed sizes at their own best rates are confirmed too.
        pairs: Policies whose ends are compared; trained with the confirmation seeds where nothing is chosen.
        pair_runs: An exported sweep that holds them.
    """

    samples: int
    settings: dict[str, Any]
    sizes: tuple[int, ...]
    fixed_rates: tuple[float, ...]
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    confirm: tuple[int, ...]
    families: dict[str, tuple[str, ...]]
    fixed_runs: Path | None = None
    rounds: int = 15
    chosen: bool = True
    front: bool = True
    pairs: tuple[str, ...] = ()
    pair_runs: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """For the result file."""
        files = {k: v and v.name for k, v in (("fixed_runs", self.fixed_runs), ("pair_runs", self.pair_runs))}
        return {**asdict(self), **files}

    @property
    def names(self) -> list[str]:
        """Every policy's name."""
        return [name for family in self.families.values() for name in family]


DIGITS = {
    "staged -∅": ("s8-to-32", "s8-to-128", "s4-to-64", "s16-to-64", "s32-to-128", "s128-to-8"),
    "staged -MS": ("s8-to-32-MS", "s8-to-128-MS", "s4-to-64-MS", "s16-to-64-MS", "s32-to-128-MS"),
    "growth": ("s8-growth+bounds:max=128",),
    "increase": ("s8-increase:share=0.427",),
    "norm test": ("s8-norm-test+bounds:max=128",),
    "inner product": ("s8-inner-product+bounds:max=128",),
    "Big Batch": ("s8-big-batch+bounds:max=128",),
    "CABS": ("s16-cabs+constant+bounds:max=128",),
    "noise scale": ("s8-noise-scale+bounds:max=128",),
    "diversity": ("s8-diversity+bounds:max=128",),
    "staged, coupled": ("s8-to-128+sqrt", "s8-to-128+linear", "s8-to-128+adascale"),
    "norm test, coupled": ("s8-norm-test+bounds:max=128+linear",),
}
MNIST_MLP = {
    "staged -∅": ("s64-to-256",),
    "staged -MS": ("s64-to-256-MS",),
    "increase": ("s64-increase:share=0.0512",),
    "norm test": ("s64-norm-test+bounds:max=512",),
    "staged, coupled": ("s64-to-256+sqrt",),
}
MNIST_RESNET8 = {
    "staged -∅": ("s32-to-128",),
    "staged -MS": ("s32-to-128-MS",),
}
PAIRS = ("s8-to-128", "s128-to-8", "s8-to-128-MS")
FORTY = {"epochs": 40, "per_epoch": 2}
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 0.8)
DESIGNS = {
    "digits/resnet8": Design(
        300,
        FORTY,
        (4, 8, 16, 32, 64, 128),
        RATES,
        (0.03,),
        (0, 1),
        (10, 11, 12, 13, 14),
        DIGITS,
        pairs=PAIRS,
        pair_runs=SWEEPS / "digits-resnet8.zip",
    ),
    "digits/mlp": Design(
        300,
        FORTY,
        (4, 8, 16, 32, 64, 128),
        RATES,
        (0.03, 0.1),
        (0, 1, 2),
        (10, 11, 12, 13, 14),
        DIGITS,
        pairs=PAIRS,
    ),
    "mnist/mlp": Design(
        10_000,
        {"epochs": 30, "per_epoch": 5, "limit_train": 10_000},
        (32, 64, 128, 256, 512),
        (0.0125, 0.025, 0.05, 0.1, 0.2),
        (0.05,),
        (0, 1),
        (10, 11, 12, 13, 14),
        MNIST_MLP,
        pairs=("s32-to-512", "s512-to-32"),
        fixed_runs=SWEEPS / "mnist-mlp.zip",
        chosen=False,
    ),
    "mnist/resnet8": Design(
        10_000,
        {"epochs": 10, "per_epoch": 5, "limit_train": 10_000},
        (16, 32, 64, 128, 256, 512),
        (0.025, 0.1),
        (0.1,),
        (0,),
        (10, 11, 12),
        MNIST_RESNET8,
        fixed_runs=SWEEPS / "mnist-resnet8.zip",
        rounds=5,
        chosen=False,
        front=False,
    ),
}

"""What `BeaconPolicy` steers by, frozen before the run: growth, region and cost, one value and one file."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

FORMAT = "fisherscope-beacons-2"
LEAST_SIZES = 2
"""Batch sizes below which no growth with the size can be seen."""


@dataclass(frozen=True)
class Beacon:
    """A fixed setting's growth, by equal parts of the run.

    Args:
        batch_size: Of every batch.
        lr: Of the first level.
        cond: The axis's measure (c_k) in each part, averaged over steps as the axis is; positive.
        density: Mean of sqrt(Tr F̃/|B|) in each part, positive: L grows by it times α/sqrt(|B|) a step.
    """

    batch_size: int
    lr: float
    cond: tuple[float, ...]
    density: tuple[float, ...]


@dataclass(frozen=True)
class Place:
    """Where a fixed setting ended in the plane, and whether that is in the optimum region."""

    setting: str
    cond: float
    energy: float
    inside: bool


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a logarithm: of a whole run from its beacons, and of one measurement."""

    run: float
    step: float


@dataclass(frozen=True)
class Beacons:
    """Growth of C̄ and L at each batch size, the optimum region, and seconds a step: all that is steered by.

    Args:
        task: Whose runs the beacons are.
        meant_for: The task that may be steered by them.
        samples: Samples in an epoch of `meant_for`.
        epochs: Length of the runs; the region is that of this budget.
        milestones: Where the rate falls, as fractions of the run.
        factor: What it is multiplied by there.
        axis: `cond_geomean`, or another mean of a key of the monitor's rows: `COLUMN_geomean`, `COLUMN_mean`.
        sizes: Batch sizes that may be used, increasing.
        seconds: Of a step at each of these sizes.
        region: Where fixed settings ended.
        beacons: Their growth; empty where a run learns it from its own first epochs.
        cond_spread: Of the logarithm of the axis's measure.
        energy_spread: Of the logarithm of the density.
        tour: Sizes to run for one epoch each at the start; only where there are no beacons.
        chance: Time decides among schedules that have this share of the likeliest one's probability to end
            in the region.

    Raises:
        ValueError: A value is out of range, or they do not fit together.
    """

    task: str
    meant_for: str
    samples: int
    epochs: int
    milestones: tuple[float, ...]
    factor: float
    axis: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    region: tuple[Place, ...]
    beacons: tuple[Beacon, ...]
    cond_spread: Spread
    energy_spread: Spread
    tour: tuple[int, ...] = ()
    chance: float = 0.7

    def __post_init__(self) -> None:
        _check(self)

    @property
    def column(self) -> str:
        """Key of the monitor's rows that the axis is a mean of."""
        stem = self.axis.rpartition("_")[0]
        return stem if "/" in stem else f"fisher/{stem}"

    @property
    def geometric(self) -> bool:
        """Whether the axis is a geometric mean over steps."""
        return self.axis.endswith("_geomean")

    @property
    def parts(self) -> int:
        """Equal parts that the run is divided into; a decision is made at the start of each."""
        return len(self.beacons[0].cond) if self.beacons else PARTS

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits of the content."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """The text of a file that `read_beacons` reads."""
        return json.dumps({"format": FORMAT, **asdict(self)}) + "\n"


PARTS = 20
"""Parts of a run: the paper's levels, at 50 % and 75 %, begin at the start of one."""


def read_beacons(path: str | Path) -> Beacons:
    """The beacons of a file that `fisherscope beacons` wrote.

    Raises:
        ValueError: There is no such file, or it is no such file, or is damaged.
    """
    doing = f"reading the beacons {str(path)!r}"
    make = "make one of finished runs by: fisherscope beacons RUNS --out FILE.json"
    try:
        held = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{doing}: {error.strerror or error}; {make}") from error
    except ValueError as error:
        raise ValueError(f"{doing}: not JSON ({error}); {make}") from error
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        found = held.get("format") if isinstance(held, dict) else type(held).__name__
        raise ValueError(f"{doing}: its format is {found!r}; expected {FORMAT!r}; {make}")
    try:
        return _beacons(held)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{doing}: damaged ({type(error).__name__}: {error}); {make}") from error
    except ValueError as error:
        raise ValueError(f"{doing}: {error}") from error


def _beacons(held: Mapping[str, Any]) -> Beacons:
    values = {key: value for key, value in held.items() if key != "format"}
    rows = [{**b, "cond": tuple(b["cond"]), "density": tuple(b["density"])} for b in held["beacons"]]
    return Beacons(
        **{
            **values,
            **{key: tuple(held[key]) for key in ("milestones", "sizes", "seconds", "tour")},
            "beacons": tuple(Beacon(**row) for row in rows),
            "region": tuple(Place(**place) for place in held["region"]),
            "cond_spread": Spread(**held["cond_spread"]),
            "energy_spread": Spread(**held["energy_spread"]),
        }
    )


def _check(b: Beacons) -> None:
    """Refuse what would mislead.

    Raises:
        ValueError: Says what is wrong.
    """
    doing = "building beacons"
    if not b.axis.endswith(("_geomean", "_mean")):
        raise ValueError(f"{doing}: axis={b.axis!r}; expected such as cond_geomean or effective_rank_mean")
    if len(b.sizes) < LEAST_SIZES or any(not a < c for a, c in pairwise(b.sizes)):
        raise ValueError(f"{doing}: sizes={b.sizes}; expected at least {LEAST_SIZES}, increasing")
    if not 2 <= b.sizes[0] <= b.sizes[-1] <= b.samples:
        raise ValueError(f"{doing}: sizes {b.sizes[0]} to {b.sizes[-1]}; expected 2 to {b.samples} samples")
    if len(b.seconds) != len(b.sizes) or not _positive(b.seconds):
        raise ValueError(f"{doing}: seconds={b.seconds}; expected one positive number for each of {b.sizes}")
    if not any(place.inside for place in b.region) or not _positive(
        [value for place in b.region for value in (place.cond, place.energy)]
    ):
        raise ValueError(f"{doing}: the region has no setting inside it, or one that is not positive")
    curves = [curve for beacon in b.beacons for curve in (beacon.cond, beacon.density)]
    if len({len(curve) for curve in curves}) > 1 or not all(curve and _positive(curve) for curve in curves):
        raise ValueError(f"{doing}: growth must be positive numbers, as many for every beacon")
    if bool(b.beacons) == bool(b.tour) or not set(b.tour) <= set(b.sizes) or len(b.tour) == 1:
        raise ValueError(f"{doing}: give beacons, or at least two sizes as tour=; received tour={b.tour}")
    if len(b.tour) >= b.epochs / 2:
        raise ValueError(f"{doing}: a tour of {len(b.tour)} epochs leaves too little of {b.epochs}")
    if not 0 < b.chance < 1 or not _positive(
        [s for part in (b.cond_spread, b.energy_spread) for s in (part.run, part.step)]
    ):
        raise ValueError(f"{doing}: chance={b.chance} must be in (0, 1), and spreads positive")


def _positive(values: Any) -> bool:
    return all(isinstance(v, int | float) and math.isfinite(v) and v > 0 for v in values)

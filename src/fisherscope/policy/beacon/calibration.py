"""The calibration of `BeaconPolicy`, frozen before the run: growth, region and cost."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from fisherscope.bounded_reading import parse_json, read_bytes
from fisherscope.plain_text import short_repr

FORMAT = "fisherscope-beacons-2"
LEAST_SIZES = 2
"""Batch sizes needed to see how growth depends on the size."""


@dataclass(frozen=True)
class Beacon:
    """Hold the growth of a fixed setting, by equal parts of the run.

    Source: Liao et al. 2020 call runs of a fixed batch size beacons.

    Args:
        batch_size: Batch size in samples.
        lr: Learning rate of the first level.
        cond: The axis's measure (such as c_k) in each part, averaged over steps as the axis is; positive.
        density: Mean of sqrt(Tr F̃/|B|) in each part, positive; times α/sqrt(|B|) it is L's growth per step.

    Example:
        ```python
        beacon = fs.policy.Beacon(32, 0.1, cond=(4.0,) * 20, density=(1.0,) * 20)
        ```
    """

    batch_size: int
    lr: float
    cond: tuple[float, ...]
    density: tuple[float, ...]


@dataclass(frozen=True)
class Place:
    """Hold the final position of a fixed setting, and whether it is in the optimum region.

    Args:
        setting: Name of the setting, such as `s32-lr0.1`.
        cond: Final mean of the axis's measure, positive.
        energy: Final L, positive, in units of the parameters.
        inside: Whether the setting is in the optimum region.

    Example:
        ```python
        place = fs.policy.Place("s32-lr0.1", cond=4.0, energy=40.0, inside=True)
        ```
    """

    setting: str
    cond: float
    energy: float
    inside: bool


@dataclass(frozen=True)
class Spread:
    """Hold standard deviations of a logarithm.

    Args:
        run: Deviation of a whole run from its beacons.
        step: Deviation of one measurement from its run.

    Example:
        ```python
        spread = fs.policy.Spread(run=0.1, step=0.2)
        ```
    """

    run: float
    step: float


@dataclass(frozen=True)
class Beacons:
    """Hold all that a run is steered by: growth by batch size, optimum region, cost.

    Args:
        task: Task of the beacons' runs.
        meant_for: Task that may be steered by them.
        samples: Samples in an epoch of `meant_for`.
        epochs: Length of the runs; the region is that of this budget.
        milestones: Where the learning rate falls, as fractions of the run.
        factor: Factor of the learning rate at each milestone.
        axis: `cond_geomean`, or another mean of a key of the monitor's rows: `COLUMN_geomean`, `COLUMN_mean`.
        sizes: Batch sizes that may be used, increasing.
        seconds: Seconds per step at each of these sizes.
        region: Final positions of fixed settings.
        beacons: Their growth; empty if a run measures it in its own first epochs.
        cond_spread: Spread of the logarithm of the axis's measure.
        energy_spread: Spread of the logarithm of the density.
        tour: Sizes to run for one epoch each at the start; only without beacons.
        chance: The cheapest schedule is taken among those whose probability to end in the region is at least
            this share of the highest; in (0, 1).
        rates: Multipliers of the learning rate that the policy may use besides sizes, increasing, 1 among
            them; by default 1 alone. The rates that they make need beacons.

    Raises:
        ValueError: A value is out of range, or the values contradict each other.

    Example:
        ```python
        beacons = fs.policy.Beacons(
            task="mine", meant_for="mine", samples=320, epochs=40, milestones=(0.5, 0.75), factor=0.1,
            axis="effective_rank_mean", sizes=(8, 32), seconds=(0.01, 0.02), beacons=(), tour=(8, 32),
            region=(fs.policy.Place("s8-lr0.1", 4.0, 40.0, True),),
            cond_spread=fs.policy.Spread(0.1, 0.1), energy_spread=fs.policy.Spread(0.1, 0.1),
        )
        assert beacons.column == "fisher/effective_rank" and not beacons.geometric
        ```
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
    rates: tuple[float, ...] = (1.0,)

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
        """Equal parts of the run; the policy decides at the start of each."""
        return len(self.beacons[0].cond) if self.beacons else PARTS

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits of the content."""
        text = json.dumps(self._values(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """Return the text of a file that `read_beacons` reads (see its example).

        Returns:
            A line of JSON.
        """
        return json.dumps({"format": FORMAT, **self._values()}) + "\n"

    def _values(self) -> dict[str, Any]:
        """Return the fields; `rates` only if there are several, as in files from before it existed."""
        values = asdict(self)
        if len(self.rates) == 1:
            del values["rates"]
        return values


LARGEST_FILE = 1 << 24
"""Bytes of a beacons file (16 MiB; one of 100 settings takes 100 kB)."""
PARTS = 20
"""Parts of a run: the paper's levels, at 50 % and 75 %, begin at the start of one."""


def read_beacons(path: str | Path) -> Beacons:
    """Read a file that `fisherscope beacons` wrote.

    Args:
        path: The file.

    Returns:
        Its beacons.

    Raises:
        ValueError: There is no such file, it is of another format, or it is damaged.

    Example:
        ```python
        from pathlib import Path

        made = fs.policy.Beacons(
            task="mine", meant_for="mine", samples=320, epochs=40, milestones=(0.5, 0.75), factor=0.1,
            axis="effective_rank_mean", sizes=(8, 32), seconds=(0.01, 0.02), beacons=(), tour=(8, 32),
            region=(fs.policy.Place("s8-lr0.1", 4.0, 40.0, True),),
            cond_spread=fs.policy.Spread(0.1, 0.1), energy_spread=fs.policy.Spread(0.1, 0.1),
        )
        Path("beacons.json").write_text(made.to_json())
        assert fs.policy.read_beacons("beacons.json") == made
        ```
    """
    doing = f"reading the beacons {str(path)!r}"
    make = "make one from finished runs by: fisherscope beacons RUNS --out FILE.json"
    try:
        contents = parse_json(read_bytes(Path(path), LARGEST_FILE))
    except OSError as error:
        raise ValueError(f"{doing}: {error.strerror or error}; {make}") from error
    except ValueError as error:
        raise ValueError(f"{doing}: not JSON ({error}); {make}") from error
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        received = contents.get("format") if isinstance(contents, dict) else type(contents).__name__
        raise ValueError(f"{doing}: its format is {short_repr(received)}; expected {FORMAT!r}; {make}")
    try:
        return _beacons(contents)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        what = short_repr(str(error))
        raise ValueError(f"{doing}: damaged ({type(error).__name__}: {what}); {make}") from error
    except ValueError as error:
        raise ValueError(f"{doing}: {error}") from error


def _beacons(contents: Mapping[str, Any]) -> Beacons:
    values = {key: value for key, value in contents.items() if key != "format"}
    rows = [{**b, "cond": tuple(b["cond"]), "density": tuple(b["density"])} for b in contents["beacons"]]
    return Beacons(
        **{
            **values,
            **{key: tuple(contents[key]) for key in ("milestones", "sizes", "seconds", "tour")},
            "beacons": tuple(Beacon(**row) for row in rows),
            "region": tuple(Place(**place) for place in contents["region"]),
            "cond_spread": Spread(**contents["cond_spread"]),
            "energy_spread": Spread(**contents["energy_spread"]),
            "rates": tuple(contents.get("rates", (1.0,))),
        }
    )


def _check(b: Beacons) -> None:
    """Raise an error for values that are out of range or contradict each other.

    Raises:
        ValueError: Says what is wrong.
    """
    doing = "building beacons"
    if not b.axis.endswith(("_geomean", "_mean")):
        raise ValueError(
            f"{doing}: axis={b.axis!r}; expected a mean such as cond_geomean or effective_rank_mean"
        )
    if len(b.sizes) < LEAST_SIZES or any(not a < c for a, c in pairwise(b.sizes)):
        raise ValueError(f"{doing}: sizes={b.sizes}; expected at least {LEAST_SIZES}, increasing")
    if not 2 <= b.sizes[0] <= b.sizes[-1] <= b.samples:
        raise ValueError(f"{doing}: sizes {b.sizes[0]} to {b.sizes[-1]}; expected 2 to {b.samples} samples")
    if len(b.seconds) != len(b.sizes) or not _positive(b.seconds):
        raise ValueError(f"{doing}: seconds={b.seconds}; expected one positive number for each of {b.sizes}")
    if not any(place.inside for place in b.region) or not _positive(
        [value for place in b.region for value in (place.cond, place.energy)]
    ):
        raise ValueError(
            f"{doing}: the region has no setting inside, or one with a value that is not positive"
        )
    if not _positive([value for beacon in b.beacons for value in (beacon.batch_size, beacon.lr)]):
        raise ValueError(f"{doing}: each beacon's batch size and learning rate must be positive numbers")
    curves = [curve for beacon in b.beacons for curve in (beacon.cond, beacon.density)]
    if len({len(curve) for curve in curves}) > 1 or not all(curve and _positive(curve) for curve in curves):
        raise ValueError(f"{doing}: growth must be positive numbers, the same count for every beacon")
    if bool(b.beacons) == bool(b.tour) or not set(b.tour) <= set(b.sizes) or len(b.tour) == 1:
        raise ValueError(f"{doing}: give beacons, or at least two sizes as tour=; received tour={b.tour}")
    if not _positive(b.rates) or any(not a < c for a, c in pairwise(b.rates)) or 1.0 not in b.rates:
        raise ValueError(f"{doing}: rates={b.rates}; expected increasing multipliers, 1 among them")
    if b.tour and len(b.rates) > 1:
        raise ValueError(f"{doing}: rates={b.rates} with a tour; other rates need beacons")
    if len(b.tour) >= b.epochs / 2:
        raise ValueError(f"{doing}: a tour of {len(b.tour)} epochs must be less than half of {b.epochs}")
    if not 0 < b.chance < 1 or not _positive(
        [s for part in (b.cond_spread, b.energy_spread) for s in (part.run, part.step)]
    ):
        raise ValueError(f"{doing}: chance={b.chance} must be in (0, 1), and spreads positive")


def _positive(values: Any) -> bool:
    return all(isinstance(v, int | float) and math.isfinite(v) and v > 0 for v in values)

"""Parse policy names such as `s32-to-128-MS` or `s32-norm-test:theta=0.5+linear`."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from fisherscope.plain_text import short_repr
from fisherscope.policy.beacon.controller import parse_beacon
from fisherscope.policy.beta_scaling import Beta2, Betas
from fisherscope.policy.big_batch import BigBatch
from fisherscope.policy.cabs import Cabs
from fisherscope.policy.diversity import Diversity
from fisherscope.policy.fixed import Fixed
from fisherscope.policy.geometric_growth import Growth
from fisherscope.policy.gradient_norm import NormTest
from fisherscope.policy.increase_batch import Increase
from fisherscope.policy.inner_product import InnerProduct
from fisherscope.policy.lr_scaling import AdaScale, Linear, SquareRoot
from fisherscope.policy.lr_schedule import SHAPES, Decay, Rate
from fisherscope.policy.noise_scale import NoiseScale
from fisherscope.policy.options import parse_options
from fisherscope.policy.protocol import Policy
from fisherscope.policy.staged import Staged
from fisherscope.policy.wrappers import Bounds, GrowthLimit, Hysteresis, Multiple

FAMILIES: Mapping[str, type[Any]] = {
    "": Fixed,
    "growth": Growth,
    "increase": Increase,
    **{kind.family: kind for kind in (NormTest, InnerProduct, BigBatch, Cabs, NoiseScale, Diversity)},
}
"""Policy classes by what may follow `s32-`; each takes (batch_size, rate, options)."""

WRAPPERS: Mapping[str, type[Any]] = {
    kind.family: kind
    for kind in (Bounds, Multiple, Hysteresis, GrowthLimit, Linear, SquareRoot, AdaScale, Beta2, Betas)
}
"""Wrapper classes by what may follow a `+`; each takes (policy, options)."""

SCHEDULES = ("constant", *SHAPES.values())
"""What may follow the first `+`: learning-rate schedules."""
_STAGED = {"": False, "∅": False, "0": False, "MS": True}
_HEAD = re.compile(r"s(?P<first>\d{1,18})(?:-to-(?P<last>\d{1,18}))?(?:-(?P<family>.+))?")
_LR = re.compile(r"-lr(?P<lr>\d+(?:\.\d+)?(?:e-?\d+)?)$")


def parse(name: str, *, lr: float | None = None, epochs: int) -> Policy:
    """Return the policy of a name; `policy.name` is the inverse.

    A name is `sSIZE[-FAMILY]`, `sFIRST-to-LAST[-MS]` or `beacon:FILE.json`, then options (`:key=value,…`),
    then `+constant`, `+decay:at=0.5/0.75,by=0.1`, `+cosine`, `+linear-decay` or `+wsd` for another
    learning-rate schedule than the default levels (each takes `warmup=0.05`), then wrappers
    (`+bounds:max=512`). The paper's -∅ has no suffix (`-∅` and `-0` are read too), and a family may end in
    `-lr0.1`. Tables of all names: docs/policies.md.

    Args:
        name: The name.
        lr: Learning rate of the first level, unless the name contains one.
        epochs: Length of the run, which is not part of a name.

    Returns:
        A frozen policy.

    Raises:
        ValueError: The name is unknown (the nearest is named), an option is wrong, or there is no learning
            rate.

    Cost: microseconds; a beacon policy reads its file.

    Example:
        ```python
        policy = fs.policy.parse("s32-norm-test:theta=0.5+bounds:max=512+linear", lr=0.1, epochs=40)
        assert fs.policy.parse(policy.name, lr=0.1, epochs=40) == policy
        ```
    """
    doing = f"reading the policy name {short_repr(name)}"
    head, *segments = name.split("+")
    head, _, options = head.partition(":")
    match = _LR.search(head)
    if match is not None:
        head = head[: match.start()]
        if lr is not None and lr != float(match["lr"]):
            raise ValueError(f"{doing}: it says lr={match['lr']}, but lr={lr!r} was given; leave one out")
        lr = float(match["lr"])
    if lr is None:
        raise ValueError(f"{doing}: no learning rate; give lr=0.1, or write {head}-lr0.1")
    if head.endswith("-constant"):
        head, segments = head.removesuffix("-constant"), ["constant", *segments]
    rate, segments = _parse_rate(doing, lr, epochs, segments)
    policy = _parse_head(doing, head, rate, options)
    for segment in segments:
        family, _, options = segment.partition(":")
        if family in SCHEDULES:
            raise ValueError(
                f"{doing}: +{family} stands behind a wrapper; put the schedule before all wrappers"
            )
        kind = _look_up(doing, family, WRAPPERS, SCHEDULES)
        policy = kind(policy, **parse_options(doing, kind, options, skip=1))
    return policy


def rate_in(name: str) -> float | None:
    """Return the learning rate in a policy's name, such as 0.05 in `s32-lr0.05+linear`.

    Args:
        name: A policy's name; it need not be valid.

    Returns:
        The learning rate; None if the name has none.

    Example:
        ```python
        assert fs.policy.rate_in("s32-lr0.05+linear") == 0.05 and fs.policy.rate_in("s32") is None
        ```
    """
    match = _LR.search(name.split("+")[0].partition(":")[0])
    return None if match is None else float(match["lr"])


def _parse_rate(doing: str, lr: float, epochs: int, segments: list[str]) -> tuple[Rate, list[str]]:
    """Return the learning-rate schedule, and the remaining segments."""
    family, _, text = segments[0].partition(":") if segments else ("", "", "")
    shape = {name: shape for shape, name in SHAPES.items()}.get(family, "levels")
    if shape != "levels":
        curve = Decay(**parse_options(doing, Decay, text, skip=0))
        return Rate(lr, epochs, (), shape=shape, curve=curve), segments[1:]
    if family == "constant":
        curve = Decay(**parse_options(doing, Decay, text, skip=0))
        return Rate(lr, epochs, milestones=(), curve=curve), segments[1:]
    if family != "decay":
        return Rate(lr, epochs), segments
    match = re.fullmatch(r"at=([0-9./e-]+),by=([0-9.e-]+)(?:,(.*))?", text)
    if match is None:
        raise ValueError(f"{doing}: received {short_repr(segments[0])}; expected decay:at=0.5/0.75,by=0.1")
    try:
        milestones, factor = tuple(float(part) for part in match[1].split("/")), float(match[2])
    except ValueError as error:
        raise ValueError(f"{doing}: {segments[0]!r}: {error}; expected decay:at=0.5/0.75,by=0.1") from error
    curve = Decay(**parse_options(doing, Decay, match[3] or "", skip=0))
    return Rate(lr, epochs, milestones, factor, curve=curve), segments[1:]


def schedule_suffix(name: str, shape: str, warmup: float) -> str:
    """Write a learning-rate schedule into a policy's name.

    Args:
        name: A policy's name without a schedule.
        shape: "levels", "constant", "cosine", "linear" or "wsd".
        warmup: Share of the run.

    Returns:
        The name with the schedule.

    Raises:
        ValueError: There is no such shape, or the name has a schedule.

    Example:
        ```python
        name = fs.policy.schedule_suffix("s32-cabs+linear", "cosine", 0.05)
        assert name == "s32-cabs+cosine:warmup=0.05+linear"
        ```
    """
    head, *segments = name.split("+")
    doing = f"giving {short_repr(name)} a schedule"
    if segments and segments[0].partition(":")[0] in SCHEDULES:
        raise ValueError(f"{doing}: it has one, +{segments[0]}; leave out one of the two")
    _look_up(doing, shape, {**SHAPES, "constant": ""})
    levels = (0.5, 0.75) if shape == "levels" else ()
    rate = Rate(1.0, 1, levels, shape=shape if shape in SHAPES else "levels", curve=Decay(warmup=warmup))
    return "+".join([head + rate.suffix, *segments])


def _parse_head(doing: str, head: str, rate: Rate, options: str) -> Policy:
    if head == "beacon":
        return parse_beacon(doing, options, rate)
    match = _HEAD.fullmatch(head)
    if match is None:
        near = "did you mean beacon:FILE.json? " if get_close_matches(head, ["beacon"]) else ""
        raise ValueError(
            f"{doing}: {near}expected a form such as s32, s32-to-128-MS, s32-norm-test or beacon:FILE.json"
        )
    first, family = int(match["first"]), match["family"] or ""
    policy: Policy
    if match["last"]:
        restart = _look_up(doing, family, _STAGED)
        if options:
            raise ValueError(f"{doing}: a staged schedule has no options; leave out {short_repr(options)}")
        return Staged(first, int(match["last"]), rate, restart)
    kind = _look_up(doing, family, FAMILIES)
    policy = kind(first, rate, **parse_options(doing, kind, options, skip=2))
    return policy


def _look_up(doing: str, name: str, table: Mapping[str, Any], others: tuple[str, ...] = ()) -> Any:
    """Return the table's entry; `others` are names that could have been meant.

    Raises:
        ValueError: There is none; names the nearest one.
    """
    if name in table:
        return table[name]
    choices = [choice for choice in (*table, *others) if choice]
    near = get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(choices)}"
    raise ValueError(f"{doing}: {short_repr(name)} is unknown; {hint}")

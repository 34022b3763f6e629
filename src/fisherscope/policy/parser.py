"""Names to policies and back: `s32`, `s32-to-128-MS`, `s32-norm-test:theta=0.5+multiple:of=8+linear`."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from fisherscope.policy.beacon.controller import parse_beacon
from fisherscope.policy.big_batch import BigBatch
from fisherscope.policy.cabs import Cabs
from fisherscope.policy.diversity import Diversity
from fisherscope.policy.fixed import Fixed
from fisherscope.policy.geometric_growth import Growth
from fisherscope.policy.gradient_norm import NormTest
from fisherscope.policy.increase_batch import Increase
from fisherscope.policy.inner_product import InnerProduct
from fisherscope.policy.lr_scaling import AdaScale, Linear, SquareRoot
from fisherscope.policy.lr_schedule import Rate
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
"""What may follow `s32-`; each class takes (batch_size, rate, options)."""

WRAPPERS: Mapping[str, type[Any]] = {
    kind.family: kind for kind in (Bounds, Multiple, Hysteresis, GrowthLimit, Linear, SquareRoot, AdaScale)
}
"""What may follow a `+`; each class takes (policy, options)."""

_STAGED = {"": False, "∅": False, "0": False, "MS": True}
_HEAD = re.compile(r"s(?P<first>\d{1,18})(?:-to-(?P<last>\d{1,18}))?(?:-(?P<family>.+))?")
_LR = re.compile(r"-lr(?P<lr>\d+(?:\.\d+)?(?:e-?\d+)?)$")


def parse(name: str, *, lr: float | None = None, epochs: int) -> Policy:
    """The policy of a name; `policy.name` is the way back.

    A name is `sSIZE[-FAMILY]`, `sFIRST-to-LAST[-MS]` or `beacon:FILE.json`, then options (`:key=value,…`),
    then `+constant` or `+decay:at=0.5/0.75,by=0.1` for other learning-rate levels than the paper's, then
    wrappers (`+bounds:max=512`). -∅ has no suffix (`-∅` and `-0` are read too), and a family may end in
    `-lr0.1`.

    Args:
        name: The name.
        lr: Learning rate of the first level, unless the name ends in one.
        epochs: Length of the run; a name says nothing of it.

    Raises:
        ValueError: The name is unknown (the nearest is named), an option is wrong, or no rate is given.
    """
    doing = f"reading the policy name {name!r}"
    head, *segments = name.split("+")
    head, _, options = head.partition(":")
    named = _LR.search(head)
    if named is not None:
        head = head[: named.start()]
        if lr is not None and lr != float(named["lr"]):
            raise ValueError(f"{doing}: it says lr={named['lr']}, but lr={lr!r} was given; leave one out")
        lr = float(named["lr"])
    if lr is None:
        raise ValueError(f"{doing}: no learning rate; give lr=0.1, or write {head}-lr0.1")
    if head.endswith("-constant"):
        head, segments = head.removesuffix("-constant"), ["constant", *segments]
    rate, segments = _rate(doing, lr, epochs, segments)
    policy = _head(doing, head, rate, options)
    for segment in segments:
        family, _, options = segment.partition(":")
        kind = _known(doing, family, WRAPPERS)
        policy = kind(policy, **parse_options(doing, kind, options, skip=1))
    return policy


def rate_in(name: str) -> float | None:
    """The learning rate that a name ends its family in, such as 0.05 of `s32-lr0.05+linear`; None if none."""
    named = _LR.search(name.split("+")[0].partition(":")[0])
    return None if named is None else float(named["lr"])


def _rate(doing: str, lr: float, epochs: int, segments: list[str]) -> tuple[Rate, list[str]]:
    """The learning-rate levels, and the segments that are not about them."""
    if not segments or segments[0].partition(":")[0] not in ("constant", "decay"):
        return Rate(lr, epochs), segments
    family, _, text = segments[0].partition(":")
    if family == "constant":
        return Rate(lr, epochs, milestones=()), segments[1:]
    match = re.fullmatch(r"at=([0-9./e-]+),by=([0-9.e-]+)", text)
    if match is None:
        raise ValueError(f"{doing}: {segments[0]!r} is no decay; expected decay:at=0.5/0.75,by=0.1")
    try:
        milestones, factor = tuple(float(part) for part in match[1].split("/")), float(match[2])
    except ValueError as error:
        raise ValueError(f"{doing}: {segments[0]!r}: {error}; expected decay:at=0.5/0.75,by=0.1") from error
    return Rate(lr, epochs, milestones, factor), segments[1:]


def _head(doing: str, head: str, rate: Rate, options: str) -> Policy:
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
        restart = _known(doing, family, _STAGED)
        if options:
            raise ValueError(f"{doing}: a staged schedule has no options; received {options!r}, leave it out")
        return Staged(first, int(match["last"]), rate, restart)
    kind = _known(doing, family, FAMILIES)
    policy = kind(first, rate, **parse_options(doing, kind, options, skip=2))
    return policy


def _known(doing: str, name: str, table: Mapping[str, Any]) -> Any:
    """The table's entry; a ValueError that names the nearest ones."""
    if name in table:
        return table[name]
    choices = [choice for choice in table if choice]
    near = get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(choices)}"
    raise ValueError(f"{doing}: {name!r} is unknown; {hint}")

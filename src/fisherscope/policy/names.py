"""Names to policies: `s32`, `s32-constant`, `s32-to-128-MS`; the way back is `policy.name`."""

import re
from difflib import get_close_matches

from fisherscope.policy.decision import Policy, Rate
from fisherscope.policy.fixed import Fixed
from fisherscope.policy.staged import Staged

_FORM = re.compile(r"s(?P<first>\d+)(-to-(?P<last>\d+))?(-(?P<family>[^:+]+?))?(-lr(?P<lr>[0-9.e-]+))?")
_STAGED = {"": False, "∅": False, "0": False, "MS": True}


def parse(name: str, *, lr: float | None = None, epochs: int) -> Policy:
    """The policy of a name: `s32`, `s32-to-128-MS`, `s32-lr0.1`."""
    match = _FORM.fullmatch(name)
    if match is None:
        raise ValueError(
            f"reading the policy name {name!r}: expected a form such as s32, s32-to-128 or s32-to-128-MS"
        )
    named = match["lr"] and float(match["lr"])
    if lr is None and not named:
        raise ValueError(
            f"reading the policy name {name!r}: no learning rate; give lr= or end the name in -lr0.1"
        )
    rate = Rate(float(named or lr or 0), epochs)
    first, family = int(match["first"]), match["family"] or ""
    if match["last"] and family in _STAGED:
        return Staged(first, int(match["last"]), rate, restart=_STAGED[family])
    if not match["last"] and family in ("", "constant"):
        return Fixed(first, Rate(rate.lr, epochs, milestones=()) if family else rate)
    near = get_close_matches(family, ["constant", "MS"], n=1)
    raise ValueError(f"reading the policy name {name!r}: no policy {family!r}; did you mean {near or 'MS'}?")

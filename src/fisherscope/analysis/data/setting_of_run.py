"""The setting of a run: its batch size and learning rate, or its schedule, from its configuration."""

import re
from typing import Any

from fisherscope.runs.reader import Runs

FIXED_POLICY = re.compile(r"(?:s(?P<size>\d+))?(?:-?lr(?P<lr>[\d.]+(?:e-?\d+)?))?(?:-constant|\+.*)?")
BEACON_FOLDER = re.compile(r"(?<=beacon:)[^@]*/(?=[^@/]+@)")
"""Folder of a beacon file in a policy's name; its digest identifies it."""
LARGEST_SETTING = 1e15
"""Above any batch size and learning rate."""


def setting_name(batch_size: int, lr: float) -> str:
    """Name a setting as the paper does: `s32-lr0.1`."""
    return f"s{batch_size}-lr{lr:.6g}"


def constant_sizes(runs: Runs) -> dict[str, int | None]:
    """Return each run's batch size by run id; None if it changes or is unknown."""
    rows = (setting_row(row) for row in runs.runs.iter_rows(named=True))
    return {row["run_id"]: row["batch_size"] for row in rows}


def setting_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return one run's row: its setting, and whether its batch size is constant."""
    policy, size, lr = str(row.get("policy") or ""), row.get("batch_size"), row.get("lr")
    match = FIXED_POLICY.fullmatch(policy)
    if match is not None:
        size = match["size"] or size
        lr = match["lr"] or lr
        suffix = (
            policy[policy.index("+") :] if "+" in policy else "-constant" if "-constant" in policy else ""
        )
        size, lr = _positive(size), _positive(lr)
        name = "" if size is None or lr is None else setting_name(int(size), lr) + suffix
    else:
        match_lr = re.search(r"-lr([\d.]+(?:e-?\d+)?)", policy)
        lr = _positive(match_lr[1] if match_lr else lr)
        short = BEACON_FOLDER.sub("", policy)
        size, name = None, short if match_lr or lr is None else f"{short}-lr{float(lr):.6g}"
    return {
        "run_id": row["run_id"],
        "setting": name,
        "fixed": match is not None,
        "batch_size": None if size is None else int(size),
        "lr": None if lr is None else float(lr),
        "seed": _seed_of(row.get("seed")),
        "status": row["status"],
        "planned": row.get("epochs"),
        "path": row["path"],
    }


def _positive(value: Any) -> float | None:
    """Return a batch size or learning rate as a number; None for what cannot be one."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 < number < LARGEST_SETTING else None


def _seed_of(value: Any) -> int:
    try:
        return min(max(int(value), -(1 << 62)), 1 << 62)
    except (TypeError, ValueError, OverflowError):
        return 0

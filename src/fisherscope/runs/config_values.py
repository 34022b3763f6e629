"""What a run directory stores: plain JSON values, and the id that follows from a configuration."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

HASH_DIGITS = 6
LONGEST_NAME = 120


def plain(value: Any, name: str = "value", *, null: bool = True) -> Any:
    """`value` as JSON has it: numbers of any library as Python's, tuples as lists.

    Args:
        value: Number, text, None, zero-dimensional array or tensor, or lists and mappings of these.
        name: Of the value, for the error.
        null: Non-finite numbers become None; otherwise they are refused.

    Raises:
        TypeError: It is something else.
        ValueError: It is not finite, and `null` is false.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not null and not math.isfinite(value):
            raise ValueError(f"storing {name}={value!r}: expected a finite number")
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(part, f"{name}[{key!r}]", null=null) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part, f"{name}[{k}]", null=null) for k, part in enumerate(value)]
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return plain(value.item(), name, null=null)
    raise TypeError(
        f"storing {name}: received {type(value).__name__}; expected numbers, text, None, or lists and "
        "mappings of these (arrays go to log_outcomes, eigenvalues to log_step, tensors to save_checkpoint)"
    )


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as run.json has it, so that it compares equal to what is read back."""
    return {str(key): plain(value, f"config[{key!r}]", null=False) for key, value in config.items()}


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Keys in which two configurations differ, each with both values; an absent key is one that is None."""
    missing = object()
    return [
        f"{key}={_shown(theirs.get(key, missing), missing)} (now {_shown(ours.get(key, missing), missing)})"
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    ]


def run_id(config: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> str:
    """A readable name that follows from the configuration: `mnist-resnet8-s32-lr0.1-seed0-3f9c1d`.

    The hash at its end is of the keys that are not in the name and not at their default, so equal
    configurations have equal names, and a new option leaves the names of old runs as they were.

    Args:
        config: As for `open_run`.
        defaults: Values that do not count; None counts as one for every key.
    """
    config = plain_config(config)
    spelt = _spelt(config)
    text = "-".join(spelt.values()) or "run"
    name = re.sub(r"[^A-Za-z0-9._=+-]+", "-", text).strip("-.")[:LONGEST_NAME]
    if name != text.replace("/", "-"):
        spelt = {}  # the name alone does not tell
    defaults = plain_config(defaults or {})
    rest = {
        key: value
        for key, value in config.items()
        if key not in spelt and value is not None and value != defaults.get(key)
    }
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]}"


def _spelt(config: Mapping[str, Any]) -> dict[str, str]:
    """The keys that a run id spells out, as it does; the others are in its hash."""
    sizes = "policy" if config.get("policy") else "batch_size"
    before = {"task": "", "policy": "", "batch_size": "s", "lr": "lr", "seed": "seed"}
    keys = ["task", sizes, "seed"] if "lr" in str(config.get("policy")) else ["task", sizes, "lr", "seed"]
    return {key: f"{before[key]}{config[key]}" for key in keys if config.get(key) is not None}


def _shown(value: Any, missing: object) -> str:
    return "absent" if value is missing else repr(value)

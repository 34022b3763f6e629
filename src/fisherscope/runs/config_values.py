"""JSON values of a run directory, and the run id that follows from a configuration."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

HASH_DIGITS = 6
LONGEST_NAME = 120


def json_value(value: Any, name: str = "value", *, null: bool = True) -> Any:
    """Convert a value to JSON's types: numbers of any library to Python's, tuples to lists.

    Args:
        value: Number, text, None, zero-dimensional array or tensor, or lists and mappings of these.
        name: Name of the value, for the error.
        null: Convert non-finite numbers to None; otherwise they raise an error.

    Returns:
        None, a bool, int, float or text, or lists and dicts of these.

    Raises:
        TypeError: The value is something else.
        ValueError: The value is not finite, and `null` is false.
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
        return {str(key): json_value(part, f"{name}[{key!r}]", null=null) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(part, f"{name}[{k}]", null=null) for k, part in enumerate(value)]
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return json_value(value.item(), name, null=null)
    raise TypeError(
        f"storing {name}: received {type(value).__name__}; expected numbers, text, None, or lists and "
        "mappings of these (arrays go to log_outcomes, eigenvalues to log_step, tensors to save_checkpoint)"
    )


def json_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a configuration to JSON values, equal to what is read back."""
    return {str(key): json_value(value, f"config[{key!r}]", null=False) for key, value in config.items()}


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield keys and values with dotted keys for nested mappings; lists become JSON text."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from flatten_config(value, f"{prefix}{key}.")
        else:
            yield prefix + key, json.dumps(value) if isinstance(value, list) else value


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """List the keys in which two configurations differ; an absent key equals None."""
    missing = object()
    return [
        f"{key}={_text(theirs.get(key, missing), missing)} (now {_text(ours.get(key, missing), missing)})"
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    ]


def run_id(config: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> str:
    """Return a readable name for a configuration, such as `mnist-mlp-s32-lr0.1-3f9c1d`.

    The hash at its end covers the keys that are neither in the name nor at their default. So equal
    configurations have equal names, and adding an option leaves the names of old runs as they were.

    Args:
        config: As for `open_run`.
        defaults: Values that are left out of the hash; None is such a value for every key.

    Returns:
        The name: letters, digits and ``._=+-``, at most 127 characters.

    Raises:
        TypeError: A value is neither a number, text, None nor a list or mapping of these.
        ValueError: A number is not finite.

    Example:
        ```python
        name = fs.runs.run_id({"task": "digits/mlp", "batch_size": 32, "lr": 0.1, "seed": 0})
        assert name.startswith("digits-mlp-s32-lr0.1-seed0-")
        ```
    """
    config = json_config(config)
    parts = _name_parts(config)
    text = "-".join(parts.values()) or "run"
    name = re.sub(r"[^A-Za-z0-9._=+-]+", "-", text).strip("-.")[:LONGEST_NAME]
    if name != text.replace("/", "-"):
        parts = {}  # the name alone does not determine the values
    defaults = json_config(defaults or {})
    rest = {
        key: value
        for key, value in config.items()
        if key not in parts and value is not None and value != defaults.get(key)
    }
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]}"


def _name_parts(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts of a run id by the keys they show; the other keys are in its hash."""
    sizes = "policy" if config.get("policy") else "batch_size"
    prefix = {"task": "", "policy": "", "batch_size": "s", "lr": "lr", "seed": "seed"}
    keys = ["task", sizes, "seed"] if "lr" in str(config.get("policy")) else ["task", sizes, "lr", "seed"]
    return {key: f"{prefix[key]}{config[key]}" for key in keys if config.get(key) is not None}


def _text(value: Any, missing: object) -> str:
    return "absent" if value is missing else repr(value)

"""Options in a name: a family's dataclass fields that are not the default, as `key=value,key=value`."""

from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from typing import Any


def option_suffix(value: Any, skip: int) -> str:
    """`:key=value,…` of the fields after the first `skip` that differ from their defaults."""
    changed = [f for f in fields(value)[skip:] if getattr(value, f.name) != f.default]
    return ":" + ",".join(f"{f.name}={getattr(value, f.name)!r}" for f in changed) if changed else ""


def parse_options(doing: str, kind: type, text: str, skip: int) -> dict[str, Any]:
    """The arguments in `key=value,…` for the fields of `kind` after the first `skip`.

    Raises:
        ValueError: An option is unknown (the nearest is named), missing or no number.
    """
    known = {f.name: f for f in fields(kind)[skip:]}
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in known:
            near = get_close_matches(key, known, n=1) or list(known) or ["no option"]
            raise ValueError(
                f"{doing}: {kind.__name__} has no option {key!r}; did you mean {' or '.join(near)}?"
            )
        found[key] = _number(doing, known[key], value)
    missing = [name for name, f in known.items() if f.default is MISSING and name not in found]
    if missing:
        raise ValueError(f"{doing}: {kind.__name__} needs {', '.join(missing)}; write {missing[0]}=…")
    return found


def _number(doing: str, field: Field[Any], text: str) -> int | float:
    """`text` as a float where the field's default is one, else as a whole number."""
    real = isinstance(field.default, float)
    try:
        return float(text) if real else int(text)
    except ValueError as error:
        wanted = "a number" if real else "a whole number"
        raise ValueError(f"{doing}: {field.name}={text!r} is not {wanted}; write {field.name}=2") from error

"""Options in a name, `key=value,key=value`: dataclass fields that are not the default."""

from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from typing import Any

from fisherscope.plain_text import short_repr


def option_suffix(value: Any, skip: int) -> str:
    """Return `:key=value,…` for fields after the first `skip` that are not the default."""
    changed = [f for f in fields(value)[skip:] if getattr(value, f.name) != f.default]
    return ":" + ",".join(f"{f.name}={getattr(value, f.name)!r}" for f in changed) if changed else ""


def parse_options(doing: str, kind: type, text: str, skip: int) -> dict[str, Any]:
    """Parse `key=value,…` as arguments for the fields of `kind` after the first `skip`.

    Returns:
        The arguments by name.

    Raises:
        ValueError: An option is unknown (the nearest is named), missing or not a number.
    """
    options = {f.name: f for f in fields(kind)[skip:]}
    arguments: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in options:
            near = get_close_matches(key, options, n=1) or list(options) or ["no option"]
            raise ValueError(
                f"{doing}: {kind.__name__} has no option {short_repr(key)}; did you mean {' or '.join(near)}?"
            )
        arguments[key] = _number(doing, options[key], value)
    missing = [name for name, f in options.items() if f.default is MISSING and name not in arguments]
    if missing:
        raise ValueError(f"{doing}: {kind.__name__} needs {', '.join(missing)}; write {missing[0]}=…")
    return arguments


def _number(doing: str, field: Field[Any], text: str) -> int | float:
    """Convert `text` to a float if the field's default is one, otherwise to a whole number."""
    real = isinstance(field.default, float)
    try:
        return float(text) if real else int(text)
    except ValueError as error:
        expected = "a number" if real else "a whole number"
        raise ValueError(
            f"{doing}: {field.name}={short_repr(text)} is not {expected}; write {field.name}=2"
        ) from error

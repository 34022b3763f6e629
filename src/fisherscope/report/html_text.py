"""Write numbers and data into a page; templates escape everything else."""

from __future__ import annotations

import json
import math
from typing import Any

DIGITS = 4


def number(value: object, digits: int = DIGITS) -> str:
    """Format a number with few digits; – stands for an unknown value, other things are text."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def finite(value: Any) -> Any:
    """Replace numbers that JSON has no word for by None, also inside lists and dicts."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    return [finite(part) for part in value] if isinstance(value, list | tuple) else value


def json_script(value: Any, name: str) -> str:
    """Write a value as JSON that a script of the page reads; nothing in it can end the element."""
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for unsafe, escaped in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u2028", "\\u2028")):
        text = text.replace(unsafe, escaped)
    return f'<script type="application/json" id="{name}">{text}</script>'


def round_digits(value: Any) -> float | None:
    """Round to four digits; None for what is not a finite number."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e9 else short

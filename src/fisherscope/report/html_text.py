"""Numbers, names and tables as safe HTML: whatever a run calls itself, it stays text."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

DIGITS = 4


def safe(value: object) -> str:
    """Text that can stand anywhere in a page."""
    return html.escape(str(value))


def number(value: object, digits: int = DIGITS) -> str:
    """A number with few digits, – for what is not known, other things as text."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.{digits}g}" if isinstance(value, float) else safe(value)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "", names: bool = False) -> str:
    """A table of cells that are safe already.

    Args:
        head: Of the columns, plain text.
        rows: Cells as HTML.
        kind: Its class.
        names: Whether the first cell of a row is a setting, which the charts then point at.
    """
    top = "".join(f"<th scope=col>{safe(name)}</th>" for name in head)
    body = ""
    for row in rows:
        mark = f' data-setting="{row[0]}"' if names else ""
        body += f"<tr{mark}>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def embedded(value: Any, name: str) -> str:
    """A value as JSON that a script of the page reads; nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for unsafe, escaped in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u2028", "\\u2028")):
        text = text.replace(unsafe, escaped)
    return f'<script type="application/json" id="{name}">{text}</script>'


def rounded(value: Any) -> float | None:
    """Four digits; None for what is not a finite number."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e9 else short

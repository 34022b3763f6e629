"""Small HTML for notebooks: a two-column table and a line, without a chart library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, TOP = 170, 84, 42, 18


def columns(rows: Mapping[str, str], beside: str = "") -> str:
    """Return names and texts as an HTML table, with other HTML to its right."""
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(text)}</td></tr>"
        for name, text in rows.items()
    )
    return (
        f"<table><tr><td><table>{cells}</table></td><td style='vertical-align:top'>{beside}</td></tr></table>"
    )


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of texts under a head, as an HTML table."""
    top = "".join(f"<th style='text-align:left'>{escape(name)}</th>" for name in head)
    cell = "<td style='text-align:left'>{}</td>".format
    body = "".join(f"<tr>{''.join(cell(escape(text)) for text in row)}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def sketch(places: Sequence[float], values: Sequence[float], title: str) -> str:
    """Return a line as inline SVG, values on a logarithmic axis.

    Returns:
        SVG; empty if fewer than two values are positive and finite.
    """
    points = [(x, math.log10(y)) for x, y in zip(places, values, strict=True) if math.isfinite(y) and y > 0]
    if len(points) < 2:
        return ""
    (left, right), (low, high) = (_ends(axis) for axis in zip(*points, strict=True))
    line = " ".join(
        f"{LEFT + (x - left) / (right - left) * WIDTH:.1f},{TOP + (high - y) / (high - low) * HEIGHT:.1f}"
        for x, y in points
    )
    bottom, text = TOP + HEIGHT, "font-size='10' fill='currentColor'"
    return (
        f"<svg width='{LEFT + WIDTH + 14}' height='{bottom + 16}' role='img' aria-label='{escape(title)}'>"
        f"<text x='{LEFT}' y='11' {text} font-weight='bold'>{escape(title)}</text>"
        f"<path d='M{LEFT} {TOP}V{bottom}H{LEFT + WIDTH}' fill='none' stroke='#99a'/>"
        f"<text x='{LEFT - 4}' y='{TOP + 8}' {text} text-anchor='end'>{10**high:.3g}</text>"
        f"<text x='{LEFT - 4}' y='{bottom}' {text} text-anchor='end'>{10**low:.3g}</text>"
        f"<text x='{LEFT}' y='{bottom + 13}' {text}>{left:.0f}</text>"
        f"<text x='{LEFT + WIDTH}' y='{bottom + 13}' {text} text-anchor='end'>{right:.0f}</text>"
        f"<polyline points='{line}' fill='none' stroke='#0072b2' stroke-width='1.6'/></svg>"
    )


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)

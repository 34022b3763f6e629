"""Text for people: durations, tables, values cut short, and foreign text made safe. Standard library only."""

import re
import reprlib
from collections.abc import Sequence
from typing import Any

LONGEST_VALUE = 80
"""Characters of a received value that a message repeats."""

LONGEST_CELL = 200
"""Characters of a line in a table's cell."""

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]"
)
"""Control characters but tab and line feed, marks that reorder or hide text, and halves of characters."""

_short = reprlib.Repr()
_short.maxlevel, _short.maxdict, _short.maxlist, _short.maxtuple, _short.maxset = 3, 3, 4, 4, 4
_short.maxstring = _short.maxother = _short.maxlong = LONGEST_VALUE


def printable(text: str) -> str:
    r"""Replace what a terminal would act on, so that foreign text is only text.

    Args:
        text: Any text; names of files may hold halves of characters.

    Returns:
        The text with every control character (but tab and line feed), every mark that reorders or hides text
        and every half of a character written as `\uXXXX`. Inside JSON, that is the same character.

    Example:
        >>> print(printable("a\x1b[2Jb"))
        a\u001b[2Jb
    """
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def one_line(text: str) -> str:
    r"""Make foreign text printable on one line.

    Args:
        text: Any text, such as a name or a reason.

    Returns:
        As `printable`, with every run of white space as one space.

    Example:
        >>> one_line("no such file\n[/data/x]")
        'no such file [/data/x]'
    """
    return printable(" ".join(text.split()))


def short_repr(value: Any) -> str:
    """Represent a received value in at most 80 characters, whatever it is.

    Args:
        value: Any value, also a huge or a nested one.

    Returns:
        As `repr`, cut in the middle.

    Example:
        >>> short_repr("x" * 1000) == "'" + "x" * 37 + "..." + "x" * 38 + "'"
        True
    """
    try:
        text = _short.repr(value)
    except Exception:  # noqa: BLE001  (a repr of the user's, or a number of too many digits)
        text = f"<{type(value).__name__}>"
    return printable(_cut(text, LONGEST_VALUE))


def short_text(text: str) -> str:
    """Make foreign text printable in one line of at most 80 characters.

    Args:
        text: Any text, such as the name of a task.

    Returns:
        As `one_line`, cut in the middle.

    Example:
        >>> short_text("digits/mlp")
        'digits/mlp'
        >>> len(short_text("x" * 1000))
        80
    """
    return _cut(one_line(text), LONGEST_VALUE)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 23]}...{text[-20:]}"


def duration(seconds: float) -> str:
    """Format seconds in the unit that reads best: `45 s`, `90 min`, `3.2 h`.

    Args:
        seconds: Not negative.

    Returns:
        Whole seconds below two minutes, whole minutes below two hours, hours with one decimal above.

    Example:
        >>> duration(45), duration(5400), duration(11_520)
        ('45 s', '90 min', '3.2 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def bytes_text(count: float) -> str:
    """Format bytes in the decimal unit that reads best: `310 MB`, `1.2 GB`.

    Args:
        count: Not negative.

    Returns:
        Two significant digits below 10 of a unit, whole numbers above.

    Example:
        >>> bytes_text(950), bytes_text(1_240_000_000), bytes_text(61_000_000)
        ('950 B', '1.2 GB', '61 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.1f} {unit}" if count < 10 and unit != "B" else f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def aligned_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, align: str = "l", rule: bool = False
) -> list[str]:
    r"""Format a table in columns as wide as their widest cell, two spaces apart.

    Args:
        head: Column names.
        rows: Cells; one that contains line breaks takes several lines, of which each is cut in its middle
            where it is longer than 200 characters, so that one foreign name does not stretch all rows.
        align: A letter per column, `l` or `r`; the last one counts for all columns that follow.
        rule: Whether a line of dashes separates the head from the rows.

    Returns:
        The lines, without trailing spaces.

    Example:
        >>> lines = aligned_table(["setting", "error"], [["s8", "3.1"], ["s16", "12.4"]], align="lr")
        >>> print("\n".join(lines))
        setting  error
        s8         3.1
        s16       12.4
    """
    table = [[_cell_lines(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(line) for row in table for line in row[k]) for k in range(len(head))]
    sides = align.ljust(len(head), align[-1])
    lines = [line for row in table[:1] for line in _row_lines(row, widths, sides)]
    lines += ["  ".join("-" * width for width in widths)] if rule else []
    return lines + [line for row in table[1:] for line in _row_lines(row, widths, sides)]


def _cell_lines(cell: str) -> list[str]:
    return [_cut(line, LONGEST_CELL) for line in cell.splitlines()] or [""]


def _row_lines(row: Sequence[Sequence[str]], widths: Sequence[int], sides: str) -> list[str]:
    """Format one row of cells, which are lists of lines."""
    lines = []
    for k in range(max(len(cell) for cell in row)):
        texts = [cell[k] if k < len(cell) else "" for cell in row]
        padded = [
            text.rjust(width) if side == "r" else text.ljust(width)
            for text, width, side in zip(texts, widths, sides, strict=False)
        ]
        lines.append("  ".join(padded).rstrip())
    return lines

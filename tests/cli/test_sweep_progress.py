"""The live table of a sweep."""

from __future__ import annotations

import io
import re

from rich.console import Console
from tests.cases.small_sweep import GRID

from fisherscope.cli.sweep_progress import SweepDisplay
from fisherscope.sweep import Grid


def test_the_table_shows_what_trains_and_what_has_ended() -> None:
    todo = Grid.of(GRID).configurations()
    standing = SweepDisplay(todo, None)
    standing.plain = False
    first, second = todo[0].id, todo[1].id
    standing.event("start", first, None)
    standing.event("epoch", first, {"epoch": 3, "train/loss": 0.5, "val/error": 0.125})
    standing.event("start", second, None)
    standing.event("end", second, ("finished", ""))
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(standing.table())
    shown = console.export_text()
    assert re.search(rf"{first} +training +3/6 +0.5000 +0.1250", shown)
    assert re.search(rf"{second} +finished", shown)
    assert "1 of 8 runs" in shown

"""Display a sweep: a live table in a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from fisherscope.cli.plain_stream import raw_stream
from fisherscope.plain_text import one_line, printable
from fisherscope.sweep import ELSEWHERE, cost, duration

if TYPE_CHECKING:
    from rich.table import Table

    from fisherscope.training import Configuration

PLAIN_SECONDS = 5.0
RECENT = 8
"""Number of finished runs in the table."""

Event = Callable[[str, str, Any], None]


@contextmanager
def sweep_display(
    todo: "Sequence[Configuration]", until: int | None, stream: TextIO | None = None
) -> Iterator[Event]:
    """Display the events of `run_sweep` on stdout or `stream`, until the block ends."""
    display, stream = SweepDisplay(todo, until), stream or sys.stdout
    if not stream.isatty():
        display.write = lambda text: print(text, file=stream, flush=True)
        yield display.event
        return
    from rich.console import Console
    from rich.live import Live

    terminal = Console(file=raw_stream(stream))
    with Live(get_renderable=lambda: display.table(), console=terminal, refresh_per_second=2) as live:
        display.write = lambda text: live.console.print(printable(text), highlight=False, markup=False)
        display.plain = False
        yield display.event
        live.refresh()


class SweepDisplay:
    """Count runs done and running, and predict the time left from the work done so far."""

    def __init__(self, todo: "Sequence[Configuration]", until: int | None) -> None:
        self.epochs = {c.id: min(until or c.epochs, c.epochs) for c in todo}
        self.costs = {c.id: cost(c) for c in todo}
        self.fractions = dict.fromkeys(self.costs, 0.0)
        self.rows: dict[str, dict[str, Any]] = {}
        self.ends: dict[str, str] = {}
        self.running: list[str] = []
        self.began = self.last_line = time.monotonic()
        self.plain = True
        self.write: Callable[[str], None] = lambda text: print(text, flush=True)

    def event(self, kind: str, run_id: str, value: Any) -> None:
        """Update the display by one event of the sweep."""
        if kind == "start":
            self.running.append(run_id)
        elif kind == "epoch":
            self.fractions[run_id], self.rows[run_id] = value["epoch"] / self.epochs[run_id], value
        elif kind == "end":
            self.running.remove(run_id)
            if value[0] == "died":
                self.write(f"{run_id}: {value[1]}")
                return
            if value[0] == ELSEWHERE:  # it is none of ours to count
                self.costs.pop(run_id), self.fractions.pop(run_id), self.rows.pop(run_id, None)
            else:
                self.fractions[run_id], self.ends[run_id] = 1.0, value[0]
        now = time.monotonic()
        if self.plain and (now - self.last_line > PLAIN_SECONDS or len(self.ends) == len(self.costs)):
            self.last_line = now
            self.write(self.line(now - self.began))

    def line(self, seconds: float) -> str:
        """Format the progress of the sweep in one line."""
        total_cost = sum(self.costs.values()) or 1.0
        share = sum(self.costs[run_id] * fraction for run_id, fraction in self.fractions.items()) / total_cost
        remaining = f", about {duration(seconds * (1 - share) / share)} left" if 0 < share < 1 else ""
        count = f"{len(self.ends)} of {len(self.costs)} runs"
        return f"{count} · {100 * share:.0f} % of the work · {duration(seconds)}{remaining}"

    def table(self) -> "Table":
        """Make the table of the runs that train and those that finished last."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, caption=self.line(time.monotonic() - self.began))
        for name in ("run", "state", "epoch", "train loss", "val error"):
            table.add_column(name, justify="left" if name in ("run", "state") else "right", no_wrap=True)
        for run_id in [*list(self.ends)[-RECENT:], *self.running]:
            row = self.rows.get(run_id, {})
            table.add_row(
                Text(one_line(run_id), overflow="ellipsis"),
                self.ends.get(run_id, "training"),
                f"{row.get('epoch', 0)}/{self.epochs[run_id]}",
                *(_number(row.get(key)) for key in ("train/loss", "val/error")),
            )
        return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"

"""Display the progress of a run: live in a terminal, one line per epoch elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fisherscope.cli.plain_stream import raw_stream
from fisherscope.plain_text import one_line, printable

if TYPE_CHECKING:
    from fisherscope.training import Configuration

Progress = Callable[[Any, "dict[str, Any] | None"], None]
REFRESH_SECONDS = 0.25
GAP = 2
"""Characters between two values."""


@contextmanager
def train_display(config: "Configuration", quiet: bool = False) -> Iterator[Progress | None]:
    """Make a progress callback for `training.train`, whose display ends with the block."""
    if quiet:
        yield None
        return
    if not sys.stdout.isatty():
        yield lambda state, row: print(line(row), flush=True) if row else None
        return
    with _live(config) as progress:
        yield progress


def line(row: dict[str, Any]) -> str:
    """Format the row of an epoch in one line."""
    metrics = [key for key in row if key.startswith("val/") and key != "val/loss"]
    parts = [
        f"epoch {row['epoch']}",
        f"train loss {row['train/loss']:.4f}",
        f"val loss {row['val/loss']:.4f}",
    ]
    parts += [f"val {key[4:]} {row[key]:.4f}" for key in metrics]
    for key, name in (("fisher/cond_mean", "C̄"), ("fisher/energy_sum", "L")):
        if row.get(key) is not None:
            parts.append(f"{name} {row[key]:.4g}")
    return " · ".join([*parts, f"|B| {row.get('batch_size', '?')}", f"lr {row['lr']:.4g}", _times(row)])


def _times(row: dict[str, Any]) -> str:
    seconds = row["time/train_s"]
    share = row.get("time/fisher_s")
    measuring = f", {100 * share / seconds:.1f} % of it measuring" if share and seconds else ""
    return f"{seconds:.1f} s{measuring}"


@contextmanager
def _live(config: "Configuration") -> Iterator[Progress]:
    """Show a progress bar with current values below it, and print a line for each epoch above."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import (
        BarColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(),
        TimeElapsedColumn(), TextColumn("·"), TimeRemainingColumn(), TextColumn("left"),
    )  # fmt: skip
    terminal = Console(file=raw_stream(sys.stdout))
    bar = Bar(*columns, console=terminal)
    task: Any = None
    last, latest = 0.0, dict[str, Any]()
    with Live(bar, console=terminal, transient=True, auto_refresh=False) as live:

        def progress(state: Any, row: dict[str, Any] | None) -> None:
            nonlocal last, latest, task
            if row is not None:
                latest = row
                live.console.print(printable(line(row)), highlight=False, markup=False)
            if row is None and time.monotonic() - last < REFRESH_SECONDS:
                return
            last, batch = time.monotonic(), state.sampler.current
            epochs = batch.epoch + batch.start / state.sampler.length
            if task is None:  # starts where a resumed run stands, so that the time left is right
                task = bar.add_task(
                    one_line(f"{config.task} {config.policy}"), total=float(config.epochs), completed=epochs
                )
            bar.update(task, completed=epochs)
            live.update(Group(bar, values_table(state, latest, live.console.width)), refresh=True)

        yield progress


def values_table(state: Any, row: dict[str, Any], width: int) -> Any:
    """Make a table of one line: values at this step, and the error after the last epoch.

    Args:
        state: The run's training state; on a GPU, reading its loss waits for the step.
        row: Row of the last epoch; empty before the first ends.
        width: Width of the terminal, characters; the last columns are dropped if they do not fit.
    """
    from rich.table import Table
    from rich.text import Text

    batch, totals, seconds = state.sampler.current, state.monitor.totals(), state.seconds
    errors = {f"val {key[4:]}": row[key] for key in row if key.startswith("val/") and key != "val/loss"}
    share = 100 * seconds["fisher"] / seconds["train"] if seconds["train"] else None
    values = {
        "epoch": f"{min(batch.epoch + 1, state.config.epochs)}/{state.config.epochs}",
        "loss": float(state.loss_sum) / state.samples if state.samples else row.get("train/loss"),
        **errors,
        "C̄": totals["fisher/cond_mean"],
        "L": totals["fisher/energy_sum"],
        "|B|": str(batch.size),
        "lr": batch.decision.lr,
        "measuring": None if share is None else f"{share:.1f} %",
    }
    texts = {name: f"{v:.4g}" if isinstance(v, float) else v or "–" for name, v in values.items()}
    while len(texts) > 1 and sum(max(len(n), len(v)) + GAP for n, v in texts.items()) - GAP > width:
        texts.popitem()
    table = Table(box=None, pad_edge=False)
    for name in texts:
        table.add_column(Text(one_line(name)), justify="right", no_wrap=True)
    table.add_row(*(Text(one_line(text)) for text in texts.values()))
    return table

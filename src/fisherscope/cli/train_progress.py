"""How a run's progress is shown: a live display in a terminal, a plain line an epoch elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fisherscope.training import Configuration

Progress = Callable[[Any, "dict[str, Any] | None"], None]
REFRESH_SECONDS = 0.25
GAP = 2
"""Columns between two values."""


@contextmanager
def shown(config: "Configuration", quiet: bool = False) -> Iterator[Progress | None]:
    """A progress callback for `training.train`; its display ends with the block."""
    if quiet:
        yield None
        return
    if not sys.stdout.isatty():
        yield lambda session, row: print(line(row), flush=True) if row else None
        return
    with _live(config) as progress:
        yield progress


def line(row: dict[str, Any]) -> str:
    """One epoch in words and numbers."""
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
    """A bar over the run's samples with what holds now below it, and a line for each epoch above."""
    from rich.console import Group
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
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        TextColumn("·"), TimeRemainingColumn(), TextColumn("left"),
    )  # fmt: skip
    bar = Bar(*columns)
    whole: Any = None
    last, latest = 0.0, dict[str, Any]()
    with Live(bar, transient=True, auto_refresh=False) as live:

        def progress(session: Any, row: dict[str, Any] | None) -> None:
            nonlocal last, latest, whole
            if row is not None:
                latest = row
                live.console.print(line(row), highlight=False)
            if row is None and time.monotonic() - last < REFRESH_SECONDS:
                return
            last, batch = time.monotonic(), session.sampler.current
            done = batch.epoch + batch.start / session.sampler.length
            if whole is None:  # begins where a resumed run stands, so that the time left is right
                whole = bar.add_task(
                    f"{config.task} {config.policy}", total=float(config.epochs), completed=done
                )
            bar.update(whole, completed=done)
            live.update(Group(bar, now(session, latest, live.console.width)), refresh=True)

        yield progress


def now(session: Any, row: dict[str, Any], width: int) -> Any:
    """A table of one line: what holds at this step, and the error after the last epoch.

    Args:
        session: The run's; on a GPU, reading its loss waits for the step.
        row: Of the last epoch, empty before.
        width: Of the terminal; the last columns are left out where it is too narrow for them.
    """
    from rich.table import Table

    batch, totals, seconds = session.sampler.current, session.monitor.totals(), session.seconds
    errors = {f"val {key[4:]}": row[key] for key in row if key.startswith("val/") and key != "val/loss"}
    share = 100 * seconds["fisher"] / seconds["train"] if seconds["train"] else None
    values = {
        "epoch": f"{min(batch.epoch + 1, session.config.epochs)}/{session.config.epochs}",
        "loss": float(session.loss_sum) / session.samples if session.samples else row.get("train/loss"),
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
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row(*texts.values())
    return table

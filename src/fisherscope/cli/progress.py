"""How a run's progress is shown: a live line in a terminal, a plain line an epoch elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fisherscope.training import Configuration

Progress = Callable[[Any, "dict[str, Any] | None"], None]
REFRESH_SECONDS = 0.25


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
    """A bar over the run's samples, and a line for each epoch above it."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[now]}"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*columns, transient=True) as bar:
        whole = bar.add_task(str(config.policy), total=float(config.epochs), now="")
        last = 0.0

        def progress(session: Any, row: dict[str, Any] | None) -> None:
            nonlocal last
            if row is not None:
                bar.console.print(line(row), highlight=False)
            if row is None and time.monotonic() - last < REFRESH_SECONDS:
                return
            last = time.monotonic()
            batch = session.sampler.current
            done = batch.epoch + batch.start / session.sampler.length
            now = f"epoch {batch.epoch + 1}/{config.epochs} · |B| {batch.size} · lr {batch.decision.lr:.4g}"
            bar.update(whole, completed=done, now=now)

        yield progress

"""`fisherscope sweep TASK`: a grid of runs, side by side."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fisherscope.training import Configuration

PLAIN_SECONDS = 5.0


def sweep(
    task: Annotated[str | None, typer.Argument(help="digits/resnet8, … or module:function.")] = None,
    batch_sizes: Annotated[str | None, typer.Option(help="Such as 8,16,32.")] = None,
    lrs: Annotated[str | None, typer.Option(help="Such as 0.05,0.1,0.2.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Such as 0,1,2.")] = None,
    policies: Annotated[str | None, typer.Option(help="Such as s32-to-128-MS,s16-norm-test.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Length of the schedule.")] = None,
    until: Annotated[int | None, typer.Option(help="Train so many of them, resumable.")] = None,
    every: Annotated[int | None, typer.Option(help="Steps from one measurement to the next.")] = None,
    per_epoch: Annotated[int | None, typer.Option(help="Measurements an epoch, in place of --every.")] = None,
    limit_train: Annotated[int | None, typer.Option(help="Train on so many samples.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes; by default as many as cores.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the data files lie.")] = None,
    out: Annotated[Path, typer.Option(help="Directory of the runs.")] = Path("runs"),
    settings: Annotated[Path | None, typer.Option("--config", help="YAML file of any of these.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would run, and do nothing.")] = False,
) -> None:
    """Train a grid of runs in separate processes; stopped and started again it goes on."""
    given: dict[str, Any] = {}
    if settings is not None:
        from fisherscope.cli.train import from_file

        given = from_file(settings)
    told = {
        "task": task, "batch_sizes": _numbers(batch_sizes, int), "lrs": _numbers(lrs, float),
        "seeds": _numbers(seeds, int), "policies": _names(policies),
        "epochs": epochs, "every": every, "per_epoch": per_epoch, "limit_train": limit_train,
    }  # fmt: skip
    given |= {key: value for key, value in told.items() if value is not None}
    from fisherscope.sweep import Grid, pending, run_sweep

    grid = Grid.of(given)
    configurations = grid.configurations()
    todo = pending(configurations, out)
    print(f"{len(configurations)} runs, {len(configurations) - len(todo)} done before", flush=True)
    if dry_run:
        for config in todo:
            print(f"  {config.id}")
        return
    show = Display(todo, until)
    result = run_sweep(grid, out, jobs=jobs, until=until, data_dir=data_dir, event=show.event)
    for run_id, (status, reason) in sorted(result.ends.items()):
        if status not in ("finished", "diverged") and not (until and status == "interrupted"):
            print(f"{run_id}: {status}: {reason}")
    if until is None and not result.complete:
        print(f"{result.left} runs are left; the same command goes on with them.")


class Display:
    """A line now and then: runs done, and the time left by the work that has been done so far."""

    def __init__(self, todo: "Sequence[Configuration]", until: int | None) -> None:
        from fisherscope.sweep import cost

        self.epochs = {c.id: min(until or c.epochs, c.epochs) for c in todo}
        self.costs = {c.id: cost(c) for c in todo}
        self.done = dict.fromkeys(self.costs, 0.0)
        self.ended, self.began, self.last = 0, time.monotonic(), 0.0

    def event(self, kind: str, run_id: str, what: Any) -> None:
        """Take one event of the sweep."""
        if kind == "epoch":
            self.done[run_id] = what["epoch"] / self.epochs[run_id]
        elif kind == "end":
            if what[0] == "died":
                print(f"{run_id}: {what[1]}", flush=True)
                return
            self.ended += 1
            self.done[run_id] = 1.0
        now = time.monotonic()
        if now - self.last > PLAIN_SECONDS or self.ended == len(self.costs):
            self.last = now
            print(self.line(now - self.began), flush=True)

    def line(self, seconds: float) -> str:
        """How far the sweep is."""
        whole = sum(self.costs.values()) or 1.0
        share = sum(self.costs[run_id] * part for run_id, part in self.done.items()) / whole
        left = f", about {seconds * (1 - share) / share:.0f} s left" if 0 < share < 1 else ""
        done = f"{self.ended} of {len(self.costs)} runs"
        return f"{done} · {100 * share:.0f} % of the work · {seconds:.0f} s{left}"


def _names(text: str | None) -> list[str] | None:
    """The policies of a list; a comma inside a name's options is followed by key=."""
    return re.split(r",(?![a-z_]+=)", text) if text else None


def _numbers(text: str | None, kind: type) -> list[Any] | None:
    if text is None:
        return None
    try:
        return [kind(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ValueError(f"reading the list {text!r}: {error}; expected such as 8,16") from error

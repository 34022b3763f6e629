"""`fisherscope sweep TASK`: a grid of runs, side by side."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fisherscope.cli import FAILED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fisherscope.training import Configuration


LOST = ("failed", "refused")


def sweep(
    task: Annotated[str | None, typer.Argument(help="digits/resnet8, … or module:function.")] = None,
    batch_sizes: Annotated[str | None, typer.Option(help="Such as 8,16,32.")] = None,
    lrs: Annotated[str | None, typer.Option(help="Such as 0.05,0.1,0.2.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Such as 0,1,2.")] = None,
    policies: Annotated[str | None, typer.Option(help="Such as s32-to-128-MS,s16-norm-test.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="Of torch.optim, by name.")] = None,
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
        "task": task, "batch_sizes": numbers(batch_sizes, int), "lrs": numbers(lrs, float),
        "seeds": numbers(seeds, int), "policies": _names(policies),
        "optimizer": optimizer, "epochs": epochs, "every": every, "per_epoch": per_epoch,
        "limit_train": limit_train,
    }  # fmt: skip
    given |= {key: value for key, value in told.items() if value is not None}
    if (jobs is not None and jobs < 1) or (until is not None and until < 1):
        raise ValueError(f"sweeping with jobs={jobs}, until={until}: expected at least 1 of each")
    from fisherscope.cli.sweep_progress import shown
    from fisherscope.sweep import Grid, pending, run_sweep

    grid = Grid.of(given)
    configurations = grid.configurations()
    todo = pending(configurations, out)
    print(f"{len(configurations)} runs, {len(configurations) - len(todo)} done before", flush=True)
    if dry_run:
        _planned(todo, out, jobs, until, data_dir)
        return
    with shown(todo, until) as event:
        result = run_sweep(grid, out, jobs=jobs, until=until, data_dir=data_dir, event=event)
    lost = [
        name
        for name, (status, reason) in result.ends.items()
        if status in LOST and not reason.startswith("RunLockedError")
    ]
    for run_id, (status, reason) in sorted(result.ends.items()):
        if status not in ("finished", "diverged") and not (until and status == "interrupted"):
            print(f"{run_id}: {status}: {reason}")
    left = result.left - len(lost)
    if left and (result.interrupted or until is None):
        print(f"{left} runs are left; the same command goes on with them.")
    if lost:
        print(f"{len(lost)} of the runs cannot go on, as said above; mend that, then the same command does.")
        raise SystemExit(FAILED)


def _planned(
    todo: "Sequence[Configuration]", out: Path, jobs: int | None, until: int | None, data_dir: Path | None
) -> None:
    """What would run, and how long it takes."""
    import os

    from fisherscope.sweep import duration, seconds_left

    times, how = seconds_left(todo, out, until=until, data_dir=data_dir)
    for run_id, seconds in times.items():
        print(f"  {run_id}  {duration(seconds)}")
    at_once = max(1, min(jobs or os.cpu_count() or 1, len(todo) or 1))
    whole = max(sum(times.values()) / at_once, max(times.values(), default=0.0))
    print(f"{len(todo)} runs, about {duration(whole)} with {at_once} at a time ({how})")


def _names(text: str | None) -> list[str] | None:
    """The policies of a list; a comma inside a name's options is followed by key=."""
    return re.split(r",(?![a-z_]+=)", text) if text else None


def numbers(text: str | None, kind: type) -> list[Any] | None:
    """The numbers of a list such as `8,16`.

    Raises:
        ValueError: One is none.
    """
    if text is None:
        return None
    try:
        return [kind(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ValueError(f"reading the list {text!r}: {error}; expected such as 8,16") from error

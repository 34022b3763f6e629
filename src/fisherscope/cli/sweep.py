"""Run `fisherscope sweep TASK`: train a grid of runs in separate processes."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fisherscope.cli import FAILED, exit_interrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fisherscope.training import Configuration

LISTED = 4
"""Names of runs in one sentence."""
FAILED_STATUSES = ("failed", "refused")
CHECK_SECONDS = 2.0
"""Time for the steps that a sweep's cost is estimated from, before it starts."""


def sweep(
    task: Annotated[
        str | None, typer.Argument(help="Built-in task such as digits/resnet8, or module:function.")
    ] = None,
    batch_sizes: Annotated[str | None, typer.Option(help="Batch sizes, such as 8,16,32.")] = None,
    lrs: Annotated[str | None, typer.Option(help="Learning rates, such as 0.05,0.1,0.2.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Random seeds, such as 0,1,2.")] = None,
    policies: Annotated[
        str | None, typer.Option(help="Policies, such as s32-to-128-MS,s16-norm-test.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="Optimizer (class name in torch.optim).")] = None,
    epochs: Annotated[int | None, typer.Option(help="Length of the schedule, epochs.")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Learning rate over the run: levels, constant, cosine, linear, wsd.")
    ] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of the run over which the rate rises.")] = None,
    until: Annotated[
        int | None, typer.Option(help="Epochs to train now, resumable; by default the whole schedule.")
    ] = None,
    every: Annotated[int | None, typer.Option(help="Steps per measurement.")] = None,
    per_epoch: Annotated[int | None, typer.Option(help="Measurements per epoch, instead of --every.")] = None,
    limit_train: Annotated[
        int | None, typer.Option(help="Number of training samples; by default all.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes; by default as many as cores.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory of the data files.")] = None,
    out: Annotated[Path, typer.Option(help="Directory of the runs.")] = Path("runs"),
    settings: Annotated[Path | None, typer.Option("--config", help="YAML file of settings.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="Further setting, key=value; repeatable.")
    ] = None,
    paper: Annotated[
        bool,
        typer.Option(
            help="Grid, seeds, training and measuring of Liao et al. 2020; other flags win, and are named."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option(help="Print what would run, with hours, disk and memory, and train nothing.")
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Start without checking that disk and memory suffice.")
    ] = False,
) -> None:
    """Train a grid of runs in separate processes; rerun the command to resume.

    Exit code 130 after Ctrl-C and 143 after SIGTERM, with runs left; 1 if a run failed.
    """
    from fisherscope.cli.train import fill_paper_settings, parse_pairs, read_settings

    values: dict[str, Any] = {} if settings is None else read_settings(settings)
    options = {
        "task": task, "batch_sizes": parse_numbers(batch_sizes, int), "lrs": parse_numbers(lrs, float),
        "seeds": parse_numbers(seeds, int), "policies": _parse_policies(policies),
        "optimizer": optimizer, "epochs": epochs, "every": every, "per_epoch": per_epoch,
        "limit_train": limit_train, "schedule": schedule, "warmup": warmup,
    }  # fmt: skip
    values |= {key: value for key, value in options.items() if value is not None} | parse_pairs(option or [])
    if paper and "task" in values:
        values = fill_paper_settings(values, sweep=True)
    if (jobs is not None and jobs < 1) or (until is not None and until < 1):
        raise ValueError(f"sweeping with jobs={jobs}, until={until}: expected at least 1 of each")
    from fisherscope.cli.sweep_progress import sweep_display
    from fisherscope.sweep import ELSEWHERE, Grid, pending, run_sweep
    from fisherscope.training.interruption import ignore_repeats

    grid = Grid.of(values)
    configurations = grid.configurations()
    todo = pending(configurations, out)
    print(f"{len(configurations)} runs, {len(configurations) - len(todo)} done before", flush=True)
    if dry_run:
        _print_plan(todo, out, jobs, until, data_dir)
        return
    if todo and not no_check:
        check_fits(todo, out, jobs, until, data_dir)
    ignore_repeats()
    with sweep_display(todo, until) as event:
        result = run_sweep(grid, out, jobs=jobs, until=until, data_dir=data_dir, event=event)
    failures = [name for name, (status, _) in result.ends.items() if status in FAILED_STATUSES]
    for run_id, (status, reason) in sorted(result.ends.items()):
        if status == "finished" and reason:  # a dead network
            print(f"{run_id}: {reason}")
        elif status not in ("finished", "diverged", ELSEWHERE) and not (until and status == "interrupted"):
            print(f"{run_id}: {status}: {reason}")
    left = {config.id for config in pending(configurations, out)} if result.elsewhere else set()
    training = {name: reason for name, reason in result.elsewhere.items() if name in left}
    if result.elsewhere:
        print(_shared_text(result.elsewhere, training), flush=True)
    resumable = result.left - len(failures) - len(training)
    if resumable and (result.interrupted or until is None):
        print(f"{resumable} runs are left; run the same command to resume them.", flush=True)
    if failures:
        print(f"{len(failures)} runs failed (see above). Fix the cause and run the same command to resume.")
        raise SystemExit(FAILED)
    if result.signal is not None and result.left:
        exit_interrupted(result.signal)


def _shared_text(elsewhere: "dict[str, str]", training: "dict[str, str]") -> str:
    """Say which runs other sweeps of this directory have taken."""
    text = f"Work was shared: another process took {len(elsewhere)} run{'s' if len(elsewhere) > 1 else ''}"
    if not training:
        return f"{text}, which {'has' if len(elsewhere) == 1 else 'have'} ended."
    names = ", ".join(sorted(training)[:LISTED]) + (", …" if len(training) > LISTED else "")
    return f"{text}; {len(training)} of them still train there ({names}), and end without this command."


def check_fits(
    todo: "Sequence[Configuration]", out: Path, jobs: int | None, until: int | None, data_dir: Path | None
) -> None:
    """Print what the sweep will take.

    Raises:
        ValueError: Disk or memory do not suffice.
        DataError: The data are not there.
    """
    from fisherscope.sweep import plan_sweep

    plan = plan_sweep(todo, out, jobs=jobs, until=until, data_dir=data_dir, seconds=CHECK_SECONDS)
    if obstacle := plan.obstacle():
        raise ValueError(f"{obstacle}. Or start it all the same: --no-check")
    print(str(plan).replace("\n", "; "), flush=True)


def _print_plan(
    todo: "Sequence[Configuration]", out: Path, jobs: int | None, until: int | None, data_dir: Path | None
) -> None:
    """Print what would run, how long it would take, and whether disk and memory are there."""
    from fisherscope.sweep import duration, plan_sweep

    plan = plan_sweep(todo, out, jobs=jobs, until=until, data_dir=data_dir, listener=print_progress)
    for run_id, run_seconds in plan.seconds.items():
        print(f"  {run_id}  {duration(run_seconds)}")
    print(plan)
    if obstacle := plan.obstacle():
        print(f"This does not fit. {obstacle}")


def print_progress(text: str) -> None:
    """Print on stderr what is being done now."""
    print(f"{text} …", file=sys.stderr, flush=True)


def _parse_policies(text: str | None) -> list[str] | None:
    """Split a list of policies; a comma inside a policy's options is followed by key=."""
    return re.split(r",(?![a-z_]+=)", text) if text else None


def parse_numbers(text: str | None, kind: type) -> list[Any] | None:
    """Parse a list of numbers such as `8,16`.

    Raises:
        ValueError: An item is not a number.
    """
    if text is None:
        return None
    try:
        return [kind(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ValueError(f"reading the list {text!r}: {error}; expected numbers such as 8,16") from error

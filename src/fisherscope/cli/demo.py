"""Run `fisherscope demo`: train, analyse and report on the embedded digits."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

TASK = {"task": "digits/resnet8", "epochs": 16, "per_epoch": 3, "seeds": [0, 1]}
TASK_WITHOUT_SEEDS = {key: value for key, value in TASK.items() if key != "seeds"}
GRID: dict[str, Any] = {**TASK, "batch_sizes": [4, 8, 16, 32, 64], "lrs": [0.01, 0.05, 0.2, 0.8]}
"""Settings from too small to too large steps; the grid takes about two minutes on two cores."""
SCHEDULES: dict[str, Any] = {**TASK, "policies": ["s4-to-64", "s64-to-4", "s4-to-64-MS"], "lrs": [0.05]}
"""Schedules of the batch size, at a learning rate from the middle of the grid."""
ROUNDS = 15
"""Steps that are timed at each batch size, to predict the time of a schedule."""


def demo(
    out: Annotated[Path, typer.Option(help="Directory for the runs and the report.")] = Path("demo"),
    jobs: Annotated[int | None, typer.Option(help="Processes; by default as many as cores.")] = None,
) -> None:
    """Train a grid and dynamic runs on the embedded digits, and report on them."""
    from fisherscope.training.interruption import ignore_repeats

    ignore_repeats()
    began, runs = time.monotonic(), out / "runs"
    _train_missing("fixed settings", GRID, runs, jobs)
    _train_missing("schedules", SCHEDULES, runs, jobs)
    steered = SCHEDULES | {"policies": [f"beacon:{_write_beacons(runs, out / 'beacons.json')}"]}
    _train_missing("steered by the fixed ones as beacons", steered, runs, jobs)
    from fisherscope.analysis import claims, select
    from fisherscope.report import write_report

    print(f"\n{claims(runs)}\n\n{select(runs)}\n", flush=True)
    path = write_report(runs, out / "report.html")
    print(
        f"Took {time.monotonic() - began:.0f} s. Open {path} in a browser. The runs are in {runs}: try\n"
        f"  fisherscope figure 1b {runs} -o landscape.png\n  fisherscope figure 1d {runs} -o dynamic.png\n"
        f"  fisherscope table {runs}\n  fisherscope watch {runs} --open"
    )


def _write_beacons(runs: Path, path: Path) -> Path:
    """Write the beacons of the fixed settings once, since resumed runs need the same file."""
    if path.exists():
        return path
    from fisherscope.analysis import beacons_of
    from fisherscope.runs import load_runs, replace_text
    from fisherscope.sweep import seconds_a_step

    sizes = GRID["batch_sizes"]
    cost = seconds_a_step(
        TASK_WITHOUT_SEEDS | {"batch_size": sizes[0], "lr": 0.05}, sizes, rounds=ROUNDS
    ).plain
    replace_text(path, beacons_of(load_runs(runs), cost).to_json())
    return path


def _train_missing(what: str, values: dict[str, Any], runs: Path, jobs: int | None) -> None:
    """Train the runs of a grid that have not finished.

    Raises:
        SystemExit: The sweep was interrupted.
    """
    from fisherscope.cli import FAILED, exit_interrupted
    from fisherscope.cli.sweep_progress import sweep_display
    from fisherscope.sweep import Grid, pending, run_sweep

    grid = Grid.of(values)
    todo = pending(grid.configurations(), runs)
    print(f"Training {len(todo)} runs of {values['task']}, {what}, into {runs}", flush=True)
    with sweep_display(todo, None) as event:
        result = run_sweep(grid, runs, jobs=jobs, event=event)
    if not result.complete:
        print(f"{result.left} runs are left; run the same command to resume them.")
        if result.signal is not None:
            exit_interrupted(result.signal)
        raise SystemExit(FAILED)

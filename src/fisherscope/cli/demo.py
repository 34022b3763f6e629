"""`fisherscope demo`: the main job on the embedded digits, in a few minutes."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

TASK = {"task": "digits/resnet8", "epochs": 16, "per_epoch": 3, "seeds": [0, 1]}
GRID = {**TASK, "batch_sizes": [4, 8, 16, 32, 64], "lrs": [0.01, 0.05, 0.2, 0.8]}
"""Settings that differ: from too cold over good to hot; the grid costs about two minutes on two cores."""
SCHEDULES = {**TASK, "policies": ["s4-to-64", "s64-to-4", "s4-to-64-MS"], "lrs": [0.05]}
"""Dynamic runs through the middle of it."""


def demo(
    out: Annotated[Path, typer.Option(help="Directory of the runs and the report.")] = Path("demo"),
    jobs: Annotated[int | None, typer.Option(help="Processes; by default as many as cores.")] = None,
) -> None:
    """Train a small grid and a few schedules on the embedded digits; then claims, selection, the report."""
    began, runs = time.monotonic(), out / "runs"
    for what, given in (("fixed settings", GRID), ("schedules", SCHEDULES)):
        _trained(what, given, runs, jobs)
    from fisherscope.analysis import claims, select
    from fisherscope.report import write_report

    print(f"\n{claims(runs)}\n\n{select(runs)}\n", flush=True)
    path = write_report(runs, out / "report.html")
    print(
        f"Took {time.monotonic() - began:.0f} s. Open {path} in a browser. The runs are in {runs}: try\n"
        f"  fisherscope figure 1b {runs} -o landscape.png\n  fisherscope table {runs}\n"
        f"  fisherscope watch {runs} --open"
    )


def _trained(what: str, given: dict[str, Any], runs: Path, jobs: int | None) -> None:
    """Train what is not trained yet.

    Raises:
        SystemExit: It was interrupted.
    """
    from fisherscope.cli.standing import shown
    from fisherscope.sweep import Grid, pending, run_sweep

    grid = Grid.of(given)
    todo = pending(grid.configurations(), runs)
    print(f"Training {len(todo)} runs of {given['task']}, {what}, into {runs}", flush=True)
    with shown(todo, None) as event:
        result = run_sweep(grid, runs, jobs=jobs, event=event)
    if not result.complete:
        print(f"{result.left} runs are left; the same command goes on with them.")
        raise SystemExit(1)

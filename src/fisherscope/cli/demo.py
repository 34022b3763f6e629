"""`fisherscope demo`: the main job on the embedded digits, in a few minutes."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

TASK = {"task": "digits/resnet8", "epochs": 16, "per_epoch": 3, "seeds": [0, 1]}
TASK_ALONE = {key: value for key, value in TASK.items() if key != "seeds"}
GRID: dict[str, Any] = {**TASK, "batch_sizes": [4, 8, 16, 32, 64], "lrs": [0.01, 0.05, 0.2, 0.8]}
"""Settings that differ: from too cold over good to hot; the grid costs about two minutes on two cores."""
SCHEDULES: dict[str, Any] = {**TASK, "policies": ["s4-to-64", "s64-to-4", "s4-to-64-MS"], "lrs": [0.05]}
"""Dynamic runs through the middle of it."""


ROUNDS = 15
"""Steps that are timed at each batch size, for what a schedule costs."""


def demo(
    out: Annotated[Path, typer.Option(help="Directory of the runs and the report.")] = Path("demo"),
    jobs: Annotated[int | None, typer.Option(help="Processes; by default as many as cores.")] = None,
) -> None:
    """Train a grid and a few dynamic runs on the embedded digits; then claims, selection, the report."""
    began, runs = time.monotonic(), out / "runs"
    _trained("fixed settings", GRID, runs, jobs)
    _trained("schedules", SCHEDULES, runs, jobs)
    steered = SCHEDULES | {"policies": [f"beacon:{_beacons(runs, out / 'beacons.json')}"]}
    _trained("steered by the fixed ones as beacons", steered, runs, jobs)
    from fisherscope.analysis import claims, select
    from fisherscope.report import write_report

    print(f"\n{claims(runs)}\n\n{select(runs)}\n", flush=True)
    path = write_report(runs, out / "report.html")
    print(
        f"Took {time.monotonic() - began:.0f} s. Open {path} in a browser. The runs are in {runs}: try\n"
        f"  fisherscope figure 1b {runs} -o landscape.png\n  fisherscope figure 1d {runs} -o dynamic.png\n"
        f"  fisherscope table {runs}\n  fisherscope watch {runs} --open"
    )


def _beacons(runs: Path, path: Path) -> Path:
    """Growth, region and cost of the fixed settings; made once, since steered runs go on with the same."""
    if path.exists():
        return path
    from fisherscope.analysis import beacons_of
    from fisherscope.runs import load_runs
    from fisherscope.sweep import seconds_a_step

    sizes = GRID["batch_sizes"]
    cost = seconds_a_step(TASK_ALONE | {"batch_size": sizes[0], "lr": 0.05}, sizes, rounds=ROUNDS).plain
    fresh = path.with_name(f".{path.name}")
    fresh.write_text(beacons_of(load_runs(runs), cost).to_json(), encoding="utf-8")
    fresh.replace(path)
    return path


def _trained(what: str, given: dict[str, Any], runs: Path, jobs: int | None) -> None:
    """Train what is not trained yet.

    Raises:
        SystemExit: It was interrupted.
    """
    from fisherscope.cli.sweep_progress import shown
    from fisherscope.sweep import Grid, pending, run_sweep

    grid = Grid.of(given)
    todo = pending(grid.configurations(), runs)
    print(f"Training {len(todo)} runs of {given['task']}, {what}, into {runs}", flush=True)
    with shown(todo, None) as event:
        result = run_sweep(grid, runs, jobs=jobs, event=event)
    if not result.complete:
        print(f"{result.left} runs are left; the same command goes on with them.")
        raise SystemExit(1)

"""`fisherscope demo`: the main job on the embedded digits, in a few minutes."""

import time
from pathlib import Path
from typing import Annotated

import typer

GRID = {
    "task": "digits/resnet8",
    "batch_sizes": [4, 16, 64],
    "lrs": [0.01, 0.05, 0.2, 0.8],
    "seeds": [0, 1],
    "policies": ["s16-to-64"],
    "epochs": 12,
    "per_epoch": 4,
}


def demo(
    out: Annotated[Path, typer.Option(help="Directory of the runs and the report.")] = Path("demo"),
    jobs: Annotated[int | None, typer.Option(help="Processes; by default as many as cores.")] = None,
) -> None:
    """Train a small grid on the embedded digits; then claims, selection and the report."""
    from fisherscope.cli.standing import shown
    from fisherscope.sweep import Grid, pending, run_sweep

    began = time.monotonic()
    grid, runs = Grid.of(GRID), out / "runs"
    todo = pending(grid.configurations(), runs)
    print(f"Training {len(todo)} runs of digits/resnet8 (300 images) into {runs}", flush=True)
    with shown(todo, None) as event:
        result = run_sweep(grid, runs, jobs=jobs, event=event)
    if not result.complete:
        print(f"{result.left} runs are left; the same command goes on with them.")
        raise SystemExit(1)
    from fisherscope.analysis import claims, select
    from fisherscope.report import write_report

    print(f"\n{claims(runs)}\n\n{select(runs)}\n")
    path = write_report(runs, out / "report.html")
    print(f"Took {time.monotonic() - began:.0f} s. Open {path} in a browser; the runs are in {runs}.")

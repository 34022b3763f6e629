"""Run `fisherscope claims DIR`: test the paper's claims on your own runs."""

import json
from pathlib import Path
from typing import Annotated

import typer


def claims(
    directories: Annotated[
        list[Path],
        typer.Argument(help="Directories or exported files of runs; several are joined.", metavar="DIR…"),
    ],
    other: Annotated[
        Path | None, typer.Option(help="Runs of the same settings on a second task, for claim 8.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Metric; by default the validation metric.")] = None,
    task: Annotated[str | None, typer.Option(help="Task, if the runs are of several.")] = None,
    x: Annotated[str | None, typer.Option(help="Measure in place of C̄, such as cond_mean_epochs.")] = None,
    y: Annotated[str | None, typer.Option(help="Measure in place of L.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Test the paper's claims on a sweep: supported, contradicted, or inconclusive."""
    from fisherscope import analysis

    axes = {key: value for key, value in (("x", x), ("y", y)) if value is not None}
    results = analysis.claims(analysis.together(directories), other=other, metric=metric, task=task, **axes)
    if not as_json:
        print(results)
        return
    answer = {"about": results.about, "notes": results.notes, "claims": results.frame.to_dicts()}
    print(json.dumps(answer | {"figures": results.parts.to_dicts()}, ensure_ascii=False, indent=1))

"""Run `fisherscope navigate RUN --to REFERENCE`: which way to move batch size and learning rate."""

import json
from pathlib import Path
from typing import Annotated

import typer


def navigate(
    run: Annotated[
        str,
        typer.Argument(
            help="Directory of a run; or a run or setting of --runs, such as s16-lr0.1.", metavar="RUN"
        ),
    ],
    to: Annotated[str, typer.Option(help="The reference, likewise.", metavar="REFERENCE")],
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            help="Runs to fit slopes to, a directory or export; repeatable. By default those beside RUN."
        ),
    ] = None,
    x: Annotated[str | None, typer.Option(help="Measure across, such as cond_mean_epochs.")] = None,
    y: Annotated[str | None, typer.Option(help="Measure upwards.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="Metric of the back-test; by default the validation metric.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which batch size and learning rate would bring a run nearest to a reference run."""
    from fisherscope import analysis

    values = {"x": x, "y": y, "metric": metric}
    options = {key: value for key, value in values.items() if value is not None}
    result = analysis.navigate(run, to=to, runs=runs, **options)
    print(json.dumps(result.answer(), ensure_ascii=False, indent=1) if as_json else result)

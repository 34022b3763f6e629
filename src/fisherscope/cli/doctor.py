"""Run `fisherscope doctor MODULE:FACTORY`: check the Gram on your own model."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fisherscope.cli import FAILED


def doctor(
    subject: Annotated[
        str, typer.Argument(help="A factory, module:function or file.py:function, or a built-in task.")
    ] = "",
    batch_size: Annotated[
        int | None, typer.Option(help="Batch size to test; by default the factory's batch, or 32 samples.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time budget for timing, seconds.")] = 6.0,
    data_dir: Annotated[Path | None, typer.Option(help="Directory of the data files.")] = None,
    template: Annotated[bool, typer.Option("--template", help="Print a factory to copy.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Report the rule of each parameter, whether the Gram is exact, and its cost.

    The factory returns (model, loss, batch), or a mapping (--template). Exit code 0 if the Gram is exact, 1
    if it is not or could not be checked.
    """
    from fisherscope.tasks import TEMPLATE

    if template:
        print(TEMPLATE, end="")
        return
    if not subject:
        raise ValueError(f"fisherscope doctor needs MODULE:FACTORY; write a file mine.py with\n\n{TEMPLATE}")
    from fisherscope import tasks
    from fisherscope.gram import AmbiguousBatchError
    from fisherscope.verification import examine

    try:
        result = examine(tasks.subject(subject, data_dir), batch_size=batch_size, seconds=seconds)
    except AmbiguousBatchError as error:
        raise ValueError(
            f"{error}\nTo do so here, let the factory return a mapping with the line 'record': {{'batch': 0}}"
        ) from error
    print(json.dumps(result.as_dict()) if as_json else result)
    if not result.exact:
        raise SystemExit(FAILED)

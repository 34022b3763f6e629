"""`fisherscope doctor MODULE:FACTORY`: prove the Gram on your own model and batch, and what it costs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fisherscope.cli import FAILED


def doctor(
    subject: Annotated[
        str, typer.Argument(help="module:function, file.py:function, or digits/resnet8, …")
    ] = "",
    batch_size: Annotated[int | None, typer.Option(help="To draw where there is a data set.")] = None,
    seconds: Annotated[float, typer.Option(help="To spend on the cost of a step.")] = 6.0,
    data_dir: Annotated[Path | None, typer.Option(help="Where the data files lie.")] = None,
    template: Annotated[bool, typer.Option("--template", help="Print a factory to copy.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Which parameters are covered by which rule; is the Gram exact; what does measuring cost?

    The factory returns (model, loss, batch), or a mapping (--template). Exit code 0 where the Gram is exact,
    1 where it is not, or could not be proven.
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
        found = examine(tasks.subject(subject, data_dir), batch_size=batch_size, seconds=seconds)
    except AmbiguousBatchError as error:
        raise ValueError(
            f"{error}\nHere: have the factory return a mapping with the line 'record': {{'batch': 0}}"
        ) from error
    print(json.dumps(found.as_dict()) if as_json else found)
    if not found.exact:
        raise SystemExit(FAILED)

"""`fisherscope advise MODULE:FACTORY`: which batch sizes are worth your time, within a minute."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable


def advise(
    subject: Annotated[
        str, typer.Argument(help="module:function, file.py:function, or digits/resnet8, …")
    ] = "",
    seconds: Annotated[float, typer.Option(help="Time limit of the measurement.")] = 55.0,
    warmup: Annotated[int, typer.Option(help="Training steps first; 0 for a trained model.")] = 200,
    optimizer: Annotated[str, typer.Option(help="Of torch.optim, as you train with.")] = "AdamW",
    lr: Annotated[float | None, typer.Option(help="Its learning rate; by default 0.001.")] = None,
    sizes: Annotated[str | None, typer.Option(help="Batch sizes to time, such as 8,32,128.")] = None,
    memory: Annotated[float | None, typer.Option(help="MiB that a step may take.")] = None,
    seed: Annotated[int, typer.Option(help="Of model and batches.", min=0)] = 0,
    data_dir: Annotated[Path | None, typer.Option(help="Where the data files lie.")] = None,
    picture: Annotated[Path | None, typer.Option("-o", "--picture", help="Draw it: png, pdf or svg.")] = None,
    template: Annotated[bool, typer.Option("--template", help="Print a factory to copy.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Noise scale, seconds and memory at each batch size, and what follows; the model is left as it was."""
    from fisherscope import tasks

    if template:
        print(tasks.TEMPLATE, end="")
        return
    if not subject:
        raise ValueError(
            "fisherscope advise needs MODULE:FACTORY, or a built-in task such as digits/resnet8; write a "
            f"file mine.py such as\n\n{tasks.TEMPLATE}\nand call  fisherscope "
            "advise mine.py:factory"
        )
    from fisherscope.advice import AdviceOptions, advice_on
    from fisherscope.model_state import rng

    asked = None if sizes is None else _sizes(sizes)
    limit = None if memory is None else int(memory * 2**20)
    plan = AdviceOptions(warmup, asked, seconds, seed, memory_limit=limit)
    rng.seed(seed)  # a factory makes its model at once
    found = advice_on(tasks.subject(subject, data_dir), plan, optimizer=_optimizer(optimizer, lr))
    if picture is not None:
        from fisherscope.figures.advice import advice_figure
        from fisherscope.figures.style import save

        save(advice_figure(found), picture)
    print(json.dumps(found.to_dict(), ensure_ascii=False, indent=1) if as_json else found)


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"reading --sizes {text!r}: expected whole numbers, such as 8,32,128") from None


def _optimizer(name: str, lr: float | None) -> "Callable[[Any], Any]":
    import difflib

    import torch

    known = {kind.lower(): kind for kind in torch.optim.__all__ if kind[0].isupper()}
    if name.lower() not in known:
        near = difflib.get_close_matches(name.lower(), known, 1)
        hint = f"did you mean {known[near[0]]}?" if near else f"there are {', '.join(known.values())}"
        raise ValueError(f"--optimizer {name!r} is not in torch.optim; {hint}")
    kind = getattr(torch.optim, known[name.lower()])
    return lambda parameters: kind(parameters, lr=0.001 if lr is None else lr)

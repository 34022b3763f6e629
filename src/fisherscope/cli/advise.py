"""Run `fisherscope advise MODULE:FACTORY`: which batch sizes are worth your time."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable


def advise(
    subject: Annotated[
        str, typer.Argument(help="A factory, module:function or file.py:function, or a built-in task.")
    ] = "",
    seconds: Annotated[float, typer.Option(help="Time limit of the measurement, seconds.")] = 55.0,
    warmup: Annotated[
        int, typer.Option(help="Training steps before the measurement; 0 for a trained model.")
    ] = 200,
    optimizer: Annotated[str, typer.Option(help="Optimizer (class name in torch.optim).")] = "AdamW",
    lr: Annotated[float | None, typer.Option(help="Learning rate; by default 0.001.")] = None,
    sizes: Annotated[str | None, typer.Option(help="Batch sizes to time, such as 8,32,128.")] = None,
    memory: Annotated[float | None, typer.Option(help="Memory limit of a step, MiB.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.", min=0)] = 0,
    data_dir: Annotated[Path | None, typer.Option(help="Directory of the data files.")] = None,
    picture: Annotated[
        Path | None, typer.Option("-o", "--picture", help="File for a plot: png, pdf or svg.")
    ] = None,
    template: Annotated[bool, typer.Option("--template", help="Print a factory to copy.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Advise on batch sizes from noise scale, step time and memory of your model."""
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

    batch_sizes = None if sizes is None else _parse_sizes(sizes)
    limit = None if memory is None else int(memory * 2**20)
    plan = AdviceOptions(warmup, batch_sizes, seconds, seed, memory_limit=limit)
    rng.seed(seed)  # a factory may make its model at once
    advice = advice_on(tasks.subject(subject, data_dir), plan, optimizer=_optimizer(optimizer, lr))
    if picture is not None:
        from fisherscope.figures.advice import advice_figure
        from fisherscope.figures.style import save

        save(advice_figure(advice), picture)
    print(json.dumps(advice.to_dict(), ensure_ascii=False, indent=1) if as_json else advice)


def _parse_sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"reading --sizes {text!r}: expected whole numbers, such as 8,32,128") from None


def _optimizer(name: str, lr: float | None) -> "Callable[[Any], Any]":
    """Make a function that makes the optimizer of a model's parameters.

    Raises:
        ValueError: torch.optim has no such class.
    """
    import difflib

    import torch

    classes = {kind.lower(): kind for kind in torch.optim.__all__ if kind[0].isupper()}
    if name.lower() not in classes:
        near = difflib.get_close_matches(name.lower(), classes, 1)
        hint = (
            f"did you mean {classes[near[0]]}?" if near else f"expected one of {', '.join(classes.values())}"
        )
        raise ValueError(f"--optimizer {name!r} is not in torch.optim; {hint}")
    kind = getattr(torch.optim, classes[name.lower()])
    return lambda parameters: kind(parameters, lr=0.001 if lr is None else lr)

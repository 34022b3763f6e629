"""Run `fisherscope select DIR`: recommend a setting from early epochs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fisherscope.analysis import Selection


def select(
    directories: Annotated[
        list[Path],
        typer.Argument(
            help="Directories or exported files of runs, finished or not; several are joined, or with "
            "--backtest one sweep each.",
            metavar="DIR…",
        ),
    ],
    at_epoch: Annotated[
        int | None,
        typer.Option(help="Epoch to predict from; by default the last that all runs have reached."),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Metric; by default the validation metric.")] = None,
    predictor: Annotated[
        str, typer.Option(help="Features of the prediction, such as metric+grid+measures.")
    ] = "auto",
    task: Annotated[
        str | None,
        typer.Option(help="Task, if the runs are of several; with --run-next also if it is your own code."),
    ] = None,
    x: Annotated[str | None, typer.Option(help="Measure in place of C̄, such as cond_mean_epochs.")] = None,
    y: Annotated[str | None, typer.Option(help="Measure in place of L.")] = None,
    run_next: Annotated[
        bool, typer.Option(help="Train the most informative run to its end, then select again.")
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Directory of the data files, for --run-next.")
    ] = None,
    backtest: Annotated[
        bool, typer.Option(help="Compare selection with other search strategies on these finished runs.")
    ] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File for the JSON answer.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recommend a setting from early epochs and finished runs, with its uncertainty."""
    from fisherscope import analysis

    axes = {key: value for key, value in (("x", x), ("y", y)) if value is not None}
    if backtest:
        if axes:
            raise ValueError("back-testing: it takes no --x or --y; the axes of select alone can be chosen")
        comparison = analysis.backtest(sweeps_by_name(directories), at_epoch=at_epoch, metric=metric)
        _print_answer(comparison, comparison.answer(), out, as_json)
        return

    def select_now() -> "Selection":
        source = analysis.together(directories)
        return analysis.select(
            source, at_epoch=at_epoch, metric=metric, predictor=predictor, task=task, **axes
        )

    selection = select_now()
    if run_next and selection.next_run is not None:
        from fisherscope.cli import exit_interrupted
        from fisherscope.search import finish_run
        from fisherscope.training.interruption import ignore_repeats

        ignore_repeats()
        ended = finish_run(selection.next_run, directories, data_dir, task=task)
        if ended.signal is not None:
            print(f"{ended.id}: {ended.status} ({ended.reason})", flush=True)
            exit_interrupted(ended.signal)
        selection = select_now()
    _print_answer(selection, selection.answer(), out, as_json)


def sweeps_by_name(directories: list[Path]) -> Path | dict[str, Path]:
    """Map sweeps by the name of their directory or file; return a single one as it is.

    Raises:
        ValueError: Two have the same name.
    """
    if len(directories) == 1:
        return directories[0]
    sweeps = {path.resolve().stem if path.is_file() else path.resolve().name: path for path in directories}
    if len(sweeps) < len(directories):
        raise ValueError(
            f"back-testing {len(directories)} sweeps: they have only {len(sweeps)} names, "
            f"{', '.join(sweeps)}; a sweep is named by its directory or file: rename one"
        )
    return sweeps


def _print_answer(result: object, answer: dict[str, object], out: Path | None, as_json: bool) -> None:
    """Print a result as text or JSON, and write the JSON to a file if one is named."""
    text = json.dumps(answer, ensure_ascii=False, indent=1)
    if out is not None:
        from fisherscope.runs import replace_text

        replace_text(out, text + "\n")
    print(text if as_json else result)

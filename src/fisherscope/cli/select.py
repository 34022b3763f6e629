"""`fisherscope select DIR`: which setting to use, how sure that is, what to finish next."""

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
            help="Directories or exported files of runs, finished and not; several are joined, or with "
            "--backtest a sweep each.",
            metavar="DIR…",
        ),
    ],
    at_epoch: Annotated[
        int | None, typer.Option(help="Epoch of the early look; by default the last that all have reached.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Metric; by default the validation metric.")] = None,
    predictor: Annotated[
        str, typer.Option(help="Features of the prediction, such as metric+grid+measures.")
    ] = "auto",
    task: Annotated[str | None, typer.Option(help="Which task, where there are several.")] = None,
    run_next: Annotated[
        bool, typer.Option(help="Then train the most informative run to its end, and say again.")
    ] = False,
    data_dir: Annotated[Path | None, typer.Option(help="Where the data files lie, for --run-next.")] = None,
    backtest: Annotated[
        bool, typer.Option(help="Instead: play selection and its rivals on these finished runs.")
    ] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the JSON there as well.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recommend a setting from early epochs and finished runs, with its uncertainty."""
    from fisherscope import analysis

    if backtest:
        played = analysis.backtest(named(directories), at_epoch=at_epoch, metric=metric)
        _told(played, played.answer(), out, as_json)
        return

    def look() -> "Selection":
        places = analysis.together(directories)
        return analysis.select(places, at_epoch=at_epoch, metric=metric, predictor=predictor, task=task)

    found = look()
    if run_next and found.next_run is not None:
        from fisherscope.search import finish_run

        finish_run(found.next_run, directories, data_dir)
        found = look()
    _told(found, found.answer(), out, as_json)


def named(directories: list[Path]) -> Path | dict[str, Path]:
    """Sweeps by the name of their directory or file; a single one as it is.

    Raises:
        ValueError: Two have the same name.
    """
    if len(directories) == 1:
        return directories[0]
    sweeps = {path.resolve().stem if path.is_file() else path.resolve().name: path for path in directories}
    if len(sweeps) < len(directories):
        raise ValueError(
            f"back-testing {len(directories)} sweeps: they have only {len(sweeps)} names, "
            f"{', '.join(sweeps)}; a sweep is called by its directory or file, so give each its own"
        )
    return sweeps


def _told(found: object, answer: dict[str, object], out: Path | None, as_json: bool) -> None:
    text = json.dumps(answer, ensure_ascii=False, indent=1)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    print(text if as_json else found)

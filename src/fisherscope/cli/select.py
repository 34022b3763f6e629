"""`fisherscope select DIR`: which setting to use, how sure that is, what to finish next."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fisherscope.analysis import Selection


def select(
    directory: Annotated[Path, typer.Argument(help="Directory of runs, finished and not.", metavar="DIR")],
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recommend a setting from early epochs and finished runs, with its uncertainty."""
    from fisherscope import analysis

    if backtest:
        played = analysis.backtest(directory, at_epoch=at_epoch, metric=metric)
        frames = ("sweeps", "summary", "predictions", "gains")
        tables = {name: getattr(played, name).to_dicts() for name in frames}
        print(json.dumps(tables, ensure_ascii=False, indent=1) if as_json else played)
        return

    def look() -> "Selection":
        return analysis.select(directory, at_epoch=at_epoch, metric=metric, predictor=predictor, task=task)

    found = look()
    if run_next and found.next_run is not None:
        finish(found.next_run, directory, data_dir)
        found = look()
    if not as_json:
        print(found)
        return
    answer = {
        "recommended": found.recommended,
        "indistinguishable": found.indistinguishable,
        "fastest": found.fastest,
        "next_setting": found.next_setting,
        "next_run": found.next_run,
        "spent_epochs": found.spent_epochs,
        "all_epochs": found.all_epochs,
        "metric": found.metric,
        "predictor": found.predictor,
        "epoch": found.epoch,
        "candidates": found.candidates.to_dicts(),
        "notes": found.notes,
    }
    print(json.dumps(answer, ensure_ascii=False, indent=1))


def finish(run_id: str, directory: Path, data_dir: Path | None) -> None:
    """Train a run of a directory to its end.

    Raises:
        ValueError: The run was not made by `train` or `sweep`: its configuration does not say how to go on.
    """
    import fisherscope as fs
    from fisherscope.training import Configuration, train

    runs = fs.load_runs(directory)
    config, path = runs.head(run_id)["config"], runs.paths[run_id]
    if Configuration.of(config).id != path.name:
        raise ValueError(
            f"finishing {run_id}: it was not trained by fisherscope; finish it with its own loop"
        )
    train(config, path.parent, data_dir=data_dir)

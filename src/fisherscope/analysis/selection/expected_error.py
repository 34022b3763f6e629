"""`select`: which setting to use, how sure that is, and which run to finish next."""

from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.analysis.data.settings import RunsLike
from fisherscope.analysis.selection.learning_curves import load_sweep
from fisherscope.analysis.selection.recommendation import recommend
from fisherscope.analysis.selection.result import Selection
from fisherscope.analysis.selection.surrogate import fit_surrogate


def select(
    runs: RunsLike,
    *,
    at_epoch: int | None = None,
    metric: str | None = None,
    predictor: str = "auto",
    task: str | None = None,
    x: str = COND,
    y: str = ENERGY,
) -> Selection:
    """Recommend a setting from early epochs and finished runs, with its uncertainty.

    Settings that have finished count as measured; the others are predicted from an early epoch by a Gaussian
    process fitted to the finished ones. Only constant batch sizes take part; `table` compares schedules.

    Args:
        runs: From `load_runs`, or a directory.
        at_epoch: Epoch at which features are read; by default the last one that every candidate has reached.
        metric: Column of the epochs; the validation metric by default.
        predictor: Features of the prediction: one of `PREDICTORS`. `auto` takes the early metric with (log B,
            log α), and adds (C̄_K, L_K) if that predicts left-out finished settings better.
        task: Task, if the runs are of several.
        x: Measure in place of C̄_K, any axis of `landscape`, such as `cond_mean_epochs`.
        y: Measure in place of L_K.

    Returns:
        The recommended setting, the settings that are statistically tied with it, the expected final metric
        of every candidate with an 80 % interval, and the run to finish next. Printing it gives sentences.

    Raises:
        AnalysisError: There is no run, several tasks, no such metric or predictor, or no run at the epoch.

    Cost: a second for 30 settings; 48 Cholesky decompositions per finished setting.

    Example:
        ```python
        import fisherscope as fs

        for size, error in ((8, 0.12), (16, 0.10), (32, 0.15)):
            config = {"batch_size": size, "lr": 0.1, "seed": 0, "epochs": 1}
            with fs.open_run(f"runs/select/s{size}", config) as run:
                run.log_epoch(val_error=error)
        selection = fs.select("runs/select")
        assert selection.recommended == "s16-lr0.1"
        print(selection)
        assert selection.row("s16-lr0.1")["state"] == "finished"
        assert selection.answer()["recommended"] == "s16-lr0.1"
        ```
    """
    sweep = load_sweep(runs, metric, task, at_epoch, x, y)
    expectation = fit_surrogate(sweep.early, predictor)
    return recommend(sweep, expectation)

"""The landscape as a table: a row per setting with its errors, measures and distance to the best."""

import polars as pl

from fisherscope.analysis.data.run_measures import at_epoch
from fisherscope.analysis.data.seed_means import dead_settings, lost_settings
from fisherscope.analysis.data.settings import RunsLike, Settings, settings_of
from fisherscope.analysis.landscapes.result import Landscape
from fisherscope.runs.dead_network import DEAD

ERRORS = tuple(
    f"{part}/{name}{end}"
    for part in ("train", "val", "test")
    for name in ("error", "accuracy", "loss")
    for end in ("_running", "")
)
"""Columns of the epochs that are listed where they were recorded."""


def landscape_table(runs: RunsLike, landscape: Landscape) -> pl.DataFrame:
    """List every setting of a landscape: errors, measures, distance to the best.

    It is what the paper's supplement lists per configuration.

    Args:
        runs: The runs that the landscape was made of.
        landscape: Of these runs.

    Returns:
        A row per setting, best first, those without the metric last: `setting, fixed, batch_size, lr, seeds,
        state`; each error of the last epoch as mean and deviation over seeds (`test/error, test/error_std`);
        the measures as geometric means, with the deviation of their natural logarithms (`…_log_std`);
        `distance` to the best in the scaled plane, `best` (of five) and `in_region`. `state` is finished,
        diverged, dead or unfinished.

    Raises:
        AnalysisError: The runs have no such metric.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope import analysis

        for size in (8, 16, 32, 64):
            config = {"batch_size": size, "lr": 0.1, "seed": 0, "epochs": 1}
            with fs.open_run(f"runs/table/s{size}", config) as run:
                run.log_epoch(val_error=0.1 + 1 / size, fisher_cond_mean=size, fisher_energy_sum=100 / size)
        table = analysis.landscape_table("runs/table", fs.landscape("runs/table"))
        assert table["setting"][0] == "s64-lr0.1"
        assert round(table["fisher/cond_mean"][0]) == 64
        assert table["distance"][0] < 1e-9
        print(table.write_csv())
        ```
    """
    source = settings_of(runs, task=landscape.task or None)
    table = landscape.points.select("setting", "fixed", "batch_size", "lr", "seeds")
    table = table.join(_states(source), on="setting", how="left")
    names = [landscape.metric, *(name for name in ERRORS if name in source.epochs.columns)]
    for name in dict.fromkeys(names):
        table = table.join(_over_seeds(source, name), on="setting", how="left")
    measures = landscape.points.select(
        "setting",
        pl.col("x").alias(landscape.x),
        pl.col("x_std").alias(f"{landscape.x}_log_std"),
        pl.col("y").alias(landscape.y),
        pl.col("y_std").alias(f"{landscape.y}_log_std"),
        "distance",
        "best",
        "in_region",
    )
    table = table.join(measures, on="setting", how="left")
    by = pl.col(landscape.metric) if landscape.smaller_is_better else -pl.col(landscape.metric)
    return table.sort(pl.col("state") != "finished", by, nulls_last=True, maintain_order=True)


def _over_seeds(source: Settings, name: str) -> pl.DataFrame:
    """Return mean and deviation of a metric over the finished runs of each setting."""
    ended = source.where(pl.col("status") == "finished")
    rows = ended.frame.select("run_id", "setting").join(at_epoch(ended, name), on="run_id")
    return rows.group_by("setting").agg(
        pl.col("value").mean().alias(name), pl.col("value").std().alias(f"{name}_std")
    )


def _states(source: Settings) -> pl.DataFrame:
    lost, dead = lost_settings(source), dead_settings(source)
    ended = (pl.col("status") == "finished").any()
    rows = source.frame.group_by("setting", maintain_order=True).agg(ended.alias("ended"))
    name = pl.col("setting")
    state = (
        pl.when(name.is_in(lost))
        .then(pl.lit("diverged"))
        .when(name.is_in(dead))
        .then(pl.lit(DEAD))
        .when("ended")
        .then(pl.lit("finished"))
        .otherwise(pl.lit("unfinished"))
    )
    return rows.select("setting", state=state)

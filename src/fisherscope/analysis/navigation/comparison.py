"""`navigate`: from a run to a reference, at equal epochs (Liao et al. 2020, section 3.1)."""

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.analysis.data.setting_grid import SettingGrid, seed_mean
from fisherscope.analysis.data.settings import FloatArray, Settings, settings_of
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.landscapes.plane import margin
from fisherscope.analysis.navigation.leave_one_out import NavigationBacktest, navigation_backtest
from fisherscope.analysis.navigation.result import Bounded, Navigation
from fisherscope.analysis.navigation.slopes import (
    FEWEST,
    Map,
    interval_of,
    local_slopes,
    resample_settings,
    suggested_move,
)
from fisherscope.analysis.navigation.way import Way, coordinates_of, epoch_span, load_named_runs, way_of
from fisherscope.runs.reader import Runs

PathLike = str | os.PathLike[str]
COORDINATES = ("batch size", "learning rate")


def navigate(
    run: PathLike,
    *,
    to: PathLike,
    runs: PathLike | Sequence[PathLike] | Runs | None = None,
    x: str = COND,
    y: str = ENERGY,
    metric: str | None = None,
) -> Navigation:
    """Say which batch size and learning rate would bring a run nearest to a reference.

    Both are compared at equal epochs. How C̄ and L change with batch size and learning rate near the run is
    fitted to all fixed settings of the same task; the advice is where these slopes put the run nearest to
    the reference, within the range of the settings. A back-test says what such advice is worth on these runs.

    Args:
        run: Directory of a run; or the id of a run or the name of a setting, such as `s16-lr0.1`, of `runs`.
        to: The reference, likewise.
        runs: Directories or exported files of runs, for the slopes; by default those beside `run` and `to`.
        x: Measure across, any axis of `landscape`.
        y: Measure upwards.
        metric: Metric of the back-test; the validation metric by default.

    Returns:
        Both ways, the distance, slopes and advice with 80 % intervals, and the back-test.

    Raises:
        AnalysisError: There is no such run, it has no measures, or both differ in task or length.

    Cost: about a second for 40 settings.

    Source: Liao et al. 2020, section 3.1.

    Example:
        ```python
        import fisherscope as fs

        for size in (8, 16, 32):
            for lr in (0.05, 0.1):
                config = {"task": "mine", "batch_size": size, "lr": lr, "seed": 0, "epochs": 1}
                with fs.open_run(f"runs/navigate/s{size}-lr{lr}", config) as run:
                    run.log_epoch(
                        val_error=0.1, fisher_cond_mean=size * lr**0.5, fisher_energy_sum=lr * size**-0.5
                    )
        navigation = fs.navigate("runs/navigate/s8-lr0.05", to="runs/navigate/s32-lr0.1")
        assert (round(navigation.batch_size.value), round(navigation.lr.value, 3)) == (32, 0.1)
        print(navigation)
        ```
    """
    loaded = load_named_runs([run, to], runs)
    mine, other = (way_of(loaded, place, x, y) for place in (run, to))
    _check_alike(mine, other)
    both = mine.points.join(other.points, on="epoch", suffix="_reference").sort("epoch")
    if not len(both):
        raise AnalysisError(
            f"navigating from {mine.name} to {other.name}: no epoch has {x} and {y} of both; "
            f"{mine.name} has epochs {epoch_span(mine)}, {other.name} {epoch_span(other)}"
        )
    epoch = int(both["epoch"][-1])
    source = settings_of(loaded, task=mine.task or None)
    grid = SettingGrid.of(_same_length(source, mine), x=x, y=y)
    settings, reached = _map(grid, epoch)
    ends = np.log2(both.select("x", "y", "x_reference", "y_reference").to_numpy())
    spread = settings.spread if len(reached) > 1 else np.ones(2)
    distance = np.sqrt((((ends[:, 2:] - ends[:, :2]) / spread) ** 2).sum(axis=1))
    ways = both.with_columns(distance=pl.Series(distance))
    start = coordinates_of(mine, grid.source)
    copied = str(other.frame["setting"][0]) if bool(other.frame["fixed"].all()) else ""
    bare = Navigation(
        mine.name, other.name, mine.task, x, y, epoch, ways, pl.DataFrame(schema=SLOPES), copied
    )
    if len(reached) < FEWEST or start is None:
        note = (
            f"No slopes: {len(reached)} fixed settings of this task and length reached epoch {epoch}; at "
            f"least {FEWEST} are needed, and batch size and learning rate of {mine.name}. Give more runs "
            "(--runs)."
        )
        return replace(bare, notes=(note,))
    names = [grid.names[row] for row in reached]
    advised = _with_advice(bare, settings, names, start, ends[-1, 2:] - ends[-1, :2])
    return replace(advised, backtest=_backtest(grid, settings, reached, metric))


def _with_advice(
    bare: Navigation, settings: Map, names: list[str], start: FloatArray, gap: FloatArray
) -> Navigation:
    """Fit slopes near the run, and add where they put it nearest to the reference."""
    draws = resample_settings(settings)
    target = suggested_move(settings, start, gap)
    low, high = interval_of(np.array([suggested_move(draw, start, gap) for draw in draws]))
    size, lr = (Bounded(*(float(2 ** end[k]) for end in (target, low, high))) for k in (0, 1))
    slopes = local_slopes(settings, start)
    square = (((settings.coordinates - target) / settings.reach) ** 2).sum(axis=1)
    flat = np.ptp(settings.coordinates, axis=0) == 0
    kept_axes = [name for name, constant in zip(COORDINATES, flat.tolist(), strict=True) if constant]
    return replace(
        bare, slopes=_slope_table(slopes, draws, start, (bare.x, bare.y)), batch_size=size, lr=lr,
        nearest=names[int(np.argmin(square))],
        left=float(np.linalg.norm((gap - slopes @ (target - start)) / settings.spread)),
        notes=tuple(f"All settings have one {name}: it is kept, its slope unknown." for name in kept_axes),
    )  # fmt: skip


SLOPES = {
    "measure": pl.String, "coordinate": pl.String, "slope": pl.Float64, "low": pl.Float64, "high": pl.Float64,
}  # fmt: skip


def _check_alike(mine: Way, other: Way) -> None:
    """Check that two ways can be compared.

    Raises:
        AnalysisError: They are of another task or another length.
    """
    if mine.task != other.task:
        raise AnalysisError(
            f"navigating from {mine.name} to {other.name}: it trains {mine.task or 'an unknown task'}, the "
            f"reference {other.task or 'an unknown task'}; C̄ and L are compared within one task. Across "
            "tasks copy the reference's batch size and learning rate (docs/analysis.md#navigate)"
        )
    if mine.planned is not None and other.planned is not None and mine.planned != other.planned:
        raise AnalysisError(
            f"navigating from {mine.name} to {other.name}: it is planned for {mine.planned} epochs, the "
            f"reference for {other.planned}; their learning rates decay at other epochs. Give a reference of "
            f"{mine.planned} epochs"
        )


def _same_length(source: Settings, mine: Way) -> Settings:
    if mine.planned is None:
        return source
    return source.where(pl.col("planned").is_null() | (pl.col("planned") == mine.planned))


def _map(grid: SettingGrid, epoch: int) -> tuple[Map, list[int]]:
    """Return the positions of the settings that reached an epoch, and which these are."""
    logs = np.column_stack([seed_mean(grid.logs(name, epoch)) for name in (grid.x, grid.y)]).reshape(-1, 2)
    reached = np.flatnonzero(np.isfinite(logs).all(axis=1))
    return Map(grid.coordinates[reached], logs[reached]), reached.tolist()


def _slope_table(
    slopes: FloatArray, draws: list[Map], start: FloatArray, names: tuple[str, str]
) -> pl.DataFrame:
    low, high = interval_of(np.array([local_slopes(draw, start) for draw in draws]))
    rows = [
        (names[m], coordinate, float(slopes[m, k]), float(low[m, k]), float(high[m, k]))
        for m in (0, 1)
        for k, coordinate in enumerate(COORDINATES)
    ]
    return pl.DataFrame(rows, schema=SLOPES, orient="row")


def _backtest(
    grid: SettingGrid, settings: Map, kept: list[int], metric: str | None
) -> NavigationBacktest | None:
    """Return what such advice is worth on these runs; None where no metric was recorded."""
    try:
        name, smaller = grid.source.metric(metric)
    except AnalysisError:
        return None
    ended = grid.source.where(pl.col("status") == "finished")
    values = seed_mean(SettingGrid(ended, grid.names, grid.batch_sizes, grid.lrs, grid.seeds).values(name))[
        kept
    ]
    usable = np.isfinite(values)
    if usable.sum() < FEWEST + 2:
        return None
    scores = values[usable] if smaller else -values[usable]
    best = float(values[usable].min() if smaller else values[usable].max())
    part = Map(settings.coordinates[usable], settings.positions[usable])
    return navigation_backtest(part, scores, margin(best, name))

"""The way of a run, or of a setting, through the plane of two measures."""

import math
import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from fisherscope.analysis.data.run_measures import measure
from fisherscope.analysis.data.settings import FloatArray, Settings, concat_runs, settings_of
from fisherscope.analysis.errors import AnalysisError
from fisherscope.plain_text import short_repr
from fisherscope.runs.queries import is_run
from fisherscope.runs.reader import Runs, load_runs

PathLike = str | os.PathLike[str]


class Way(NamedTuple):
    """One run or setting on its way through the plane.

    Args:
        name: Run id or setting.
        task: Its task; empty if unknown.
        planned: Length of its schedule in epochs; None if unknown.
        frame: Its rows of `Settings.frame`.
        points: `epoch, x, y`, geometric means over its seeds.
    """

    name: str
    task: str
    planned: int | None
    frame: pl.DataFrame
    points: pl.DataFrame


def load_named_runs(places: Sequence[PathLike], runs: PathLike | Sequence[PathLike] | Runs | None) -> Runs:
    """Load the runs that names and slopes are looked up in."""
    if isinstance(runs, Runs):
        return runs
    given = [] if runs is None else [runs] if isinstance(runs, str | os.PathLike) else list(runs)
    beside = [str(Path(place).resolve().parent) for place in places if is_run(place)]
    names = list(dict.fromkeys([*(str(place) for place in given), *beside]))
    if not names:
        raise AnalysisError(
            f"navigating from {os.fspath(places[0])} to {os.fspath(places[1])}: neither is a run directory; "
            "give one, or say by runs= (--runs) where runs or settings of these names are"
        )
    loaded = concat_runs(names)
    return loaded if isinstance(loaded, Runs) else load_runs(loaded)


def way_of(runs: Runs, place: PathLike, x: str, y: str) -> Way:
    """Find a run or a setting, and its way through the plane."""
    table, name = runs.runs, os.fspath(place)
    if is_run(place):
        where = Path(place).resolve()
        name = next((run_id for run_id, path in runs.paths.items() if path.resolve() == where), where.name)
    ids = [name] if name in table["run_id"].to_list() else _ids_of_setting(runs, name)
    tasks = {} if "task" not in table.columns else dict(table.select("run_id", "task").iter_rows())
    task = str(tasks.get(ids[0]) or "")
    source = settings_of(runs.filter(pl.col("run_id").is_in(ids)))
    across, up = (measure(source, measured) for measured in (x, y))
    rows = across.join(up, on=["run_id", "epoch"], suffix="_up").filter(
        pl.col("value") > 0, pl.col("value_up") > 0
    )
    points = rows.group_by("epoch").agg(
        pl.col("value").log().mean().exp().alias("x"),
        pl.col("value_up").log().mean().exp().alias("y"),
        pl.len(),
    )
    points = (
        points.filter(pl.col("len") == points["len"].max()).drop("len") if len(points) else points.drop("len")
    )
    planned = source.frame["planned"].max()
    return Way(name, task, int(planned) if isinstance(planned, int) else None, source.frame, points)


def _ids_of_setting(runs: Runs, name: str) -> list[str]:
    tasks = sorted({str(task) for task in runs.runs["task"]}) if "task" in runs.runs.columns else [None]
    matching: list[str] = []
    names: set[str] = set()
    for task in tasks:
        try:
            frame = settings_of(runs, task=task).frame
        except AnalysisError:
            continue
        names |= set(frame["setting"].to_list())
        ids = frame.filter(pl.col("setting") == name)["run_id"].to_list()
        if ids and matching:
            raise AnalysisError(
                f"navigating: {short_repr(name)} is a setting of several tasks; give a run's id or directory"
            )
        matching = matching or ids
    if not matching:
        near = get_close_matches(name, [*names, *runs.runs["run_id"].to_list()], 1)
        hint = f"did you mean {near[0]}?" if near else "list them by fisherscope runs"
        raise AnalysisError(
            f"navigating: {short_repr(name)} is no run directory, and no run or setting of these runs; {hint}"
        )
    return matching


def coordinates_of(mine: Way, source: Settings) -> FloatArray | None:
    """Return a run's (log2 B, log2 α); of a schedule the geometric mean of its epochs' sizes."""
    row = mine.frame.row(0, named=True)
    size = row["batch_size"]
    if size is None and "batch_size" in source.runs.epochs.columns:
        rows = source.runs.epochs.filter(pl.col("run_id") == row["run_id"])
        size = rows["batch_size"].cast(pl.Float64).log().mean()
        size = math.exp(size) if isinstance(size, float) else None
    if not size or not row["lr"]:
        return None
    place: FloatArray = np.log2(np.array([float(size), float(row["lr"])]))
    return place


def epoch_span(way: Way) -> str:
    """Write the first and the last epoch of a way."""
    epochs = way.points["epoch"].to_list()
    return f"{min(epochs)} to {max(epochs)}" if epochs else "none"

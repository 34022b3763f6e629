"""Write a sweep to one small file, from which every analysis comes out the same."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fisherscope.analysis.data.run_measures import measure_of_runs
from fisherscope.analysis.data.settings import RunsLike, settings_of
from fisherscope.analysis.data.stored_spectra import RATIO, sigma_ratios
from fisherscope.analysis.errors import AnalysisError
from fisherscope.runs import archive
from fisherscope.runs.reader import Runs, load_runs

RULES = ("relative:1e-3", "relative:1e-2", "energy:0.99", "exact")
MEASURES = (
    *(f"cond_{mean}@{rule}" for rule in RULES for mean in ("mean", "geomean")),
    "cond_last", "cond_m8_geomean", "effective_rank_mean", "effective_rank_geomean",
    "noise/variance_mean", "noise/signal_mean",
)  # fmt: skip
"""Measures per epoch that need measured steps or spectra: exported by default, as `measure` names them."""

STEPS = (
    "run_id", "step", "epoch", "lr", "batch_size", "steps_since", "step_scale_sum", "fisher/cond",
    "fisher/cond_mean", "fisher/energy", "fisher/energy_sum", "fisher/effective_rank", RATIO,
)  # fmt: skip
"""Columns of the measured steps that are exported."""


@dataclass(frozen=True)
class Export:
    """The file that was written; made by `export_runs`.

    Args:
        path: The file.
        runs: Runs in it.
        bytes: Its size.
        missing: Measures that were requested and that the runs do not have.
    """

    path: Path
    runs: int
    bytes: int
    missing: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{self.runs} runs in {self.path}, {self.bytes / 1000:.0f} kB"
        return text + (f"; not recorded: {', '.join(self.missing)}." if self.missing else ".")


def export_runs(
    runs: RunsLike, path: str | os.PathLike[str], *, measures: Sequence[str] = MEASURES
) -> Export:
    """Write runs to one small file that `load_runs` reads, and so every analysis.

    Written: configurations, statuses, versions; every epoch's row; of each measured step c_k, l_k, effective
    rank, C̄ and L so far, and σ_min/σ_max; `measures` of each epoch; measured seconds of a step. Not
    written: spectra, checkpoints,
    per-example outcomes, command lines. Losses and metrics stay as they are, other floats are rounded to 32
    bits (relative 6e-8).

    Args:
        runs: From `load_runs`, or a directory; it may hold several tasks.
        path: The file; it is replaced if there is one.
        measures: Names as for the landscape's axes: rules can only be applied while there are spectra.

    Returns:
        The file, its size, and the measures that the runs do not have.

    Raises:
        AnalysisError: There is no run.
        ValueError: A rule in `measures` does not exist.

    Cost: seconds for 100 runs, and about 5 kB a run.

    Example:
        ```python
        import fisherscope as fs

        with fs.open_run("runs/export/one", {"batch_size": 8, "lr": 0.1, "seed": 0}) as run:
            run.log_epoch(val_error=0.1)
        print(fs.export_runs("runs/export", "runs/export.zip"))
        assert len(fs.load_runs("runs/export.zip")) == 1
        ```
    """
    loaded = runs if isinstance(runs, Runs) else load_runs(runs)
    if not len(loaded):
        settings_of(runs)  # says what is there instead
    table, missing = _measures_table(loaded, measures)
    steps = _steps(loaded)
    heads = {run_id: loaded.head(run_id) for run_id in loaded.paths}
    archive.write(
        path, heads, {"epochs": loaded.epochs, "steps": steps, "measures": table}, loaded.step_times
    )
    return Export(Path(path), len(loaded), Path(path).stat().st_size, tuple(missing))


def _measures_table(runs: Runs, names: Sequence[str]) -> tuple[pl.DataFrame, list[str]]:
    """Return `run_id, epoch` with a column per measure, and the measures that are missing."""
    table = runs.epochs.select("run_id", "epoch")
    missing = []
    for part in dict.fromkeys(names):
        try:
            values = measure_of_runs(runs, part).rename({"value": part})
        except AnalysisError:
            missing.append(part)
            continue
        table = table.join(values, on=["run_id", "epoch"], how="left", maintain_order="left")
    return table, missing


def _steps(runs: Runs) -> pl.DataFrame:
    """Return the exported columns of the measured steps, with σ_min/σ_max."""
    ratios = sigma_ratios(runs)
    steps = runs.steps
    if ratios:
        parts = [
            part.with_columns(pl.Series(RATIO, ratios[str(run_id)], pl.Float64).fill_nan(None))
            if run_id in ratios
            else part
            for (run_id,), part in steps.group_by("run_id", maintain_order=True)
        ]
        steps = pl.concat(parts, how="diagonal_relaxed")
    return steps.select(name for name in STEPS if name in steps.columns)

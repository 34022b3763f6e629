"""Measures recomputed from stored spectra: condition numbers by any rule, σ_min/σ_max."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from fisherscope import measures
from fisherscope.analysis.data.settings import FloatArray
from fisherscope.runs.errors import DamagedRunError
from fisherscope.runs.paths import SPECTRA
from fisherscope.runs.reader import Runs

RATIO = "fisher/sigma_ratio"
"""σ_min/σ_max of a measured step, nothing left out: a column of exported steps, whose spectra are gone."""


def conds(runs: Runs, rule: str) -> Iterator[tuple[str, pl.DataFrame, FloatArray]]:
    """Recompute condition numbers by a rule, above the recorded floor.

    Args:
        runs: Runs; those without spectra are skipped.
        rule: Non-zero rule, such as `relative:1e-2`.

    Yields:
        Run id, its measured steps, and c_k of each, shape (steps,).
    """
    for run_id, steps, spectra in _runs_with_spectra(runs):
        has_limits = "fisher/cond_limit" in steps.columns
        limits = steps["fisher/cond_limit"].to_list() if has_limits else [None] * len(steps)
        values = [_cond(v, rule, limit) for v, limit in zip(spectra, limits, strict=True)]
        yield run_id, steps, np.array(values, dtype=np.float64)


def sigma_ratios(runs: Runs) -> dict[str, FloatArray]:
    """Return σ_min/σ_max at each measured step by run id; NaN if a step has no spectrum."""
    ratios_by_run: dict[str, FloatArray] = {}
    for run_id, _, spectra in _runs_with_spectra(runs):
        ratios_by_run[run_id] = np.array([_ratio(values) for values in spectra], dtype=np.float64)
    if RATIO in runs.steps.columns:
        for (run_id,), part in runs.steps.group_by("run_id", maintain_order=True):
            ratios = part[RATIO].cast(pl.Float64).fill_null(math.nan).to_numpy()
            if np.isfinite(ratios).any():
                ratios_by_run[str(run_id)] = ratios
    return ratios_by_run


def _runs_with_spectra(runs: Runs) -> Iterator[tuple[str, pl.DataFrame, "list[np.ndarray[Any, Any] | None]"]]:
    """Yield the id, the steps and the spectra of runs that have stored spectra."""
    for (run_id,), steps in runs.steps.group_by("run_id", maintain_order=True):
        try:
            spectra = runs.spectra(str(run_id))
        except DamagedRunError as error:  # one bad run must not hide the others
            runs.mark_damaged(runs.paths[str(run_id)] / SPECTRA, str(error))
            continue
        if any(values is not None for values in spectra):
            yield str(run_id), steps, spectra


def _cond(eigenvalues: "np.ndarray[Any, Any] | None", rule: str, limit: float | None) -> float:
    """Return c_k of a stored spectrum, above the rounding floor of its row."""
    if eigenvalues is None or not len(eigenvalues):
        return math.nan
    floor = float(eigenvalues.max()) / limit**2 if limit else 0.0
    return measures.cond(eigenvalues, rule, floor)


def _ratio(eigenvalues: "np.ndarray[Any, Any] | None") -> float:
    if eigenvalues is None or not len(eigenvalues) or not eigenvalues.max() > 0:
        return math.nan
    return math.sqrt(max(float(eigenvalues.min()), 0.0) / float(eigenvalues.max()))

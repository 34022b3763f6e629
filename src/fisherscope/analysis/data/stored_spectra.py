"""What stored spectra say beyond the recorded columns: condition numbers by any rule, σ_min/σ_max."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from fisherscope import measures
from fisherscope.analysis.data.settings import FloatArray
from fisherscope.runs.reader import Runs

RATIO = "fisher/sigma_ratio"
"""σ_min/σ_max of a measured step, nothing left out: a column of exported steps, whose spectra are gone."""


def conds(runs: Runs, rule: str) -> Iterator[tuple[str, pl.DataFrame, FloatArray]]:
    """Of each run with spectra: its id, its steps, and c_k of each by a rule, above the recorded floor."""
    for run_id, steps, spectra in _stored(runs):
        known = "fisher/cond_limit" in steps.columns
        limits = steps["fisher/cond_limit"].to_list() if known else [None] * len(steps)
        values = [_cond(v, rule, limit) for v, limit in zip(spectra, limits, strict=True)]
        yield run_id, steps, np.array(values, dtype=np.float64)


def sigma_ratios(runs: Runs) -> dict[str, FloatArray]:
    """σ_min/σ_max at each measured step of each run that tells; NaN where a step has no spectrum."""
    found: dict[str, FloatArray] = {}
    for run_id, _, spectra in _stored(runs):
        found[run_id] = np.array([_ratio(values) for values in spectra], dtype=np.float64)
    if RATIO in runs.steps.columns:
        for (run_id,), part in runs.steps.group_by("run_id", maintain_order=True):
            ratios = part[RATIO].cast(pl.Float64).fill_null(math.nan).to_numpy()
            if np.isfinite(ratios).any():
                found[str(run_id)] = ratios
    return found


def _stored(runs: Runs) -> Iterator[tuple[str, pl.DataFrame, "list[np.ndarray[Any, Any] | None]"]]:
    """Runs of which a spectrum is stored: id, steps, spectra."""
    for (run_id,), steps in runs.steps.group_by("run_id", maintain_order=True):
        spectra = runs.spectra(str(run_id))
        if any(values is not None for values in spectra):
            yield str(run_id), steps, spectra


def _cond(eigenvalues: "np.ndarray[Any, Any] | None", rule: str, limit: float | None) -> float:
    """c_k of a stored spectrum, above the rounding floor that its row tells."""
    if eigenvalues is None or not len(eigenvalues):
        return math.nan
    floor = float(eigenvalues.max()) / limit**2 if limit else 0.0
    return measures.cond(eigenvalues, rule, floor)


def _ratio(eigenvalues: "np.ndarray[Any, Any] | None") -> float:
    if eigenvalues is None or not len(eigenvalues) or not eigenvalues.max() > 0:
        return math.nan
    return math.sqrt(max(float(eigenvalues.min()), 0.0) / float(eigenvalues.max()))

"""One measurement: a record becomes the values of a row."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fisherscope import measures
from fisherscope.eigenvalues import Spectrum, cond_of_blocks, spectrum
from fisherscope.monitor.optimizer_metric import metric_values

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim import Optimizer

    from fisherscope.gram import GramRecord

Row = dict[str, Any]
"""A measured step: keys of docs/measures.md, plain numbers, None where a value is undefined."""

VALID_STATUSES = ("ok", "partial", "zero")
"""Statuses of a record whose numbers are valid; for any other the row has the status alone."""


def _spectral(eigenvalues: Spectrum) -> Row:
    return {
        "fisher/cond": eigenvalues.cond,
        "fisher/cond_limit": eigenvalues.cond_limit,
        "fisher/censored": eigenvalues.censored,
        "fisher/rank": eigenvalues.rank,
        "fisher/effective_rank": eigenvalues.effective_rank,
        "fisher/accuracy": eigenvalues.accuracy,
    }


NO_SPECTRUM = Spectrum(np.empty(0), np.empty(0), math.nan)
"""Of a batch spread over ranks whose cross terms were not formed."""
SPECTRAL = tuple(_spectral(Spectrum(np.ones(1), np.zeros(1), 1.0)))
MEASURES = (
    "train/loss",
    *SPECTRAL,
    "fisher/cond_m8",
    "fisher/trace",
    "fisher/energy",
    *measures.INSTRUMENTS,
    "gradient/largest_share",
    "gradient/zero_share",
)
"""Keys of the values computed from one Gram."""


@dataclass(frozen=True)
class Measurement:
    """Values of one measured step, before anything is added up over the run.

    Args:
        values: `MEASURES`; NaN where one is undefined.
        spectrum: Spectrum of the Gram, or of its part for the chosen samples.
        gradients: Sums over the Gram from which the instruments are computed.
        traces: Tr F̃ of each parameter.
        mean_squares: |Σ g_i|² of each parameter.
        group_traces: Tr F̃ of each of the optimizer's parameter groups.
        energy: l_k, the energy of the step.
        batch_size: |B|, samples.
        status: "ok", or what is wrong, in words.
        metric_values: Values in the optimizer's metric; empty where none was asked for.
        metric_gradients: Sums over the Gram in that metric; None where it was not measured.
    """

    values: Row
    spectrum: Spectrum
    gradients: measures.Gradients | measures.GradientSums
    traces: Mapping[str, float]
    mean_squares: Mapping[str, float]
    group_traces: list[float]
    energy: float
    batch_size: int
    status: str
    metric_values: Row = field(default_factory=dict)
    metric_gradients: measures.Gradients | None = None


def measurement(
    record: "GramRecord",
    rates: Sequence[float],
    groups: Mapping[str, int],
    loss: float | None,
    rule: str,
    subset: tuple[int, Sequence[int]] | None = None,
) -> Measurement:
    """Compute everything that one record says about its step.

    Args:
        record: A finished record with a Gram.
        rates: Learning rate of each parameter group.
        groups: Number of the parameter group by parameter name; parameters of no group are left out.
        loss: Mean loss of the batch.
        rule: Non-zero rule, or `paper`.
        subset: Number of samples whose part of the Gram gives the spectrum, and a seed; None for all.

    Returns:
        The measurement; of a batch smaller than the subset without a spectrum.

    Cost: one eigenvalue decomposition of the Gram, O(n³), on the host.
    """
    size, status, of_all = record.batch_size, diagnosis(record), record.spectrum == "global"
    gram = record.gram if of_all else record.rank_gram if record.spectrum == "rank" else None
    seen = 0 if gram is None else len(gram)
    indices = None if subset is None else _subset(seen, *subset)
    part = gram if gram is None or indices is None else gram[indices][:, indices]
    eigenvalues = NO_SPECTRUM if part is None else spectrum(part, record.entry_error, rule)
    gradients: measures.Gradients | measures.GradientSums = (
        measures.Gradients(gram.numpy())
        if of_all and gram is not None
        else measures.GradientSums(size, record.trace, record.mean_square)
    )
    traces = [0.0] * len(rates)
    for name, group in groups.items():
        traces[group] += record.traces.get(name, 0.0)
    energy = math.sqrt(sum(rate**2 * trace for rate, trace in zip(rates, traces, strict=True))) / size
    spectral = _spectral(eigenvalues)
    if subset is not None and seen < subset[0] and gram is not None:
        spectral = dict.fromkeys(SPECTRAL, math.nan)
        status = f"the batch of {seen} samples is below max_samples={subset[0]}: no spectrum"
    values = {
        "train/loss": math.nan if loss is None else loss,
        **(spectral if of_all else dict.fromkeys(SPECTRAL, math.nan)),
        "fisher/cond_m8": math.nan,
        "fisher/trace": gradients.trace,
        "fisher/energy": energy,
        **measures.sum_instruments(gradients, rates[0], loss),
        "gradient/largest_share": math.nan,
        "gradient/zero_share": math.nan,
    }
    if of_all and gram is not None:
        values |= _cross_terms(gram, record.entry_error, rule, rates[0], loss)
    elif gram is not None:
        values |= {key.replace("fisher/", "rank/"): value for key, value in spectral.items()}
    if not of_all:
        eigenvalues = NO_SPECTRUM
    own, own_gradients = metric_values(record, rates[0], loss) if record.metric is not None else ({}, None)
    return Measurement(
        values, eigenvalues, gradients, record.traces, record.mean_squares, traces, energy, size,
        status if status != "ok" else eigenvalues.status, own, own_gradients,
    )  # fmt: skip


def _cross_terms(gram: "torch.Tensor", entry_error: float, rule: str, lr: float, loss: float | None) -> Row:
    """Compute the values that need single samples, or inner products of two."""
    gradients = measures.Gradients(gram.numpy())
    return {
        "fisher/cond_m8": cond_of_blocks(gram, entry_error=entry_error, rule=rule),
        **measures.instruments(gradients.gram, lr, loss),
        "gradient/largest_share": _share(float(gradients.square_norms.max()), gradients.trace),
        "gradient/zero_share": float(np.mean(gradients.square_norms == 0)),
    }


def _subset(size: int, count: int, seed: Sequence[int]) -> "np.ndarray[Any, Any] | None":
    """Draw seeded indices in batch order, shape (count,); None if there are no more samples."""
    if size <= count:
        return None
    return np.sort(np.random.default_rng(seed).choice(size, count, replace=False))


def is_valid(record: "GramRecord") -> bool:
    """Check that a record has a Gram, of some parameters at least, that passed its check."""
    return record.measured and record.share_covered > 0 and record.status.partition(":")[0] in VALID_STATUSES


def diagnosis(record: "GramRecord") -> str:
    """Describe a record's status; where it is not ok, with the first note that says why."""
    why = f" ({record.notes[0]})" if record.status != "ok" and record.notes else ""
    return record.status + why


def parameter_groups(model: "nn.Module", optimizer: "Optimizer") -> dict[str, int]:
    """Map each parameter's name to the number of the optimizer's group that has it.

    Args:
        model: Gives the names.
        optimizer: Gives the groups.

    Returns:
        Group numbers by name; parameters of no group are left out.
    """
    group_of = {id(p): k for k, group in enumerate(optimizer.param_groups) for p in group["params"]}
    return {name: group_of[id(p)] for name, p in model.named_parameters() if id(p) in group_of}


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan

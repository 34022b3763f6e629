"""One measurement: a record and where the run stands become the values of a row."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fisherscope import measures
from fisherscope.eigenvalues import Spectrum, cond_of_blocks, spectrum

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from fisherscope.gram import GramRecord

Row = dict[str, Any]
"""A measured step: keys of docs/measures.md, plain numbers, None where a value is undefined."""

BELIEVED = ("ok", "partial", "zero")
"""Statuses of a record whose numbers are believed; of any other the row has the status alone."""


def _spectral(read: Spectrum) -> Row:
    return {
        "fisher/cond": read.cond,
        "fisher/cond_limit": read.cond_limit,
        "fisher/censored": read.censored,
        "fisher/rank": read.rank,
        "fisher/effective_rank": read.effective_rank,
        "fisher/accuracy": read.accuracy,
    }


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
"""Keys of what one Gram says."""


@dataclass(frozen=True)
class Measurement:
    """What one measured step says, before anything is added up over the run.

    Args:
        values: `MEASURES`; NaN where one is undefined.
        spectrum: Of the Gram, or of the chosen samples' part of it.
        gradients: The sums over the Gram that the instruments are made of.
        traces: Tr F̃ of each parameter.
        mean_squares: |Σ g_i|² of each parameter.
        group_traces: Tr F̃ of each of the optimizer's parameter groups.
        energy: l_k.
        batch_size: |B|.
        status: "ok", or in words what is the matter.
    """

    values: Row
    spectrum: Spectrum
    gradients: measures.Gradients
    traces: Mapping[str, float]
    mean_squares: Mapping[str, float]
    group_traces: list[float]
    energy: float
    batch_size: int
    status: str


def measurement(
    record: "GramRecord",
    rates: Sequence[float],
    groups: Mapping[str, int],
    loss: float | None,
    rule: str,
    subset: tuple[int, Sequence[int]] | None = None,
) -> Measurement:
    """Everything one record says.

    Args:
        record: A finished record with a Gram.
        rates: Learning rate of each parameter group.
        groups: Parameter name → its group; parameters that no group has are not here.
        loss: Mean loss of the batch.
        rule: Non-zero rule, or `paper`.
        subset: How many samples' part of the Gram gives the spectrum, and a seed; None for the whole batch.
    """
    gram, size, status = record.gram, record.batch_size, diagnosis(record)
    chosen = None if subset is None else _chosen(size, *subset)
    part = gram if chosen is None else gram[chosen][:, chosen]
    read = spectrum(part, record.entry_error, rule)
    gradients = measures.Gradients(gram.numpy())
    traces = [0.0] * len(rates)
    for name, group in groups.items():
        traces[group] += record.traces.get(name, 0.0)
    energy = math.sqrt(sum(rate**2 * trace for rate, trace in zip(rates, traces, strict=True))) / size
    spectral = _spectral(read)
    if subset is not None and size < subset[0]:
        spectral = dict.fromkeys(SPECTRAL, math.nan)
        status = f"the batch of {size} samples is below max_samples={subset[0]}: it has no such spectrum"
    values = {
        "train/loss": math.nan if loss is None else loss,
        **spectral,
        "fisher/cond_m8": cond_of_blocks(gram, entry_error=record.entry_error, rule=rule),
        "fisher/trace": gradients.trace,
        "fisher/energy": energy,
        **measures.instruments(gradients.gram, rates[0], loss),
        "gradient/largest_share": _share(float(gradients.square_norms.max()), gradients.trace),
        "gradient/zero_share": float(np.mean(gradients.square_norms == 0)),
    }
    return Measurement(
        values, read, gradients, record.traces, record.mean_squares, traces, energy, size,
        status if status != "ok" else read.status,
    )  # fmt: skip


def _chosen(size: int, count: int, seed: Sequence[int]) -> "np.ndarray[Any, Any] | None":
    """Seeded random samples, in batch order; None where the batch has no more than that."""
    if size <= count:
        return None
    return np.sort(np.random.default_rng(seed).choice(size, count, replace=False))


def believed(record: "GramRecord") -> bool:
    """Whether the record has a Gram that adds up, be it of part of the parameters."""
    return record.measured and record.share_covered > 0 and record.status.partition(":")[0] in BELIEVED


def diagnosis(record: "GramRecord") -> str:
    """The record's status; where it is not ok, with the first note that says why."""
    why = f" ({record.notes[0]})" if record.status != "ok" and record.notes else ""
    return record.status + why


def parameter_groups(model: "nn.Module", optimizer: "Optimizer") -> dict[str, int]:
    """Parameter name → number of the optimizer's group that has it."""
    group_of = {id(p): k for k, group in enumerate(optimizer.param_groups) for p in group["params"]}
    return {name: group_of[id(p)] for name, p in model.named_parameters() if id(p) in group_of}


def plain(value: Any) -> Any:
    """As JSON has it: Python numbers, None where not finite."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan

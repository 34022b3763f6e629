"""Take a step apart: run its forward passes again under the recorder, and rank samples and layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fisherscope.gram import GramRecord, record_gram
from fisherscope.gram.nonfinite import nonfinite_samples
from fisherscope.model_state import restored_after
from fisherscope.monitor.spikes.forward_tape import ForwardTape, KeptForward, output_tensors

SHOWN = 10
"""Samples, micro-batches and layers that a spike lists."""
TOLERATED = 1e-3
"""Relative distance of a replayed output from the step's own: kernels of a GPU are not all repeatable."""


class ReplayError(Exception):
    """Report a step that can't be run again."""


def replay(model: nn.Module, tape: ForwardTape, options: Mapping[str, Any]) -> GramRecord:
    """Run a step's forward passes again, with the gradients that arrived at their outputs.

    The model, its gradients, buffers and all random generators are put back bit for bit.

    Args:
        model: What the loop calls.
        tape: Of the step.
        options: Arguments of `record_gram`.

    Returns:
        The record of the step.

    Raises:
        ReplayError: A forward can't be run again, or gives something else.
        GramError: The Gram can't be measured.

    Cost: a measured step, and a copy of parameters and gradients while it runs.
    """
    calls = [call for call in tape.calls if call.gradients]
    if not calls:
        raise ReplayError("no gradient arrived at an output of the model")
    if any(call.is_changed() for call in calls):
        raise ReplayError("an input of the model was overwritten after its forward")
    if any(getattr(p, "_post_accumulate_grad_hooks", None) for p in model.parameters()):
        raise ReplayError("parameters have hooks that act on their gradients")
    with restored_after(model), record_gram(model, accumulate=len(calls) > 1, **options) as record:
        for call in calls:
            with call.context():
                outputs = output_tensors(model(*call.args, **call.kwargs))
            _surrogate(call, outputs).backward()
    return record


def _surrogate(call: KeptForward, outputs: list[Tensor]) -> Tensor:
    """Return a scalar whose gradient at the outputs is the step's own."""
    if len(outputs) != len(call.outputs) or any(
        new.shape != old.shape for new, old in zip(outputs, call.outputs, strict=True)
    ):
        raise ReplayError("the forward gives an output of another shape when it is run again")
    for new, old in zip(outputs, call.outputs, strict=True):
        same = torch.equal(new.detach(), old) or bool((new.detach() - old).norm() <= TOLERATED * old.norm())
        if not same and bool(torch.isfinite(old).all()):
            raise ReplayError("the forward gives another output when it is run again")
    terms = [(outputs[k] * gradient).sum() for k, gradient in call.gradients.items()]
    return torch.stack([term.double() for term in terms]).sum()


def sample_rows(gram: Tensor, names: Sequence[Any]) -> list[dict[str, Any]]:
    """Rank the samples by how much shorter the batch gradient would be without each.

    explained = 1 − |Σ_{j≠i} g_j|²/|Σ_j g_j|² = (2 Σ_j F̃_ij − F̃_ii)/Σ F̃.

    Args:
        gram: F̃, (n, n), float64.
        names: Ids or numbers of the samples, (n,).

    Returns:
        The first ten: `sample`, `explained`, `share` of Tr F̃, `cosine` with the batch gradient. Samples
        whose gradients are not finite come alone.
    """
    broken = nonfinite_samples(gram)
    if broken:
        return [
            {"sample": names[k], "explained": None, "share": None, "cosine": None} for k in broken[:SHOWN]
        ]
    rows, whole = gram.sum(1), float(gram.sum())
    squares = gram.diagonal()
    explained = (2 * rows - squares) / max(whole, torch.finfo(torch.float64).tiny)
    cosines = rows / (squares.clamp_min(torch.finfo(torch.float64).tiny) * max(whole, 0.0)).sqrt()
    order = explained.argsort(descending=True)[:SHOWN].tolist()
    return [
        {
            "sample": names[k],
            "explained": float(explained[k]),
            "share": float(squares[k] / squares.sum()),
            "cosine": float(cosines[k]),
        }
        for k in order
    ]


def micro_batch_rows(gram: Tensor, sizes: Sequence[int | None]) -> list[dict[str, Any]]:
    """Rank the step's forward passes as `sample_rows` does its samples.

    Args:
        gram: F̃, (n, n), samples in the order of the passes.
        sizes: Samples of each.

    Returns:
        `micro_batch` (from 0), `explained`; empty for one pass, or where the sizes do not add up.
    """
    known = [size for size in sizes if size is not None]
    if len(sizes) < 2 or len(known) < len(sizes) or sum(known) != len(gram):
        return []
    parts = torch.repeat_interleave(torch.arange(len(known)), torch.tensor(known))
    member = torch.nn.functional.one_hot(parts, len(known)).to(gram.dtype)
    joint = member.T @ gram @ member
    rows = sample_rows(joint, range(len(known)))
    return [{"micro_batch": row["sample"], "explained": row["explained"]} for row in rows]


def layer_rows(squares: Mapping[str, float], usual: Mapping[str, float]) -> list[dict[str, Any]]:
    """Rank the parameters by their part of what the gradient's square has grown by.

    Args:
        squares: |g|² of each parameter in this step.
        usual: The same, averaged over the steps before.

    Returns:
        The first ten: `parameter`, `share` of |g|², `growth` over the usual |g|, `explained` of the growth.
    """
    whole = sum(squares.values())
    growth = {name: square - usual.get(name, 0.0) for name, square in squares.items()}
    total = sum(max(value, 0.0) for value in growth.values())

    def rank(name: str) -> float:
        value = growth[name]
        return float("inf") if value != value else value

    order = sorted(squares, key=rank, reverse=True)[:SHOWN]
    return [
        {
            "parameter": name,
            "share": squares[name] / whole if whole > 0 else None,
            "growth": (squares[name] / usual[name]) ** 0.5 if usual.get(name) else None,
            "explained": growth[name] / total if total > 0 else None,
        }
        for name in order
    ]

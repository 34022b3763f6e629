"""The other semantics: column i is ∇ℓ_i alone, one backward pass a sample."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from fisherscope.gram.accumulation.parameter_uses import ParameterUse
from fisherscope.gram.columns import Dense
from fisherscope.gram.interception.provenance import leaf_geometry, without_hooks
from fisherscope.gram.recorder import Recorder


def per_loss_backward(recorder: Recorder) -> Callable[[Tensor], None]:
    """Return what forms the columns of `record.backward(losses)`, by n backward passes.

    Takes n·P numbers of memory; exact for any model, through BatchNorm's coupling too, also where nothing can
    be split by sample.

    Returns:
        What `GramRecord.backward` calls before the step's own pass.
    """
    accumulator, reduction = recorder.accumulator, recorder.settings.reduction

    def form_columns(losses: Tensor) -> None:
        leaves = list(accumulator.parameters.values())
        start = time.perf_counter()
        rows: list[list[Tensor]] = [[] for _ in leaves]
        with without_hooks(leaves):
            for loss in losses:
                grads = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
                for place, (leaf, gradient) in enumerate(zip(leaves, grads, strict=True)):
                    rows[place].append(
                        torch.zeros_like(leaf).flatten() if gradient is None else gradient.flatten()
                    )
        factor = 1 / len(losses) if reduction == "mean" else 1.0
        for name, row in zip(accumulator.parameters, rows, strict=True):
            columns = Dense(torch.stack(row) * factor, accumulator.parameters[name].shape)
            accumulator.add(name, ParameterUse(columns, leaf_geometry(accumulator.parameters[name])))
        accumulator.seconds += time.perf_counter() - start
        recorder.gradients.loss = (losses.mean() if reduction == "mean" else losses.sum()).detach()
        recorder.gradients.backwards += 1

    return form_columns

"""`fs.advise`: measure a user's model and data, then recommend a batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from fisherscope.advice.phases import AdviceOptions, OptimizerArgument, advice_on
from fisherscope.analysis.batch_size.advice import Advice
from fisherscope.tasks import subject_of


def advise(
    model: nn.Module, loss: Any = None, data: Any = None, *, batch: Any = None,
    optimizer: OptimizerArgument | None = None, warmup: int = 200, sizes: Sequence[int] | None = None,
    seconds: float = 60.0, seed: int = 0, level: float = 0.9, reduction: str | None = None,
    record: Mapping[str, Any] | None = None, memory_limit: int | None = None,
) -> Advice:  # fmt: skip
    """Recommend a batch size for a model, its loss and its data, within a time limit.

    Trains `warmup` steps, measures the noise scale at the weights they lead to, times a step of each batch
    size, and restores everything bit for bit: parameters, buffers, gradients, modes, plain attributes of
    modules, optimizer and random state.

    Example:
        ```python
        import torch
        import fisherscope as fs

        x = torch.randn(200, 6)
        data = (x, (x[:, 0] > 0).long())
        loss = torch.nn.functional.cross_entropy
        advice = fs.advise(torch.nn.Linear(6, 2), loss, data, warmup=20, sizes=(4, 8, 16), seconds=10)
        print(advice)
        assert advice.to_dict()["recommended"] == advice.fastest
        print(advice.scale_text(), advice.lines())
        ```

    Args:
        model: The model, on its device and in its mode; meanwhile it is in training mode.
        loss: (model, batch) → scalar; or a loss of torch, called with model(batch[0]) and batch[1]; or None
            if model(**batch) returns one.
        data: A data set, a DataLoader (its batch size does not matter), or tensors with samples first.
        batch: One batch instead of `data`; the noise scale is then that of its samples alone.
        optimizer: The optimizer of these parameters, or a function of the parameters that builds it; by
            default AdamW(lr=1e-3). It trains the warm-up and is part of a step's time and memory.
        warmup: Training steps before measuring. At initialisation the noise scale is far too small (Merrill
            et al. 2025); 0 for a trained model.
        sizes: Batch sizes to time; by default 4, 8, … up to the data set's size, 4096, or what fits.
        seconds: Time limit.
        seed: Seed of the batches.
        level: Nominal coverage of the noise scale's interval.
        reduction: Reduction of the loss, "mean" or "sum".
        record: Further arguments of `record_gram`.
        memory_limit: Bytes that a step may take; by default what is free.

    Returns:
        Recommended batch size, noise scale with interval, seconds and memory by batch size. Print it.

    Raises:
        AdviceError: The arguments can't be trained a step; the text says which line to write.
        TaskError: Model, loss and data are not what is expected.

    Cost:
        `seconds`, and a copy of parameters, gradients and optimizer state.

    Source:
        McCandlish et al. 2018 for the time to a given loss, ∝ seconds(B)·(1 + B_noise/B).
    """
    subject = subject_of(model, loss, data=data, batch=batch, name=type(model).__name__, reduction=reduction,
                         record=record)  # fmt: skip
    options = AdviceOptions(
        warmup, None if sizes is None else tuple(sizes), seconds, seed, level, memory_limit
    )
    return advice_on(subject, options, model, optimizer)

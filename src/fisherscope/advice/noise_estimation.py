"""Gram matrices and gradients of independent batches at fixed weights, and the noise scale from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fisherscope import measures
from fisherscope.advice.training_step import AdviceError, StepRunner
from fisherscope.analysis.batch_size.noise_scale import FEWEST, NoiseInterval, noise_interval
from fisherscope.gram import GramError, record_gram

MOST, LEAST_BLOCKS = 64, 8
BLOCK_BYTES = 512 << 20
"""What the kept gradients may take; beyond it, batches share a block."""
CHUNK = 1 << 19
"""Parameters whose products are formed at a time."""


@dataclass
class Blocks:
    """Sums of batches' mean gradients, `each` batches a block; joined in pairs where there are too many."""

    limit: int
    each: int = 1
    sums: list[Tensor] = field(default_factory=list)
    within: list[float] = field(default_factory=list)  # sums of tr Σ̂ over a block's batches
    waiting: int = 0  # batches in the last block, where it is not full

    def add(self, gradient: Tensor, variance: float) -> None:
        """One more batch."""
        if self.waiting:
            self.sums[-1] += gradient
            self.within[-1] += variance
        else:
            if len(self.sums) >= self.limit:
                self._join()
            self.sums.append(gradient)
            self.within.append(variance)
        self.waiting = (self.waiting + 1) % self.each

    def _join(self) -> None:
        count = len(self.sums) // 2 * 2
        self.sums = [self.sums[k] + self.sums[k + 1] for k in range(0, count, 2)]
        self.within = [self.within[k] + self.within[k + 1] for k in range(0, count, 2)]
        self.each *= 2

    def full(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Products of the full blocks' mean gradients (J, J), and tr Σ̂ within them (J,)."""
        count = len(self.sums) - (1 if self.waiting else 0)
        products = torch.zeros(count, count, dtype=torch.float64)
        for parts in zip(*(total.split(CHUNK) for total in self.sums[:count]), strict=True):
            rows = torch.stack(parts).double()
            products += (rows @ rows.T).cpu()
        return products.numpy() / self.each**2, np.array(self.within[:count]) / self.each


@dataclass
class GradientSamples:
    """What was measured: the interval, the Grams, seconds of a measured step, and what went wrong."""

    noise: NoiseInterval
    grams: list[np.ndarray[Any, Any]]
    seconds: float
    problem: str = ""


def coupled(model: nn.Module) -> bool:
    """Whether a normalisation over the batch couples its samples."""
    kind = nn.modules.batchnorm._BatchNorm
    return any(isinstance(module, kind) and module.training for module in model.modules())


def sampled(
    stepper: StepRunner, size: int, deadline: Callable[[], bool], *, batches: int = MOST, seed: int = 0,
    level: float = 0.9,
) -> GradientSamples:  # fmt: skip
    """The noise scale at the present weights, from up to `batches` independent batches of `size` samples.

    The weights stay as they are; buffers and gradients do not.

    Raises:
        AdviceError: There are too few samples, or gradients are not finite.
    """
    subject, model = stepper.subject, stepper.model
    if subject.given_size is not None:
        return _of_one_batch(stepper, level)
    population = subject.dataset_size
    numbers = sum(p.numel() for p in model.parameters() if p.requires_grad)
    blocks = Blocks(max(LEAST_BLOCKS, min(MOST, BLOCK_BYTES // max(1, 4 * numbers)) // 2 * 2))
    grams: list[Any] = []
    problem, seconds, between = "", [], coupled(model)
    for count, batch in enumerate(_independent(stepper, size, seed)):
        if count >= batches or (count >= 2 * FEWEST and deadline()):
            break
        (gram, problem), spent = stepper.timed(partial(measured_step, stepper, batch, problem))
        seconds.append(spent)
        gradient = _gradient(stepper, size)
        if gram is not None:
            grams.append(gram)
        blocks.add(gradient, np.nan if gram is None else measures.Gradients(gram).variance)
    products, within = blocks.full()
    correction = 1.0 if population is None else 1 - size / population
    known = not between and bool(np.isfinite(within).all())
    noise = noise_interval(products, size * blocks.each, within if known else None, correction, level)
    return GradientSamples(noise, grams, min(seconds), problem)


def _independent(stepper: StepRunner, size: int, seed: int) -> Iterator[Any]:
    """Batches drawn without replacement each, independently of each other; a stream's follow each other."""
    subject = stepper.subject
    if subject.dataset_size is None:
        yield from map(stepper.moved, subject.batches(size, seed))
    drawn = np.random.SeedSequence((seed, 771)).generate_state(4096)
    for state in drawn:
        yield stepper.moved(next(subject.batches(size, int(state))))


def measured_step(stepper: StepRunner, batch: Any, problem: str = "") -> tuple[Any, str]:
    """Forward and backward with their Gram; without one where it can't be had, and why."""
    stepper.model.zero_grad(set_to_none=True)
    if not problem:
        try:
            with record_gram(stepper.model, **stepper.subject.options) as record:
                stepper.loss(batch).backward()
            if record.share_covered == 1:
                return record.gram.numpy(), ""
            problem = f"only {record.share_covered:.1%} of the parameters could be measured sample by sample"
        except GramError as error:
            problem = str(error)
            stepper.model.zero_grad(set_to_none=True)
            stepper.loss(batch).backward()
        return None, problem
    stepper.loss(batch).backward()
    return None, problem


def _gradient(stepper: StepRunner, size: int) -> Tensor:
    """The batch's mean gradient as a vector."""
    parts = []
    for parameter in stepper.model.parameters():
        if parameter.requires_grad:
            found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parts.append((found.to_dense() if found.is_sparse else found).detach().flatten().float())
    vector = torch.cat(parts)
    if not bool(torch.isfinite(vector).all()):
        raise AdviceError(
            f"advising on {stepper.subject.name}: gradients are NaN or infinite at the present weights; "
            "train with a smaller learning rate (lr=), or look at the data"
        )
    return vector / size if stepper.subject.reduction == "sum" else vector


def _of_one_batch(stepper: StepRunner, level: float) -> GradientSamples:
    """From the one batch that was given: its samples are the blocks."""
    size = stepper.subject.given_size or 0
    if size < FEWEST:
        raise AdviceError(
            f"advising on {stepper.subject.name}: one batch of {size} samples; a noise scale needs {FEWEST}, "
            'and says something from about 64 on. Give more samples, or "data": my_dataset'
        )
    batch = stepper.moved(stepper.subject.batch())
    (gram, problem), seconds = stepper.timed(lambda: measured_step(stepper, batch))
    if gram is None:
        raise AdviceError(
            f'advising on {stepper.subject.name}: one batch was given, and {problem}. Give "data": '
            "my_dataset: several batches need no per-sample gradients"
        )
    return GradientSamples(noise_interval(gram, level=level), [gram], seconds, problem)

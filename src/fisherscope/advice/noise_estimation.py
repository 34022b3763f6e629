"""Phase 2 of advice: the noise scale, from independent batches at fixed weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fisherscope import measures
from fisherscope.advice.training_step import AdviceError, StepRunner, fit_batch_size
from fisherscope.analysis.batch_size.noise_scale import (
    FEWEST,
    NoiseInterval,
    SizeTest,
    noise_interval,
    size_tests,
)
from fisherscope.gram import GramError, record_gram

MOST, LEAST_BLOCKS = 64, 8
BLOCK_BYTES = 512 << 20
"""Memory for the stored gradients; beyond it, batches share a block."""
CHUNK = 1 << 19
"""Parameters whose products are computed at a time."""
FIRST_SEEDS = 4096
"""Independent batches that one seed gives at most."""


@dataclass
class Blocks:
    """Sums of batches' mean gradients by block; blocks are joined when there are too many.

    Args:
        limit: Blocks to store at most.
        each: Batches of a full block.
        sums: Sum of the mean gradients of each block, shape (p,).
        within: Sum of tr Σ̂ over each block's batches.
        waiting: Batches in the last block while it is not full.
    """

    limit: int
    each: int = 1
    sums: list[Tensor] = field(default_factory=list)
    within: list[float] = field(default_factory=list)
    waiting: int = 0

    def add(self, gradient: Tensor, variance: float) -> None:
        """Add one batch.

        Args:
            gradient: Its mean gradient, shape (p,); modified later.
            variance: Its tr Σ̂, NaN if unknown.
        """
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
        """Compute the products of the full blocks' mean gradients, and the variance within them.

        Returns:
            Inner products, shape (J, J), and tr Σ̂, shape (J,), both float64.
        """
        count = len(self.sums) - (1 if self.waiting else 0)
        products = torch.zeros(count, count, dtype=torch.float64)
        for parts in zip(*(total.split(CHUNK) for total in self.sums[:count]), strict=True):
            rows = torch.stack(parts).double()
            products += (rows @ rows.T).cpu()
        return products.numpy() / self.each**2, np.array(self.within[:count]) / self.each


@dataclass(frozen=True)
class GradientSamples:
    """The noise scale of a workload, and what it was estimated from; made by `sample_noise`.

    Args:
        noise: The noise scale with its interval.
        grams: Gram of each batch that has one, shape (n, n), float64.
        seconds: Seconds of a measured step, the least of all batches.
        problem: Why there are no per-sample gradients; empty where there are.
        tests: Signal-to-noise ratio and norm test by batch size.
        batch_size: Samples of a batch.
        reduced: Whether memory ran out with larger batches.
        coupled: Whether BatchNorm couples the samples of a batch.
    """

    noise: NoiseInterval
    grams: list[np.ndarray[Any, Any]]
    seconds: float
    problem: str
    tests: list[SizeTest]
    batch_size: int
    reduced: bool
    coupled: bool


def sample_noise(
    runner: StepRunner, size: int, expired: Callable[[], bool], *, batches: int = MOST, seed: int = 0,
    level: float = 0.9,
) -> GradientSamples:  # fmt: skip
    """Estimate the noise scale at the present weights from independent batches.

    The weights stay as they are; buffers and gradients do not. Where memory runs out the batches are halved.

    Example:
        ```python
        import torch
        import fisherscope as fs
        from fisherscope.advice import StepRunner, sample_noise

        model = torch.nn.Linear(6, 2)
        data = (torch.randn(64, 6), torch.randint(0, 2, (64,)))
        workload = fs.tasks.subject_of(model, torch.nn.functional.cross_entropy, data=data)
        runner = StepRunner(workload, model, torch.optim.SGD(model.parameters(), lr=0.1))
        result = sample_noise(runner, size=16, expired=lambda: False, batches=8)
        print(result.noise.scale, result.noise.low, result.noise.high)
        ```

    Args:
        runner: Model, loss and data.
        size: Samples of a batch; of a workload that is one batch, that batch is taken whole.
        expired: Tells whether time has run out; at least 8 batches are measured.
        batches: Batches at most.
        seed: Seed of the batches.
        level: Nominal coverage of the interval, in (0, 1).

    Returns:
        The noise scale in samples, with its interval, and the Grams.

    Raises:
        AdviceError: There are too few samples, or gradients are not finite.

    Cost:
        A measured step per batch, and 512 MiB for gradients of a large model.

    Source:
        McCandlish et al. 2018, appendix A.1.
    """
    coupled = is_coupled(runner.model)
    if runner.subject.given_size is None:
        (noise, grams, seconds, problem), fitting_size = fit_batch_size(
            runner, size, lambda n: _from_batches(runner, n, expired, batches, seed, level, coupled)
        )
    else:
        (noise, grams, seconds, problem), fitting_size = _from_one_batch(runner, level), size
    return GradientSamples(
        noise, grams, seconds, problem, size_tests(grams), fitting_size, fitting_size != size, coupled
    )


Estimate = tuple[NoiseInterval, list[np.ndarray[Any, Any]], float, str]
"""The interval, the Grams, seconds of a measured step, and why there are no Grams."""


def _from_batches(
    runner: StepRunner, size: int, expired: Callable[[], bool], batches: int, seed: int, level: float,
    coupled: bool,
) -> Estimate:  # fmt: skip
    population = runner.subject.dataset_size
    numbers = sum(p.numel() for p in runner.model.parameters() if p.requires_grad)
    blocks = Blocks(max(LEAST_BLOCKS, min(MOST, BLOCK_BYTES // max(1, 4 * numbers)) // 2 * 2))
    grams: list[Any] = []
    problem, seconds = "", []
    for count, batch in enumerate(_independent_batches(runner, size, seed)):
        if count >= batches or (count >= 2 * FEWEST and expired()):
            break
        (gram, problem), step_seconds = runner.clock.time(
            partial(measured_step, runner, batch, problem, size)
        )
        seconds.append(step_seconds)
        gradient = _mean_gradient(runner, size)
        if gram is not None:
            grams.append(gram)
        blocks.add(gradient, np.nan if gram is None else measures.Gradients(gram).variance)
    products, within = blocks.full()
    correction = 1.0 if population is None else 1 - size / population
    use_within = not coupled and bool(np.isfinite(within).all())
    noise = noise_interval(products, size * blocks.each, within if use_within else None, correction, level)
    return noise, grams, min(seconds), problem


def _from_one_batch(runner: StepRunner, level: float) -> Estimate:
    """Take each sample of the one batch as a block."""
    size = runner.subject.given_size or 0
    if size < FEWEST:
        raise AdviceError(
            f"advising on {runner.subject.name}: received one batch of {size} samples; a noise scale needs "
            f'at least {FEWEST}, and about 64 to be useful. Pass more samples, or "data": my_dataset'
        )
    batch = runner.to_device(runner.subject.batch())
    (gram, problem), seconds = runner.clock.time(lambda: measured_step(runner, batch, size=size))
    if gram is None:
        raise AdviceError(
            f"advising on {runner.subject.name}: received one batch, and {problem}. Pass "
            '"data": my_dataset, because several batches need no per-sample gradients'
        )
    return noise_interval(gram, level=level), [gram], seconds, problem


def is_coupled(model: nn.Module) -> bool:
    """Check whether a normalisation over the batch couples its samples."""
    kind = nn.modules.batchnorm._BatchNorm
    return any(isinstance(module, kind) and module.training for module in model.modules())


def _independent_batches(runner: StepRunner, size: int, seed: int) -> Iterator[Any]:
    """Draw independent batches, each without replacement; those of a stream are consecutive."""
    if runner.subject.dataset_size is None:
        yield from runner.batches(size, seed)
    for state in np.random.SeedSequence((seed, 771)).generate_state(FIRST_SEEDS):
        yield next(runner.batches(size, int(state)))


def measured_step(
    runner: StepRunner, batch: Any, problem: str = "", size: int | None = None
) -> tuple[Any, str]:
    """Run forward and backward, and record the Gram if per-sample gradients can be computed.

    Args:
        runner: Model and loss; gradients are left in the model.
        batch: On the model's device.
        problem: Why an earlier batch had no Gram; then none is tried.
        size: Samples of the batch; None where it is not known.

    Returns:
        The Gram, shape (n, n), and an empty text; or None and the reason.
    """
    runner.model.zero_grad(set_to_none=True)
    if problem:
        runner.loss(batch).backward()
        return None, problem
    try:
        with record_gram(runner.model, **runner.subject.options) as record:
            runner.loss(batch).backward()
        if size not in (None, record.batch_size):
            return None, (
                f"the Gram has {record.batch_size} samples and the batch {size}; where rows are not samples "
                "say which each belongs to: record={'sample_of': …}, see fs.samples"
            )
        if record.share_covered == 1:
            return record.gram.numpy(), ""
        problem = f"only {record.share_covered:.1%} of the parameters could be measured sample by sample"
    except GramError as error:
        problem = str(error)
        runner.model.zero_grad(set_to_none=True)
        runner.loss(batch).backward()
    return None, problem


def _mean_gradient(runner: StepRunner, size: int) -> Tensor:
    """Return the batch's mean gradient as a vector, shape (p,), float32."""
    parts = []
    for parameter in runner.model.parameters():
        if parameter.requires_grad:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parts.append((gradient.to_dense() if gradient.is_sparse else gradient).detach().flatten().float())
    vector = torch.cat(parts)
    if not bool(torch.isfinite(vector).all()):
        raise AdviceError(
            f"advising on {runner.subject.name}: gradients are NaN or infinite at the present weights; "
            "train with a smaller learning rate (lr=), or check the data"
        )
    return vector / size if runner.subject.reduction == "sum" else vector

"""The phases of advice, one after another: each hands its result on as a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from fisherscope.advice.conclusions import conclude
from fisherscope.advice.noise_estimation import sample_noise
from fisherscope.advice.step_profile import profile_steps
from fisherscope.advice.training_step import AdviceError, StepRunner, TimeLimit, warm_up
from fisherscope.analysis.batch_size.advice import Advice
from fisherscope.analysis.batch_size.noise_scale import FEWEST
from fisherscope.model_state import restored_after, rng
from fisherscope.tasks import Subject

WARMUP_SIZE, NOISE_SIZE = 32, 64
WARMUP_SHARE, NOISE_SHARE = 0.35, 0.7
"""Share of the time limit at which each phase ends."""


@dataclass(frozen=True)
class AdviceOptions:
    """How advice is made; see `advice_on`.

    Args:
        warmup: Training steps before measuring.
        sizes: Batch sizes to time; None for powers of two.
        seconds: Time limit.
        seed: Seed of the batches, and of a new model.
        level: Nominal coverage of the noise scale's interval, in (0, 1).
        memory_limit: Bytes that a step may take; None for what is free.

    Raises:
        AdviceError: A field is outside its range.
    """

    warmup: int = 200
    sizes: tuple[int, ...] | None = None
    seconds: float = 60.0
    seed: int = 0
    level: float = 0.9
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.seconds <= 0 or not 0 < self.level < 1:
            raise AdviceError(
                f"advising: received warmup={self.warmup}, seconds={self.seconds}, level={self.level}; "
                "expected warmup ≥ 0, seconds > 0 and level in (0, 1)"
            )
        if self.sizes is not None and (not self.sizes or min(self.sizes) < 1):
            raise AdviceError(f"advising: received sizes={self.sizes}; expected batch sizes of 1 or more")


OptimizerArgument = Optimizer | Callable[[Any], Optimizer]


def advice_on(
    subject: Subject, plan: AdviceOptions | None = None, model: nn.Module | None = None,
    optimizer: OptimizerArgument | None = None,
) -> Advice:  # fmt: skip
    """Recommend a batch size for a workload, such as `fs.tasks.subject(name)` returns.

    Args:
        subject: Model, loss and data.
        plan: Options; by default those of `advise`.
        model: The model to measure; by default a new one of the workload, seeded.
        optimizer: As in `advise`.

    Returns:
        The advice.

    Raises:
        AdviceError: As `advise`.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope.advice import AdviceOptions, advice_on

        options = AdviceOptions(warmup=5, sizes=(4, 8), seconds=10)
        advice = advice_on(fs.tasks.subject("digits/mlp"), options)
        assert advice.fastest in (4, 8)
        ```
    """
    options = plan or AdviceOptions()
    samples = subject.dataset_size if subject.given_size is None else subject.given_size
    if samples is not None and samples < FEWEST:
        raise AdviceError(
            f"advising on {subject.name}: there are {samples} samples; expected {FEWEST} or more"
        )
    if model is None:
        torch.manual_seed(options.seed)
        model = subject.make()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise AdviceError(
            f"advising on {subject.name}: no parameter has requires_grad; expected a model to train"
        )
    torch_optimizer = _optimizer(parameters, optimizer)
    limit = TimeLimit(options.seconds)  # starts after what is loaded on first use
    warmup_size = max(1, min(WARMUP_SIZE, (samples or WARMUP_SIZE) // 2))
    noise_size = max(2, min(NOISE_SIZE, (samples or 4 * NOISE_SIZE) // 4))
    with restored_after(model, torch_optimizer):
        model.train()
        rng.seed_torch(options.seed)
        runner = StepRunner(subject, model, torch_optimizer)
        warmed_up = warm_up(
            runner, options.warmup, warmup_size, lambda: limit.remaining(WARMUP_SHARE) < 0, options.seed
        )
        share = NOISE_SHARE if warmed_up.losses else NOISE_SHARE - WARMUP_SHARE
        noise = sample_noise(
            runner, noise_size, lambda: limit.remaining(share) < 0, seed=options.seed, level=options.level
        )
        profile = profile_steps(runner, options.sizes, limit.remaining, options.memory_limit)
        return conclude(
            subject, warmed_up, noise, profile, options.seconds - limit.remaining(), str(runner.device)
        )


def _optimizer(parameters: list[nn.Parameter], optimizer: OptimizerArgument | None) -> Optimizer:
    if optimizer is None:
        return torch.optim.AdamW(parameters, lr=1e-3)
    return optimizer if isinstance(optimizer, Optimizer) else optimizer(parameters)

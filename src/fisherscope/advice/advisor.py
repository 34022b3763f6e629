"""`fs.advise`: a minute on a user's model and data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from fisherscope.advice.noise_estimation import GradientSamples, coupled, sampled
from fisherscope.advice.step_profile import fitting, step_times
from fisherscope.advice.timing_quality import doubts
from fisherscope.advice.training_step import AdviceError, StepRunner, described, warmed
from fisherscope.analysis.batch_size.advice import Advice, StepTime
from fisherscope.analysis.batch_size.noise_scale import FEWEST, size_tests
from fisherscope.model_state import restored_after
from fisherscope.tasks import Subject, subject_of

WARMUP_SIZE, NOISE_SIZE, LARGEST = 32, 64, 4096
WARMUP_SHARE, NOISE_SHARE = 0.35, 0.7  # of the time, when each ends
OVERHEAD = 0.05
FALLEN = 0.98
"""A loss above this share of what it was has not fallen."""
BUSY = 1.5
NO_DATASET_SIZE = 1024  # the largest size tried where it is not known how many samples there are


@dataclass(frozen=True)
class AdviceOptions:
    """How advice is made; `advise` explains each."""

    warmup: int = 200
    sizes: tuple[int, ...] | None = None
    seconds: float = 60.0
    seed: int = 0
    level: float = 0.9
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.seconds <= 0 or not 0 < self.level < 1:
            raise AdviceError(
                f"asking for advice: expected warmup ≥ 0, seconds > 0 and level in (0, 1); received "
                f"warmup={self.warmup}, seconds={self.seconds}, level={self.level}"
            )
        if self.sizes is not None and (not self.sizes or min(self.sizes) < 1):
            raise AdviceError(f"asking for advice: sizes={self.sizes}; expected batch sizes of 1 or more")


Optimizing = Optimizer | Callable[[Any], Optimizer]


def advise(
    model: nn.Module, loss: Any = None, data: Any = None, *, batch: Any = None,
    optimizer: Optimizing | None = None, warmup: int = 200, sizes: Sequence[int] | None = None,
    seconds: float = 60.0, seed: int = 0, level: float = 0.9, reduction: str | None = None,
    record: Mapping[str, Any] | None = None, memory_limit: int | None = None,
) -> Advice:  # fmt: skip
    """Which batch sizes are worth the time, from the model, its loss and its data, within `seconds`.

        print(fs.advise(model, F.cross_entropy, dataset))

    Trains `warmup` steps, measures the noise scale at the weights they lead to, times a step of each batch
    size, and puts everything back: parameters, buffers, gradients, modes, optimizer and random state are bit
    for bit what they were.

    Args:
        model: Where it lives and in the mode it is in; it is switched to training mode meanwhile.
        loss: (model, batch) → scalar; or a loss of torch, called with model(batch[0]) and batch[1]; or None
            where model(**batch) returns one.
        data: A data set, a DataLoader (its batch size does not matter), or tensors with samples first.
        batch: Instead of `data`, one batch; its samples alone are what the noise scale is taken from.
        optimizer: One of these parameters, or a function of them that makes one; by default
            AdamW(lr=1e-3). It warms the model up and is part of a step's time and memory.
        warmup: Training steps taken first. At initialisation the noise scale is far too small (Merrill et al.
            2025); 0 for a model that has been trained.
        sizes: Batch sizes to time; by default 4, 8, … up to the data set's size, 4096, or what fits.
        seconds: Time limit.
        seed: Of the batches.
        level: Nominal coverage of the noise scale's interval.
        reduction: Of the loss, "mean" or "sum".
        record: Further arguments of `record_gram`.
        memory_limit: Bytes that a step may take; by default what is free.

    Raises:
        AdviceError: What was handed over can't be trained a step; the text says which line to write.
    """
    subject = subject_of(model, loss, data=data, batch=batch, name=type(model).__name__, reduction=reduction,
                         record=record)  # fmt: skip
    plan = AdviceOptions(warmup, None if sizes is None else tuple(sizes), seconds, seed, level, memory_limit)
    return advice_on(subject, plan, model, optimizer)


def advice_on(
    subject: Subject, plan: AdviceOptions | None = None, model: nn.Module | None = None,
    optimizer: Optimizing | None = None,
) -> Advice:  # fmt: skip
    """`advise` on a subject, such as `fisherscope.tasks.subject(name)` gives; by default on a new model.

    Raises:
        AdviceError: As `advise`.
    """
    asked = plan or AdviceOptions()
    samples = subject.dataset_size if subject.given_size is None else subject.given_size
    if samples is not None and samples < FEWEST:
        raise AdviceError(
            f"advising on {subject.name}: there are {samples} samples; expected {FEWEST} at the very least"
        )
    if model is None:
        torch.manual_seed(asked.seed)
        model = subject.make()
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise AdviceError(
            f"advising on {subject.name}: no parameter has requires_grad; there is nothing to train"
        )
    stepped = _optimizer(model, optimizer)
    began = time.perf_counter()  # after what is loaded on first use
    with restored_after(model, stepped):
        model.train()
        torch.manual_seed(asked.seed)
        return _asked(StepRunner(subject, model, stepped), asked, began, samples)


def _optimizer(model: nn.Module, given: Optimizing | None) -> Optimizer:
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if given is None:
        return torch.optim.AdamW(wanted, lr=1e-3)
    return given if isinstance(given, Optimizer) else given(wanted)


def _asked(stepper: StepRunner, plan: AdviceOptions, began: float, samples: int | None) -> Advice:
    def left(share: float = 1.0) -> float:
        return began + share * plan.seconds - time.perf_counter()

    subject = stepper.subject
    warm_size = max(1, min(WARMUP_SIZE, (samples or WARMUP_SIZE) // 2))
    losses, warmed_at = fitting(
        stepper,
        warm_size,
        lambda size: warmed(stepper, plan.warmup, size, lambda: left(WARMUP_SHARE) < 0, plan.seed),
    )
    share = NOISE_SHARE if losses else NOISE_SHARE - WARMUP_SHARE
    size = max(2, min(NOISE_SIZE, (samples or 4 * NOISE_SIZE) // 4))
    stepper.optimizer.zero_grad(set_to_none=True)
    noise, measured_at = fitting(
        stepper,
        size,
        lambda some: sampled(stepper, some, lambda: left(share) < 0, seed=plan.seed, level=plan.level),
    )
    sizes = plan.sizes or default_sizes(subject.dataset_size)
    steps = step_times(stepper, sizes, left, plan.memory_limit)
    grouped = coupled(stepper.model)
    ends = _ends(losses)
    notes = _notes(stepper, plan, losses, ends, noise, grouped)
    waited = stepper.waited_seconds / torch.get_num_threads()
    doubted = [] if stepper.alone else doubts(steps, stepper.wall_seconds, waited)
    if (warmed_at, measured_at) != (warm_size, size):
        notes.append(
            f"memory ran out: warmed up with batches of {warmed_at}, the noise scale from {measured_at}"
        )
    return Advice(
        subject.name, noise.noise, tuple(steps), tuple(size_tests(noise.grams)),
        _every(noise, steps, subject.given_size or measured_at),
        tuple(notes), subject.dataset_size, len(losses), ends,
        grouped, time.perf_counter() - began, str(stepper.device), tuple(doubted),
    )  # fmt: skip


def default_sizes(samples: int | None) -> tuple[int, ...]:
    """4, 8, 16, … up to the samples of an epoch."""
    most = NO_DATASET_SIZE if samples is None else min(samples, LARGEST)
    return tuple(2**k for k in range(2, 13) if 2**k <= most)


def _ends(losses: list[float]) -> tuple[float, float] | None:
    """Mean of the first and of the last tenth."""
    if not losses:
        return None
    tenth = max(1, len(losses) // 10)
    return sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth


def _every(noise: GradientSamples, steps: list[StepTime], size: int) -> int | None:
    """The interval at which a measurement of this size costs 5 % of the steps' time."""
    plain = [step.seconds for step in steps if step.batch_size == size and step.seconds]
    if not plain or not noise.grams:
        return None
    return max(1, round((noise.seconds - plain[0]) / plain[0] / OVERHEAD))


def _notes(
    stepper: StepRunner,
    plan: AdviceOptions,
    losses: list[float],
    ends: tuple[float, float] | None,
    noise: GradientSamples,
    grouped: bool,
) -> list[str]:
    notes = []
    if stepper.alone and stepper.slowdown > BUSY:
        notes.append(
            f"the machine was busy: the clock ran {stepper.slowdown:.1f} times as long as this process "
            "worked; seconds are its own, and fewer batches and sizes fitted in the time"
        )
    optimizer = described(stepper.optimizer)
    if not losses:
        notes.append(
            "no warm-up: on a model that has not been trained the noise scale is far too small (Merrill et "
            "al. 2025); ask with warmup=200 then"
        )
    elif ends is not None and ends[1] > FALLEN * ends[0]:
        notes.append(
            f"the loss did not fall in {len(losses)} warm-up steps ({ends[0]:.3g} → {ends[1]:.3g}): a model "
            "that does not learn yet has another noise scale. Give the optimizer you train with and its rate "
            "(--optimizer, --lr), or a longer warmup; for a model trained already, warmup=0"
        )
    if losses and len(losses) < plan.warmup:
        notes.append(f"time for {len(losses)} of {plan.warmup} warm-up steps only; give more seconds")
    if stepper.subject.given_size is not None:
        notes.append("from one batch: its samples' noise, not the data set's; give data= for that")
    if grouped:
        notes.append(
            "BatchNorm couples the samples of a batch: the noise scale is approximate, that of batches of "
            f"{noise.noise.samples // max(1, noise.noise.blocks)}"
        )
    if noise.problem:
        notes.append(
            f"no per-sample gradients, the noise scale is from batches alone: {noise.problem} (arguments of "
            'record_gram go in record=, in a factory "record": {"batch": 0})'
        )
    notes.append(f"the step timed is {optimizer.partition('(')[0]}'s; nothing of the model was changed")
    return notes

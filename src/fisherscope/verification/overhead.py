"""Cost of a measured step relative to a plain one, and the interval that follows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from fisherscope.eigenvalues import spectrum
from fisherscope.gram import record_gram
from fisherscope.step_cost import time_steps
from fisherscope.tasks import Subject

SHARE = 0.02
"""Share of the training time that measuring may take at the suggested interval."""
ROUNDS, LEAST = 49, 2
"""Rounds at most, and rounds that are timed however short the time limit is."""


@dataclass(frozen=True)
class Overhead:
    """Time of a pass, and of a measured one relative to it; see `examine`.

    Args:
        batch_size: Samples of the batch.
        plain_seconds: Median seconds of an unmeasured pass.
        neutral_ratio: Median ratio of a measured pass, eigenvalues included, to a plain one.
        fused_ratio: The same with `fused=True`.
        turns: Passes of each kind.
    """

    batch_size: int
    plain_seconds: float
    neutral_ratio: float
    fused_ratio: float
    turns: int

    @property
    def every(self) -> int:
        """Interval in steps at which measuring takes `SHARE` of the time, to two digits."""
        steps = max(1, math.ceil((self.neutral_ratio - 1) / SHARE))
        unit: int = 10 ** max(0, len(str(steps)) - 2)
        return -(-steps // unit) * unit

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and `every` as JSON values.

        Returns:
            Values by field; see `Examination.as_dict`.
        """
        return {**asdict(self), "every": self.every}


def measure_overhead(subject: Subject, batch: Any, size: int, seconds: float) -> Overhead:
    """Time interleaved plain, measured and fused passes on one copy of the model.

    Args:
        subject: Model and loss.
        batch: One batch.
        size: Its samples.
        seconds: Time limit; three turns are made in any case, the first of which does not count.

    Returns:
        Medians over the turns.
    """
    model = subject.make()
    steps: dict[str, Callable[[], object]] = {
        "plain": lambda: subject.loss(model, batch).backward(),
        "neutral": lambda: _measured_pass(subject, model, batch, fused=False),
        "fused": lambda: _measured_pass(subject, model, batch, fused=True),
    }
    timed = time_steps(steps, ROUNDS, least=LEAST, budget=seconds, before=model.zero_grad, wait=_synchronize)
    times = {mode: [one.wall for one in rounds] for mode, rounds in timed.items()}
    ratios = {
        mode: statistics.median(a / b for a, b in zip(times[mode], times["plain"], strict=True))
        for mode in ("neutral", "fused")
    }
    turns = len(times["plain"])
    return Overhead(size, statistics.median(times["plain"]), ratios["neutral"], ratios["fused"], turns)


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _measured_pass(subject: Subject, model: torch.nn.Module, batch: Any, fused: bool) -> None:
    options = {**subject.options, "fused": fused, "strict": False}
    with record_gram(model, **options) as record:
        subject.loss(model, batch).backward()
    if record.measured:
        spectrum(record.gram, record.entry_error)

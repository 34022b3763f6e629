"""What a measured step of a user's model costs beside a plain one, and the interval that follows."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from fisherscope.eigenvalues import spectrum
from fisherscope.gram import record_gram
from fisherscope.tasks import Subject

SHARE = 0.02
"""Of the training time: what measuring may take at the suggested interval."""


@dataclass(frozen=True)
class Overhead:
    """Median seconds of a forward and backward pass, and ratios of a measured one (eigenvalues included)."""

    batch_size: int
    plain_seconds: float
    neutral_ratio: float
    fused_ratio: float
    turns: int

    @property
    def every(self) -> int:
        """Steps an interval, so that measuring one of them takes `SHARE` of the time: two digits."""
        steps = max(1, math.ceil((self.neutral_ratio - 1) / SHARE))
        unit: int = 10 ** max(0, len(str(steps)) - 2)
        return -(-steps // unit) * unit

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "every": self.every}


def cost(subject: Subject, batch: Any, size: int, seconds: float) -> Overhead:
    """Interleaved plain, measured and fused passes on one copy of the model, for about `seconds`."""
    model = subject.make()
    taken: dict[str, list[float]] = {"plain": [], "neutral": [], "fused": []}
    began, turn = time.perf_counter(), 0
    while turn < 3 or (time.perf_counter() - began < seconds and turn < 50):
        for mode, times in taken.items():
            model.zero_grad()
            started = time.perf_counter()
            if mode == "plain":
                subject.loss(model, batch).backward()
            else:
                _measure(subject, model, batch, mode == "fused")
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:  # the first one probes, and warms up
                times.append(time.perf_counter() - started)
        turn += 1
    ratios = {
        mode: statistics.median(a / b for a, b in zip(taken[mode], taken["plain"], strict=True))
        for mode in ("neutral", "fused")
    }
    return Overhead(size, statistics.median(taken["plain"]), ratios["neutral"], ratios["fused"], turn - 1)


def _measure(subject: Subject, model: torch.nn.Module, batch: Any, fused: bool) -> None:
    options = {**subject.options, "fused": fused, "strict": False}
    with record_gram(model, **options) as record:
        subject.loss(model, batch).backward()
    if record.measured:
        spectrum(record.gram, record.entry_error)

"""The cost model: seconds a step at each batch size, measured side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from fisherscope.training import Configuration, TrainState, task_of


@dataclass(frozen=True)
class StepTimes:
    """Median CPU seconds of a step by batch size, plain and measured, with the quartiles' distance."""

    plain: dict[int, float]
    measured: dict[int, float]
    spread: dict[int, float]
    rounds: int


def seconds_a_step(
    config: Configuration | Mapping[str, Any],
    sizes: Sequence[int],
    *,
    rounds: int = 15,
    data_dir: str | os.PathLike[str] | None = None,
) -> StepTimes:
    """Seconds a training step takes at each size: rounds over all sizes in turn, the median of each.

    CPU time of the process, which other programs on the machine disturb less than they do the clock. Each
    round of a size is an unmeasured step and a measured one; nothing is written.

    Args:
        config: Task, network and device; its batch size is not used.
        sizes: Batch sizes, none above the data.
        rounds: How often each is timed.
        data_dir: Where the data files lie.
    """
    import torch

    base = Configuration.of(config)
    if base.threads is not None:
        torch.set_num_threads(base.threads)
    task = task_of(base, data_dir)
    sessions = {size: _session(base, size, task) for size in sizes}
    taken: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
    for turn in range(rounds + 1):
        for size, (plain, measured) in sessions.items():
            pair = _step(plain, size), _step(measured, size)
            if turn:  # the first one warms up
                taken[size].append(pair)
    halves = {size: sorted(p for p, _ in pairs) for size, pairs in taken.items()}
    return StepTimes(
        {size: median(p for p, _ in pairs) for size, pairs in taken.items()},
        {size: median(m for _, m in pairs) for size, pairs in taken.items()},
        {size: h[3 * len(h) // 4] - h[len(h) // 4] for size, h in halves.items()},
        rounds,
    )


def _session(base: Configuration, size: int, task: Any) -> tuple[TrainState, TrainState]:
    """Two sessions of this size: one that never measures, one that measures every step."""
    given = {**base.identity(), "batch_size": size, "policy": f"s{size}", "per_epoch": None, "every": 1}
    return (
        TrainState(Configuration.of({**given, "measure": False}), task),
        TrainState(Configuration.of({**given, "stride": True}), task),
    )


def _step(session: TrainState, size: int) -> float:
    begun = time.process_time()
    session.step(list(range(size)))
    return time.process_time() - begun

"""Each function that a training calls, made to raise in a training of its own, and what comes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tests.cases.faults import Fault, Internal, calls_counted, raising
from tests.cases.guarded_loops import Outcome

During = Callable[[], AbstractContextManager[Any]]
Training = Callable[[During], Outcome]
"""Trains a new model with a monitor, in a context."""

RECOVERED = {"gram/rules/replay.py", "gram/rules/registry.py", "gram/grouping.py"}
"""Where a RuntimeError, as torch raises it, is followed by another way to the same numbers."""
READING = "gram/identity/"
"""Where rows are read; if that fails, another witness decides, and the row's `fisher/grouping` says which."""
REPEATED = "failed and was called again, which succeeded"
"""What is warned of where a sampler went on by a second call: there is nothing that a row would lack."""


def internals_called(train: Training) -> list[Internal]:
    """Every function of the rooms that the training calls."""
    found: Counter[Internal] = Counter()

    @contextmanager
    def counting() -> Iterator[None]:
        with calls_counted() as counts:
            yield
        found.update(counts)

    train(counting)
    return sorted(found)


def problem_of(train: Training, internal: Internal, unmonitored: Outcome, undisturbed: Outcome) -> str:
    """Train with a function that raises once; say what is not as it should be, or nothing.

    Args:
        train: The training.
        internal: The function.
        unmonitored: What the same training ends with without a monitor.
        undisturbed: What it ends with where nothing raises.
    """
    raised: list[bool] = []

    @contextmanager
    def armed() -> Iterator[None]:
        with raising(internal) as has_raised:
            yield
        raised.append(has_raised())

    try:
        outcome = train(armed)
    except Fault:
        return f"{internal}: escaped"
    failures = outcome.failures()
    if raised != [True]:
        return f"{internal}: was not called"
    if not outcome.is_same_training(unmonitored):
        return f"{internal}: training differs"
    if outcome.run_status != undisturbed.run_status:
        return f"{internal}: the run's status is {outcome.run_status}"
    recovers = internal.file in RECOVERED or internal.file.startswith(READING)
    repeats = len(outcome.warned) == 1 and REPEATED in outcome.warned[0]
    if not failures and ((recovers and not outcome.warned) or repeats):
        if outcome.numbers_recorded() != undisturbed.numbers_recorded():
            return f"{internal}: other numbers were recorded without a word"
        return ""
    if len(outcome.warned) != 1 or len(failures) != 1 or "Fault: in" not in failures[0]:
        return f"{internal}: {outcome.warned}, {failures}"
    return ""

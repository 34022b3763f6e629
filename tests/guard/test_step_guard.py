"""Whatever fails in measuring, training is that of an unmonitored run, bit for bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from tests.cases.faults import Fault, Internal, calls_counted, internal_of, raising
from tests.cases.guarded_loops import MODES, plain_loop

RECOVERED = {"gram/rules/replay.py", "gram/rules/registry.py", "gram/grouping.py"}
"""Where a RuntimeError, as torch raises it, is followed by another way to the same numbers."""
READING = "gram/identity/"
"""Where rows are read; if that fails, another witness decides, and the row's `fisher/grouping` says which."""


def internals_called(mode: str) -> list[Internal]:
    """Every function of the rooms that the steps of the plain loop call."""
    found: Counter[Internal] = Counter()

    @contextmanager
    def counting() -> Iterator[None]:
        with calls_counted() as counts:
            yield
        found.update(counts)

    plain_loop(mode, True, during=counting)
    return sorted(found)


@pytest.mark.parametrize("mode", MODES)
def test_each_internal_may_raise_once(mode: str) -> None:
    unmonitored = plain_loop(mode, False)
    undisturbed = plain_loop(mode, True)
    assert undisturbed.is_same_training(unmonitored)
    assert not undisturbed.failures()
    assert not undisturbed.warned
    internals = internals_called(mode)
    problems = []
    for internal in internals:
        raised: list[bool] = []

        @contextmanager
        def armed(internal: Internal = internal, raised: list[bool] = raised) -> Iterator[None]:
            with raising(internal) as has_raised:
                yield
            raised.append(has_raised())

        try:
            outcome = plain_loop(mode, True, during=armed)
        except Fault:
            problems.append(f"{internal}: escaped")
            continue
        failures = outcome.failures()
        if raised != [True]:
            problems.append(f"{internal}: was not called")
        if not outcome.is_same_training(unmonitored):
            problems.append(f"{internal}: training differs")
        recovers = internal.file in RECOVERED or internal.file.startswith(READING)
        if recovers and not failures and not outcome.warned:
            if outcome.numbers_recorded() != undisturbed.numbers_recorded():
                problems.append(f"{internal}: other numbers were recorded without a word")
            continue
        if len(outcome.warned) != 1 or len(failures) != 1 or "Fault: in" not in failures[0]:
            problems.append(f"{internal}: {outcome.warned}, {failures}")
    print(f"{mode}: {len(internals)} internal functions made to raise")  # noqa: T201  (shown with -s)
    assert not problems, "\n".join(problems)
    assert len(internals) > 200


def test_a_fault_that_nothing_contains_is_seen() -> None:
    """The suite's own check: outside a guard a fault reaches the caller."""
    from fisherscope.gram.options import check_choice

    internal = internal_of(check_choice.__code__)
    assert internal is not None
    assert str(internal).startswith("gram/options.py")
    with pytest.raises(Fault), raising(internal):
        partial(check_choice, "reduction", "mean", ("mean",))()

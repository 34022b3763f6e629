"""Whatever fails in measuring, training is that of an unmonitored run, bit for bit."""

from __future__ import annotations

import gc
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.cases.fault_trials import During, internals_called, problem_of
from tests.cases.faults import Fault, internal_of, raising
from tests.cases.guarded_loops import MODES, Outcome, plain_loop
from tests.cases.guarded_trainings import FRAMEWORKS, TRAININGS

SHARE = 10
"""One in so many functions is tried here under the frameworks; `make campaign-faults` tries all."""


@pytest.mark.parametrize("mode", MODES)
def test_each_internal_may_raise_once(mode: str) -> None:
    unmonitored = plain_loop(mode, False)
    undisturbed = plain_loop(mode, True)
    assert undisturbed.is_same_training(unmonitored)
    assert not undisturbed.failures()
    assert not undisturbed.warned

    def train(during: During) -> Outcome:
        return plain_loop(mode, True, during=during)

    internals = internals_called(train)
    problems = [problem_of(train, internal, unmonitored, undisturbed) for internal in internals]
    print(f"{mode}: {len(internals)} internal functions made to raise")  # noqa: T201  (shown with -s)
    assert not any(problems), "\n".join(filter(None, problems))
    assert len(internals) > 200


@contextmanager
def quick_framework() -> Iterator[None]:
    """Leave out the frameworks' words, and what is loaded from Trainer's garbage collection."""
    logging.disable(logging.WARNING)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("framework", "mode"), [(f, mode) for f, modes in FRAMEWORKS.items() for mode in modes]
)
def test_each_internal_may_raise_once_under_a_framework(framework: str, mode: str, tmp_path: Path) -> None:
    train_once, folders = TRAININGS[framework], (tmp_path / str(k) for k in range(10_000))
    with quick_framework():
        unmonitored = train_once(mode, False, next(folders))
        undisturbed = train_once(mode, True, next(folders))
        assert undisturbed.is_same_training(unmonitored)
        assert not undisturbed.failures()
        assert not undisturbed.warned
        assert undisturbed.run_status == "finished"

        def train(during: During) -> Outcome:
            return train_once(mode, True, next(folders), during)

        internals = internals_called(train)
        ours = [k for k in internals if k.file.startswith(("integrations/", "sampler/"))]
        others = [k for k in internals if k not in ours]
        drawn = random.Random(f"{framework} {mode}").sample(others, len(others) // SHARE)
        if mode != "neutral":
            ours = random.Random(f"ours {framework} {mode}").sample(ours, len(ours) // SHARE)
        problems = [problem_of(train, k, unmonitored, undisturbed) for k in (*ours, *drawn)]
    print(f"{framework}, {mode}: {len(problems)} of {len(internals)} functions")  # noqa: T201  (shown with -s)
    assert not any(problems), "\n".join(filter(None, problems))
    assert len(internals) > 300


def test_a_fault_that_nothing_contains_is_seen() -> None:
    """The suite's own check: outside a guard a fault reaches the caller."""
    from fisherscope.gram.options import check_choice

    internal = internal_of(check_choice.__code__)
    assert internal is not None
    assert str(internal).startswith("gram/options.py")
    with pytest.raises(Fault), raising(internal):
        partial(check_choice, "reduction", "mean", ("mean",))()

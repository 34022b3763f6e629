"""A tenth of `make campaign-fuzz`: no traceback, no hang, within 1 GiB, the other runs always listed."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiments.fuzz.campaign import Tally, Workplace, run_command_lines, run_inputs
from experiments.fuzz.verb_calls import call

SEED = 1


@pytest.mark.parametrize("first", range(0, 1000, 250))
def test_mutated_files(first: int, tmp_path: Path) -> None:
    tally = Tally()
    run_inputs(Workplace(tmp_path), SEED, range(first, first + 250), tally)
    assert not tally.problems
    assert sum(tally.cases.values()) == 250


def test_command_lines(tmp_path: Path) -> None:
    tally = Tally()
    run_command_lines(Workplace(tmp_path), SEED, range(200), tally)
    assert not tally.problems


def test_inputs_that_were_a_problem_once(tmp_path: Path) -> None:
    """A name of 50 000 characters, a task without settings, a batch of a million samples."""
    tally = Tally()
    run_inputs(Workplace(tmp_path), 0, (780, 6393, 7268), tally)
    run_inputs(Workplace(tmp_path / "1"), 1, (289,), tally)
    assert not tally.problems


def test_a_call_that_takes_much_memory_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fisherscope.cli as cli

    monkeypatch.setattr(cli, "main", lambda: bytearray(700 << 20) and None)
    outcome = call(["runs"], tmp_path)
    assert outcome.problem is not None
    assert "MiB more" in outcome.problem

"""Times measured on a busy machine are marked as doubtful."""

from __future__ import annotations

from pathlib import Path

import pytest

from fisherscope.advice import timing_quality
from fisherscope.advice.step_profile import doubts
from fisherscope.advice.timing_quality import waited_seconds
from fisherscope.analysis.batch_size.advice import StepTime


def test_seconds_that_contradict_each_other_are_said() -> None:
    steps = [
        StepTime(4, 0.011),
        StepTime(8, 0.0027),
        StepTime(16, 0.0026),
        StepTime(32, why="no", fits=False),
    ]
    (note,) = doubts(steps, wall_seconds=10.0, waiting_seconds=0.1)
    assert "a step of 4 took longer (0.011 s) than one of 8 (0.0027 s)" in note
    assert doubts(steps[1:], wall_seconds=10.0, waiting_seconds=0.1) == []


def test_threads_that_waited_for_a_core_are_said_first() -> None:
    assert doubts([StepTime(4, 0.0011), StepTime(8, 0.0027)], wall_seconds=10.0, waiting_seconds=2.4) == []
    (note,) = doubts([StepTime(4, 0.011), StepTime(8, 0.0027)], wall_seconds=10.0, waiting_seconds=6.0)
    assert "waited 6.0 s for a core in 10.0 s of timing" in note
    assert "OMP_NUM_THREADS=1" in note


def test_what_threads_waited_is_read_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert waited_seconds() >= 0.0  # here, whatever the system
    for thread, text in {
        "1": "900 1500000000 7",
        "2": "900 250000000 7",
        "3": "",
    }.items():  # the last one ended
        (tmp_path / thread).mkdir()
        (tmp_path / thread / "schedstat").write_text(text)
    monkeypatch.setattr(timing_quality, "_TASKS", tmp_path)
    assert waited_seconds() == 1.75
    monkeypatch.setattr(timing_quality, "_TASKS", tmp_path / "elsewhere")
    assert waited_seconds() == 0.0

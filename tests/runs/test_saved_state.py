"""A run's saved state is read without opening the run, and what is wrong with it is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import fisherscope as fs


def test_it_is_the_last_state_also_of_a_run_that_is_being_written(tmp_path: Path) -> None:
    with fs.open_run(tmp_path / "run", {"seed": 0}) as run:
        run.save_checkpoint({"step": 1})
        run.save_checkpoint({"step": 2, "weights": torch.arange(3.0)})
        state = fs.runs.checkpoint_state(tmp_path / "run")
    assert state["step"] == 2
    assert torch.equal(state["weights"], torch.arange(3.0))


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(fs.runs.RunError, match="there is no run"):
        fs.runs.checkpoint_state(tmp_path / "absent")
    with fs.open_run(tmp_path / "run", {"seed": 0}) as run:
        run.log_epoch(val_error=0.5)
        with pytest.raises(fs.runs.RunError, match="it has none"):
            fs.runs.checkpoint_state(tmp_path / "run")
        run.save_checkpoint({"step": 1})
    file = tmp_path / "run" / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(fs.runs.DamagedRunError, match=r"checkpoint\.pt"):
        fs.runs.checkpoint_state(tmp_path / "run")

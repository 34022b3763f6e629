"""An error of ours in a framework's callback: the training goes on, and says so once."""

from __future__ import annotations

import errno
import importlib
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cases.guarded_trainings import TRAININGS
from tests.cases.resumed_trainings import draw, lightning_data, lightning_module
from torch.utils.data import DataLoader

import fisherscope as fs

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore::UserWarning:torch")


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


@pytest.mark.parametrize("framework", TRAININGS)
def test_a_monitor_that_can_not_be_built_leaves_the_training_unmeasured(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"fisherscope.integrations.{framework}")

    def broken(*_: Any, **__: Any) -> None:
        raise AttributeError("of a newer framework")

    unmonitored = TRAININGS[framework]("neutral", False, tmp_path / "plain")
    monkeypatch.setattr(module, "Monitor", broken)
    outcome = TRAININGS[framework]("neutral", True, tmp_path / "measured")
    assert outcome.is_same_training(unmonitored)
    assert len(outcome.warned) == 1
    assert "the training is not measured: error: AttributeError: of a newer framework" in outcome.warned[0]
    assert [row["status"][:22] for row in outcome.rows] == ["error: AttributeError:"]
    assert outcome.run_status == "finished"


@pytest.mark.parametrize("framework", TRAININGS)
def test_a_disk_that_fills_up_is_told_once_and_training_goes_on(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first row on, nothing can be written to the run's directory."""
    unmonitored = TRAININGS[framework]("neutral", False, tmp_path / "plain")
    write, begun = os.write, []

    def full(file: int, data: Any) -> int:
        path = os.readlink(f"/proc/self/fd/{file}")
        begun.append("steps.jsonl" in path)
        if any(begun) and "/measured/run" in path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", full)
        outcome = TRAININGS[framework]("neutral", True, tmp_path / "measured")
    assert outcome.is_same_training(unmonitored)
    assert any(begun)
    assert "No space left" in outcome.rows[0]["status"]
    assert any("No space left" in text for text in outcome.warned)


def fit_with_a_failing_logger(callback: Any, folder: Path) -> None:
    lightning = importlib.import_module("lightning.pytorch")

    class Offline(lightning.loggers.CSVLogger):  # type: ignore[misc, name-defined]
        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            raise ConnectionError("the tracker is gone")

    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=Offline(folder), enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback],
    )  # fmt: skip
    trainer.fit(lightning_module(draw(0)), DataLoader(lightning_data(), batch_size=8))


def test_a_logger_that_fails_loses_its_row_alone(tmp_path: Path) -> None:
    callback = fs.integrations.LightningCallback(2, stride=True)
    with pytest.warns(RuntimeWarning, match="ConnectionError") as caught:
        fit_with_a_failing_logger(callback, tmp_path)
    assert len([w for w in caught if issubclass(w.category, RuntimeWarning)]) == 1
    rows = callback.monitor.state.history.rows
    assert len(rows) > 1
    assert all(row["status"].startswith("error: ConnectionError") for row in rows)
    assert all(row["fisher/trace"] > 0 for row in rows)


def test_strict_raises_what_a_logger_raises(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="the tracker is gone"):
        fit_with_a_failing_logger(fs.integrations.LightningCallback(2, strict=True), tmp_path)


def test_strict_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lightning = importlib.import_module("lightning.pytorch")
    callback = fs.integrations.LightningCallback(2, strict=True)
    monkeypatch.setattr(callback, "_build_monitor", lambda *_: torch.ones(2)[5])
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback],
    )  # fmt: skip
    with pytest.raises(IndexError):
        trainer.fit(lightning_module(draw(0)), DataLoader(lightning_data(), batch_size=8))

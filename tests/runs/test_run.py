"""What is written is read back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.cases.toy_run import CONFIG

import fisherscope as fs


def test_rows_spectra_and_outcomes_come_back(tmp_path):
    with fs.open_run(tmp_path / "mine", CONFIG) as run:
        run.log_step(
            {
                "step": 0,
                "fisher/cond": math.inf,
                "n": np.int64(3),
                "x": torch.tensor(0.5),
                "ok": np.bool_(True),
            },
            [3.0, 2.0, 1.0],
        )
        run.log_step({"step": 7, "fisher/cond": 2.5, "status": "näin"})
        run.log_step({"step": 8, "fisher/cond": np.float32("nan")}, torch.ones(2, dtype=torch.float64))
        run.log_epoch({"val/error": 0.25}, train_loss=1.5, val_top_5=0.5, lr=0.1, time_train_s=2.0)
        run.log_epoch(test_error=math.nan)
        correct, loss = np.arange(22).reshape(2, 11) % 3 == 0, np.linspace(0, 1, 11, dtype=np.float32)
        run.log_outcomes(correct=correct, loss=loss)
        run.log_text("hello")
    runs = fs.load_runs(tmp_path)
    assert runs.steps.select("step", "fisher/cond", "n", "x", "ok", "status").rows() == [
        (0, None, 3, 0.5, True, None),
        (7, 2.5, None, None, None, "näin"),
        (8, None, None, None, None, None),
    ]
    spectra = runs.spectra("mine")
    assert spectra[0].tolist() == [3, 2, 1]
    assert spectra[1] is None
    assert spectra[2].tolist() == [1, 1]
    first, second = runs.epochs.to_dicts()
    assert first == {"run_id": "mine", "epoch": 1, "val/error": 0.25, "train/loss": 1.5, "val/top_5": 0.5,
                     "lr": 0.1, "time/train_s": 2.0, "test/error": None}  # fmt: skip
    assert second["epoch"] == 2
    held = runs.outcomes("mine")
    assert held["correct"].dtype == bool
    assert np.array_equal(held["correct"], correct)
    assert np.array_equal(held["loss"], loss)
    assert (tmp_path / "mine" / "log.txt").read_text().endswith("Z hello\n")
    row = runs.runs.row(0, named=True)
    assert (row["run_id"], row["status"], row["batch_size"], row["lr"]) == ("mine", "finished", 32, 0.1)
    assert runs.head("mine")["environment"]["torch"] == torch.__version__.partition("+")[0] or "torch"


def test_a_monitor_writes_and_resumes_through_it(tmp_path):
    def loop(run, steps):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        monitor = fs.Monitor(model, optimizer, every=2, run=run, dataset_size=16)
        for _ in range(steps):
            optimizer.zero_grad()
            with monitor.observe():
                torch.nn.functional.cross_entropy(model(torch.randn(8, 3)), torch.randint(2, (8,))).backward()
            optimizer.step()
        run.log_epoch(**monitor.epoch_end())
        run.save_checkpoint({"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                             "monitor": monitor.state_dict()})  # fmt: skip
        return monitor

    with fs.open_run(tmp_path / "a", CONFIG) as run:
        monitor = loop(run, 6)
    runs = fs.load_runs(tmp_path)
    assert runs.steps["fisher/cond"].to_list() == monitor.history["fisher/cond"].to_list()
    assert [len(values) for values in runs.spectra("a")] == [8] * len(monitor.history)
    assert runs.epochs["fisher/cond_mean"][0] == pytest.approx(monitor.totals()["fisher/cond_mean"])
    run = fs.open_run(tmp_path / "a", CONFIG)
    assert run.load_checkpoint()["monitor"]["rows"]["step"] == runs.steps["step"].to_list()
    run.close()

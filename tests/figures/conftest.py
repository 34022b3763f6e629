"""A planted sweep."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cases.figure_sweep import SCHEDULES, TRUTH
from tests.cases.planted_sweep import write

import fisherscope as fs


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write(tmp_path_factory.mktemp("sweep"), TRUTH)
    for place, policy in enumerate(SCHEDULES):
        config = {"task": TRUTH.task, "policy": policy, "batch_size": 8, "lr": 0.1, "epochs": 8, "seed": 0}
        with fs.open_run(root / policy, config) as run:
            for epoch in range(1, 9):
                run.log_epoch(
                    epoch=epoch, step=90 * epoch, train_error=0.0, val_error=0.2 / epoch,
                    test_error=0.3 / epoch,
                    fisher_cond_mean=50.0 + 10 * place + epoch, fisher_energy_sum=3.0 * epoch,
                )  # fmt: skip
    return root

"""Text that must stay text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fisherscope as fs

HOSTILE = "<script>document.title='owned'</script>&\"'"


def _schedule(root: Path, task: str) -> None:
    config = {"task": task, "policy": "s8-to-32", "batch_size": 8, "lr": 0.1, "epochs": 8, "note": HOSTILE}
    with fs.open_run(root / "schedule", config | {"seed": 0}) as run:
        for epoch in range(1, 9):
            run.log_epoch(
                epoch=epoch, step=100 * epoch, train_error=0.1 / epoch, val_error=0.2 / epoch,
                test_error=0.3 / epoch, fisher_cond_mean=50.0 + epoch, fisher_energy_sum=3.0 * epoch,
            )  # fmt: skip


def text(page: Any, selector: str) -> str:
    return str(page.execute_script("return document.querySelector(arguments[0]).innerText", selector))

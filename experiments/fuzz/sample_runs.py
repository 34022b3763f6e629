"""Write a small sweep, fast: run directories as a trainer would write them, from a formula."""

from __future__ import annotations

from pathlib import Path

import fisherscope as fs
from fisherscope.training import Configuration

SIZES, LRS, EPOCHS = (8, 32), (0.05, 0.1), 3


def write_runs(root: Path, task: str = "digits/mlp", *, unfinished: bool = True) -> list[Path]:
    """Write four runs of one task with steps, spectra, epochs and outcomes.

    Args:
        root: Directory of the runs.
        task: Name of the task.
        unfinished: Whether the last run stops before its end.

    Returns:
        The run directories.
    """
    paths = []
    for size in SIZES:
        for lr in LRS:
            values = {"task": task, "batch_size": size, "lr": lr, "epochs": EPOCHS, "seed": 0}
            config = Configuration.of(values)
            last = unfinished and (size, lr) == (SIZES[-1], LRS[-1])
            with fs.open_run(root / config.id, config.identity()) as run:
                _write_rows(run, size, lr, 2 if last else EPOCHS)
                if last:
                    run.finish("interrupted", "by SIGINT in epoch 2; resumable")
                else:
                    run.log_outcomes(val_loss=[0.1, 0.2, 0.3], val_correct=[True, False, True])
            paths.append(root / config.id)
    return paths


def _write_rows(run: fs.Run, size: int, lr: float, epochs: int) -> None:
    energy = 0.0
    for epoch in range(1, epochs + 1):
        for k in range(2):
            step = 10 * (epoch - 1) + 5 * k
            energy += lr * size**-0.5
            row = {
                "step": step,
                "epoch": epoch - 1 + k / 2,
                "lr": lr,
                "batch_size": size,
                "steps_since": 5,
                "step_scale_sum": (step + 1) * lr * size**-0.5,
                "train/loss": 1 / (1 + step),
                "status": "ok",
                "fisher/cond": 2.0 + size / 8 + epoch,
                "fisher/cond_limit": 1e6,
                "fisher/energy": lr,
                "fisher/effective_rank": 1.5 + k,
                "fisher/cond_mean": 2.0 + size / 8,
                "fisher/energy_sum": energy,
                "noise/variance": 2.0,
                "noise/signal": 0.5,
            }
            run.log_step(row, eigenvalues=[4.0 + epoch, 2.0, 1.0 / size])
        error = 0.3 / epoch + abs(lr * 16 / size - 0.1)
        run.log_epoch(
            {
                "step": 10 * epoch,
                "samples": 320 * epoch,
                "lr": lr,
                "batch_size": size,
                "lr_sum": lr * 10 * epoch,
            },
            train_loss=error,
            train_error=error,
            val_loss=error,
            val_error=error,
            test_error=error,
            fisher_cond_mean=2.0 + size / 8,
            fisher_energy_sum=energy,
            time_train_s=0.5,
        )

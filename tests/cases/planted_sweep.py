"""Sweeps whose truth is known: run directories written as a trainer would, from a formula."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import fisherscope as fs

SAMPLES = 2048


@dataclass(frozen=True)
class Truth:
    """log2 C and log2 of L's density as planes over (log2 B, log2 α); the error as a bowl."""

    cond_slopes: tuple[float, float] = (0.8, 0.2)
    density_slopes: tuple[float, float] = (-0.05, 0.05)
    own: float = 0.0  # a setting's own share of log C and log L, the same in all its seeds
    seed_noise: float = 0.02
    step_noise: float = 0.6
    bowl: float = 0.01
    ratio: float = -8.0  # log2 of the best α/B, for the error
    ratio_share: float = 1.0
    error_noise: float = 0.0005
    early_noise: float = 0.01
    floor: float = 0.02
    batch_sizes: tuple[int, ...] = (8, 16, 32, 64)
    lrs: tuple[float, ...] = (0.025, 0.05, 0.1, 0.2)
    seeds: int = 4
    epochs: int = 12
    task: str = "planted/task"
    diverged: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()  # settings that guess one class in every epoch
    unfinished: dict[str, int] = field(default_factory=dict)
    measures: bool = True
    spectra: bool = False
    salt: int = 0
    images: int | None = None  # errors are counts out of so many
    hidden: float = 0.0  # how much of a setting's own log C goes into its error
    step_seconds: tuple[float, float] | None = None  # CPU seconds of a step: a + b × batch size

    def times(self, size: int) -> dict[str, float]:
        """CPU seconds of an epoch's unmeasured steps, by the keys of its row."""
        if self.step_seconds is None:
            return {}
        steps = SAMPLES // size
        seconds = steps * (self.step_seconds[0] + self.step_seconds[1] * size)
        return {"time_plain_process_s": seconds, "time_plain_steps": steps, "time_measured_process_s": 0.0}


def write(root: Path, truth: Truth) -> Path:
    for size in truth.batch_sizes:
        for lr in truth.lrs:
            for seed in range(truth.seeds):
                _run(root, truth, f"s{size}-lr{lr:g}", size, lr, seed)
    return root


def final_error(truth: Truth, size: float, lr: float) -> float:
    off = math.log2(lr / size) - truth.ratio
    level = math.log2(size * lr)
    return truth.floor + truth.bowl * (truth.ratio_share * off**2 + 0.2 * level**2)


def _run(root: Path, truth: Truth, name: str, size: int, lr: float, seed: int) -> None:
    config = {
        "task": truth.task,
        "batch_size": size,
        "lr": lr,
        "policy": name,
        "epochs": truth.epochs,
        "seed": seed,
    }
    numbers = np.random.default_rng([truth.salt, seed, size, round(lr * 1e5)])
    shared = np.random.default_rng([truth.salt, 99, size, round(lr * 1e5)]).normal(size=2) * truth.own
    place = np.array([math.log2(size), math.log2(lr)])
    log_cond = 5 + truth.cond_slopes @ place + shared[0] + truth.seed_noise * numbers.normal()
    log_density = 1 + truth.density_slopes @ place + shared[1] + truth.seed_noise * numbers.normal()
    goal = final_error(truth, size, lr) + truth.hidden * shared[0] + truth.error_noise * numbers.normal()
    steps_an_epoch = SAMPLES // size
    scale = lr / math.sqrt(size)
    conds, energy = [], 0.0
    with fs.open_run(root / f"{name}-seed{seed}", config) as run:
        for epoch in range(1, truth.unfinished.get(name, truth.epochs) + 1):
            rate = lr * 0.1 ** ((epoch > truth.epochs // 2) + (epoch > 3 * truth.epochs // 4))
            for part in range(4):
                step = (epoch - 1) * steps_an_epoch + (part + 1) * steps_an_epoch // 4 - 1
                conds.append(2 ** (log_cond + truth.step_noise * numbers.normal()))
                grown = 2**log_density * scale * (rate / lr) * steps_an_epoch / 4
                energy += grown
                row = {
                    "step": step, "epoch": epoch - 1 + (part + 1) / 4, "lr": rate, "batch_size": size,
                    "steps_since": steps_an_epoch // 4, "fisher/cond": conds[-1],
                    "fisher/cond_m8": 2 ** (0.1 * numbers.normal() + 3),
                    "fisher/cond_mean": float(np.mean(conds)),
                    "fisher/energy_sum": energy,
                    "step_scale_sum": energy / 2**log_density, "fisher/cond_limit": 1e7,
                }  # fmt: skip
                spectrum = [conds[-1] ** 2, conds[-1], 1.0] if truth.spectra else None
                if truth.measures:
                    run.log_step(row, spectrum)
            totals = {"fisher_cond_mean": float(np.mean(conds)), "fisher_energy_sum": energy}
            left = 1 - epoch / truth.epochs
            error = goal + 0.3 * left**2 + truth.early_noise * left * numbers.normal()
            errors = {
                "train_error": max(error - 0.01, 1e-3), "val_error": error, "test_error": error + 0.001
            }  # fmt: skip
            if truth.images:
                errors = {key: round(value * truth.images) / truth.images for key, value in errors.items()}
            if name in truth.dead:
                errors, error = dict.fromkeys(errors, 0.9), 1.15
            run.log_epoch(
                epoch=epoch, step=epoch * steps_an_epoch, samples=epoch * SAMPLES, lr=rate, batch_size=size,
                lr_sum=energy / 2**log_density * math.sqrt(size),
                train_loss=2 * error, time_train_s=0.5 + 20 / size, **errors, **truth.times(size),
                **(totals if truth.measures else {}),
            )  # fmt: skip
            if name in truth.diverged and epoch == 2:
                run.finish("diverged", "the loss is not finite")
                return
        if name in truth.unfinished:
            run.finish("interrupted", "for a look")

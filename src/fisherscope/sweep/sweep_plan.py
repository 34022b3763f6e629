"""Plan a sweep before it starts: hours, disk and memory, and whether they are there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fisherscope as fs
from fisherscope.plain_text import bytes_text, duration
from fisherscope.sweep.step_probe import _VALUE_BYTES, Listener, StepProbe, probe_steps
from fisherscope.sweep.time_estimate import recorded_pace, run_seconds, sweep_seconds
from fisherscope.training import Configuration, ConfigurationError

_EPOCH_ROW_BYTES = 1100
_PARTS_OF_EPOCH = 4
_SPARE_MEMORY, _SPARE_DISK = 0.95, 0.98
"""Share of what is free that a sweep may take."""


@dataclass(frozen=True)
class SweepPlan:
    """Hold what a sweep will take.

    Args:
        seconds: Seconds of each run that is left, alone, by run id.
        jobs: Runs at a time.
        threads: CPU threads of a run.
        disk: Bytes that will be written.
        free_disk: Bytes free where the runs are written.
        memory: Bytes of the process of the largest run; None if unknown (on a GPU, and off Linux).
        free_memory: Bytes that are free; None if unknown.
        basis: What the seconds are based on, in words.

    Example:
        See `plan_sweep`.
    """

    seconds: dict[str, float]
    jobs: int
    threads: int
    disk: int
    free_disk: int
    memory: int | None
    free_memory: int | None
    basis: str

    @property
    def hours(self) -> float:
        """Hours until all runs have ended."""
        return sweep_seconds(self.seconds, self.jobs)[0] / 3600

    @property
    def core_hours(self) -> float:
        """Hours of one core."""
        return sum(self.seconds.values()) * self.threads / 3600

    def __str__(self) -> str:
        runs = len(self.seconds)
        text = f"{runs} runs, about {duration(3600 * self.hours)} with {self.jobs} at a time ({self.basis})"
        hours = f"{self.core_hours:.2g}" if self.core_hours < 100 else f"{self.core_hours:.0f}"
        parts = [
            f"{hours} core-hours",
            f"{bytes_text(self.disk)} on disk ({bytes_text(self.free_disk)} free)",
        ]
        if self.memory is not None and runs:
            free = "" if self.free_memory is None else f" ({bytes_text(self.free_memory)} free)"
            parts.append(f"up to {bytes_text(self.memory * min(self.jobs, runs))} of memory{free}")
        return f"{text}\n{', '.join(parts)}"

    def obstacle(self) -> str | None:
        """Tell why the sweep does not fit, and what to do; see `plan_sweep`.

        Returns:
            A sentence; None if it fits.
        """
        if self.disk > _SPARE_DISK * self.free_disk:
            return (
                f"planning the sweep: its runs take about {bytes_text(self.disk)} on disk and "
                f"{bytes_text(self.free_disk)} are free; free some, choose another --out, or measure less "
                "often (--every)"
            )
        if self.memory is None or self.free_memory is None or not self.seconds:
            return None
        fitting = int(_SPARE_MEMORY * self.free_memory // max(self.memory, 1))
        if fitting >= min(self.jobs, len(self.seconds)):
            return None
        remedy = f"--jobs {fitting}" if fitting else "a smaller batch size, or --set micro_batch=N"
        return (
            f"planning the sweep: {self.jobs} runs at a time take up to "
            f"{bytes_text(self.jobs * self.memory)} of memory and {bytes_text(self.free_memory)} are free; "
            f"use {remedy}"
        )


def plan_sweep(
    configurations: Sequence[Configuration],
    root: Path,
    *,
    jobs: int | None = None,
    until: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    seconds: float | None = None,
    listener: Listener = lambda _: None,
) -> SweepPlan:
    """Predict hours, disk and memory of the runs that are left, from a few steps of each task.

    Args:
        configurations: Runs that have not ended.
        root: Directory of the runs; recorded ones of the same task give the seconds.
        jobs: Runs at a time; by default as many as cores.
        until: As for `run_sweep`.
        data_dir: As for `run_sweep`.
        seconds: Time for the steps of each task; by default 10.
        listener: Called with a sentence when the next part begins.

    Returns:
        The plan. A run whose policy reads measurements counts with its first batch size.

    Raises:
        ConfigurationError, TaskError, DataError: The runs cannot train, or their data are not there.

    Cost: reading the data and `seconds`, for each task; nothing is written.

    Example:
        ```python
        from pathlib import Path

        from fisherscope.sweep import Grid, plan_sweep

        runs = Grid("digits/mlp", (16, 64), settings={"epochs": 2}).configurations()
        plan = plan_sweep(runs, Path("runs/planned"), seconds=0.5)
        assert plan.obstacle() is None and plan.core_hours > 0
        ```
    """
    taken: dict[str, float] = {}
    disk, memory, basis, growing = 0, [0], set[str](), list[int]()
    for group in _alike(configurations):
        sizes = sorted({size for config in group for size, _ in _steps(config, 1)})
        options = {} if seconds is None else {"seconds": seconds}
        probe = probe_steps(group[0], sizes, data_dir=data_dir, listener=listener, **options)
        pace, how = recorded_pace(group[0], root)
        basis.add(how or "from some steps measured now")
        for config in group:
            epochs = max(0, _last_epoch(config, until) - len(fs.runs.epoch_rows(config.path_in(root))))
            mean = run_seconds(config, pace) if pace else _epoch_seconds(config, probe)
            taken[config.id] = epochs * mean
            size = _run_bytes(config, probe)
            disk += round(size * epochs / config.epochs)
            growing.append(probe.state_bytes)
        largest = max(_largest_size(config, probe.samples) for config in group)
        memory.append(probe.memory_of(largest) or 0)
    at_a_time = sweep_seconds(taken, jobs)[1]
    disk += sum(sorted(growing)[-at_a_time:])  # a checkpoint is written beside the one it replaces
    return SweepPlan(
        taken, at_a_time, _threads(configurations), disk, _free_disk(root), max(memory) or None,
        free_memory(), ", ".join(sorted(basis)) or "nothing is left",
    )  # fmt: skip


def _alike(configurations: Sequence[Configuration]) -> list[list[Configuration]]:
    """Group the runs that one probe serves: the same task, data and device."""
    keys = (
        "task", "limit_train", "limit_test", "validation", "augment", "extra", "optimizer", "precision",
        "device", "threads", "micro_batch", "compile", "measure_precision", "rule",
    )  # fmt: skip
    groups: dict[tuple[object, ...], list[Configuration]] = {}
    for config in configurations:
        groups.setdefault(tuple(getattr(config, key) for key in keys), []).append(config)
    return list(groups.values())


def _threads(configurations: Sequence[Configuration]) -> int:
    return max((config.threads or os.cpu_count() or 1 for config in configurations), default=1)


def _last_epoch(config: Configuration, until: int | None) -> int:
    return min(until or config.epochs, config.epochs)


def _steps(config: Configuration, samples: int) -> list[tuple[int, float]]:
    """Return the batch size and number of steps of each part of the run's epochs."""
    policy = config.policy_of()
    if policy.closed_loop or config.policy == f"s{config.batch_size}":
        return [(config.batch_size, config.epochs * samples / config.batch_size)]
    state, parts = policy.init(), list[tuple[int, float]]()
    length = 1 << 20
    for epoch in range(config.epochs):
        for part in range(_PARTS_OF_EPOCH):
            observation = fs.policy.Observation(epoch, part * length // _PARTS_OF_EPOCH, length)
            state, decision = policy.update(state, observation)
            size = int(decision.batch_size)
            parts.append((size, samples / _PARTS_OF_EPOCH / size))
    return parts


def _largest_size(config: Configuration, samples: int) -> int:
    largest = max(size for size, _ in _steps(config, samples))
    return min(largest, samples, config.micro_batch or samples)


def _measured_share(config: Configuration, steps: float) -> float:
    """Return the share of an epoch's steps that are measured."""
    if not config.measure:
        return 0.0
    if config.per_epoch is not None:
        return min(1.0, config.per_epoch / max(steps, 1.0))
    whole = max(1.0, steps)
    return min(1.0, max(1.0, -(-whole // config.every)) / whole) if config.stride else 1.0 / config.every


def _epoch_seconds(config: Configuration, probe: StepProbe) -> float:
    """Return the mean seconds of an epoch of the run, with its measured steps and its evaluation."""
    total = 0.0
    for size, steps in _steps(config, probe.samples):
        share = _measured_share(config, probe.samples / size)
        plain, measured = probe.step_seconds(size), probe.step_seconds(size, measured=True)
        total += steps * ((1 - share) * plain + share * measured)
    return total / config.epochs + probe.evaluated * probe.evaluated_samples


def _run_bytes(config: Configuration, probe: StepProbe) -> int:
    """Return the bytes of a finished run's directory."""
    total = probe.state_bytes + config.epochs * _EPOCH_ROW_BYTES + 6 * probe.evaluated_samples
    for size, steps in _steps(config, probe.samples):
        rows = steps * _measured_share(config, probe.samples / size)
        total += round(rows * (probe.row_bytes + 8 * size + _VALUE_BYTES * probe.row_values))
    return total


def _free_disk(root: Path) -> int:
    """Return the bytes free in the nearest directory that exists.

    Raises:
        ConfigurationError: It is a file.
    """
    above = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    if not above.is_dir():
        raise ConfigurationError(f"planning a sweep into {root}: {above} is a file; expected a directory")
    return shutil.disk_usage(above).free


def free_memory() -> int | None:
    """Return the bytes that new processes may take; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    available = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")]
    limits = [_number(Path("/sys/fs/cgroup/memory.max")), _number(Path("/sys/fs/cgroup/memory.current"))]
    if limits[0] is not None and limits[1] is not None:
        available.append(limits[0] - limits[1])
    return min(available, default=None)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no such limit
        return None

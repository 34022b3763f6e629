"""Time the steps of a case, interleaved, and their peak memory, each in a process of its own."""

import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fisherscope.bench.cases import EVERY, MODES, Bench, Case, Step

WARM_UP, ALONE = 2, 3


def time_case(name: str, case: Case, threads: int, device: str) -> dict[str, Any]:
    """Each mode's seconds, its ratio to the plain step and, on the CPU, its peak of memory."""
    monitored = name.startswith("monitored")
    memory = {m: _peak_memory(name, m, threads) for m in MODES if device == "cpu" and not monitored}
    bench = Bench(case, device)
    steps, refused = (bench.training(), {}) if monitored else bench.steps()
    rows = _time_steps(steps, case)
    for mode, found in memory.items():
        base = memory["plain"]
        rows[mode] |= found
        rows[mode]["peak_ratio"] = found["peak_bytes"] / base["peak_bytes"]
        rows[mode]["step_memory_ratio"] = found["step_bytes"] / base["step_bytes"]
    return {
        "batch_size": case.batch_size,
        "shape": case.shape,
        "parameters": sum(p.numel() for p in bench.model.parameters()),
        "training_steps_timed_together": EVERY if monitored else 1,
        "modes": rows,
        "refused": refused,
    }


def _time_steps(steps: dict[str, Step], case: Case) -> dict[str, Any]:
    """Modes' seconds, interleaved; their ratios to the plain step of the same turn."""
    seconds: dict[str, list[float]] = {mode: [] for mode in steps}
    for turn in range(case.turns + WARM_UP):
        for mode, step in steps.items():
            if mode in ("func", "opacus") and turn >= case.other_tools + WARM_UP:
                continue
            began = time.perf_counter()
            step()
            if turn >= WARM_UP:
                seconds[mode].append(time.perf_counter() - began)
    rows: dict[str, Any] = {}
    for mode, taken in seconds.items():
        ratios = [a / b for a, b in zip(taken, seconds["plain"], strict=False)]
        rows[mode] = {
            "seconds": statistics.median(taken),
            "ratio": statistics.median(ratios),
            "ratio_quartiles": statistics.quantiles(ratios, n=4)[::2] if len(ratios) > 1 else None,
            "turns": len(taken),
        }
    return rows


def _peak_memory(name: str, mode: str, threads: int) -> dict[str, int]:
    """Memory of a process that does nothing but this mode's steps."""
    command = [sys.executable, "-m", "fisherscope", "bench", "gram", "--case", name, "--only", mode]
    done = subprocess.run([*command, "--threads", str(threads)], check=True, capture_output=True, text=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def memory_of_mode(case: Case, mode: str, device: str) -> dict[str, int]:
    """Peak of the resident set, and how far it lies above what model and optimizer's state take: bytes.

    `VmHWM` is this process's own; `ru_maxrss` would be its parent's where that was larger.
    """
    import fisherscope as fs

    _ = fs.record_gram  # imported before memory is looked at, as are all modes
    bench = Bench(case, device)
    idle = _process_memory("VmRSS")
    step = bench.steps()[0][mode]
    for _ in range(ALONE):
        step()
    peak = _process_memory("VmHWM")
    return {"peak_bytes": peak, "step_bytes": peak - idle}


def _process_memory(key: str) -> int:
    """A memory figure of /proc/self/status, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))


def circumstances(threads: int, device: str) -> dict[str, Any]:
    """Command, versions, device and threads of a measurement."""
    import torch

    import fisherscope

    name = torch.cuda.get_device_name() if device.startswith("cuda") else _processor()
    return {
        "command": "fisherscope bench gram",
        "fisherscope": fisherscope.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": name,
        "threads": threads,
        "freed_blocks_kept_while_timing": True,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )

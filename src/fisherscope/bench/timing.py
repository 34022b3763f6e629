"""Time the steps of a case in turn, and measure their peak memory."""

import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from fisherscope.bench.cases import EVERY, MODES, Bench, Case, Step
from fisherscope.step_cost import process_memory, time_steps

WARM_UP, MEMORY_STEPS = 2, 3
OTHER_TOOLS = ("func", "opacus")


def time_case(name: str, case: Case, threads: int, device: str) -> dict[str, Any]:
    """Time each mode of a case and, on the CPU, measure its peak memory.

    Args:
        name: Name of the case.
        case: Network and batch.
        threads: CPU threads of torch, for the processes that measure memory.
        device: "cpu" or "cuda".

    Returns:
        By "modes": median seconds, ratio to the plain step with quartiles, and peak bytes; and the case's
        size.

    Cost: seconds to minutes per case, and a process per mode.

    Example: `fisherscope bench gram`, see docs/cost.md.
    """
    monitored = name.startswith("monitored")
    memory = {m: _peak_memory(name, m, threads) for m in MODES if device == "cpu" and not monitored}
    bench = Bench(case, device)
    steps, rejections = (bench.training(), {}) if monitored else bench.steps()
    rows = _rows(steps, case)
    for mode, figures in memory.items():
        base = memory["plain"]
        rows[mode] |= figures
        rows[mode]["peak_ratio"] = figures["peak_bytes"] / base["peak_bytes"]
        rows[mode]["step_memory_ratio"] = figures["step_bytes"] / base["step_bytes"]
    return {
        "batch_size": case.batch_size,
        "shape": case.shape,
        "parameters": sum(p.numel() for p in bench.model.parameters()),
        "training_steps_timed_together": EVERY if monitored else 1,
        "modes": rows,
        "refused": rejections,
    }


def _rows(steps: dict[str, Step], case: Case) -> dict[str, Any]:
    """Time the modes in turn; return seconds and ratios to the plain step by mode."""
    fewer = dict.fromkeys(OTHER_TOOLS, case.other_tools)
    times = time_steps(steps, case.turns, fewer=fewer, warm_up=WARM_UP)
    seconds = {mode: [one.wall for one in rounds] for mode, rounds in times.items()}
    rows: dict[str, Any] = {}
    for mode, values in seconds.items():
        ratios = [a / b for a, b in zip(values, seconds["plain"], strict=False)]
        rows[mode] = {
            "seconds": statistics.median(values),
            "ratio": statistics.median(ratios),
            "ratio_quartiles": statistics.quantiles(ratios, n=4)[::2] if len(ratios) > 1 else None,
            "turns": len(values),
        }
    return rows


def _peak_memory(name: str, mode: str, threads: int) -> dict[str, int]:
    """Measure the memory of a process that takes only this mode's steps."""
    command = [sys.executable, "-m", "fisherscope", "bench", "gram", "--case", name, "--only", mode]
    process = subprocess.run(
        [*command, "--threads", str(threads)], check=True, capture_output=True, text=True
    )
    figures: dict[str, int] = json.loads(process.stdout)
    return figures


def memory_of_mode(case: Case, mode: str, device: str) -> dict[str, int]:
    """Measure the peak memory of this process while it takes steps of one mode.

    `VmHWM` is this process's own peak; `ru_maxrss` would be its parent's if that was larger.

    Args:
        case: Network and batch.
        mode: A key of `Bench.steps`.
        device: "cpu" or "cuda".

    Returns:
        Bytes: "peak_bytes", the peak of the resident set, and "step_bytes", the part above the memory before
        the steps.

    Example: `fisherscope bench gram`, see docs/cost.md.

    Raises:
        OSError: The system does not report memory; only Linux does.
    """
    import fisherscope as fs

    _ = fs.record_gram  # imported before memory is measured, in all modes
    bench = Bench(case, device)
    idle = _memory("VmRSS")
    step = bench.steps()[0][mode]
    for _ in range(MEMORY_STEPS):
        step()
    peak = _memory("VmHWM")
    return {"peak_bytes": peak, "step_bytes": peak - idle}


def _memory(key: str) -> int:
    """Read a memory figure of this process.

    Returns:
        Bytes.

    Raises:
        OSError: The system does not say; only Linux does.
    """
    size = process_memory(key)
    if size is None:
        raise OSError(f"measuring memory: /proc/self/status has no {key}; expected Linux")
    return size


def circumstances(threads: int, device: str) -> dict[str, Any]:
    """Describe a measurement: command, versions, device and threads.

    Args:
        threads: CPU threads of torch.
        device: "cpu" or "cuda".

    Returns:
        Values by name.

    Example:
        ```python
        from fisherscope.bench import circumstances

        assert circumstances(1, "cpu")["threads"] == 1
        ```
    """
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
    """Return the name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )

"""`fisherscope bench gram`: what a measured step costs beside a plain one and beside other tools."""

import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fisherscope.bench.cases import CASES, EVERY, MODES, Bench, Case, Step

WARM_UP, ALONE = 2, 3


def bench(
    what: Annotated[str, typer.Argument(help="What to time: gram.")] = "gram",
    case: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(CASES)}; by default all.")] = None,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
    device: Annotated[str, typer.Option(help="cpu, or cuda where there is one.")] = "cpu",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file of the results.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    only: Annotated[str, typer.Option(help="One mode alone, for its peak of memory.", hidden=True)] = "",
) -> None:
    """Time a measured step, eigenvalues included, as a ratio to a plain step: the median of pairs."""
    import torch

    from fisherscope.gram import keep_freed_blocks

    if what != "gram":
        raise ValueError(f"there is no benchmark {what!r}; there is gram")
    chosen = case or list(CASES)
    unknown = [name for name in chosen if name not in CASES]
    if unknown:
        raise ValueError(f"there is no case {unknown[0]!r}; there are {', '.join(CASES)}")
    torch.set_num_threads(threads)
    if only:
        _alone(CASES[chosen[0]], only, device)
        return
    keep_freed_blocks()  # plain steps and measured ones alike; the processes of the memory figures do not
    circumstances = _circumstances(threads, device)
    results: dict[str, Any] = {}
    for name in chosen:
        results[name] = _result(name, CASES[name], threads, device)
        if not as_json:
            _show(name, results[name])
        if out is not None:  # what was timed is kept if a later case fails
            found = {"circumstances": circumstances, "cases": results}
            out.write_text(json.dumps(found, indent=1) + "\n")
    if as_json:
        print(json.dumps({"circumstances": circumstances, "cases": results}))


def _result(name: str, case: Case, threads: int, device: str) -> dict[str, Any]:
    """Each mode's seconds, its ratio to the plain step and, on the CPU, its peak of memory."""
    monitored = name.startswith("monitored")
    memory = {m: _peak(name, m, threads) for m in MODES if device == "cpu" and not monitored}
    bench = Bench(case, device)
    steps, refused = (bench.training(), {}) if monitored else bench.steps()
    rows = _timed(steps, case)
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


def _timed(steps: dict[str, Step], case: Case) -> dict[str, Any]:
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


def _show(name: str, result: dict[str, Any]) -> None:
    for mode, row in result["modes"].items():
        peak = (
            f" · peak {row['peak_bytes'] / 2**20:.0f} MiB, {row['peak_ratio']:.2f} ×"
            if "peak_bytes" in row
            else ""
        )
        print(f"{name:<22} {mode:<9} {1e3 * row['seconds']:9.2f} ms  {row['ratio']:7.3f} ×{peak}", flush=True)
    for tool, why in result["refused"].items():
        print(f"{name:<22} {tool:<9} refused: {why.splitlines()[0][:90]}", flush=True)


def _peak(name: str, mode: str, threads: int) -> dict[str, int]:
    """Memory of a process that does nothing but this mode's steps."""
    command = [sys.executable, "-m", "fisherscope", "bench", "gram", "--case", name, "--only", mode]
    done = subprocess.run([*command, "--threads", str(threads)], check=True, capture_output=True, text=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def _alone(case: Case, mode: str, device: str) -> None:
    """Prints the peak of the resident set, and how far it lies above what model and optimizer's state take.

    `VmHWM` is this process's own; `ru_maxrss` would be its parent's where that was larger.
    """
    import fisherscope as fs

    _ = fs.record_gram  # imported before memory is looked at, as are all modes
    bench = Bench(case, device)
    idle = _status("VmRSS")
    step = bench.steps()[0][mode]
    for _ in range(ALONE):
        step()
    peak = _status("VmHWM")
    print(json.dumps({"peak_bytes": peak, "step_bytes": peak - idle}))


def _status(key: str) -> int:
    """A memory figure of /proc/self/status, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))


def _circumstances(threads: int, device: str) -> dict[str, Any]:
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

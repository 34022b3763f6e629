"""`fisherscope bench gram`: what a measured step costs beside a plain one and beside other tools."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fisherscope.bench import CASES, circumstances, memory_of_mode, time_case


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
        print(json.dumps(memory_of_mode(CASES[chosen[0]], only, device)))
        return
    keep_freed_blocks()  # plain steps and measured ones alike; the processes of the memory figures do not
    around = circumstances(threads, device)
    results: dict[str, Any] = {}
    for name in chosen:
        results[name] = time_case(name, CASES[name], threads, device)
        if not as_json:
            _show(name, results[name])
        if out is not None:  # what was timed is kept if a later case fails
            found = {"circumstances": around, "cases": results}
            out.write_text(json.dumps(found, indent=1) + "\n")
    if as_json:
        print(json.dumps({"circumstances": around, "cases": results}))


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

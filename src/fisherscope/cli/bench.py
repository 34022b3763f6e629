"""Run `fisherscope bench gram`: time a measured step against a plain one."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fisherscope.bench import CASES, circumstances, memory_of_mode, time_case


def bench(
    what: Annotated[str, typer.Argument(help="Benchmark to run: gram.")] = "gram",
    case: Annotated[
        list[str] | None, typer.Option(help=f"Case, repeatable: {', '.join(CASES)}; by default all.")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads for torch.")] = 2,
    device: Annotated[str, typer.Option(help="Device: cpu or cuda.")] = "cpu",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file for the results.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    only: Annotated[str, typer.Option(help="Mode whose peak memory to measure.", hidden=True)] = "",
) -> None:
    """Time a measured step, eigenvalues included, as a median ratio to a plain step."""
    import torch

    from fisherscope.gram import keep_freed_blocks
    from fisherscope.runs import replace_text

    if what != "gram":
        raise ValueError(f"unknown benchmark {what!r}; expected gram")
    names = case or list(CASES)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise ValueError(f"unknown case {unknown[0]!r}; expected one of {', '.join(CASES)}")
    torch.set_num_threads(threads)
    if only:
        print(json.dumps(memory_of_mode(CASES[names[0]], only, device)))
        return
    keep_freed_blocks()  # for plain and measured steps alike, but not in the processes that measure memory
    setup = circumstances(threads, device)
    results: dict[str, Any] = {}
    for name in names:
        results[name] = time_case(name, CASES[name], threads, device)
        if not as_json:
            _print_rows(name, results[name])
        if out is not None:  # results are saved even if a later case fails
            answer = {"circumstances": setup, "cases": results}
            replace_text(out, json.dumps(answer, indent=1) + "\n")
    if as_json:
        print(json.dumps({"circumstances": setup, "cases": results}))


def _print_rows(name: str, result: dict[str, Any]) -> None:
    for mode, row in result["modes"].items():
        peak = (
            f" · peak {row['peak_bytes'] / 2**20:.0f} MiB, {row['peak_ratio']:.2f} ×"
            if "peak_bytes" in row
            else ""
        )
        print(f"{name:<22} {mode:<9} {1e3 * row['seconds']:9.2f} ms  {row['ratio']:7.3f} ×{peak}", flush=True)
    for tool, why in result["refused"].items():
        print(f"{name:<22} {tool:<9} refused: {why.splitlines()[0][:90]}", flush=True)

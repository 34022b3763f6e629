"""Run `fisherscope spikes RUN`: list the steps whose gradient left its band, and what is to blame."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fisherscope.plain_text import one_line

LISTED = 3
"""Samples, micro-batches and layers that are shown of each spike; --json has all."""


def spikes(
    run: Annotated[Path, typer.Argument(help="Directory of a run, or of runs.", metavar="RUN")] = Path(
        "runs"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List spikes of the gradient norm: step, norm, and the samples, micro-batches and layers behind it."""
    import fisherscope as fs

    directories = list(fs.runs.run_directories(run))
    if not directories:
        raise ValueError(
            f"reading {run}: there is no run; expected a run's directory, or one that holds runs"
        )
    by_run = {str(path): fs.runs.spikes(path) for path in directories}
    if as_json:
        print(json.dumps(by_run, ensure_ascii=False, allow_nan=False))
        return
    for path, rows in by_run.items():
        if rows or len(by_run) == 1:
            print("\n".join([f"{path}: {len(rows)} spikes", *(line for row in rows for line in _lines(row))]))
    if not any(by_run.values()):
        print("No spikes are recorded; they are with fs.Monitor(…, on_spike=True) or --set on_spike=true.")


def _lines(row: dict[str, Any]) -> list[str]:
    head = f"  step {row.get('step')}: gradient norm {_number(row.get('norm'))}"
    head += f", usual {_number(row.get('usual_norm'))}, limit {_number(row.get('limit'))}; {row.get('blame')}"
    lines = [one_line(head)]
    for key, title, name in (
        ("blamed_samples", "samples", "sample"), ("micro_batches", "micro-batches", "micro_batch"),
        ("layers", "layers", "parameter"),
    ):  # fmt: skip
        parts = [part for part in row.get(key) or [] if isinstance(part, dict)][:LISTED]
        texts = [f"{part.get(name)} ({_share(part.get('explained'))})" for part in parts]
        lines += [one_line(f"    {title}: {', '.join(texts)}")] if texts else []
    return lines


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else "not finite"


def _share(value: Any) -> str:
    return f"{value:.0%}" if isinstance(value, int | float) else "not finite"

"""Run `fisherscope diagnose RUN`: list what is wrong or wasted in runs, with evidence and what to try."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fisherscope.plain_text import one_line


def diagnose(
    run: Annotated[Path, typer.Argument(help="Directory of a run, or of runs.", metavar="RUN")] = Path(
        "runs"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what is wrong or wasted in a run: errors, warnings and hints, each with what to try."""
    import fisherscope as fs
    from fisherscope.diagnosis.diagnosis import diagnosis_of

    runs = fs.load_runs(run)
    if not len(runs):
        raise ValueError(
            f"reading {run}: there is no run; expected a run's directory, or one that holds runs"
        )
    diagnoses = [diagnosis_of(runs, run_id) for run_id in runs.paths]
    if as_json:
        print(json.dumps([each.to_dict() for each in diagnoses], ensure_ascii=False, allow_nan=False))
        return
    for each in diagnoses:
        print("\n".join(one_line(line) for line in str(each).splitlines()))

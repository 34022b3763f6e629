"""Measure every family with the engine that the import path gives, and write the page.

python -m experiments.coverage now
PYTHONPATH=OLD/src:. python -m experiments.coverage 0.1    # OLD: a checkout of version 0.1
python -m experiments.coverage page
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import re
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch
from experiments.coverage import page
from experiments.coverage.families import families
from experiments.coverage.verdicts import MESSAGE, examined

RESULT = Path(__file__).parents[1] / "results" / "coverage.json"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.coverage", description=__doc__)
    parser.add_argument("engine", help="what the imported engine is called: now or 0.1; or page")
    parser.add_argument(
        "--only", default="", help="a regular expression of families; the others keep their rows"
    )
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    found = json.loads(arguments.result.read_text()) if arguments.result.exists() else {"rows": {}}
    if arguments.engine != "page":
        measure(arguments.engine, arguments.only, found, arguments.result)
    else:
        page.write(found)


def measure(engine: str, only: str, found: dict[str, Any], result: Path) -> None:
    """Add the rows of one engine, family by family, and write after each."""
    import transformers

    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    found |= {
        "command": "python -m experiments.coverage now; the same with 0.1 on the import path",
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "device": "cpu, 1 thread",
    }  # fmt: skip
    every = families()
    for name, family in every.items():
        if not re.search(only, name):
            continue
        started = time.perf_counter()
        try:
            row = examined(family)
        except Exception as error:  # noqa: BLE001  (a family that fails is a row that says so)
            row = {"verdict": "error", "message": f"{type(error).__name__}: {error}"[:MESSAGE]}
            if only:
                traceback.print_exc()
        place = found["rows"].setdefault(name, {"group": family.group})
        place["group"] = family.group
        place[engine] = row
        print(f"{time.perf_counter() - started:5.1f} s  {name:34} {summary(row)}", flush=True)
        found["rows"] = {name: found["rows"][name] for name in every if name in found["rows"]}
        result.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        gc.collect()


def summary(row: dict[str, Any]) -> str:
    """Return a row in one line."""
    error = f"{row['error']:.1e}" if "error" in row else ""
    parts = [
        row["verdict"],
        error,
        f"p={row.get('parameters')}",
        f"floor={row.get('floor', float('nan')):.0e}",
    ]
    parts += [
        str(row.get("grouping")),
        "" if row.get("neutral") == "yes" else f"NEUTRAL: {row.get('neutral')}",
    ]
    return " ".join([*parts, row.get("message", "")])


if __name__ == "__main__":
    main()

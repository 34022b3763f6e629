"""Measure the critical batch size of text/gpt-mini by branches: `python -m experiments.branching`.

The answer is `branches.json` of the results, with the CPU seconds that it took.
"""

import argparse
import json
import platform
import resource
from pathlib import Path

import torch

import fisherscope as fs

RESULTS = Path(__file__).parents[1] / "results" / "branches.json"
TASK = "text/gpt-mini"


def main() -> None:
    """Run the branches and write the answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/branch"))
    parser.add_argument("--jobs", type=int)
    options = parser.parse_args()
    answer = fs.branch(TASK, out=options.out, jobs=options.jobs)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = {
        "command": f"fisherscope branch {TASK}", "torch": torch.__version__,
        "python": platform.python_version(), "device": "cpu",
        "cpu_seconds": round(used.ru_utime + used.ru_stime),
        "answer": answer.answer() | {"runs": "runs/branch/branches"},
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(answer)


if __name__ == "__main__":
    main()

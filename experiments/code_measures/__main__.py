"""Measure the package's source, or that of another checkout, and write the table.

python -m experiments.code_measures now
python -m experiments.code_measures 0.1 --source OLD/src/fisherscope
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

from experiments.code_measures.source import measure_source
from experiments.code_measures.walks import ROOT, measure_walks
from tests.cases.public_callables import missing_parts, public_callables

RESULT = Path(__file__).parents[1] / "results" / "code-measures.json"


def documented_share() -> list[int]:
    """Return how many public functions, classes and methods leave no part out, and how many there are."""
    callables = public_callables()
    complete = [name for name, value in callables.items() if not missing_parts(name, value, callables)]
    return [len(complete), len(callables)]


def main() -> None:
    """Measure, write the result file, and print both columns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("version", help="column of the table, such as now")
    parser.add_argument("--source", type=Path, help="package folder of another checkout; walks are left out")
    options = parser.parse_args()
    table = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    table[options.version] = {"python": platform.python_version(), **measure_source(options.source or ROOT)}
    if options.source is None:
        table[options.version] |= {"public callables documented in full": documented_share()}
        table[options.version]["walks"] = measure_walks()
    RESULT.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")
    versions = list(table)
    print("measure |", " | ".join(versions))
    for key in dict.fromkeys(key for version in versions for key in table[version]):
        print(key, "|", " | ".join(str(table[version].get(key, "")) for version in versions))


if __name__ == "__main__":
    main()

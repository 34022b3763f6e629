"""Run the core suite on a version of torch: python -m experiments.torch_versions 2.14.1.

Makes an environment in a temporary directory, with the pins of constraints.txt but for torch, installs the
project and its test extra there, runs the suite, removes the environment, and writes what came out as that
version's row of experiments/results/torch-versions.json. `static` in place of a version checks syntax by ruff
and types by mypy for each supported Python.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "experiments" / "results" / "torch-versions.json"
ROOMS = ("gram", "guard", "measures", "model_state", "monitor", "sampler", "samples", "verification")
SUITE = [f"tests/{room}" for room in ROOMS] + [
    "tests/test_eigenvalues.py",
    "tests/integrations/test_lightning.py",
    "tests/integrations/test_transformers.py",
]
"""The core suite: the rooms that call torch while a user trains, and the frameworks around them."""
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
TOLD = ("torch", "numpy", "lightning", "transformers", "mypy", "ruff")
UNPINNED = re.compile(r"(torch|setuptools)==")  # setuptools is what this torch asks for


def make_environment(folder: Path, version: str) -> Path:
    """Install torch of a version, the project and its test extra; return the environment's Python."""
    constraints = folder / "constraints.txt"
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not UNPINNED.match(line)]
    constraints.write_text("\n".join([*pins, f"torch=={version}"]) + "\n")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "-c", constraints, f"torch=={version}", "-e", ".[test]"]
    subprocess.run(install, cwd=ROOT, check=True)
    return python


def run_suite(python: Path, folder: Path, suite: list[str]) -> dict[str, Any]:
    """Run the tests; count them by outcome, and name those that fail."""
    report = folder / "report.xml"
    command = [
        python, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", f"--junitxml={report}", *suite
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=False)
    counts: dict[str, Any] = {"passed": 0, "failed": 0, "skipped": 0, "failures": []}
    for case in ET.parse(report).getroot().iter("testcase"):
        kind = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        counts[kind if kind in counts else "failed"] += 1
        if kind in ("failure", "error"):
            text = case.find(kind)
            message = "" if text is None else str(text.get("message"))[:200]
            counts["failures"].append(f"{case.get('classname')}::{case.get('name')}: {message}")
    return counts


def check_types(python: Path, folder: Path) -> dict[str, str]:
    """Check the package's types for each supported Python; the last line that mypy says."""
    said = {}
    for version in PYTHONS:
        command = [python, "-m", "mypy", f"--python-version={version}", f"--cache-dir={folder / 'types'}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        said[version] = (done.stdout.strip() or done.stderr.strip()).splitlines()[-1]
    return said


def check_syntax(python: Path) -> dict[str, str]:
    """Check the code by ruff with each supported Python as its target; the last line that it says."""
    said = {}
    for version in PYTHONS:
        command = [
            python,
            "-m",
            "ruff",
            "check",
            "--no-cache",
            f"--target-version=py{version.replace('.', '')}",
        ]
        command += ["--select=E9,F", "src"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        said[version] = (done.stdout.strip() or done.stderr.strip()).splitlines()[-1]
    return said


def versions_of(python: Path) -> dict[str, str]:
    """Read the versions of what the environment holds."""
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {TOLD}}}))"
    return dict(json.loads(subprocess.run([python, "-c", code], capture_output=True, check=True).stdout))


def check_statically(python: Path, folder: Path) -> dict[str, Any]:
    """Check syntax and types for each supported Python, in this environment."""
    return {
        "command": "make check-pythons",
        "versions": versions_of(python),
        "python": platform.python_version(),
        "ruff": check_syntax(python),
        "mypy": check_types(python, folder),
    }


def write_row(path: Path, key: str, row: dict[str, Any]) -> None:
    """Put one row into the results, which keep the others."""
    rows = json.loads(path.read_text()) if path.exists() else {}
    rows[key] = row
    ordered = dict(sorted(rows.items(), key=lambda item: [int(k) for k in re.findall(r"\d+", item[0])]))
    path.write_text(json.dumps(ordered, indent=1) + "\n")


def main() -> None:
    """Install, test, check, write, remove."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", help="Of torch; or `static`: syntax and types for each Python.")
    parser.add_argument("--suite", nargs="+", default=SUITE, help="Test files and folders.")
    parser.add_argument("-o", "--out", type=Path, default=RESULT)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="torch-"))
    if options.version == "static":
        python = Path(sys.executable)
        write_row(options.out, "static", check_statically(python, folder))
        return
    try:
        python = make_environment(folder, options.version)
        row = {
            "command": f"make test-torch VERSION={options.version}",
            "suite": " ".join(options.suite),
            "versions": versions_of(python),
            "python": platform.python_version(),
            "device": "cpu",
            **run_suite(python, folder, options.suite),
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    write_row(options.out, options.version, row)
    print(f"torch {row['versions']['torch']}: {row['passed']} passed, {row['failed']} failed")
    sys.exit(1 if row["failed"] else 0)


if __name__ == "__main__":
    main()

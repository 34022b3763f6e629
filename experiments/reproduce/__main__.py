"""Add runs of the paper's recipes to the committed results, and fill the tables of docs/reproduce.md.

python -m experiments.reproduce [NAME=DIR ...]

NAME is a group of experiments/results/reproduce/runs.json, such as full; DIR is a directory of runs or an
export. A run that was there is replaced if the new one came as far. Without an argument the page alone is
written again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from experiments.reproduce.tables import Row, blocks
from experiments.study.tables import rewrite

import fisherscope as fs

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results" / "reproduce" / "runs.json"
PAGE = ROOT / "docs" / "reproduce.md"
SETTINGS = ("task", "policy", "batch_size", "lr", "seed", "epochs", "limit_train", "limit_test", "rule",
            "stride", "validation", "augment")  # fmt: skip
VALUES = {
    "test_error": "test/error",
    "running_error": "train/error_running",
    "cond_mean_paper": "fisher/cond_mean_paper",
    "energy_sum_paper": "fisher/energy_sum_paper",
}
"""What is kept of a run's last epoch."""


def main(words: list[str]) -> None:
    """Read the groups that are named, and write the page."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for word in words:
        name, _, source = word.partition("=")
        if not source:
            raise SystemExit(f"adding {word!r}: expected NAME=DIR, such as full=runs/mnist")
        results[name] = merge(results.get(name, []), read(Path(source)))
        print(f"{name}: {len(results[name])} runs")
    RESULTS.write_text(to_text(results), encoding="utf-8")
    rewrite(PAGE, blocks(results))


def merge(before: list[Row], rows: list[Row]) -> list[Row]:
    """Return the rows by id; a row that was there gives way to a new one that came as far."""
    by_id = {row["id"]: row for row in before}
    for row in rows:
        if row["id"] not in by_id or row["reached"] >= by_id[row["id"]]["reached"]:
            by_id[row["id"]] = row
    return [by_id[key] for key in sorted(by_id)]


def to_text(results: dict[str, list[Row]]) -> str:
    """Write the results as JSON, a run a line."""
    groups = [
        f" {json.dumps(name)}: [\n  " + ",\n  ".join(json.dumps(row) for row in rows) + "\n ]"
        for name, rows in sorted(results.items())
    ]
    return "{\n" + ",\n".join(groups) + "\n}\n"


def read(source: Path) -> list[Row]:
    """Read what is kept of each run: its settings, how far it came, and its last epoch.

    Args:
        source: Directory of runs, or an export.

    Returns:
        A row per run; one that diverged in its first epoch has no values.
    """
    runs = fs.load_runs(source)
    last = runs.epochs.sort("epoch").group_by("run_id").last()
    rows = []
    for row in (
        runs.runs.join(last, on="run_id", how="left", suffix="_last").sort("run_id").iter_rows(named=True)
    ):
        settings = {key: row.get(key) for key in SETTINGS}
        values = {key: _rounded(row.get(column)) for key, column in VALUES.items()}
        reached = {"status": row["status"], "reached": row["epoch"] or 0}
        reached |= {"created": str(row["created"]), "updated": str(row["updated"])}
        rows.append({"id": row["run_id"], **settings, **reached, **values})
    return rows


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


if __name__ == "__main__":
    main(sys.argv[1:])

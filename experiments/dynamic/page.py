"""The tables of docs/policies.md, from the committed results: `python -m experiments.dynamic.page`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from experiments.dynamic.beacon_axis import errors
from experiments.dynamic.designs import DESIGNS
from experiments.dynamic.tables import Rows
from experiments.study.tables import markdown, rewrite

RESULTS = Path(__file__).parents[1] / "results"
AXIS = RESULTS / "beacon-axis.json"
PAGE = Path(__file__).parents[2] / "docs" / "policies.md"
HEAD = [
    "family", "setting, rate", "n", "test error %", "minus the reference's", "paired", "seconds", "ratio",
    "steps", "C̄ (geometric)", "L", "last size", "claim 13", "at 0.8",
]  # fmt: skip
NAMED = {
    "reference": "**reference**: best fixed size",
    "beacon": "`BeaconPolicy`",
    "fixed front": "fixed, at its best rate",
}


def main() -> None:
    """Rewrite every block whose result is there."""
    results = {task: json.loads(path.read_text()) for task in DESIGNS if (path := _file(task)).exists()}
    blocks = {f"comparison {task}": comparison(result["confirmation"]) for task, result in results.items()}
    blocks["forecasts"] = forecasts(results)
    blocks["arrival"] = arrival({task: result for task, result in results.items() if result["confirmation"]})
    blocks["pairs"] = pairs(results)
    if AXIS.exists():
        blocks["by rank"] = by_rank(json.loads(AXIS.read_text())["tasks"])
    rewrite(PAGE, blocks)


def _file(task: str) -> Path:
    return RESULTS / f"dynamic-{task.replace('/', '-')}.json"


def comparison(rows: Rows) -> str:
    """Write a row a confirmed setting."""
    return markdown(HEAD, [_row(row) for row in rows])


def _row(row: dict[str, Any]) -> list[str]:
    policy = "beacon:FILE.json" if row["policy"] == "beacon" else row["policy"]
    cells = [NAMED.get(row["family"], row["family"]), f"`{policy}`, {row['lr']:g}", str(row["n"])]
    cells.append(f"{100 * row['test']:.2f}" + (f" ± {100 * row['test_std']:.2f}" if row["test_std"] else ""))
    if "difference" in row:
        bound = f" (≤ {100 * row['upper']:+.2f})" if row["upper"] is not None else ""
        cells.append(f"{100 * row['difference']:+.2f}{bound}")
        cells.append(f"≤ {100 * row['paired_upper']:+.2f}" if row["paired_upper"] is not None else "")
    else:
        cells += ["", ""]
    ratio = f"{row.get('time_ratio', 1):.2f}"
    ratio += f" ({row['time_low']:.2f} to {row['time_high']:.2f})" if "time_low" in row else ""
    cells += [f"{row['seconds']:.3g}", ratio, f"{row['steps']:.0f}"]
    cells += [
        f"{row['cond']:.2g}",
        f"{row['energy']:.3g}",
        f"{row['final_size']:.0f}",
        row.get("claim_13", ""),
        row.get("verdict", ""),
    ]
    return cells


def forecasts(results: dict[str, Any]) -> str:
    """Median and root mean square misses, by task and by who said when."""
    rows = []
    for task, result in results.items():
        parts = {"beacons, of schedules at the start": result["prediction"]}
        parts |= {
            f"`BeaconPolicy`, {when}": part for when, part in result["prediction_of_beacon_runs"].items()
        }
        for who, part in parts.items():
            if part.get("runs"):
                covered = part.get("covered_by_90")
                rows.append([
                    task, who, part["runs"], *(_percent(part["median_log"][k]) for k in "CL"),
                    *(f"{part['rms_log'][k]:.2g}" for k in "CL"),
                    " / ".join(f"{100 * covered[k]:.0f} %" for k in "CL") if covered else "",
                ])  # fmt: skip
    head = [
        "task",
        "forecast",
        "runs",
        "half within: C̄",
        "L",
        "rms of log C̄",
        "of log L",
        "90 % interval held (C̄ / L)",
    ]
    return markdown(head, rows)


def _percent(log: float) -> str:
    share = 100 * math.expm1(log)
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"


def arrival(results: dict[str, Any]) -> str:
    """Share of runs inside the region, a column a task."""
    families = dict.fromkeys(row["family"] for result in results.values() for row in result["arrival"])
    at = {task: {row["family"]: row for row in result["arrival"]} for task, result in results.items()}
    rows = [
        [NAMED.get(family, family), *(_share(result.get(family)) for result in at.values())]
        for family in families
    ]
    return markdown(["family", *results], rows)


def by_rank(tasks: dict[str, Any]) -> str:
    """Write what `BeaconPolicy` by effective rank predicted and reached, a row a task and rate."""
    head = ["task, rate", "runs", "rms of log rank, of log L, predicted at the start", "before half"]
    rows = []
    for task, result in tasks.items():
        for rate in dict.fromkeys(row["lr"] for row in result["rows"]):
            mine = [row for row in result["rows"] if row["lr"] == rate]
            tests = [100 * row["test"] for row in mine]
            errors_at = (errors(mine)[when] for when in ("at_the_start", "before_half"))
            rows.append([
                f"{task}, {rate:g}", len(mine), *(f"{rank:.2g}, {energy:.2g}" for rank, energy in errors_at),
                f"{sum(row['inside'] for row in mine)} of {len(mine)}",
                f"{mean(tests):.2f} ± {stdev(tests):.2f}", f"{mean(row['seconds'] for row in mine):.3g}",
            ])  # fmt: skip
    return markdown([*head, "inside", "test error %", "seconds"], rows)


def _share(row: dict[str, Any] | None) -> str:
    return "" if row is None else f"{row['inside']} of {row['runs']}"


def pairs(results: dict[str, Any]) -> str:
    """Write the ends of schedules and their reverse, with the deviation of the logarithms over seeds."""
    head = [
        "task",
        "setting, rate",
        "n",
        "diverged",
        "C̄ (log deviation)",
        "L (log deviation)",
        "test error %",
    ]
    rows = [
        [task, f"`{row['policy']}`, {row['lr']:g}", row["n"], row["diverged"], _end(row, "cond"),
         _end(row, "energy"), f"{100 * row['test']:.2f}"]
        for task, result in results.items() for row in result["pairs"]
    ]  # fmt: skip
    return markdown(head, rows)


def _end(row: dict[str, Any], measure: str) -> str:
    deviation = row[f"{measure}_log_std"]
    return f"{row[measure]:.3g}" + (f" (± {deviation:.2g})" if deviation is not None else "")


if __name__ == "__main__":
    main()

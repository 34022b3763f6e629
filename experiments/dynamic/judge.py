"""Judge confirmed settings by claim 13: as good within seeds, and faster by the ratio's whole interval.

    python -m experiments.dynamic.judge

adds it to the committed results, whose runs are not all kept. The preregistered verdict, with its bar of
0.8 and Welch's bound, stays beside it.
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

from fisherscope.analysis.data.cost_estimation import MEDIAN_ERROR, NORMAL_QUARTILES

RESULTS = Path(__file__).parents[1] / "results"
Z95 = 1.96


def main() -> None:
    """Rewrite the results of every task."""
    from experiments.dynamic.comparison import _lines, _rounded

    for path in sorted(RESULTS.glob("dynamic-*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        result["confirmation"] = judged(result["confirmation"], result["cost_model"])
        path.write_text(_lines(_rounded(result)), encoding="utf-8")
        sys.stdout.write(f"{path}\n")


def judged(rows: list[dict[str, Any]], cost: dict[str, Any]) -> list[dict[str, Any]]:
    """Add `time_low, time_high, claim_13` to the rows that are compared with the first one."""
    if not rows:
        return []
    base = rows[0]
    return [base, *(row | _judgement(row, base, cost) for row in rows[1:])]


def _judgement(row: dict[str, Any], base: dict[str, Any], cost: dict[str, Any]) -> dict[str, Any]:
    ratio, reach = row["time_ratio"], ratio_reach(row, base, cost)
    low, high = ratio * math.exp(-reach), ratio * math.exp(reach)
    out = {"time_low": low, "time_high": high}
    if row["diverged"] or low > 1:
        return out | {"claim_13": "contradicted"}
    if row["paired_upper"] is None:
        return out | {"claim_13": "inconclusive"}
    lower = 2 * row["difference"] - row["paired_upper"]
    if lower > row["margin"]:
        return out | {"claim_13": "contradicted"}
    good = row["paired_upper"] < row["margin"]
    return out | {"claim_13": "supported" if good and high < 1 else "inconclusive"}


def ratio_reach(row: dict[str, Any], base: dict[str, Any], cost: dict[str, Any]) -> float:
    """Return the half-width of the 95 % interval of the log of a ratio of times, at most.

    Each time is a mean over sizes, weighted by their steps, so its relative error is at most the largest
    of the sizes in use; the two times share sizes, so their errors do not add up to more than root two of it.
    """
    rounds = next(int(word) for word in cost["of"].split() if word.isdigit())
    sizes = {int(size) for size in cost["seconds"]}
    used = [
        size for size in sizes if _smallest(row, base) <= size <= max(row["final_size"], base["final_size"])
    ]
    errors = [
        cost["quartiles"][str(size)]
        / NORMAL_QUARTILES
        * MEDIAN_ERROR
        / math.sqrt(rounds)
        / cost["seconds"][str(size)]
        for size in used or sizes
    ]
    return Z95 * math.sqrt(2) * max(errors)


def _smallest(*rows: dict[str, Any]) -> int:
    """Return the smallest batch size that settings begin or end with; 0 where a name does not say."""
    found = [re.match(r"s(\d+)(?:-to-(\d+))?", row["policy"]) for row in rows]
    return min(int(size) for match in found for size in (match.groups() if match else ("0",)) if size)


if __name__ == "__main__":
    main()

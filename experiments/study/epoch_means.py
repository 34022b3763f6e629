"""Claims 7 and 10 with C̄ by steps and with C̄ by epochs, on the committed sweeps with schedules.

`python -m experiments.study.epoch_means`: writes experiments/results/claim-7-by-epochs.json; half a minute.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fisherscope as fs
from fisherscope.analysis.data.run_measures import BY_EPOCHS, COND

RESULTS = Path(__file__).parents[1] / "results"
OUT = RESULTS / "claim-7-by-epochs.json"
SWEEPS = ("digits-resnet8", "mnist-mlp")
CLAIMS = (7, 10)
DIGITS = 4
"""Significant digits of a figure."""


def main() -> None:
    """Test the claims under each mean, and write figures and verdicts."""
    rows = [row for sweep in SWEEPS for x in (COND, BY_EPOCHS) for row in figures_of(sweep, x)]
    OUT.write_text(json.dumps({"rows": rows}, ensure_ascii=False, indent=1) + "\n")


def figures_of(sweep: str, x: str) -> list[dict[str, Any]]:
    """Return the deciding figures of the claims on a sweep, with the measure `x` in place of C̄_K."""
    results = fs.claims(RESULTS / "sweeps" / f"{sweep}.zip", x=x)
    rows = []
    for number in CLAIMS:
        for part in results[number].parts:
            if not part.beside:
                figures = {
                    key: float(f"{getattr(part, key):.{DIGITS}g}") for key in ("estimate", "low", "high", "p")
                }
                verdict = results[number].verdict
                rows.append({"sweep": sweep, "measure": x, "claim": number, "verdict": verdict,
                             "figure": part.name, **figures, "n": part.n})  # fmt: skip
    return rows


if __name__ == "__main__":
    main()

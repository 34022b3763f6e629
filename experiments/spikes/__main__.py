"""Is the planted cause of a spike named first? `python -m experiments.spikes --trials 100`.

Each trial trains three layers on the digits and plants, at step 40, the smallest corruption that leaves the
band of the gradient's norm. The results are `spikes.json` of that folder.
"""

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch
from experiments.spikes.planted import plant

KINDS = ("sample", "micro-batch", "layer")
RESULTS = Path(__file__).parents[1] / "results" / "spikes.json"


def named_first(kind: str, spike: dict[str, Any]) -> Any:
    """Return what a spike names first, of one kind; None where it names nothing."""
    key, name = {
        "sample": ("blamed_samples", "sample"),
        "micro-batch": ("micro_batches", "micro_batch"),
        "layer": ("layers", "parameter"),
    }[kind]
    rows = spike[key]
    return rows[0][name] if rows else None


def trial(kind: str, seed: int) -> dict[str, Any]:
    """Plant one spike and say whether it was seen alone, and its cause named first."""
    spikes, planted, step = plant(kind, seed)
    own = [spike for spike in spikes if spike["step"] == step]
    return {
        "seed": seed,
        "seen": len(own) == 1,
        "others": len(spikes) - len(own),
        "first": bool(own) and named_first(kind, own[0]) == planted,
        "norm": own[0]["norm"] / own[0]["usual_norm"] if own else None,
    }


def main() -> None:
    """Run the trials and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    trials = parser.parse_args().trials
    kinds = {}
    for kind in KINDS:
        rows = [trial(kind, seed) for seed in range(trials)]
        kinds[kind] = {
            "trials": trials,
            "seen": sum(row["seen"] for row in rows),
            "named_first": sum(row["first"] for row in rows),
            "other_spikes": sum(row["others"] for row in rows),
            "median_norm_over_usual": sorted(row["norm"] or 0.0 for row in rows)[trials // 2],
            "missed_seeds": [row["seed"] for row in rows if not row["first"]],
        }
        print(kind, kinds[kind], flush=True)
    result = {
        "command": f"python -m experiments.spikes --trials {trials}",
        "torch": torch.__version__, "python": platform.python_version(), "device": "cpu", "kinds": kinds,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""What a decision of each policy costs: CPU microseconds a batch over a played run, and the dearest one.

python benchmarks/policy.py        # writes benchmarks/results/policy.json
"""

import json
import platform
import time
from pathlib import Path

from fisherscope.policy import Observation, parse

HERE = Path(__file__).parent
BEACONS = HERE.parent / "tests" / "data" / "beacons-digits-mlp.json"
NAMES = ["s8", "s8-to-128", "s8-to-128-MS", "s8-growth", "s8-increase", "s8-norm-test", "s8-inner-product",
         "s8-big-batch", "s16-cabs", "s8-noise-scale", "s8-diversity", "s8-norm-test+bounds:max=128+linear",
         "s8-to-128+adascale", f"beacon:{BEACONS}"]  # fmt: skip
REPEATS, EPOCHS, BATCHES = 5, 40, 38
ROW = {
    "noise/variance": 30.0,
    "noise/signal": 1.5,
    "gradient/norm": 2.0,
    "test/inner_product": 0.3,
    "test/orthogonality": 0.8,
    "batch_size": 8,
    "train/loss": 0.5,
    "fisher/cond": 12.0,
    "fisher/energy": 0.05,
    "lr": 0.03,
    "steps_since": 19,
    "fisher/energy_sum": 1.0,
}


def played(name: str) -> tuple[float, float]:
    """(mean, largest) CPU microseconds of `update` over 40 epochs of 38 batches, two rows an epoch."""
    policy, taken = parse(name, lr=0.03, epochs=EPOCHS), []
    state = policy.init()
    for epoch in range(EPOCHS):
        for batch in range(BATCHES):
            row = {**ROW, "samples": 300 * epoch + 8 * batch + 8} if batch in (5, 25) else None
            seen = Observation(epoch, min(8 * batch, 299), 300, row)
            begun = time.process_time_ns()
            state, _ = policy.update(state, seen)
            taken.append((time.process_time_ns() - begun) / 1e3)
    return sum(taken) / len(taken), max(taken)


def main() -> None:
    """Every policy in turn, five times; the median of the means."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
    for _ in range(REPEATS):
        for name in NAMES:
            found[name].append(played(name))
    rows = {
        name.partition(":")[0] if "beacon" in name else name: {
            "mean_microseconds": round(sorted(m for m, _ in pairs)[REPEATS // 2], 1),
            "least_and_most_of_repeats": [
                round(min(m for m, _ in pairs), 1),
                round(max(m for m, _ in pairs), 1),
            ],
            "dearest_decision_microseconds": round(sorted(w for _, w in pairs)[REPEATS // 2], 1),
        }
        for name, pairs in found.items()
    }
    result = {
        "what": "CPU microseconds of Policy.update: mean over 1520 batches of a played run, and its dearest "
        "batch; medians of 5 interleaved repeats",
        "command": "python benchmarks/policy.py",
        "python": platform.python_version(),
        "device": "one thread of a shared 2-core x86-64 machine",
        "results": rows,
    }
    target = HERE / "results" / "policy.json"
    target.write_text(json.dumps(result, indent=1) + "\n")
    print(target)


if __name__ == "__main__":
    main()

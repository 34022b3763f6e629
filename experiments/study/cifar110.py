"""A deep network on real CIFAR-10 for some hundred steps: does the loss fall, and how long does a step take?

python -m experiments.study.cifar110 resnet110 --data-dir DIR [--steps 240] > FILE.json
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

import fisherscope as fs
from fisherscope.training import train

EVERY = 20
"""Steps whose mean loss is one figure."""


def losses(network: str, steps: int, data_dir: Path) -> dict[str, Any]:
    """Mean training loss of each `EVERY` steps, and processor seconds a step."""
    config = {
        "task": f"cifar10/{network}", "batch_size": 32, "lr": 0.1, "epochs": 1, "every": EVERY,
        "stride": True, "limit_train": 32 * steps, "threads": 1,
    }  # fmt: skip
    sums, seconds, conds = [0.0], [], []
    began = time.process_time()

    def progress(session: Any, row: dict[str, Any] | None) -> None:
        nonlocal began
        seconds.append(time.process_time() - began)
        if session.monitor.measurement is not None:
            conds.append(session.monitor.measurement["fisher/cond"])
        if row is not None:
            sums.append(row["train/loss_running"] * 32 * steps)
        elif len(seconds) % EVERY == 0:
            sums.append(float(session.loss_sum))
            mean = (sums[-1] - sums[-2]) / (32 * EVERY)
            print(f"step {len(seconds)}: loss {mean:.4f}", file=sys.stderr, flush=True)
        began = time.process_time()

    with tempfile.TemporaryDirectory() as root:
        result = train(config, root, progress=progress, data_dir=data_dir)
        last = fs.load_runs(result.path).epochs.to_dicts()[-1]
    means = [(b - a) / (32 * EVERY) for a, b in pairwise(sums)]
    return {
        "config": config,
        "loss_of_each_20_steps": [round(mean, 4) for mean in means],
        "cond_of_each_20th_step": [None if c is None else round(c, 1) for c in conds],
        "cpu_seconds_a_step": round(statistics.median(seconds), 3),
        "status": result.status,
        "test_error": last["test/error"],
        "val_error": last["val/error"],
    }


def main() -> None:
    """Train, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=("resnet110", "densenet110"))
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=240)
    options = parser.parse_args()
    result = {
        "what": f"cifar10/{options.network}, s32-lr0.1, real images, on one CPU thread",
        "command": f"python -m experiments.study.cifar110 {options.network} --steps {options.steps}"
        " --data-dir DIR",
        "fisherscope": fs.__version__,
        "torch": torch.__version__,
        **losses(options.network, options.steps, options.data_dir),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

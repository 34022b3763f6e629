"""Why C̄ falls with |B| on the MLPs: the same steps with every sample's gradient brought to unit length.

`python -m experiments.study.fitted`: MNIST's MLP (1000 images), the digits' MLP and ResNet-8, six sizes at
two rates. If unequal lengths are the reason (samples that are fitted have tiny gradients), c of the cosines
grows with |B| where c itself falls.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau

import fisherscope as fs

RESULT = Path(__file__).parents[1] / "results" / "fitted.json"
SIZES = (4, 8, 16, 32, 64, 128)
TASKS = {
    "mnist/mlp": (1000, (0.0125, 0.05)),
    "digits/mlp": (300, (0.01, 0.03)),
    "digits/resnet8": (300, (0.01, 0.1)),
}
"""Training images and rates."""
SEEDS, EPOCHS, PER_EPOCH = (0, 1, 2), 20, 3


def main() -> None:
    """Train every setting, compare both means of c over its run, write a row each."""
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name, (samples, rates) in TASKS.items():
        task = fs.tasks.get(name).limited(samples)
        for lr in rates:
            rows += [trained(task, size, lr, seed) for size in SIZES for seed in SEEDS]
            output = {
                "command": "python -m experiments.study.fitted",
                "torch": torch.__version__,
                "epochs": EPOCHS,
                "measurements_an_epoch": PER_EPOCH,
                "trends": trends(rows),
                "rows": rows,
            }
            RESULT.write_text(json.dumps(output, indent=1) + "\n")
            sys.stdout.write(json.dumps(output["trends"][-1]) + "\n")
            sys.stdout.flush()


def trained(task: Any, size: int, lr: float, seed: int) -> dict[str, Any]:
    """Means over one run: log10 of c, of c of the cosines, and of the longest over the shortest gradient."""
    torch.manual_seed(seed)
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=1e-4)
    order, steps = np.random.default_rng(seed), math.ceil(len(task.train) / size)
    series: dict[str, list[float]] = defaultdict(list)
    for _ in range(EPOCHS):
        due = set(order.choice(steps, min(PER_EPOCH, steps), replace=False).tolist())
        chosen = order.permutation(len(task.train))
        for step in range(steps):
            batch = task.batch("train", chosen[step * size : (step + 1) * size].tolist())
            optimizer.zero_grad()
            if step in due:
                with fs.record_gram(model, precision="float64") as record:
                    loss = task.loss(model, batch)
                    loss.backward()
                for key, value in looked_at(record).items():
                    series[key].append(value)
            else:
                loss = task.loss(model, batch)
                loss.backward()
            optimizer.step()
    last = loss.item() if math.isfinite(loss.item()) else None
    means = {key: round(float(np.nanmean(values)), 4) for key, values in series.items()}
    return {"task": task.name, "batch_size": size, "lr": lr, "seed": seed, "last_loss": last, **means}


def looked_at(record: Any) -> dict[str, float]:
    """Of one step, log10; samples without a gradient are left out of the cosines."""
    lengths = record.gram.diagonal().sqrt()
    nonzero = lengths > 0
    if int(nonzero.sum()) < 2:
        return {}
    scale = lengths[nonzero]
    cosines = record.gram[nonzero][:, nonzero] / (scale[:, None] * scale[None, :])
    plain, unit = (fs.spectrum(gram, record.entry_error) for gram in (record.gram, cosines))
    return {
        "log_cond": math.log10(plain.cond),
        "log_cond_cosines": math.log10(unit.cond),
        "log_lengths": math.log10(float(scale.max() / scale.min())),
    }


def trends(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Kendall's τ with |B| over means of seeds, by task and rate; sizes that diverged are left out."""
    out = []
    for task, lr in dict.fromkeys((row["task"], row["lr"]) for row in rows):
        mine = [row for row in rows if (row["task"], row["lr"]) == (task, lr)]
        by_size = {size: [row for row in mine if row["batch_size"] == size] for size in SIZES}
        sizes = [size for size, runs in by_size.items() if all(row["last_loss"] is not None for row in runs)]
        trend: dict[str, Any] = {"task": task, "lr": lr, "sizes": sizes}
        for key in ("log_cond", "log_cond_cosines", "log_lengths"):
            means = [float(np.mean([row[key] for row in by_size[size]])) for size in sizes]
            trend[key] = [round(value, 3) for value in means]
            trend[f"tau_{key}"] = round(float(kendalltau(sizes, means).statistic), 3)
        out.append(trend)
    return out


if __name__ == "__main__":
    main()

"""Path against per-loss columns on the same batches of the same training states.

`python -m experiments.study.semantics OUT.json`: digits resnet8, s32-lr0.03, three seeds, after 1, 5 and 20
epochs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import fisherscope as fs

SIZE, RATE, SEEDS, AFTER, BATCHES = 32, 0.03, (0, 1, 2), (1, 5, 20), 5


def main(out: Path) -> None:
    """Train, stop after each of the epochs, compare; write one row a batch."""
    torch.set_num_threads(1)
    rows = [row for seed in SEEDS for row in compared(seed)]
    out.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1) + "\n")


def compared(seed: int) -> list[dict[str, Any]]:
    """Rows of one run."""
    task = fs.tasks.get("digits/resnet8")
    torch.manual_seed(seed)
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, nesterov=True, weight_decay=1e-4)
    policy = fs.policy.parse(f"s{SIZE}", lr=RATE, epochs=40)
    sampler = fs.DynamicBatchSampler(len(task.train), policy, seed=seed)
    sampler.attach(optimizer)
    rows = []
    for epoch in range(max(AFTER)):
        for indices in sampler:
            optimizer.zero_grad()
            task.loss(model, task.batch("train", indices)).backward()
            optimizer.step()
            sampler.step()
        if epoch + 1 in AFTER:
            rows += [{"seed": seed, "epoch": epoch + 1, **row} for row in measured(model, task, seed)]
    return rows


def measured(model: nn.Module, task: Any, seed: int) -> list[dict[str, float]]:
    """Both Grams of some random batches; the model's buffers are put back."""
    numbers = np.random.default_rng(seed)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    rows = []
    for _ in range(BATCHES):
        x, y = task.batch("train", numbers.choice(len(task.train), SIZE, replace=False))
        with fs.record_gram(model) as path:
            F.cross_entropy(model(x), y).backward()
        with fs.record_gram(model, semantics="per_loss") as own:
            own.backward(F.cross_entropy(model(x), y, reduction="none"))
        model.zero_grad()
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
        rows.append(ratios(path, own))
    return rows


def ratios(path: Any, own: Any) -> dict[str, float]:
    """Path over per-loss: trace, c, effective rank; correlation of the logarithms of eigenvalues."""
    a, b = (fs.spectrum(record.gram, record.entry_error) for record in (path, own))
    both = np.minimum(len(a.eigenvalues), len(b.eigenvalues))
    logs = [np.log(np.maximum(s.eigenvalues[-both:], 1e-300)) for s in (a, b)]
    return {
        "trace_ratio": float(path.gram.trace() / own.gram.trace()),
        "cond_path": a.cond,
        "cond_per_loss": b.cond,
        "rank_path": float(a.effective_rank),
        "rank_per_loss": float(b.effective_rank),
        "log_eigenvalue_correlation": float(np.corrcoef(*logs)[0, 1]),
        "norm_correlation": float(np.corrcoef(path.gram.diagonal().log(), own.gram.diagonal().log())[0, 1]),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))

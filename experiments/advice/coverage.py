"""How often the noise scale's stated interval covers a brute-force estimate: 90 % nominal, 60 repetitions.

Each problem is warmed up once; at those weights the advice's estimator measures 60 times from 16 independent
batches, and the truth is taken from several hundred other batches by plain backward passes. One command, one
thread; finished problems are kept in `--work`:

    OMP_NUM_THREADS=1 nice -n 5 python -m experiments.advice.coverage --data-dir DATA
"""

from __future__ import annotations

import argparse
import json
import platform
import random
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

import fisherscope as fs
from fisherscope.advice import StepRunner, sample_noise
from fisherscope.tasks import Subject, subject_of

RESULT = Path(__file__).parents[1] / "results" / "advice-coverage.json"
REPETITIONS, BATCHES, SIZE, TRUE_BATCHES, WARMUP, LIMIT = 60, 16, 32, 600, 150, 10_000
VOCABULARY = 18
"""Words of the made-up language."""


def text(samples: int, length: int = 16) -> torch.Tensor:
    """Made-up sentences as word numbers, (samples, length): a word's successor is one of three, or any."""
    draw = random.Random(0)
    follows = {word: draw.sample(range(VOCABULARY), 3) for word in range(VOCABULARY)}
    lines = []
    for _ in range(samples):
        line = [draw.randrange(VOCABULARY)]
        while len(line) < length:
            line.append(draw.choice(follows[line[-1]]) if draw.random() < 0.9 else draw.randrange(VOCABULARY))
        lines.append(line)
    return torch.tensor(lines)


def gpt2(_: Any) -> Subject:
    """Build a small GPT-2 with its default dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=32, n_layer=2, n_head=2)
    tokens = text(4000)
    return subject_of(
        lambda: GPT2LMHeadModel(config), data={"input_ids": tokens, "labels": tokens}, loss=None
    )


def task(name: str) -> Callable[[Any], Subject]:
    """Return a function that loads a built-in task with limited training samples."""

    def load(data_dir: Any) -> Subject:
        loaded = fs.tasks.get(name, data_dir)
        loaded = loaded.limited(min(LIMIT, len(loaded.train)))
        return subject_of(loaded.model, loaded.loss, data=loaded.train, name=name)

    return load


PROBLEMS = {"mnist/mlp": task("mnist/mlp"), "digits/resnet8": task("digits/resnet8"), "gpt2/text": gpt2}


def brute_force(subject: Subject, model: nn.Module) -> float:
    """tr Σ/|G|² from plain batch gradients: of all batches' sum and of their squares."""
    generator, samples = torch.Generator().manual_seed(99), subject.dataset_size or 0
    total, squares = 0.0, 0.0
    for _ in range(TRUE_BATCHES):
        chosen = torch.randperm(samples, generator=generator)[:SIZE]
        parameters = list(model.parameters())
        loss = subject.loss(model, subject.source.take(chosen))
        gradient = torch.cat([g.flatten().double() for g in torch.autograd.grad(loss, parameters)])
        total, squares = total + gradient, squares + float(gradient @ gradient)
    count = TRUE_BATCHES
    signal = (float(total @ total) - squares) / (count * (count - 1))
    return SIZE * (squares / count - signal) / (1 - SIZE / samples) / signal


def covered(name: str, data_dir: Any) -> dict[str, Any]:
    """Truth, repetitions, coverage."""
    subject = PROBLEMS[name](data_dir)
    torch.manual_seed(0)
    model = subject.make().train()
    stepper = StepRunner(subject, model, torch.optim.AdamW(model.parameters(), 1e-3))
    batches = subject.batches(SIZE, 5)
    losses = [stepper.step(next(batches)) for _ in range(WARMUP)]
    truth = brute_force(subject, model)
    estimates = [
        sample_noise(stepper, SIZE, lambda: False, batches=BATCHES, seed=1000 + k).noise
        for k in range(REPETITIONS)
    ]
    share = sum(one.low <= truth <= one.high for one in estimates) / REPETITIONS
    print(name, truth, share, flush=True)
    return {
        "problem": name, "coverage": share, "nominal": 0.9, "repetitions": REPETITIONS, "truth": truth,
        "loss": [losses[0], losses[-1]], "median_estimate": median(one.scale for one in estimates),
        "median_low": median(one.low for one in estimates),
        "median_high": median(one.high for one in estimates),
        "below": sum(one.high < truth for one in estimates),
        "above": sum(one.low > truth for one in estimates),
    }  # fmt: skip


def main() -> None:
    """All problems, then the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", default=None)
    parser.add_argument("--work", type=Path, default=Path("runs/advice-coverage"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    results = []
    for name in PROBLEMS:
        store = options.work / f"{name.replace('/', '-')}.json"
        if not store.exists():
            store.write_text(json.dumps(covered(name, options.data_dir)))
        results.append(json.loads(store.read_text()))
    head = {
        "command": "python -m experiments.advice.coverage", "batches": BATCHES, "batch_size": SIZE,
        "true_batches": TRUE_BATCHES, "warmup": WARMUP, "device": platform.machine(), "threads": 1,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }  # fmt: skip
    RESULT.write_text(json.dumps({**head, "problems": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""What the built-in loop costs beside a bare PyTorch loop with the same arithmetic on pre-loaded tensors.

    python benchmarks/loop.py [CASE …] [--epochs 8] [--threads 1] [--out benchmarks/results/loop.json]

A step of the built-in loop (data path, sampler, logs, checkpoints, evaluation) and one of the bare loop take
turns, each timed by the processor time of this process. The ratio is of the sums, the quartiles are of chunks
of 100 steps. Once without measurements, once with the default interval; the data path is timed alone.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.tasks import models
from fisherscope.tasks.images import Images
from fisherscope.tasks.task import classification, cross_entropy
from fisherscope.training import train

CASES = {"mlp": (8, 8000), "resnet8": (128, 6400)}
"""Batch size, and training samples an epoch, by network: a short step and a long one."""
CHUNK = 100


def made(network: str) -> fs.tasks.Task:
    """Random images of MNIST's shape, with validation and test in MNIST's proportion."""
    samples = CASES[network][1]
    splits = [_images(k, count) for k, count in enumerate((samples, samples // 12, samples // 6))]
    build = lambda: models.build(network, 1, 10, 32)  # noqa: E731
    return fs.tasks.Task(network, build, *splits, cross_entropy, classification)


def mlp() -> fs.tasks.Task:
    """The task `loop:mlp`."""
    return made("mlp")


def resnet8() -> fs.tasks.Task:
    """The task `loop:resnet8`."""
    return made("resnet8")


def _images(seed: int, count: int) -> Images:
    draw = np.random.default_rng(seed)
    pixels = torch.from_numpy(draw.integers(0, 256, (count, 1, 32, 32), np.uint8))
    return Images(pixels, torch.from_numpy(draw.integers(0, 10, count)), [33.3], [78.6])


class Bare:
    """Plain PyTorch: the same model, optimizer and evaluation; a step or the end of an epoch at a time."""

    def __init__(self, network: str) -> None:
        task, self.batch_size = made(network), CASES[network][0]
        self.x, self.y = task.train.batch(torch.arange(len(task.train)))
        held = [part.batch(torch.arange(len(part))) for part in (task.validation, task.test)]
        self.held = [(self.x[:2000], self.y[:2000]), *held]
        self.model = task.model()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), 0.001, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
        )
        self.total = torch.zeros(())
        self.chosen: list[torch.Tensor] = []

    def step(self) -> float:
        """One step; gives its processor seconds."""
        began = time.process_time()
        if not self.chosen:
            self.chosen = list(torch.randperm(len(self.x)).split(self.batch_size))
        chosen = self.chosen.pop()
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(self.x[chosen]), self.y[chosen])
        loss.backward()
        self.optimizer.step()
        self.total += loss.detach()
        return time.process_time() - began

    def evaluate(self) -> float:
        """Loss and error of every split; gives its processor seconds."""
        began = time.process_time()
        self.model.eval()
        with torch.no_grad():
            for inputs, labels in self.held:
                for x, y in zip(inputs.split(1000), labels.split(1000), strict=True):
                    out = self.model(x)
                    F.cross_entropy(out, y, reduction="none"), (out.argmax(1) != y).float()
        self.model.train()
        return time.process_time() - began


def pairs(network: str, epochs: int, measure: bool) -> list[tuple[float, float]]:
    """Processor seconds of each step of (loop, bare), the first epoch left out."""
    taken, other = [], Bare(network)
    batch_size, samples = CASES[network]
    config = {
        "task": f"loop:{network}", "batch_size": batch_size, "lr": 0.001, "epochs": epochs + 1,
        "measure": measure,
    }  # fmt: skip
    began = time.process_time()

    def progress(_: Any, row: dict[str, Any] | None) -> None:
        nonlocal began
        mine = time.process_time() - began
        taken.append((mine, other.step() + (other.evaluate() if row is not None else 0.0)))
        began = time.process_time()

    with tempfile.TemporaryDirectory() as root:
        train(config, root, progress=progress)
    return taken[samples // batch_size :]


def compared(taken: list[tuple[float, float]]) -> dict[str, Any]:
    """Sums, their ratio, and the quartiles of the ratio over chunks."""
    mine, other = (np.array(column) for column in zip(*taken, strict=True))
    places = np.arange(0, len(taken), CHUNK)
    ratios = np.add.reduceat(mine, places) / np.add.reduceat(other, places)
    return {
        "to_bare": round(float(mine.sum() / other.sum()), 4),
        "to_bare_quartiles": [round(float(q), 4) for q in np.quantile(ratios, [0.25, 0.75])],
        "step_ms": round(1e3 * float(np.median(mine)), 4),
        "steps": len(taken),
    }


def data_seconds(network: str) -> float:
    """Processor seconds of an epoch's training batches alone."""
    task, (batch_size, samples) = made(network), CASES[network]
    began = time.process_time()
    for chosen in torch.randperm(samples).split(batch_size):
        task.batch("train", chosen.tolist(), epoch=0)
    return time.process_time() - began


def case(network: str, epochs: int) -> dict[str, Any]:
    """What the loop and its measurements cost for one network."""
    batch_size, samples = CASES[network]
    loop, measuring = (compared(pairs(network, epochs, measure)) for measure in (False, True))
    data = statistics.median(data_seconds(network) for _ in range(3)) / (samples // batch_size)
    return {
        "batch_size": batch_size,
        "samples_an_epoch": samples,
        "loop": loop,
        "measuring_every_50": measuring,
        "measuring_to_loop": round(measuring["to_bare"] / loop["to_bare"], 4),
        "data_share_of_a_step": round(1e3 * data / loop["step_ms"], 4),
    }


def main() -> None:
    """Time the cases asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--epochs", type=int, default=8, help="of each, after one that does not count")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    found = {
        "command": "python benchmarks/loop.py",
        "fisherscope": fs.__version__,
        "torch": torch.__version__,
        "threads": told.threads,
        "optimizer": "SGD, fused in both",
        "epochs": told.epochs,
        "cases": {network: case(network, told.epochs) for network in told.cases},
    }
    text = json.dumps(found, indent=1)
    print(text)
    if told.out is not None:
        told.out.write_text(text + "\n")


if __name__ == "__main__":
    main()

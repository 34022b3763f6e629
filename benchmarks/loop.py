"""What the built-in loop costs beside a bare PyTorch loop with the same arithmetic on pre-loaded tensors.

    python benchmarks/loop.py [CASE …] [--threads 1] [--out benchmarks/results/loop.json]

The built-in loop (data path, sampler, logs, checkpoints, evaluation) and the bare one take turns of 50 steps, each
timed by the processor time of this process; an epoch's evaluation belongs to its last turn. The ratio is of the sums,
the quartiles are of turns. Once without measurements, once with the default interval; the data path is timed alone.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.gram import keep_freed_blocks
from fisherscope.tasks import models
from fisherscope.tasks.datasets.images import Images
from fisherscope.tasks.task import classification, cross_entropy
from fisherscope.training import train

CASES = {"mlp-8": ("mlp", 8, 8), "mlp-32": ("mlp", 32, 24), "resnet8-128": ("resnet8", 128, 4)}
"""Network, batch size, and epochs that count: a short step, the paper's MLP, a long step."""
SAMPLES = {"mlp": 8000, "resnet8": 6400}
"""Training samples an epoch."""
TURN = 50
"""Steps of one loop before the other's turn, so that each runs in its own warm caches, as it does alone."""


def made(network: str) -> fs.tasks.Task:
    """Random images of MNIST's shape, with validation and test in MNIST's proportion."""
    samples = SAMPLES[network]
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

    def __init__(self, network: str, batch_size: int) -> None:
        task, self.batch_size = made(network), batch_size
        self.x, self.y = task.train.batch(torch.arange(len(task.train)))
        held = [part.batch(torch.arange(len(part))) for part in (task.validation, task.test)]
        self.held = [(self.x[:2000], self.y[:2000]), *held]
        self.model = task.model()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), 0.001, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
        )
        self.total = torch.zeros(())
        self.chosen: list[torch.Tensor] = []

    def turn(self, steps: int, evaluating: bool) -> float:
        """So many steps, and an epoch's evaluation; gives their processor seconds."""
        began = time.process_time()
        for _ in range(steps):
            self.step()
        if evaluating:
            self.evaluate()
        return time.process_time() - began

    def step(self) -> None:
        """One step on the next batch of a permutation."""
        if not self.chosen:
            self.chosen = list(torch.randperm(len(self.x)).split(self.batch_size))
        chosen = self.chosen.pop()
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(self.x[chosen]), self.y[chosen])
        loss.backward()
        self.optimizer.step()
        self.total += loss.detach()

    def evaluate(self) -> None:
        """Loss and error of every split."""
        self.model.eval()
        with torch.no_grad():
            for inputs, labels in self.held:
                for x, y in zip(inputs.split(1000), labels.split(1000), strict=True):
                    out = self.model(x)
                    F.cross_entropy(out, y, reduction="none"), (out.argmax(1) != y).float()
        self.model.train()


def turns(case: str, measure: bool) -> list[tuple[float, float]]:
    """Processor seconds of each turn of (loop, bare); not of the first epoch, nor of what ends a run."""
    network, batch_size, epochs = CASES[case]
    taken, other = [], Bare(network, batch_size)
    config = {
        "task": f"loop:{network}", "batch_size": batch_size, "lr": 0.001, "epochs": epochs + 1,
        "measure": measure,
    }  # fmt: skip
    steps, began = 0, time.process_time()

    def progress(_: Any, row: dict[str, Any] | None) -> None:
        nonlocal began, steps
        steps += 1
        if row is None and steps < TURN:
            return
        mine = time.process_time() - began
        taken.append((mine, other.turn(steps, row is not None)))
        steps, began = 0, time.process_time()

    with tempfile.TemporaryDirectory() as root:
        result = train(config, root, progress=progress)
    assert result.status == "finished", result
    return taken[len(taken) // (epochs + 1) :]


def compared(taken: list[tuple[float, float]], steps: int) -> dict[str, Any]:
    """Sums, their ratio, and the quartiles of the ratio over turns."""
    mine, other = (np.array(column) for column in zip(*taken, strict=True))
    return {
        "to_bare": round(float(mine.sum() / other.sum()), 4),
        "to_bare_quartiles": [round(float(q), 4) for q in np.quantile(mine / other, [0.25, 0.75])],
        "step_ms": round(1e3 * float(mine.sum()) / steps, 4),
        "turns": len(taken),
    }


def data_seconds(network: str, batch_size: int) -> float:
    """Processor seconds of an epoch's training batches alone."""
    task = made(network)
    began = time.process_time()
    for chosen in torch.randperm(SAMPLES[network]).split(batch_size):
        task.batch("train", chosen.tolist(), epoch=0)
    return time.process_time() - began


def figures(case: str) -> dict[str, Any]:
    """What the loop and its measurements cost in one case."""
    network, batch_size, epochs = CASES[case]
    steps = SAMPLES[network] // batch_size
    loop, measuring = (compared(turns(case, measure), epochs * steps) for measure in (False, True))
    data = statistics.median(data_seconds(network, batch_size) for _ in range(3)) / steps
    extra = (measuring["to_bare"] / loop["to_bare"] - 1) * loop["step_ms"] * TURN
    return {
        "batch_size": batch_size,
        "steps_an_epoch": steps,
        "epochs": epochs,
        "loop": loop,
        "measuring_every_50": measuring,
        "measuring_to_loop": round(measuring["to_bare"] / loop["to_bare"], 4),
        "a_measured_step_s_extra_ms": round(extra, 3),
        "data_share_of_a_step": round(1e3 * data / loop["step_ms"], 4),
    }


def main() -> None:
    """Time the cases asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    keep_freed_blocks()  # as `fisherscope train` does, for both
    found: dict[str, Any] = {
        "command": "python benchmarks/loop.py --out FILE.json",
        "fisherscope": fs.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": f"CPU, {platform.machine()}",
        "threads": told.threads,
        "optimizer": "SGD, fused in both",
        "cases": {},
    }
    if told.out is not None and told.out.exists():  # cases that were not asked for stay
        found["cases"] = json.loads(told.out.read_text())["cases"]
    for case in told.cases:
        found["cases"][case] = figures(case)
        print(json.dumps({case: found["cases"][case]}, indent=1), flush=True)
        if told.out is not None:
            told.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

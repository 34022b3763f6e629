"""Is the batch size that the advice calls fastest the fastest by trial?

For each task: train to the same loss at several batch sizes, each at the best learning rate of a ladder of
factors of two; the trial's time is its steps times the quiet seconds of a step (the least of many, sizes
interleaved), so that a busy machine does not decide. Then ask for advice and look up what its fastest size
took by trial. One command, one thread; finished trials are kept in `--work` and not run again:

    OMP_NUM_THREADS=1 nice -n 5 python -m experiments.advice.fastest --data-dir DATA
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

import fisherscope as fs
from fisherscope.advice import AdviceOptions, advice_on
from fisherscope.tasks import subject_of

RESULT = Path(__file__).parents[1] / "results" / "advice-fastest.json"
SAMPLES, LIMIT, LOOKS = 1000, 10_000, 1.08
"""Training samples whose loss is looked at; training samples at most; growth of the steps between looks."""


@dataclass(frozen=True)
class Problem:
    """What is trained to which loss, from which rate on."""

    task: str
    target: float
    sizes: tuple[int, ...]
    first_lr: float  # at sizes[0]; the next size begins at the best of the one before
    seeds: tuple[int, ...] = (0,)
    longest: int = 3000


PROBLEMS = (
    Problem("digits/resnet8", 0.02, (4, 8, 16, 32, 64, 128, 256), 0.02),
    Problem("mnist/mlp", 0.2, (8, 16, 32, 64, 128, 256, 512), 0.005),
)


def steps_to(task: Any, target: float, size: int, lr: float, seed: int, longest: int) -> float:
    """Count the steps of SGD with momentum 0.9 until the loss reaches the target; inf if it never does."""
    torch.manual_seed(seed)
    model = task.model().train()
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9, nesterov=True)
    chosen = torch.arange(min(SAMPLES, len(task.train)))
    looked_at, batches, look = task.train.batch(chosen), shuffled(task, size, seed), 1.0
    for step in range(1, longest + 1):
        loss = task.loss(model, next(batches))
        if not float(loss.detach()) <= 50:
            return math.inf
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= look:
            look = max(look + 1, look * LOOKS)
            with torch.no_grad():  # in training mode: BatchNorm's running averages lag at few steps
                if float(task.loss(model, looked_at)) <= target:
                    return step
    return math.inf


def shuffled(task: Any, size: int, seed: int) -> Any:
    """Batches of seeded epochs without end."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(task.train), generator=generator)
        for chosen in order[: len(order) // size * size].split(size):
            yield task.train.batch(chosen)


def tuned(
    task: Any, problem: Problem, size: int, first_lr: float, note: Callable[..., None]
) -> dict[str, Any]:
    """Find the best learning rate of a ladder around `first_lr`, and the steps it took (median of seeds)."""
    steps_at: dict[float, float] = {}

    def steps(exponent: int) -> float:
        lr = first_lr * 2.0**exponent
        if lr not in steps_at:
            bound = min([problem.longest, *(1.2 * s for s in steps_at.values() if math.isfinite(s))])
            counts = [steps_to(task, problem.target, size, lr, s, math.ceil(bound)) for s in problem.seeds]
            steps_at[lr] = median(counts)
            note(size, lr, steps_at[lr])
        return steps_at[lr]

    best = 0
    while math.isinf(steps(best)) and best > -4:
        best -= 1
    for direction in (1, -1):
        while steps(best + direction) < steps(best):
            best += direction
    lr = first_lr * 2.0**best
    return {"batch_size": size, "lr": lr, "steps": steps_at[lr], "tried": sorted(steps_at.items())}


def quiet_seconds(task: Any, sizes: tuple[int, ...], rounds: int = 12) -> dict[int, float]:
    """Measure the least CPU seconds of a training step at each size, sizes taken in turn."""
    model = task.model().train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9, nesterov=True)
    batches = {size: task.train.batch(torch.arange(size)) for size in sizes}
    least = dict.fromkeys(sizes, math.inf)
    for size in [size for _ in range(rounds) for size in sizes]:
        for _ in range(max(1, 64 // size)):
            began = time.process_time()
            optimizer.zero_grad()
            task.loss(model, batches[size]).backward()
            optimizer.step()
            least[size] = min(least[size], time.process_time() - began)
    return least


def trials(problem: Problem, task: Any, work: Path) -> list[dict[str, Any]]:
    """Run the trials of each size and save the best ones as they finish."""
    store = work / f"{problem.task.replace('/', '-')}.json"
    done = json.loads(store.read_text()) if store.exists() else []
    lr = done[-1]["lr"] if done else problem.first_lr
    for size in problem.sizes[len(done) :]:
        done.append(tuned(task, problem, size, lr, lambda *now: print(problem.task, *now, flush=True)))
        lr = done[-1]["lr"]
        store.write_text(json.dumps(done))
    return done


def main() -> None:
    """Trials, then advice, then how far apart they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", default=None)
    parser.add_argument("--work", type=Path, default=Path("runs/advice-fastest"))
    parser.add_argument("--trials-only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    results = []
    for problem in PROBLEMS:
        task = fs.tasks.get(problem.task, options.data_dir)
        task = task.limited(min(LIMIT, len(task.train)))
        best_trials = trials(problem, task, options.work)
        if not options.trials_only:
            results.append(compared(problem, task, best_trials))
    if results:
        versions = {"torch": torch.__version__, "python": platform.python_version()}
        setting = {
            "command": "python -m experiments.advice.fastest",
            "device": platform.machine(),
            "threads": 1,
        }
        text = json.dumps({**setting, "versions": versions, "problems": results}, indent=1)
        RESULT.write_text(text.replace("Infinity", "null") + "\n")


def compared(problem: Problem, task: Any, best_trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare what each size took by trial with the advice, at the advised size."""
    seconds = quiet_seconds(task, problem.sizes)
    least = {row["batch_size"]: row["steps"] * seconds[row["batch_size"]] for row in best_trials}
    ran = {size: spent for size, spent in least.items() if math.isfinite(spent)}
    best = min(ran, key=ran.__getitem__)
    middle = next(row["lr"] for row in best_trials if row["batch_size"] == 32)
    subject = subject_of(task.model, task.loss, data=task.train, name=problem.task)
    advice = advice_on(
        subject,
        AdviceOptions(sizes=problem.sizes, seconds=120),
        optimizer=lambda parameters: torch.optim.SGD(parameters, middle, momentum=0.9, nesterov=True),
    )
    rows = [
        {**row, "step_seconds": seconds[row["batch_size"]], "seconds": ran.get(row["batch_size"])}
        for row in best_trials
    ]
    return {
        "task": problem.task, "target_loss": problem.target, "train_samples": len(task.train),
        "advised": advice.fastest, "best_by_trial": best,
        "advised_over_best": None if advice.fastest not in ran else ran[advice.fastest] / ran[best],
        "noise_scale": [advice.noise.low, advice.noise.scale, advice.noise.high], "trials": rows,
        "table": [
            {"batch_size": row.step.batch_size, "relative_time": row.relative_time} for row in advice.rows
        ],
    }  # fmt: skip


if __name__ == "__main__":
    main()

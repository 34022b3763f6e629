"""What it costs to know whose each row is: a measured step against version 0.1's, and with rows that move.

    python benchmarks/identity.py [--turns 60] [--threads 1] [--out FILE.json]

Each version runs in a process of its own, and the two take turns of a few measured steps (forward, backward, Gram,
SGD), timed by processor time; the sources of 0.1 are taken from this repository's history. The models that move rows
take turns with the same model without the movement, in one process. A ratio is the median over turns of the
quotient within a turn; quartiles beside it. First measurements, which probe the model, are not timed.
"""

import argparse
import io
import json
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROOT = Path(__file__).parents[1]
BEFORE = "3c4e162"
"""Commit of version 0.1."""
STEPS = {"mlp": 8, "transformer": 2, "resnet8": 1}
"""Steps of a turn."""
LIMITS = {"plain": 1.02, "moving": 1.3, "moving resnet8": 2.2}
BATCH, WARM_UP = 128, 3


class Shuffled(nn.Module):
    """The model on its samples in a random order, its outputs put back."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        order = torch.randperm(len(x))
        out: Tensor = self.model(x[order])
        return out[order.argsort()]


class Transformer(nn.Module):
    """Two layers on 32 tokens of width 64."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True)
        self.enter = nn.Linear(32, 64)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.layers(self.enter(x.flatten(1).unflatten(1, (32, 32)))).mean(1))
        return out


def network(name: str) -> nn.Module:
    """A network of the comparison, for images of 1 × 32 × 32."""
    if name == "transformer":
        return Transformer()
    from fisherscope.tasks import models

    return models.build(name, 1, 10, 32)


def measured_step(name: str) -> Callable[[], None]:
    """A training step of this case, measured: "mlp", or "moving mlp"."""
    import fisherscope as fs

    torch.manual_seed(0)
    model = network(name.split()[-1])
    x, y = torch.randn(BATCH, 1, 32, 32), torch.randint(10, (BATCH,))
    if name.startswith("moving"):
        model = Shuffled(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.001)

    def step() -> None:
        optimizer.zero_grad()
        with fs.record_gram(model) as record:
            F.cross_entropy(model(x), y).backward()
        assert record.status == "ok", record.status
        optimizer.step()

    return step


def serve(cases: list[str], threads: int) -> None:
    """Run turns that are asked for on standard input, one case a line; print processor seconds."""
    torch.set_num_threads(threads)
    steps = {case: measured_step(case) for case in cases}
    for step in steps.values():
        for _ in range(WARM_UP):
            step()
    print("ready", flush=True)
    for line in sys.stdin:
        case = line.strip()
        began = time.process_time()
        for _ in range(STEPS[case.split()[-1]]):
            steps[case]()
        print(time.process_time() - began, flush=True)


class Worker:
    """A process that runs turns with the sources of one version.

    Args:
        source: Folder that holds the package.
        cases: What it runs.
        threads: Of torch.
    """

    def __init__(self, source: Path, cases: list[str], threads: int) -> None:
        command = [sys.executable, __file__, "--serve", *cases, "--threads", str(threads)]
        self.process = subprocess.Popen(
            command, env={"PYTHONPATH": str(source), "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._line() == "ready", "the process prints so once its models are warm"

    def _line(self) -> str:
        assert self.process.stdout is not None, "a pipe"
        return self.process.stdout.readline().strip()

    def turn(self, case: str) -> float:
        """Run a turn and return its processor seconds."""
        assert self.process.stdin is not None, "a pipe"
        print(case, file=self.process.stdin, flush=True)
        return float(self._line())

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None, "a pipe"
        self.process.stdin.close()
        self.process.wait()


def compared(one: Callable[[], float], other: Callable[[], float], turns: int, steps: int) -> dict[str, Any]:
    """Take turns, the first alternating; return the ratio of one to the other."""
    pairs = []
    for turn in range(turns):
        if turn % 2:
            pairs.append((one(), other()))
        else:
            second = other()
            pairs.append((one(), second))
    ratios = [a / b for a, b in pairs]
    return {
        "ratio": round(statistics.median(ratios), 4),
        "quartiles": [round(q, 4) for q in statistics.quantiles(ratios, n=4)[::2]],
        "step_ms": round(1e3 * statistics.median(a for a, _ in pairs) / steps, 3),
        "other_ms": round(1e3 * statistics.median(b for _, b in pairs) / steps, 3),
        "turns": turns,
    }


def sources_of(commit: str, folder: Path) -> Path:
    """Unpack the package of an earlier commit."""
    archive = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder / "src"


def main() -> None:
    """Run the comparisons, print and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=list(STEPS), metavar="NETWORK", help=", ".join(STEPS))
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    parser.add_argument("--serve", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.threads)
        return
    results: dict[str, Any] = {
        "command": "python benchmarks/identity.py --out FILE.json",
        "before": BEFORE,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": f"CPU, {platform.machine()}",
        "threads": options.threads,
        "batch_size": BATCH,
        "cases": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        old = Worker(sources_of(BEFORE, Path(folder)), options.networks, options.threads)
        cases = [case for name in options.networks for case in (name, f"moving {name}")]
        new = Worker(ROOT / "src", cases, options.threads)
        for name in options.networks:
            moving = f"moving {name}"
            for case, one, other in (
                (f"plain {name}", lambda n=name: new.turn(n), lambda n=name: old.turn(n)),
                (moving, lambda m=moving: new.turn(m), lambda n=name: new.turn(n)),
            ):
                found = compared(one, other, options.turns, STEPS[name])
                found["limit"] = LIMITS.get(case, LIMITS[case.split()[0]])
                results["cases"][case] = found
                print(json.dumps({case: found}), flush=True)
        for worker in (old, new):
            worker.close()
    if options.out is not None:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

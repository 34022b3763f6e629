"""`fisherscope bench gram`: what a measured step costs beside a plain one and beside other tools."""

import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import torch

WARM_UP = 2


@dataclass(frozen=True)
class Case:
    """A network, its input and the batch size."""

    network: str
    shape: tuple[int, int, int]
    batch_size: int
    steps: int


CASES = {
    "mlp-128": Case("mlp", (1, 32, 32), 128, 100),
    "resnet8-128": Case("resnet8", (1, 32, 32), 128, 15),
    "resnet110-128": Case("resnet110", (3, 32, 32), 128, 3),
    "resnet110-32": Case("resnet110", (3, 32, 32), 32, 5),
}
MODES = ("plain", "neutral", "fused", "func", "opacus")


def bench(
    what: Annotated[str, typer.Argument(help="What to time: gram.")] = "gram",
    case: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(CASES)}; by default all.")] = None,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
    device: Annotated[str, typer.Option(help="cpu, or cuda where there is one.")] = "cpu",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file of the results.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    only: Annotated[str, typer.Option(help="One mode alone, for its peak of memory.", hidden=True)] = "",
) -> None:
    """Time a measured step, eigenvalues included, as a ratio to a plain step: the median of pairs."""
    import torch

    if what != "gram":
        raise ValueError(f"there is no benchmark {what!r}; there is gram")
    chosen = case or list(CASES)
    unknown = [name for name in chosen if name not in CASES]
    if unknown:
        raise ValueError(f"there is no case {unknown[0]!r}; there are {', '.join(CASES)}")
    torch.set_num_threads(threads)
    if only:
        _alone(CASES[chosen[0]], only, device)
        return
    results = {name: _timed(name, CASES[name], threads, device, as_json) for name in chosen}
    found = {"circumstances": _circumstances(threads, device), "cases": results}
    if out is not None:
        out.write_text(json.dumps(found, indent=1) + "\n")
    if as_json:
        print(json.dumps(found))


def _timed(name: str, case: Case, threads: int, device: str, quiet: bool) -> dict[str, Any]:
    """Modes' seconds a step, interleaved; their ratios to the plain step of the same turn."""
    steps, refused = _steps(case, device)
    seconds: dict[str, list[float]] = {mode: [] for mode in steps}
    for turn in range(case.steps + WARM_UP):
        for mode, step in steps.items():
            began = time.perf_counter()
            step()
            if turn >= WARM_UP:
                seconds[mode].append(time.perf_counter() - began)
    rows: dict[str, Any] = {}
    for mode, taken in seconds.items():
        ratios = [a / b for a, b in zip(taken, seconds["plain"], strict=True)]
        rows[mode] = {
            "seconds": statistics.median(taken),
            "ratio": statistics.median(ratios),
            "ratio_quartiles": statistics.quantiles(ratios, n=4)[::2] if len(ratios) > 1 else None,
            "steps": len(taken),
        }
        if device == "cpu" and mode in ("plain", "neutral", "fused"):
            rows[mode]["peak_bytes"] = _peak(name, mode, threads)
        if not quiet:
            peak = f" · peak {rows[mode]['peak_bytes'] / 2**20:.0f} MiB" if "peak_bytes" in rows[mode] else ""
            row = f"{1e3 * rows[mode]['seconds']:9.2f} ms  {rows[mode]['ratio']:6.2f} ×"
            print(f"{name:<14} {mode:<8} {row}{peak}", flush=True)
    return {"batch_size": case.batch_size, "shape": case.shape, "modes": rows, "refused": refused}


def _steps(case: Case, device: str) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
    """A training step of each mode on one model; and why a tool does not take it."""
    import torch

    from fisherscope.tasks import models

    torch.manual_seed(0)
    model = models.build(case.network, case.shape[0], 10, case.shape[1]).to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
    x = torch.randn(case.batch_size, *case.shape, device=device)
    y = torch.randint(0, 10, (case.batch_size,), device=device)
    steps: dict[str, Callable[[], object]] = {
        "plain": lambda: _plain(model, optimizer, x, y),
        "neutral": lambda: _measured(model, optimizer, x, y, False),
        "fused": lambda: _measured(model, optimizer, x, y, True),
    }
    refused: dict[str, str] = {}
    if case.network != "resnet110":  # its per-sample gradients, held whole, are 0.9 GB
        steps["func"] = lambda: _with_func(model, optimizer, x, y)
        try:
            steps["opacus"] = _with_opacus(model, x, y)
        except Exception as error:  # noqa: BLE001  (whatever another tool raises on a model it does not take)
            refused["opacus"] = f"{type(error).__name__}: {str(error)[:200]}"
    return steps, refused


def _plain(model: "torch.nn.Module", optimizer: Any, x: "torch.Tensor", y: "torch.Tensor") -> None:
    from torch.nn import functional as F

    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    _wait(x)


def _measured(model: Any, optimizer: Any, x: Any, y: Any, fused: bool) -> None:
    from torch.nn import functional as F

    import fisherscope as fs

    optimizer.zero_grad()
    with fs.record_gram(model, fused=fused) as record:
        F.cross_entropy(model(x), y).backward()
    fs.spectrum(record.gram, record.entry_error)
    optimizer.step()
    _wait(x)


def _with_func(model: Any, optimizer: Any, x: Any, y: Any) -> None:
    """A plain step, then a pass of torch.func; BatchNorm takes its running statistics there, as it must."""
    import torch
    from torch.func import functional_call, grad, vmap
    from torch.nn import functional as F

    _plain(model, optimizer, x, y)
    model.eval()
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(own: Any, image: Any, label: Any) -> Any:
        return F.cross_entropy(functional_call(model, (own, buffers), (image[None],)), label[None])

    columns = vmap(grad(loss), (None, 0, 0))(parameters, x, y)
    gram = sum(c.flatten(1).double() @ c.flatten(1).double().T for c in columns.values())
    torch.linalg.eigvalsh(gram)
    model.train()


def _with_opacus(model: Any, x: Any, y: Any) -> Callable[[], object]:
    """A step with per-sample gradients by Opacus."""
    import copy

    import torch
    from opacus import GradSampleModule
    from torch.nn import functional as F

    own = GradSampleModule(copy.deepcopy(model), loss_reduction="mean")
    optimizer = torch.optim.SGD(own.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(own(x), y).backward()
        columns = [p.grad_sample.flatten(1).double() for p in own.parameters()]
        torch.linalg.eigvalsh(sum(c @ c.T for c in columns))
        optimizer.step()
        for p in own.parameters():
            p.grad_sample = None

    return step


def _wait(tensor: "torch.Tensor") -> None:
    import torch

    if tensor.is_cuda:
        torch.cuda.synchronize()


def _peak(name: str, mode: str, threads: int) -> int:
    """Peak resident bytes of a process that does nothing but this mode's steps."""
    command = [sys.executable, "-m", "fisherscope", "bench", "gram", "--case", name, "--only", mode]
    done = subprocess.run([*command, "--threads", str(threads)], check=True, capture_output=True, text=True)
    return int(done.stdout)


def _alone(case: Case, mode: str, device: str) -> None:
    steps, _ = _steps(case, device)
    for _ in range(3):
        steps[mode]()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _circumstances(threads: int, device: str) -> dict[str, Any]:
    import torch

    import fisherscope

    name = torch.cuda.get_device_name() if device.startswith("cuda") else _processor()
    return {
        "command": "fisherscope bench gram",
        "fisherscope": fisherscope.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": name,
        "threads": threads,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )

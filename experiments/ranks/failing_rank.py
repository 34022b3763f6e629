"""Train one rank of two under a monitor; something fails on one of them."""

import hashlib
import json
import os
import signal
import sys
import time
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import fisherscope as fs
from fisherscope.gram import recorder
from fisherscope.gram.ranks import global_gram, process_group

STEPS, EVERY = 12, 3
WAIT = timedelta(seconds=15)
"""In place of the minute that a rank waits for the others: trials should not take hours."""


class Model(nn.Module):
    """Two layers; `fail` is called in the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 5))
        self.fail: Any = lambda: None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.fail()
        return self.body(x)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _raise() -> None:
    raise RuntimeError("the loop's own error")


def _out_of_memory(*args: Any, **kwargs: Any) -> Any:
    raise torch.OutOfMemoryError("planted")


def plant(kind: str, model: Model) -> None:
    """Let something fail from now on, on this rank."""
    if kind == "killed in forward":
        model.fail = _kill
    elif kind == "raises in forward":
        model.fail = _raise
    elif kind == "killed in exchange":
        process_group.Ranks.transpose = lambda *args: _kill()  # type: ignore[method-assign]
    elif kind == "out of memory":
        global_gram.RankColumns.block = _out_of_memory  # type: ignore[method-assign]
    elif kind == "error on entering":
        recorder.Recorder.attach = _out_of_memory  # type: ignore[method-assign]
    elif kind == "late":
        time.sleep(2)


def train(rank: int, plan: dict[str, Any]) -> dict[str, Any]:
    """Train; report the rows' statuses and a digest of the parameters."""
    process_group.TIMEOUT = WAIT
    torch.manual_seed(plan["seed"])
    model = Model()
    wrapped = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
    mine = rank == plan["rank"]
    has_monitor = plan["kind"] != "unmonitored" and not (plan["kind"] == "no monitor" and mine)
    monitor = fs.Monitor(wrapped, optimizer, every=EVERY, stride=True) if has_monitor else None
    generator = torch.Generator().manual_seed(100 * plan["seed"] + rank)
    for step in range(STEPS):
        x, y = torch.randn(6, 12, generator=generator), torch.randint(5, (6,), generator=generator)
        if mine and step == plan["step"]:
            plant(plan["kind"], model)
            if plan["kind"] == "not a number":
                x[0, 0] = torch.nan
        optimizer.zero_grad()
        if monitor is None:
            F.cross_entropy(wrapped(x), y).backward()
        else:
            with monitor.observe():
                F.cross_entropy(wrapped(x), y).backward()
        optimizer.step()
    numbers = torch.cat([p.detach().flatten() for p in model.parameters()]).numpy().tobytes()
    rows = [] if monitor is None else [row["status"] for row in monitor.state.history.rows]
    return {"digest": hashlib.sha256(numbers).hexdigest()[:16], "rows": rows}


def main() -> None:
    """Run one rank of a plan and write what came of it."""
    rank, plan = int(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{plan['folder']}/store", rank=rank, world_size=2)
    result = train(rank, plan)
    with open(f"{plan['folder']}/{rank}.json", "w") as file:
        json.dump(result, file)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

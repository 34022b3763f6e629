"""Monitors of two real processes: one set of rows, that of one process on the union of the batches."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cases.rank_jobs import run_on_ranks
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import fisherscope as fs
from fisherscope.gram.ranks.process_group import find_ranks
from fisherscope.gram.recorder import Recorder

STEPS = 23


def build() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 5)).double()


def batch(step: int) -> tuple[Tensor, Tensor, int]:
    """Samples of both ranks, and how many are rank 0's: unequal in two steps of three."""
    generator = torch.Generator().manual_seed(step)
    own = 6 + step % 3
    x = torch.randn(6 + own, 20, generator=generator).double()
    return x, torch.randint(5, (6 + own,), generator=generator), own


class RunOfRows:
    """A run that keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def log_step(self, row: dict[str, Any], eigenvalues: Any) -> None:
        self.rows.append(row)


def train(rank: int, ranks: int, options: dict[str, Any]) -> dict[str, Any]:
    model = DistributedDataParallel(build())
    optimizer, run = torch.optim.SGD(model.parameters(), lr=0.1), RunOfRows()
    monitor = fs.Monitor(model, optimizer, every=5 + 2 * rank, dataset_size=70, run=run, **options)
    for step in range(STEPS):
        x, y, own = batch(step)
        rows = slice(0, own) if rank == 0 else slice(own, len(x))
        optimizer.zero_grad()
        with monitor.observe(ids=list(range(len(x)))[rows]):
            F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return {
        "rows": monitor.state.history.rows,
        "samples": monitor.state.history.running.samples.rows(),
        "logged": len(run.rows),
        "parameters": [p.detach() for p in model.module.parameters()],
    }


def train_alone() -> dict[str, Any]:
    """The same steps in this process: the loss is the mean of the two halves' means."""
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = fs.Monitor(model, optimizer, every=5, dataset_size=70, reduction="sum")
    for step in range(STEPS):
        x, y, own = batch(step)
        optimizer.zero_grad()
        with monitor.observe(ids=list(range(len(x)))) as observed:
            out = model(x)
            loss = (F.cross_entropy(out[:own], y[:own]) + F.cross_entropy(out[own:], y[own:])) / 2
            (loss * len(x)).backward()
            observed.loss = float(loss.detach())
        for parameter in model.parameters():
            parameter.grad /= len(x)
        optimizer.step()
    return {"rows": monitor.state.history.rows, "samples": monitor.state.history.running.samples.rows()}


ALIKE = ("step", "epoch", "samples", "batch_size", "lr_sum", "steps_since", "step_scale_sum")
SUMS = (
    "train/loss", "fisher/trace", "fisher/energy", "gradient/norm", "gradient/diversity", "noise/scale",
    "noise/variance", "noise/signal", "noise/snr", "test/norm", "test/big_batch", "adascale/gain",
    "cabs/batch_size", "fisher/energy_sum", "fisher/energy_sum_paper", "noise/scale_mean",
)  # fmt: skip
CROSS_TERMS = (
    "fisher/cond", "fisher/effective_rank", "fisher/cond_m8", "gradient/cosine", "test/inner_product",
    "test/orthogonality", "gradient/largest_share", "fisher/cond_mean",
)  # fmt: skip


@pytest.mark.parametrize("spectrum", ["global", "rank"])
def test_rows_of_two_ranks_are_those_of_one_process(spectrum: str, tmp_path: Path) -> None:
    first, second = run_on_ranks(train, 2, tmp_path, {"spectrum": spectrum})
    alone = train_alone()
    assert first["rows"] == second["rows"]
    assert (first["logged"], second["logged"]) == (len(first["rows"]), 0)
    for ours, theirs in zip(first["rows"], alone["rows"], strict=True):
        for key in (*ALIKE, *SUMS, *(CROSS_TERMS if spectrum == "global" else ())):
            if theirs[key] is None:
                assert ours[key] is None, key
            else:
                assert ours[key] == pytest.approx(theirs[key], rel=1e-10), key
        assert (ours["ranks"], ours["ranks/spectrum"], ours["status"]) == (2, spectrum, theirs["status"])
        if spectrum == "rank":
            assert all(ours[key] is None for key in CROSS_TERMS if key != "fisher/cond_mean")
            assert math.isfinite(ours["rank/cond"])
    if spectrum == "global":
        assert [row["id"] for row in first["samples"]] == [row["id"] for row in alone["samples"]]
        for ours, theirs in zip(first["samples"], alone["samples"], strict=True):
            assert ours["cosine"] == pytest.approx(theirs["cosine"], rel=1e-9)


def time_budget(rank: int, ranks: int) -> list[int]:
    """Steps measured under a share of the time: each rank's clock reads otherwise."""
    model = DistributedDataParallel(build())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = fs.Monitor(model, optimizer, budget=0.5)
    for step in range(40):
        x, y, own = batch(step)
        rows = slice(0, own) if rank == 0 else slice(own, len(x))
        optimizer.zero_grad()
        with monitor.observe():
            F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return [row["step"] for row in monitor.state.history.rows]


def test_ranks_take_the_interval_of_rank_0(tmp_path: Path) -> None:
    first, second = run_on_ranks(time_budget, 2, tmp_path)
    assert first == second
    assert len(first) > 1


def contradict(rank: int, ranks: int) -> dict[str, Any]:
    """Steps in which rank 1 alone says or does something wrong, each followed by one that is right."""
    model = DistributedDataParallel(build())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = fs.Monitor(model, optimizer, every=1)

    def backward(step: int) -> None:
        x, y, own = batch(step)
        rows = slice(0, own) if rank == 0 else slice(own, len(x))
        F.cross_entropy(model(x[rows]), y[rows]).backward()

    def step(number: int, ids: Any = None) -> None:
        optimizer.zero_grad()
        with monitor.observe(ids=ids):
            backward(number)
        optimizer.step()

    wrong = rank == 1
    step(0, ids=[1, 2] if wrong else None)
    step(1)
    original = Recorder.__init__
    if wrong:
        Recorder.__init__ = lambda *args: 1 / 0
    step(2)
    Recorder.__init__ = original
    step(3)
    optimizer.zero_grad()
    with monitor.observe():  # the gradient at two sets of weights, as of sharpness-aware steps
        backward(4)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01)
        backward(4)
    optimizer.step()
    step(5)
    channel = find_ranks("auto")
    return {
        "rows": [(row["status"], row.get("ranks"), row["batch_size"]) for row in monitor.state.history.rows],
        "failed exchange": "none was opened" if channel is None else channel.closed,
    }


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_wrong_on_one_rank_is_in_every_rank_s_row(tmp_path: Path) -> None:
    answers = run_on_ranks(contradict, 2, tmp_path)
    waited = [answer["failed exchange"] for answer in answers]
    assert waited == [None, None], "a rank waited for the other until its limit"
    first, second = (answer["rows"] for answer in answers)
    for number, words in (
        (0, "received 2 ids for a batch of 6"),
        (4, "parameters changed between the passes"),
    ):
        for rows in (first, second):
            assert words in rows[number][0], rows[number]
    assert "rank 1 took no part" in first[2][0]
    assert "ZeroDivisionError" in second[2][0]
    for number in (1, 3, 5):
        x, *_ = batch(number)
        assert first[number] == second[number] == ("ok", 2, len(x))

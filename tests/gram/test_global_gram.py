"""The Gram of several real processes against explicit gradients of their batches on one."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tests.cases.rank_jobs import run_on_ranks
from tests.oracles import gram as oracle
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import fisherscope as fs
from fisherscope.gram import GramError
from fisherscope.gram.batch_axis import plan
from fisherscope.tasks import models

CLASSES = 10


class TiedTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True)
        self.head = nn.Linear(16, 11, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.table(x))).mean(1)


class SynchronisedNorm(nn.Module):
    """Batch norm over the batches of all ranks: `torch.nn.SyncBatchNorm` has no kernel for the CPU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(width) + 0.5), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        count = all_reduce(torch.tensor(float(len(x)), dtype=x.dtype))
        mean = all_reduce(x.sum(0)) / count
        variance = all_reduce((x - mean).square().sum(0)) / count
        return (x - mean) / (variance + 1e-5).sqrt() * self.weight + self.bias


def build(kind: str) -> nn.Module:
    torch.manual_seed(3)
    if kind == "mlp":
        return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, CLASSES)).double()
    if kind == "resnet8":
        return models.build("resnet8", channels=1, classes=CLASSES, side=8).double()
    return TiedTransformer().double()


def batch(kind: str, samples: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(samples)
    y = torch.randint(CLASSES, (samples,), generator=generator)
    if kind == "mlp":
        return torch.randn(samples, 20, generator=generator).double(), y
    if kind == "resnet8":
        return torch.randn(samples, 1, 8, 8, generator=generator).double(), y
    return torch.randint(11, (samples, 7), generator=generator), y


def parts(counts: list[int]) -> list[slice]:
    return [slice(sum(counts[:k]), sum(counts[: k + 1])) for k in range(len(counts))]


def expected(kind: str, counts: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
    """F̃ of the mean of the ranks' mean losses from single samples' gradients, and its gradient."""
    model, (x, y) = build(kind), batch(kind, sum(counts))

    def loss(m: Any, rows: slice) -> Tensor:
        return F.cross_entropy(m(x[rows]), y[rows])

    columns = []
    for rows in parts(counts):
        count, start = rows.stop - rows.start, rows.start
        if kind == "tied":
            own = oracle.columns_by_loop(
                build(kind), lambda m, i, start=start: loss(m, slice(start + i, start + i + 1)), count
            )
        else:
            own = oracle.columns_by_copies(build(kind), lambda m, rows=rows: loss(m, rows), count)
        columns.append(own * (sum(counts) / len(counts) / count))
    sum((loss(model, rows) for rows in parts(counts)), torch.zeros(())).div(len(counts)).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return oracle.gram_of(torch.cat(columns)), gradients


def measure(rank: int, ranks: int, cases: list[tuple[str, list[int], int, str]]) -> list[dict[str, Any]]:
    """One measurement of each case on this rank."""
    out = []
    for kind, counts, passes, spectrum in cases:
        model, (x, y) = build(kind), batch(kind, sum(counts))
        rows = parts(counts)[rank]
        x, y = x[rows], y[rows]
        wrapped = DistributedDataParallel(model)
        with fs.record_gram(wrapped, spectrum=spectrum, accumulate=passes > 1) as record:
            for number, some in enumerate(torch.arange(len(x)).tensor_split(passes)):
                wrapped.require_backward_grad_sync = number == passes - 1
                (F.cross_entropy(wrapped(x[some]), y[some], reduction="sum") / len(x)).backward()
        out.append({
            "status": record.status, "ranks": record.ranks, "samples": record.batch_size,
            "own": record.local_batch_size, "trace": record.trace, "mean_square": record.mean_square,
            "gram": record.gram if spectrum == "global" else None, "sent": record.bytes_sent,
            "gradients": {name: p.grad for name, p in model.named_parameters()}, "notes": record.notes,
        })  # fmt: skip
    return out


CASES = {
    2: [
        ("mlp", [6, 6], 1, "global"), ("mlp", [5, 8], 1, "global"), ("mlp", [6, 9], 3, "global"),
        ("resnet8", [5, 7], 1, "global"), ("tied", [4, 6], 1, "global"), ("tied", [6, 6], 3, "global"),
        ("mlp", [5, 8], 1, "rank"), ("tied", [4, 6], 1, "off"),
    ],
    4: [
        ("mlp", [3, 4, 5, 2], 1, "global"), ("tied", [3, 3, 2, 4], 1, "global"),
        ("tied", [3, 2, 2, 4], 2, "off"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("ranks", CASES)
def test_gram_of_all_ranks_is_that_of_one_process(ranks: int, tmp_path: Path) -> None:
    answers = run_on_ranks(measure, ranks, tmp_path, CASES[ranks])
    for number, (kind, counts, _, spectrum) in enumerate(CASES[ranks]):
        gram, gradients = expected(kind, counts)
        for rank in range(ranks):
            answer = answers[rank][number]
            assert answer["status"] == "ok", answer
            assert (answer["ranks"], answer["samples"], answer["own"]) == (ranks, sum(counts), counts[rank])
            torch.testing.assert_close(answer["trace"], float(gram.trace()), rtol=1e-12, atol=0)
            torch.testing.assert_close(answer["mean_square"], float(gram.mean()), rtol=1e-12, atol=0)
            for name, gradient in gradients.items():
                torch.testing.assert_close(answer["gradients"][name], gradient, rtol=1e-10, atol=1e-12)
            if spectrum == "global":
                assert float((answer["gram"] - gram).norm() / gram.norm()) < 1e-12, (kind, counts)
                assert torch.equal(answer["gram"], answers[0][number]["gram"])


def synchronise(rank: int, ranks: int) -> dict[str, Any]:
    """Two measurements under synchronised batch norm; before the second, one rank alone forgets its plan."""
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(20, 16), SynchronisedNorm(16), nn.Tanh(), nn.Linear(16, CLASSES)).double()
    wrapped, (x, y), counts = DistributedDataParallel(model), batch("mlp", 11), [5, 6]
    rows = parts(counts)[rank]
    records = []
    for step in range(2):
        if step and rank:
            plan._plans.clear()
        with fs.record_gram(wrapped) as record:
            F.cross_entropy(wrapped(x[rows]), y[rows]).backward()
        records.append(record)
    copies = [p.detach().expand(11, *p.shape).clone().requires_grad_() for p in model.parameters()]
    hidden = torch.einsum("bi,boi->bo", x, copies[0]) + copies[1]
    mean, variance = hidden.mean(0), hidden.var(0, unbiased=False)
    hidden = ((hidden - mean) / (variance + 1e-5).sqrt() * copies[2] + copies[3]).tanh()
    out = torch.einsum("bi,boi->bo", hidden, copies[4]) + copies[5]
    loss = torch.stack([F.cross_entropy(out[part], y[part]) for part in parts(counts)]).mean()
    columns = torch.cat([g.reshape(11, -1) for g in torch.autograd.grad(loss, copies)], 1) * 11
    return {"status": [r.status for r in records], "grams": [r.gram for r in records], "columns": columns}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_synchronised_batch_norm_is_measured_through_all_ranks(tmp_path: Path) -> None:
    for answer in run_on_ranks(synchronise, 2, tmp_path):
        gram = oracle.gram_of(answer["columns"])
        assert answer["status"] == ["ok", "ok"]
        for ours in answer["grams"]:
            assert float((ours - gram).norm() / gram.norm()) < 1e-12


def fall_back(rank: int, ranks: int) -> dict[str, Any]:
    """A step whose exchange is not allowed, one whose columns do not fit, and ranks that disagree."""
    out: dict[str, Any] = {}
    model, (x, y) = DistributedDataParallel(build("mlp")), batch("mlp", 8)
    x, y = x[4 * rank : 4 * rank + 4], y[4 * rank : 4 * rank + 4]
    for name, options in (("volume", {"max_bytes": 100}), ("memory", {"memory_budget": 64})):
        with fs.record_gram(model, **options) as record:
            F.cross_entropy(model(x), y).backward()
        out[name] = {
            "status": record.status,
            "mode": record.spectrum,
            "notes": record.notes,
            "trace": record.trace,
            "own": tuple(record.rank_gram.shape),
        }
    try:
        with fs.record_gram(model, reduction="sum" if rank else "mean"):
            F.cross_entropy(model(x), y).backward()
    except GramError as error:
        out["differ"] = str(error)
    try:
        with fs.record_gram(model):
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            if rank:
                raise KeyError("the loop's own")
    except (GramError, KeyError) as error:
        out["left"] = repr(error)
    with fs.record_gram(model) as record:
        F.cross_entropy(model(x), y).backward()
    out["after"] = record.status
    with fs.record_gram(model, group=False) as alone:
        F.cross_entropy(model(x), y).backward()
    out["alone"] = (alone.batch_size, alone.notes)
    return out


def test_what_ranks_can_not_exchange_is_said(tmp_path: Path) -> None:
    answers = run_on_ranks(fall_back, 2, tmp_path)
    gram, _ = expected("mlp", [4, 4])
    for answer in answers:
        for name, word in (("volume", "max_bytes=100"), ("memory", "memory budget")):
            assert answer[name]["status"] == "ok"
            assert answer[name]["mode"] == "rank"
            assert any(word in note for note in answer[name]["notes"])
            assert answer[name]["own"] == (4, 4)
            torch.testing.assert_close(answer[name]["trace"], float(gram.trace()), rtol=1e-12, atol=0)
        assert "reduction='mean' on rank 0 and 'sum' on rank 1" in answer["differ"]
        assert answer["after"] == "ok"
        assert answer["alone"][0] == 4
        assert "rank's samples alone" in answer["alone"][1][0]
    assert "rank 1 took no part: an exception ended its block" in answers[0]["left"]
    assert answers[1]["left"] == 'KeyError("the loop\'s own")'


def one_process_says_so(rank: int, ranks: int) -> str:
    with pytest.raises(GramError) as raised:
        fs.record_gram(build("mlp"), group="everyone")
    dist.barrier()
    return str(raised.value)


def test_group_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GramError, match=r"torch\.distributed is not initialized"):
        fs.record_gram(build("mlp"), group=object())
    for text in run_on_ranks(one_process_says_so, 2, tmp_path):
        assert "group='everyone'" in text
        assert "expected 'auto', False, or a torch.distributed process group" in text

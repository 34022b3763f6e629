"""Models under `fully_shard` on real processes: the Gram of all ranks, and what is refused untouched."""

from pathlib import Path
from typing import Any

import torch
from tests.cases.rank_jobs import run_on_ranks
from tests.gram.test_global_gram import batch, build, expected, parts
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.gram import GramError

CASES = [("mlp", [6, 6], 1), ("mlp", [5, 8], 1), ("tied", [4, 6], 1), ("mlp", [6, 9], 3)]
"""Models, samples of each rank, and backward passes a step."""


def shard(kind: str, ranks: int) -> nn.Module:
    model, mesh = build(kind), init_device_mesh("cpu", (ranks,))
    for child in model.children():
        if kind == "mlp" and list(child.parameters()):
            fully_shard(child, mesh=mesh)
    if kind == "tied":
        fully_shard(model.layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def backward(model: nn.Module, x: Tensor, y: Tensor, passes: int) -> None:
    for some in torch.arange(len(x)).tensor_split(passes):
        (F.cross_entropy(model(x[some]), y[some], reduction="sum") / len(x)).backward()


def train(rank: int, ranks: int) -> list[dict[str, Any]]:
    """Three steps of each case, the first two measured, beside a model that is not."""
    out = []
    for kind, counts, passes in CASES:
        rows = parts(counts)[rank]
        x, y = (value[rows] for value in batch(kind, sum(counts)))
        watched, plain = shard(kind, ranks), shard(kind, ranks)
        steps: list[Any] = []
        for model in (watched, plain):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
            for step in range(3):
                optimizer.zero_grad()
                if model is watched and step < 2:
                    spectrum = "global" if step == 0 else "off"
                    with fs.record_gram(model, spectrum=spectrum, accumulate=passes > 1) as record:
                        backward(model, x, y, passes)
                    steps.append(record)
                else:
                    backward(model, x, y, passes)
                optimizer.step()
        same = [
            bool(torch.equal(one.to_local(), other.to_local()))
            for one, other in zip(watched.parameters(), plain.parameters(), strict=True)
        ]
        first, second = steps
        out.append({
            "status": [first.status, second.status], "gram": first.gram, "trace": first.trace,
            "mean_square": first.mean_square, "later": second.mean_square, "same": all(same),
        })  # fmt: skip
    return out


def test_sharded_models_are_measured_whole(tmp_path: Path) -> None:
    for answer in run_on_ranks(train, 2, tmp_path):
        for (kind, counts, _), case in zip(CASES, answer, strict=True):
            gram, _ = expected(kind, counts)
            assert case["status"] == ["ok", "ok"], case
            assert case["same"], f"{kind}: parameters differ from an unmeasured run's"
            assert float((case["gram"] - gram).norm() / gram.norm()) < 1e-12
            torch.testing.assert_close(case["trace"], float(gram.trace()), rtol=1e-12, atol=0)
            torch.testing.assert_close(case["mean_square"], float(gram.mean()), rtol=1e-12, atol=0)
            assert 0 < case["later"] < case["mean_square"]


def refuse(rank: int, ranks: int) -> dict[str, Any]:
    """Shards that are not understood: refused by name, and training goes on."""
    out: dict[str, Any] = {}
    mesh = init_device_mesh("cpu", (ranks,))
    wrapped = {
        "fsdp1": FullyShardedDataParallel(build("mlp"), device_id=torch.device("cpu")),
        "tensor": parallelize_module(build("mlp"), mesh, {"0": ColwiseParallel()}),
    }
    x, y = batch("mlp", 6)
    for name, model in wrapped.items():
        try:
            fs.record_gram(model)
        except GramError as error:
            out[name] = str(error)
        if name == "fsdp1":
            F.cross_entropy(model(x), y).backward()
            out["trained"] = True
    try:
        fs.record_gram(shard("mlp", ranks), group=False)
    except GramError as error:
        out["alone"] = str(error)
    return out


def test_unknown_shards_are_refused_before_anything_is_touched(tmp_path: Path) -> None:
    for answer in run_on_ranks(refuse, 2, tmp_path):
        assert "FSDP1" in answer["fsdp1"]
        assert "fully_shard" in answer["fsdp1"]
        assert "'0.weight' is a DTensor of tensor parallelism" in answer["tensor"]
        assert "one rank can't be measured alone" in answer["alone"]
        assert answer["trained"]

"""How exact is the Gram of several ranks, and how many bytes does it send?

`python -m experiments.ranks.exchange`.
Real processes over gloo, float64, against a loop over samples on one process; bytes against those that an
exchange of slices or factors needs. Results: `experiments/results/rank-exchange.json`.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from tests.cases.rank_jobs import run_on_ranks
from tests.gram.test_global_gram import batch, build, expected, parts
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import fisherscope as fs
from fisherscope.gram.ranks import process_group

RESULTS = Path(__file__).parents[1] / "results" / "rank-exchange.json"
KINDS = ("mlp", "resnet8", "tied")
COUNTS = {2: ([6, 6], [5, 8]), 4: ([4, 4, 4, 4], [3, 4, 5, 6])}


def measure(rank: int, ranks: int, counts: list[int]) -> list[dict[str, Any]]:
    """Measure every kind of model under each wrapper on this rank."""
    out = []
    for kind in KINDS:
        for wrapper in ("DDP", "FSDP2"):
            if wrapper == "FSDP2" and kind == "resnet8":
                continue  # its BatchNorm has buffers of its own on each rank, as under DDP
            for passes in (1, 3):
                model, (x, y) = build(kind), batch(kind, sum(counts))
                x, y = x[parts(counts)[rank]], y[parts(counts)[rank]]
                if kind == "resnet8" and passes > 1:
                    continue  # other statistics: another step
                wrapped = _wrap(model, wrapper, ranks)
                words = process_group.Ranks.gather
                sent = 0

                def gather(self: Any, value: Any, words: Any = words) -> list[Any]:
                    nonlocal sent
                    before = self.bytes_sent
                    there: list[Any] = words(self, value)
                    sent += self.bytes_sent - before
                    return there

                process_group.Ranks.gather = gather  # type: ignore[method-assign]
                with fs.record_gram(wrapped, accumulate=passes > 1) as record:
                    for some in torch.arange(len(x)).tensor_split(passes):
                        (F.cross_entropy(wrapped(x[some]), y[some], reduction="sum") / len(x)).backward()
                process_group.Ranks.gather = words  # type: ignore[method-assign]
                out.append({
                    "model": kind, "wrapper": wrapper, "passes": passes, "gram": record.gram,
                    "status": record.status, "bytes": record.bytes_sent - sent, "words": sent,
                    "parameters": sum(p.numel() for p in build(kind).parameters()),
                })  # fmt: skip
    return out


def _wrap(model: nn.Module, wrapper: str, ranks: int) -> nn.Module:
    if wrapper == "DDP":
        return DistributedDataParallel(model)
    return fully_shard(model, mesh=init_device_mesh("cpu", (ranks,)))


def main() -> None:
    """Measure and write the table."""
    rows = []
    for ranks, settings in COUNTS.items():
        for counts in settings:
            with tempfile.TemporaryDirectory() as folder:
                answers = run_on_ranks(measure, ranks, Path(folder), counts)
            grams = {kind: expected(kind, counts)[0] for kind in KINDS}
            for number, first in enumerate(answers[0]):
                gram = grams[first["model"]]
                error = max(float((a[number]["gram"] - gram).norm() / gram.norm()) for a in answers)
                share = (ranks - 1) / ranks
                matrix = 2 * share * 8 * (sum(counts) ** 2 + sum(counts))
                slices = max(counts) * first["parameters"] * 8 * share
                sent = max(a[number]["bytes"] for a in answers)
                rows.append({
                    "ranks": ranks, "samples": counts, "model": first["model"], "wrapper": first["wrapper"],
                    "passes": first["passes"], "status": first["status"], "error": float(f"{error:.1e}"),
                    "bytes": sent, "bytes_by_slices_alone": int(slices + matrix),
                    "bytes_of_words": first["words"],
                })  # fmt: skip
                print(rows[-1], flush=True)
    RESULTS.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()

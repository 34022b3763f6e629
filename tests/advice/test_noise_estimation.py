"""Noise of workloads whose rows are not samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.cases.grouped_rows import Grouped, draw
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import fisherscope as fs
from fisherscope.advice import StepRunner, sample_noise


def several(samples: list[Any]) -> list[Any]:
    """A data set of 24 samples of the kind of some."""
    more = []
    for k in range(24):
        one = samples[k % len(samples)]
        parts = one if isinstance(one, tuple) else (one,)
        noisy = tuple(
            p + 0.3 * torch.randn_like(p) if isinstance(p, Tensor) and p.is_floating_point() else p
            for p in parts
        )
        more.append(noisy if isinstance(one, tuple) else noisy[0])
    return more


@pytest.mark.parametrize("kind", ["pairs", "packed", "graphs"])
def test_grams_of_advice_are_those_of_a_loop_over_samples(kind: str) -> None:
    case = draw(kind, 3)
    data = several(case.samples)
    seen: list[Any] = []

    def loss(model: nn.Module, batch: list[Any]) -> Tensor:
        seen.append(batch)
        return case.loss(model, batch)

    loader = DataLoader(data, collate_fn=list)
    subject = fs.tasks.subject_of(case.model, loss, data=loader, record={"sample_of": case.sample_of})
    runner = StepRunner(subject, case.model, torch.optim.SGD(case.model.parameters(), 0.1))
    found = sample_noise(runner, 6, lambda: False, batches=8)
    assert not found.problem
    assert len(found.grams) == len(seen) == 8
    for gram, batch in zip(found.grams, seen, strict=True):
        wanted = Grouped(case.model, batch, case.loss, None).gram()
        torch.testing.assert_close(torch.from_numpy(gram), wanted, rtol=1e-8, atol=1e-12)


def test_a_functions_own_batch_is_bound_in_advise() -> None:
    lengths = [(torch.randn(k % 3 + 1, 4), k % 2) for k in range(40)]

    def collate(rows: list[Any]) -> dict[str, Tensor]:
        return {
            "items": torch.cat([x for x, _ in rows]),
            "lengths": torch.tensor([len(x) for x, _ in rows]),
            "label": torch.tensor([y for _, y in rows]),
        }

    class Bags(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(4, 5), nn.Linear(5, 2)

        def forward(self, items: Tensor, bag: Tensor) -> Tensor:
            z = self.layer(items).tanh()
            return self.head(z.new_zeros(int(bag.max()) + 1, 5).index_add(0, bag, z))

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch["items"], fs.samples.of_lengths(batch["lengths"])), batch["label"])

    rows = fs.samples.of_batch(lambda batch: fs.samples.of_lengths(batch["lengths"]))
    data = DataLoader(lengths, collate_fn=collate)
    advice = fs.advise(Bags(), loss, data, warmup=2, sizes=(4, 8), seconds=5, record={"sample_of": rows})
    assert "sample_of" not in str(advice)
    result = fs.examine(fs.tasks.subject_of(Bags(), loss, data=data, record={"sample_of": rows}), seconds=0)
    assert result.exact, str(result)


def test_another_number_of_samples_than_the_batch_s_has_no_gram() -> None:
    case = draw("pairs", 3)
    subject = fs.tasks.subject_of(
        case.model, case.loss, data=DataLoader(several(case.samples), collate_fn=list)
    )
    runner = StepRunner(subject, case.model, torch.optim.SGD(case.model.parameters(), 0.1))
    found = sample_noise(runner, 6, lambda: False, batches=8)
    assert not found.grams
    assert "the Gram has 12 samples and the batch 6" in found.problem

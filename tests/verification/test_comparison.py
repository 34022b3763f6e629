"""Proofs of workloads whose rows are not samples; streams, and counts that disagree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.advice.test_noise_estimation import several
from tests.cases.grouped_rows import draw
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

import fisherscope as fs
from fisherscope.cli.doctor import doctor


@pytest.mark.parametrize("kind", ["pairs", "groups", "packed", "packed rows", "graphs"])
def test_doctor_draws_each_sample_of_several_rows_alone(kind: str) -> None:
    case = draw(kind, 4)
    data = DataLoader(several(case.samples), collate_fn=list)
    subject = fs.tasks.subject_of(case.model, case.loss, data=data, record={"sample_of": case.sample_of})
    result = fs.examine(subject, batch_size=5, seconds=0)
    assert result.exact, str(result)
    assert all(proof.exact and proof.independent for proof in result.proofs), str(result)


@pytest.mark.parametrize("kind", ["pairs", "groups", "packed", "packed rows"])
def test_doctor_does_not_believe_rows_of_other_samples(kind: str) -> None:
    case = draw(kind, 4)
    data = DataLoader(several(case.samples), collate_fn=list)

    def swapped(*args: Any, **kwargs: Any) -> Tensor:
        rows = case.sample_of(*args, **kwargs).clone()
        first, second = (int((rows.view(-1) == k).nonzero()[0]) for k in (0, min(1, int(rows.max()))))
        rows.view(-1)[[first, second]] = rows.view(-1)[[second, first]]
        return rows

    subject = fs.tasks.subject_of(case.model, case.loss, data=data, record={"sample_of": swapped})
    result = fs.examine(subject, batch_size=5, seconds=0)
    assert not result.exact, str(result)


@pytest.mark.parametrize("kind", ["pairs", "packed", "graphs", "episodes"])
def test_one_batch_of_rows_is_checked_by_its_outputs(kind: str) -> None:
    case = draw(kind, 6)
    result = fs.examine(
        case.model, lambda model, batch: case.loss(model, case.samples), torch.zeros(1), seconds=0,
        sample_of=case.sample_of,
    )  # fmt: skip
    assert result.batch_size == len(case.samples)
    assert result.exact, str(result)


def preference(model: nn.Module, batch: Any) -> Tensor:
    first, second = model(torch.cat(list(batch))).chunk(2)
    return -F.logsigmoid((first - second).sum(1)).mean()


def test_another_number_of_samples_is_a_sentence() -> None:
    """Chosen and rejected in one forward, and nothing says so."""
    result = fs.examine(nn.Linear(6, 3), preference, tuple(torch.randn(2, 8, 6)), seconds=0)
    assert not result.exact
    text = str(result)
    assert "NOT PROVEN EXACT" in text
    assert "the Gram has 16 samples and the batch 8" in text
    assert "fs.samples.concatenation(2)" in text


@pytest.mark.parametrize("calls", ["chunks", "views", "a call a sample"])
def test_several_forwards_are_checked_by_their_outputs(calls: str) -> None:
    def loss(model: nn.Module, batch: Any) -> Tensor:
        x, y = batch
        if calls == "views":
            return F.cross_entropy(model(x), y) + F.cross_entropy(model(x.flip(1)), y)
        size = 2 if calls == "chunks" else 1
        parts = zip(x.split(size), y.split(size), strict=True)
        return sum(F.cross_entropy(model(a), b, reduction="sum") for a, b in parts) / len(x)

    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    result = fs.examine(model, loss, (torch.randn(6, 6), torch.randint(0, 3, (6,))), seconds=0)
    assert result.exact, str(result)
    assert all(proof.exact and proof.independent for proof in result.proofs)


class Stream(IterableDataset[Any]):
    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Any]:
        for k in range(self.count):
            yield torch.randn(6), k % 3


@pytest.mark.parametrize("count", [5, 40])
def test_a_stream_is_examined_by_its_first_samples(count: int) -> None:
    for data in (Stream(count), DataLoader(Stream(count), batch_size=4)):
        subject = fs.tasks.subject_of(nn.Linear(6, 3), F.cross_entropy, data=data)
        result = fs.examine(subject, seconds=0)
        assert result.exact, str(result)
        assert result.batch_size == min(count, 32)


FACTORY = """
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset
class Empty(IterableDataset):
    def __iter__(self):
        return iter(())
class Graphs:
    def __len__(self):
        return 9
    def __getitem__(self, index):
        return {"x": torch.randn(index % 3 + 1, 4), "y": None}
class Whole(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.randn(8, 4), torch.randint(0, 3, (8,))
def of(data):
    return {"model": nn.Linear(4, 3), "loss": nn.CrossEntropyLoss(), "data": data}
def empty():
    return of(Empty())
def graphs():
    return of(Graphs())
def whole():
    return of(DataLoader(Whole(), batch_size=None))
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", "the stream holds none"),
        ("graphs", "Give a DataLoader with your collate_fn"),
        ("whole", "give one of its batches as 'batch'"),
    ],
)
def test_data_that_can_not_be_drawn_from_say_what_to_write(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "given.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fs.tasks.TaskError, match=words):
        doctor(f"given.py:{name}", seconds=0)

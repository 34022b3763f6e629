"""What a factory may return to `doctor` and `advise`, and what is said where it returns something else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import fisherscope as fs
from fisherscope.tasks import TaskError, Workload, subject, subject_of

FACTORIES = """
import torch
from torch import nn
from torch.nn import functional as F
x, y = torch.arange(30.0).reshape(10, 3), torch.arange(10) % 2
def three():
    return nn.Linear(3, 2), lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), (x, y)
def one_batch():
    return {"model": nn.Linear(3, 2), "loss": nn.CrossEntropyLoss(reduction="sum"), "batch": (x, y)}
def data():
    return {"model": lambda: nn.Linear(3, 2), "loss": F.cross_entropy, "data": (x, y), "record": {"batch": 0}}
def task():
    return {"model": lambda: nn.Linear(3, 2), "train": (x, y)}
def number():
    return 3
def misspelt():
    return {"model": nn.Linear(3, 2), "loss": F.cross_entropy, "bach": (x, y)}
def no_model():
    return {"batch": (x, y)}
def no_batch():
    return {"model": nn.Linear(3, 2), "loss": F.cross_entropy}
def no_module():
    return {"model": 3, "loss": F.cross_entropy, "batch": (x, y)}
def no_loss():
    return nn.Linear(3, 2), 3, (x, y)
def unreduced():
    return nn.Linear(3, 2), nn.CrossEntropyLoss(reduction="none"), (x, y)
def no_samples():
    return nn.Linear(3, 2), F.cross_entropy, 3
def raises():
    return 1 / 0
def needs(path):
    return path
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_subject_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    return name


def value(found: Workload, batch: Any) -> float:
    return float(found.loss(found.make(), batch).detach())


@pytest.mark.parametrize("form", ["{}", "{}.py"])
def test_a_model_a_loss_and_a_batch(own: str, form: str) -> None:
    found = subject(f"{form.format(own)}:three")
    assert (found.given_size, found.dataset_size, found.reduction) == (10, None, "mean")
    assert found.batch()[0].shape == (10, 3)
    assert torch.equal(found.make().weight, found.make().weight)  # copies of the one given
    assert found.make() is not found.make()


def test_a_batch_gives_batches_of_any_size_each_sample_with_its_own_label(own: str) -> None:
    found = subject(f"{own}:one_batch")
    assert found.options == {"reduction": "sum"}
    for size in (1, 4, 10, 25):
        x, y = found.batch(size)
        assert x.shape == (size, 3)
        assert torch.equal(y, (x[:, 0] / 3).long() % 2)
    assert value(found, found.batch()) > 0


def test_a_data_set_is_walked_in_seeded_epochs(own: str) -> None:
    found = subject(f"{own}:data")
    assert (found.dataset_size, found.given_size, found.options["batch"]) == (10, None, 0)
    stream = found.batches(4, seed=3)
    first = torch.cat([next(stream)[0][:, 0] for _ in range(2)])
    assert len(first.unique()) == 8  # no sample twice in an epoch
    again = found.batches(4, seed=3)
    assert torch.equal(first, torch.cat([next(again)[0][:, 0] for _ in range(2)]))


def test_what_the_training_takes_is_a_subject_too(own: str) -> None:
    assert subject(f"{own}:task").dataset_size == 9  # a tenth is held out
    digits = subject("digits/mlp")
    assert digits.dataset_size == 300
    assert value(digits, digits.batch(7)) > 0


def test_a_loader_keeps_its_collation() -> None:
    def collate(samples: list[Any]) -> dict[str, torch.Tensor]:
        return {"x": torch.stack([x for x, _ in samples])}

    data = TensorDataset(torch.arange(12.0).reshape(6, 2), torch.arange(6))
    found = subject_of(
        nn.Linear(2, 1), lambda m, b: m(b["x"]).mean(), data=DataLoader(data, 2, collate_fn=collate)
    )
    assert found.batch(5)["x"].shape == (5, 2)
    assert found.dataset_size == 6


class Endless(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(torch.arange(8.0).reshape(4, 2))


def test_a_stream_has_batches_and_no_size() -> None:
    found = subject_of(nn.Linear(2, 1), lambda m, b: m(b).mean(), data=Endless())
    batches = found.batches(3)
    assert [next(batches).shape for _ in range(3)] == [(3, 2)] * 3
    assert found.dataset_size is None
    with pytest.raises(TaskError, match="the stream ends before that"):
        found.batch(5)


def test_sequence_first_batches_are_cut_along_their_own_dimension() -> None:
    batch = (torch.arange(24.0).reshape(4, 3, 2), torch.arange(3))
    found = subject_of(nn.Linear(2, 5), lambda m, b: F.cross_entropy(m(b[0]).mean(0), b[1]),
                       batch=batch, record={"batch": 1})  # fmt: skip
    x, y = found.batch(2)
    assert x.shape == (4, 2, 2)
    assert torch.equal(x[0, :, 0], 2.0 * y)


def test_a_model_with_a_loss_of_its_own_needs_none() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(2, 1)

        def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
            out = self.body(x)
            return type("Out", (), {"loss": None if labels is None else F.mse_loss(out[:, 0], labels)})()

    found = subject_of(Own(), None, batch={"x": torch.randn(3, 2), "labels": torch.randn(3)})
    with fs.record_gram(model := found.make(), **found.options) as record:
        found.loss(model, found.batch()).backward()
    assert record.batch_size == 3
    without = subject_of(Own(), None, batch={"x": torch.randn(3, 2)})
    with pytest.raises(TaskError, match="put labels in the batch"):
        without.loss(without.make(), without.batch())
    with pytest.raises(TaskError, match="Give 'loss'"):
        without.loss(without.make(), torch.randn(3, 2))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("number", r"returned int; expected \(model, loss, batch\)"),
        ("misspelt", "did you mean 'batch'"),
        ("no_model", "no 'model'"),
        ("no_batch", "received neither"),
        ("no_module", "'model' is int; expected a torch.nn.Module"),
        ("no_loss", "'loss' is int"),
        ("unreduced", "expected 'mean' or 'sum'"),
        ("no_samples", "no tensor with samples"),
        ("raises", r"raised ZeroDivisionError.*own_subject_\d+.py:\d+"),
        ("needs", "needs no arguments"),
        ("thre", "did you mean three"),
    ],
)
def test_what_a_factory_got_wrong_is_said(own: str, function: str, words: str) -> None:
    with pytest.raises(TaskError, match=words):
        subject(f"{own}:{function}")


def test_a_file_that_is_not_there_is_said(own: str) -> None:
    with pytest.raises(TaskError, match="no such file"):
        subject("missing.py:three")

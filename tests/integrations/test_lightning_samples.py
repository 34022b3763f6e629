"""Lightning's callback where rows of the model's inputs are not samples."""

from __future__ import annotations

import copy
import importlib
import random
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from tests.cases.grouped_rows import KINDS, Grouped
from torch import Tensor
from torch.utils.data import DataLoader

import fisherscope as fs
from fisherscope import integrations

STEPS = 3


class Recorded:
    """A run that keeps rows and eigenvalues."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.spectra: list[Any] = []

    def log_step(self, row: dict[str, Any], eigenvalues: Any) -> None:
        self.rows.append(row)
        self.spectra.append(eigenvalues)

    def log_epoch(self, row: dict[str, Any]) -> None:
        pass


def module_of(case: Grouped) -> Any:
    """A LightningModule whose step takes the case's loss."""

    class Trained(importlib.import_module("lightning.pytorch").LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = case.model
            self.models: list[Any] = []  # before each step

        def on_train_start(self) -> None:
            self.models.append(copy.deepcopy(self.model))

        def training_step(self, batch: Any, index: int) -> Tensor:
            return case.loss(self.model, batch)

        def on_train_batch_end(self, *_: Any) -> None:
            self.models.append(copy.deepcopy(self.model))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.05)

    return Trained()


def fit(module: Any, callback: Any, batches: list[Any], **options: Any) -> None:
    lightning = importlib.import_module("lightning.pytorch")
    settings = {"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
                "enable_progress_bar": False, "enable_model_summary": False, **options}  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        lightning.Trainer(callbacks=[callback], **settings).fit(module, DataLoader(batches, batch_size=None))


def drawn(kind: str, steps: int = STEPS) -> tuple[Grouped, list[Any]]:
    """A case, and the samples of each step: other numbers of them, and of their rows."""
    torch.manual_seed(3)
    numbers = random.Random(5)
    first = KINDS[kind](numbers)
    batches = [first.samples]
    while len(batches) < steps:
        more = KINDS[kind](numbers)
        if [part.shape[1:] for part in parts(more.samples[0])] == [
            part.shape[1:] for part in parts(first.samples[0])
        ]:
            batches.append(more.samples)
    return first, batches


def parts(sample: Any) -> list[Tensor]:
    return [part for part in (sample if isinstance(sample, tuple) else (sample,)) if isinstance(part, Tensor)]


def steps_of(batch: list[Any]) -> Tensor:
    return fs.samples.of_lengths([len(episode[0]) for episode in batch])


@pytest.mark.parametrize(
    ("kind", "sample_of"),
    [
        ("pairs", fs.samples.concatenation(2)),
        ("packed", fs.samples.packing()),
        ("graphs", fs.samples.graphs(batch=3, edge_index=1)),
        ("episodes", fs.samples.of_batch(steps_of)),
        ("episodes step by step", fs.samples.of_batch(steps_of)),
    ],
)
def test_rows_equal_a_loop_over_samples(kind: str, sample_of: Any) -> None:
    case, batches = drawn(kind)
    run, module = Recorded(), module_of(case)
    callback = integrations.LightningCallback(every=1, run=run, strict=True, sample_of=sample_of)
    fit(module, callback, batches)
    assert [row["batch_size"] for row in run.rows] == [len(batch) for batch in batches]
    assert [row["fisher/grouping"] for row in run.rows] == ["given"] * STEPS
    for row, spectrum, model, batch in zip(run.rows, run.spectra, module.models, batches, strict=False):
        gram = Grouped(model, batch, case.loss, None).gram()
        assert row["fisher/trace"] == pytest.approx(float(gram.trace()), rel=1e-9)
        wanted = np.linalg.eigvalsh(gram.numpy())[::-1]
        np.testing.assert_allclose(spectrum, wanted, rtol=1e-7, atol=1e-9 * wanted[0])


def test_samples_are_counted_where_no_step_is_measured() -> None:
    case, batches = drawn("episodes", steps=6)
    module = module_of(case)
    callback = integrations.LightningCallback(every=50, sample_of=fs.samples.of_batch(steps_of))
    fit(module, callback, batches)
    counters = callback.monitor.state.history.running.counters
    assert counters.samples == sum(len(batch) for batch in batches)


def test_accumulated_batches_are_each_their_own_samples() -> None:
    case, batches = drawn("episodes", steps=4)
    run, module = Recorded(), module_of(case)
    callback = integrations.LightningCallback(
        every=1, run=run, strict=True, sample_of=fs.samples.of_batch(steps_of)
    )
    fit(module, callback, batches, accumulate_grad_batches=2)
    sizes = [len(batch) for batch in batches]
    assert [row["batch_size"] for row in run.rows] == [sizes[0] + sizes[1], sizes[2] + sizes[3]]


@pytest.mark.parametrize(
    ("sample_of", "words"),
    [
        (lambda *inputs: torch.zeros(99, dtype=torch.long), "sample_of has 99 rows and the forwards took"),
        (fs.samples.of_batch(lambda batch: batch["lengths"]), "raised TypeError"),
        (lambda *inputs: torch.tensor([0, 2, 2]), "sample 1 has no row"),
    ],
    ids=["another length", "raises", "a gap"],
)
def test_training_goes_on_where_sample_of_can_not_be_meant(sample_of: Any, words: str) -> None:
    case, batches = drawn("pairs")
    run, module = Recorded(), module_of(case)
    callback = integrations.LightningCallback(every=1, run=run, sample_of=sample_of)
    before = [p.detach().clone() for p in module.parameters()]
    with pytest.warns(RuntimeWarning, match=words):
        fit(module, callback, batches)
    assert all(words in row["status"] for row in run.rows)
    assert len(run.rows) == STEPS
    assert not any(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def pairs_of(count: int) -> list[Any]:
    torch.manual_seed(1)
    return [tuple(torch.randn(2, 4, 6, dtype=torch.float64)) for _ in range(count)]


class Preferences:
    """A model and the loss of a batch (chosen, rejected)."""

    def __init__(self) -> None:
        self.model = torch.nn.Linear(6, 1).double()

    @staticmethod
    def loss(model: Any, batch: Any) -> Tensor:
        first, second = model(torch.cat(list(batch))).chunk(2)
        return -torch.nn.functional.logsigmoid(first - second).mean()


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_row_says_that_its_rows_are_not_the_loaders_samples(accumulated: int) -> None:
    run, case = Recorded(), Preferences()
    callback = integrations.LightningCallback(every=1, run=run)
    with pytest.warns(RuntimeWarning, match="share 4 terms of the loss"):
        fit(module_of(case), callback, pairs_of(4), accumulate_grad_batches=accumulated)  # type: ignore[arg-type]
    assert [row["batch_size"] for row in run.rows] == [8 * accumulated] * (4 // accumulated)
    assert all("concatenation(2)" in row["fisher/note"] for row in run.rows)


def test_chunks_of_separate_tensors_are_the_loaders_samples() -> None:
    class Chunks(Preferences):
        @staticmethod
        def loss(model: Any, batch: Any) -> Tensor:
            return sum(model(part.clone()).square().mean() for part in batch[0].split(2)) / 2

    run, case = Recorded(), Chunks()
    fit(module_of(case), integrations.LightningCallback(every=1, run=run, strict=True), pairs_of(3))  # type: ignore[arg-type]
    assert [row["batch_size"] for row in run.rows] == [4] * 3
    assert all(row["fisher/note"] is None for row in run.rows)


def test_two_loaders_of_different_batch_size_are_all_samples() -> None:
    """A batch of each in one step, as Lightning's CombinedLoader gives them."""
    utilities = importlib.import_module("lightning.pytorch.utilities")

    class Both(Preferences):
        @staticmethod
        def loss(model: Any, batch: Any) -> Tensor:
            return model(batch["a"]).square().mean() + model(batch["b"]).square().mean()

    data = torch.randn(12, 6, dtype=torch.float64)
    loaders = {"a": DataLoader(data, batch_size=2), "b": DataLoader(data, batch_size=4)}
    run, module = Recorded(), module_of(Both())  # type: ignore[arg-type]
    lightning = importlib.import_module("lightning.pytorch")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning|fisherscope")
        lightning.Trainer(
            callbacks=[integrations.LightningCallback(every=1, run=run)], max_epochs=1, accelerator="cpu",
            logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        ).fit(module, utilities.CombinedLoader(loaders, "min_size"))  # fmt: skip
    assert [(row["status"], row["batch_size"]) for row in run.rows] == [("ok", 6)] * 3

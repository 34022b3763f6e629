"""Steps whose rows are not samples: in a loop of one's own, against a loop over samples."""

from __future__ import annotations

import random
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from tests.cases.grouped_rows import KINDS, Grouped, draw
from torch import nn

import fisherscope as fs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("said", ["once", "in each step"])
def test_rows_equal_a_loop_over_samples(kind: str, said: str) -> None:
    case = draw(kind, 5)
    if said == "once" and not callable(case.sample_of):
        pytest.skip("a tensor is that of one batch")
    optimizer = torch.optim.SGD(case.model.parameters(), lr=0.05)
    spectra: list[Any] = []
    options = {"sample_of": case.sample_of} if said == "once" else {}
    monitor = fs.Monitor(case.model, optimizer, every=1, strict=True, run=Kept(spectra), **options)
    for _ in range(3):
        optimizer.zero_grad()
        wanted = case.gram()
        with monitor.observe(sample_of=None if said == "once" else case.sample_of):
            case.loss(case.model, case.samples).backward()
        optimizer.step()
        row = monitor.measurement
        assert row is not None
        assert (row["batch_size"], row["fisher/grouping"]) == (len(case.samples), "given")
        assert row["fisher/trace"] == pytest.approx(float(wanted.trace()), rel=1e-9)
        largest = np.linalg.eigvalsh(wanted.numpy())[-1]
        assert spectra[-1][0] == pytest.approx(largest, rel=1e-9)


class Kept:
    def __init__(self, spectra: list[Any]) -> None:
        self.spectra = spectra

    def log_step(self, row: dict[str, Any], eigenvalues: Any) -> None:
        self.spectra.append(eigenvalues)


@pytest.mark.parametrize("kind", ["packed", "graphs", "episodes"])
def test_unmeasured_steps_count_the_samples_that_are_named(kind: str) -> None:
    first = draw(kind, 1)
    optimizer = torch.optim.SGD(first.model.parameters(), lr=0.01)
    monitor = fs.Monitor(first.model, optimizer, every=1000)
    numbers, counted = random.Random(0), 0
    for _ in range(8):
        case = KINDS[kind](numbers)
        if kind == "packed":
            assert callable(case.sample_of)
        samples = case.samples
        with monitor.observe(sample_of=case.sample_of):
            case.loss(first.model, samples).backward()
        optimizer.zero_grad()
        counted += len(samples)
    assert monitor.state.history.running.counters.samples == counted


class Shuffling(nn.Module):
    """A forward that draws a new order each time; its rows are pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        order = torch.randperm(len(x))
        return self.last(self.first(x[order]).tanh()[order.argsort()])


def test_an_order_drawn_anew_in_each_forward_is_read_under_sample_of() -> None:
    case = draw("pairs", 2)
    features = case.samples[0].shape[1]
    model = Shuffling().double()
    model.first = nn.Linear(features, 6).double()
    again = Grouped(model, case.samples, case.loss, None)
    monitor = fs.Monitor(
        model, torch.optim.SGD(model.parameters(), 0.1), every=1, strict=True,
        sample_of=fs.samples.concatenation(2),
    )  # fmt: skip
    wanted = again.gram()
    for _ in range(4):
        model.zero_grad()
        with monitor.observe():
            case.loss(model, case.samples).backward()
        assert monitor.measurement["fisher/trace"] == pytest.approx(float(wanted.trace()), rel=1e-9)


def preference(model: nn.Module, pairs: int) -> torch.Tensor:
    first, second = model(torch.randn(2 * pairs, 5)).chunk(2)
    return -torch.nn.functional.logsigmoid(first - second).mean()


def test_a_row_says_that_pairs_were_counted_apart() -> None:
    model = nn.Linear(5, 1)
    monitor = fs.Monitor(model, torch.optim.SGD(model.parameters(), 0.1), every=1)
    for _ in range(2):
        with pytest.warns(RuntimeWarning) if not len(monitor.history) else nullcontext(), monitor.observe():
            preference(model, 4).backward()
        model.zero_grad()
        row = monitor.measurement
        assert (row["status"], row["batch_size"]) == ("ok", 8)
        assert "fs.samples.concatenation(2): the batch then has 4" in row["fisher/note"]
    assert any("concatenation(2)" in note for note in monitor.notes)
    with monitor.observe(sample_of=fs.samples.concatenation(2)):
        preference(model, 4).backward()
    assert monitor.measurement["fisher/note"] is None


def test_a_contradicted_count_names_the_remedy() -> None:
    model = nn.Linear(5, 1)
    monitor = fs.Monitor(model, torch.optim.SGD(model.parameters(), 0.1), every=1)
    with pytest.warns(RuntimeWarning), monitor.observe(batch_size=4):
        preference(model, 4).backward()
    status = monitor.measurement["status"]
    assert "received batch_size=4 for a batch of 8 samples" in status
    assert "fs.samples.concatenation(2)" in status
    assert monitor.state.history.running.counters.samples == 8


@pytest.mark.parametrize("parts", [1, 3])
def test_the_loops_own_count_tells_forwards_of_other_samples_apart(parts: int) -> None:
    model = nn.Linear(5, 3)
    monitor = fs.Monitor(model, torch.optim.SGD(model.parameters(), 0.1), every=1, strict=True)
    x = torch.randn(4 * parts, 5)
    with monitor.observe(ids=torch.arange(4 * parts)):
        sum(model(part.clone()).square().sum() for part in x.split(4)).div(4 * parts).backward()
    assert monitor.measurement["batch_size"] == 4 * parts
    assert monitor.measurement["fisher/note"] is None

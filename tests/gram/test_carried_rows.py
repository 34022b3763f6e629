"""Rows that are taken over from a call above, against loops over samples; and a carry that is wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.cases.row_movements import Drawn, draw
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.gram.identity import carried_rows, reader
from fisherscope.gram.identity.carriers import find_carriers

EXACT = 1e-9
MODELS = 60
BATCHES = 7
"""Rows are taken over at the third, fifth, sixth and seventh reading of one graph."""


def error_of(drawn: Drawn) -> float:
    """Measure a drawn batch; the Gram's distance from that of a loop over the samples."""
    wanted = drawn.gram()
    drawn.model.zero_grad()
    with fs.record_gram(drawn.model, batch=0) as record:
        drawn.loss().backward()
    assert record.status == "ok"
    assert record.grouping != "unverified"
    assert record.gram.shape == wanted.shape
    return float((record.gram - wanted).norm() / wanted.norm())


def test_no_drawn_model_is_wrong_where_rows_are_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers between a shuffle and its inverse, in place, moved by numbers, or by data and chance again."""
    counts: Counter[str] = Counter()

    class Counted(carried_rows.StepReadings):
        def __post_init__(self) -> None:
            super().__post_init__()
            counts["taken"] += len(self.taking)
            counts["steps"] += bool(self.taking)

    monkeypatch.setattr(reader, "StepReadings", Counted)
    wrong = {}
    for seed in range(MODELS):
        drawn = draw(seed, ("inside a shuffle",))
        for batch in (drawn, *(drawn.another(seed + k) for k in range(BATCHES - 1))):
            error = error_of(batch)
            if not error < EXACT:
                wrong[seed] = error
    assert not wrong
    assert counts["steps"] > 2 * MODELS
    assert counts["taken"] > 2 * counts["steps"]


class Between(nn.Module):
    """Two layers inside a shuffle, and between them an order that the test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 3)
        self.key = torch.tensor([2, 0, 1, 3])

    def forward(self, x: Tensor) -> Tensor:
        outer, order = torch.randperm(len(x)), self.key[: len(x)].argsort()
        inside = self.first(x[outer]).tanh()
        out: Tensor = self.last(inside[order]).tanh()
        return out[order.argsort()][outer.argsort()]


def gram_of(model: nn.Module, x: Tensor) -> Tensor:
    """(n, n): of the samples' own losses, one by one."""
    rows = []
    for k in range(len(x)):
        grads = torch.autograd.grad(model(x[k : k + 1]).square().sum(), list(model.parameters()))
        rows.append(torch.cat([g.flatten() for g in grads]))
    return torch.stack(rows) @ torch.stack(rows).T


def test_a_wrong_carry_is_found_at_the_next_full_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """What moves rows is overlooked: rows are taken over wrongly until they are read, and a note says so."""

    def overlook(calls: Any, survey: Any, apart: Any) -> Any:
        return find_carriers(calls, replace(survey, movers=[]), apart)

    monkeypatch.setattr(carried_rows, "find_carriers", overlook)
    torch.manual_seed(0)
    model = Between().double()
    errors, notes = [], []
    for step in range(1, 7):
        if step >= 3:
            model.key = torch.tensor([3, 1, 0, 2])
        x = torch.randn(4, 5, dtype=torch.float64)
        wanted = gram_of(model, x)
        model.zero_grad()
        with fs.record_gram(model) as record:
            (model(x).square().sum(1)).mean().backward()
        assert record.status == "ok"
        errors.append(float((record.gram - wanted).norm() / wanted.norm()))
        notes.append([note for note in record.notes if "lie elsewhere now" in note])
    wrong = [error > EXACT for error in errors]
    assert wrong == [False, False, True, False, False, False]  # planted at 3, found at 4
    assert [bool(note) for note in notes] == [False, False, False, True, False, False]


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.BatchNorm1d])
def test_only_the_topmost_call_is_read(norm: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first, second, fourth and eighth reading all four calls, else one."""
    read = []
    original = reader.RowReader._read
    late = reader.scaled_gradients

    def counted(self: Any, forward: Any, calls: Any, *more: Any) -> Any:
        read.append(len(calls))
        return original(self, forward, calls, *more)

    def counted_late(outputs: Any, cotangents: Any, calls: Any, *more: Any) -> Any:
        read.append(len(calls))
        return late(outputs, cotangents, calls, *more)

    monkeypatch.setattr(reader.RowReader, "_read", counted)
    monkeypatch.setattr(reader, "scaled_gradients", counted_late)
    torch.manual_seed(0)
    inner = nn.Sequential(
        nn.Linear(8, 16), norm(16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)
    )

    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            order = torch.randperm(len(x))
            out: Tensor = self.inner(x[order])
            return out[order.argsort()]

    model = Shuffled()
    for _ in range(8):
        with fs.record_gram(model) as record:
            F.cross_entropy(model(torch.randn(6, 8)), torch.randint(0, 4, (6,))).backward()
        assert record.status == "ok"
        assert record.grouping == "derived"
        model.zero_grad()
    assert read == [4, 4, 1, 4, 1, 1, 1, 4]

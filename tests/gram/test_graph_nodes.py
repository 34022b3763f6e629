"""What the kinds of a graph's nodes may do with rows: models that move none are read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.gram.identity import cotangents, identify, late, node_kinds
from fisherscope.gram.identity.graph_nodes import RowShapes
from fisherscope.tasks import models

SAMPLES = STEPS = 8


class Encoder(nn.Module):
    """A transformer with learned positions, whose length is the number of samples."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=batch_first)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.places, self.head = nn.Embedding(STEPS + 1, 16), nn.Linear(16, 4)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        places = self.places(torch.arange(x.shape[1 if self.batch_first else 0]))
        out = self.layers(x + (places if self.batch_first else places.unsqueeze(1)))
        pooled: Tensor = self.head(out.mean(1 if self.batch_first else 0))
        return pooled


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(16, 8, 2, batch_first=True, bidirectional=True), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.layer(x)[0][:, -1])
        return out


STILL: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    "transformer": lambda: (Encoder(True), (SAMPLES, STEPS, 16)),
    "transformer, time first": lambda: (Encoder(False), (STEPS + 1, SAMPLES, 16)),
    "recurrent": lambda: (Recurrent(), (SAMPLES, STEPS, 16)),
    "resnet": lambda: (models.build("resnet8", 3, 4, 16), (SAMPLES, 3, 16, 16)),
    "densenet": lambda: (models.build("densenet8", 3, 4, 16), (SAMPLES, 3, 16, 16)),
}


@pytest.mark.parametrize("name", ["transformer", "recurrent", "resnet", "densenet"])
def test_a_model_that_moves_no_rows_is_read_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kind of node of an everyday network is taken for one that may move rows."""
    passes = []

    def counted(*arguments: Any) -> Any:
        passes.append(1)
        return cotangents.gradients_at(*arguments)

    monkeypatch.setattr(identify, "gradients_at", counted)
    monkeypatch.setattr(late, "gradients_at", counted)
    torch.manual_seed(0)
    model, shape = STILL[name]()
    for k in range(3):
        passes.clear()
        model.zero_grad()
        with fs.record_gram(model) as record:
            F.cross_entropy(model(torch.randn(shape)), torch.randint(0, 4, (SAMPLES,))).backward()
        assert record.status == "ok"
        assert bool(passes) == (k == 0), f"measurement {k}"


def test_each_kind_stands_in_one_table() -> None:
    """A kind in two tables would be what the first of them says."""
    tables = (
        node_kinds.ALONG, node_kinds.COMBINED, node_kinds.REDUCED, node_kinds.RESHAPED, node_kinds.MATRICES,
        node_kinds.SAMPLES_LEAD, node_kinds.STAYING, node_kinds.TRANSFORMED,
    )  # fmt: skip
    twice = [kind for kind, count in Counter(kind for table in tables for kind in table).items() if count > 1]
    assert not twice


def test_a_kind_that_nobody_looked_at_may_move_rows() -> None:
    shapes = RowShapes(samples=SAMPLES, lead=True, lengths=(), look=True)
    out = torch.cdist(torch.randn(SAMPLES, 3, requires_grad=True), torch.randn(SAMPLES, 3))
    kind = type(out.grad_fn).__name__
    assert all(kind.removesuffix("Backward0") not in table for table in vars(node_kinds).values()
               if isinstance(table, frozenset))  # fmt: skip
    assert shapes.may_move(kind, out.grad_fn, ())
    assert not shapes.may_move("ReluBackward0", torch.randn(2, requires_grad=True).relu().grad_fn, ())


@pytest.mark.parametrize(
    ("size", "name"), [(8, (1, 1)), (16, (1, 2)), (5, (0, -1)), (40, (1, -1)), (7, (0, 7)), (0, (1, 0))]
)
def test_sizes_are_named_by_the_batch_and_the_inputs(size: int, name: tuple[int, int]) -> None:
    """Sequences of other lengths make a graph of the same signature; other shares of the batch do not."""
    assert RowShapes(samples=8, lead=True, lengths=(5,), look=True).name_size(size) == name


def test_values_used_along_the_samples_of_others_are_listed() -> None:
    """Multiplied by ones and zeros along a new dimension of samples, rows go anywhere."""
    shapes = RowShapes(samples=SAMPLES, lead=True, lengths=(), look=True)
    rows = torch.randn(SAMPLES, 3, requires_grad=True).relu()
    product = rows.unsqueeze(0) * torch.eye(SAMPLES).unsqueeze(2)
    assert shapes.spread("MulBackward0", product.grad_fn) == [product.grad_fn.next_functions[0][0]]  # type: ignore[union-attr]
    gain = torch.randn(3, requires_grad=True).relu()
    scaled = rows * gain
    assert shapes.spread("MulBackward0", scaled.grad_fn) == []


@pytest.mark.parametrize(("samples", "reorders"), [(1, False), (4, True)])
def test_one_sample_has_no_order(samples: int, reorders: bool) -> None:
    """A loop that calls the model on one sample at a time pays for no reading of orders."""
    shapes = RowShapes(samples=samples, lead=True, lengths=(), look=True)
    node = torch.randn(4, 3, requires_grad=True).relu().flip(0).grad_fn
    assert shapes.reorders("FlipBackward0", node, shapes.numbers("FlipBackward0", node)) is reorders

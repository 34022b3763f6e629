"""Whose sample a call's rows are, where it is hard to tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.cases.gram_steps import (
    Called,
    recorded,
    routed,
    samples,
    step,
    trained_as_unmeasured,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import fisherscope as fs
from fisherscope.gram import AmbiguousBatchError, GramError, IncompleteError, NotSplittableError


def reentrant() -> nn.Module:
    return Called(
        lambda parts, x: parts["head"](checkpoint(parts["body"], parts["first"](x), use_reentrant=True)),
        first=nn.Linear(4, 4), body=nn.Linear(4, 6), head=nn.Linear(6, 3),
    )  # fmt: skip


def mixing() -> nn.Module:
    return Called(
        lambda parts, x: parts["a"](x) + parts["b"](x.mean(0)), a=nn.Linear(4, 3), b=nn.Linear(4, 3)
    )


def looping() -> nn.Module:
    def forward(parts: Any, x: Tensor) -> Tensor:
        hidden = parts["first"](x).relu()
        return parts["head"](torch.stack([parts["row"](row) for row in hidden]))  # type: ignore[no-any-return]

    return Called(forward, first=nn.Linear(4, 4), row=nn.Linear(4, 4), head=nn.Linear(4, 3))


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "lenient"])
@pytest.mark.parametrize(
    ("make", "kind", "words", "left"),
    [
        (reentrant, IncompleteError, "say use_reentrant=False", "parts.body.weight"),
        (mixing, NotSplittableError, "it mixes the samples", "parts.b.weight"),
    ],
    ids=["reentrant checkpointing", "mean over samples"],
)
def test_what_cannot_be_split(
    make: Callable[[], nn.Module], kind: type[GramError], words: str, left: str, strict: bool
) -> None:
    torch.manual_seed(0)
    model, (x, y) = make(), samples(12)
    with trained_as_unmeasured(model, lambda m: step(m, x, y)):
        record = recorded(model, lambda m: step(m, x, y), strict, kind, words)
    if record is not None:
        assert record.status.startswith("partial")
        assert left in {row.parameter for row in record.coverage if row.rule == "left out"}
        assert any(note.startswith(left) for note in record.notes)
        assert 0 < record.share_covered < 1


def positions_by_sample(last: str) -> nn.Module:
    """A loop over the samples of (n, t, i), so that all else looks as if its positions were the samples."""

    def forward(parts: Any, x: Tensor) -> Tensor:
        rows = torch.stack([parts["row"](x[k]).relu() for k in range(len(x))])
        return parts["head"](rows.mean(1) if last == "head" else rows)  # type: ignore[no-any-return]

    return Called(forward, row=nn.Linear(4, 4), head=nn.Linear(4, 3))


@pytest.mark.parametrize("make", [routed, looping], ids=["routed to experts", "loop over samples"])
def test_rows_that_follow_the_data_or_come_one_by_one_are_read(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model, (x, y) = make().double(), samples(7)
    x = x.double()
    with trained_as_unmeasured(model, lambda m: step(m, x, y)), fs.record_gram(model) as record:
        step(model, x, y)
    rows = []
    for k in range(len(x)):
        model.zero_grad()
        step(model, x[k : k + 1], y[k : k + 1])
        rows.append(
            torch.cat([(p.grad if p.grad is not None else p * 0).flatten() for p in model.parameters()])
        )
    wanted = torch.stack(rows) @ torch.stack(rows).T
    assert (record.status, record.grouping) == ("ok", "derived")
    torch.testing.assert_close(record.gram, wanted.detach(), rtol=1e-10, atol=1e-12)


def test_a_loop_over_samples_is_not_taken_for_one_over_positions() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 6, 4)
    model = positions_by_sample("head")
    with fs.record_gram(model) as record:
        model(x).square().mean().backward()
    assert (record.status, record.batch_size) == ("ok", 5)
    model = positions_by_sample("row")
    with (
        pytest.raises(AmbiguousBatchError, match=r"0 and 1 both.*loop over dimension 0"),
        fs.record_gram(model),
    ):
        model(x).square().mean().backward()


def test_a_loop_over_positions_is_no_loop_over_samples() -> None:
    def forward(parts: Any, x: Tensor) -> Tensor:
        hidden, out = x.new_zeros(x.shape[1], 4), []
        for row in x:  # time first
            hidden = parts["cell"](row, hidden)
            out.append(parts["head"](hidden))
        return torch.stack(out)

    torch.manual_seed(0)
    model, x = Called(forward, cell=nn.RNNCell(4, 4), head=nn.Linear(4, 3)), torch.randn(6, 5, 4)
    with fs.record_gram(model) as record:
        model(x).square().mean().backward()
    assert (record.status, record.batch_size) == ("ok", 5)


@pytest.mark.parametrize("n", [1, 2])
def test_a_batch_of_one_and_of_two_with_several_rows_a_sample(n: int) -> None:
    """The last batch of an epoch: all rows are one sample's, in whichever order."""
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True).double()
    x = torch.randn(n, 5, 4).double()
    with fs.record_gram(model, batch=0) as record:
        model(x).square().mean().backward()
    assert record.status == "ok"
    rows = []
    for k in range(n):
        grads = torch.autograd.grad(model(x[k : k + 1]).square().mean(), list(model.parameters()))
        rows.append(torch.cat([g.flatten() for g in grads]))
    torch.testing.assert_close(record.gram, torch.stack(rows) @ torch.stack(rows).T)


def test_a_contrastive_loss_couples_samples_in_two_dimensions() -> None:
    """Its scale meets a square of pairs, and can't be split; towers can."""

    def forward(parts: Any, x: Tensor) -> Tensor:
        left, right = F.normalize(parts["a"](x), dim=1), F.normalize(parts["b"](x), dim=1)
        return left @ right.T * parts["scale"].weight.exp()  # type: ignore[no-any-return]

    torch.manual_seed(0)
    model, (x, _) = Called(forward, a=nn.Linear(4, 3), b=nn.Linear(4, 3), scale=nn.Linear(1, 1)), samples()
    train = lambda m: F.cross_entropy(m(x), torch.arange(5)).backward()  # noqa: E731
    with trained_as_unmeasured(model, train):
        record = recorded(model, train, False, NotSplittableError, "grows in 2 dimensions")
    assert record is not None
    assert {row.parameter for row in record.coverage if row.rule == "left out"} == {"parts.scale.weight"}

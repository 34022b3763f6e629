"""Rows that share a term of the loss, and forwards that may be the same samples: both readings are said."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs


def mlp(features: int = 6, out: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(features, 8), nn.Tanh(), nn.Linear(8, out)).double()


def rows(count: int, features: int = 6) -> Tensor:
    return torch.randn(count, features, dtype=torch.float64)


def doubts(model: nn.Module, loss: Callable[[nn.Module], Tensor], **options: Any) -> list[str]:
    with fs.record_gram(model, **options) as record:
        loss(model).backward()
    model.zero_grad()
    assert set(record.doubts) <= set(record.notes)
    return record.doubts


def preference(model: nn.Module, b: int) -> Tensor:
    first, second = model(torch.cat([rows(b), rows(b)])).chunk(2)
    return -F.logsigmoid((first - second).sum(1)).mean()


def hinge(model: nn.Module, b: int) -> Tensor:
    """Piecewise linear: its second derivative is zero."""
    first, second = model(torch.cat([rows(b), rows(b)])).chunk(2)
    return (5 - (first - second).sum(1)).clamp_min(0).mean()


def triplets(model: nn.Module, b: int) -> Tensor:
    return F.triplet_margin_loss(*model(rows(3 * b)).chunk(3), margin=9.0)


def preference_and_likelihood(model: nn.Module, b: int) -> Tensor:
    """RPO: a second term of the chosen alone."""
    first, second = model(torch.cat([rows(b), rows(b)])).chunk(2)
    return -F.logsigmoid((first - second).sum(1)).mean() + F.cross_entropy(first, torch.arange(b) % 3)


def regularised_dropout(model: nn.Module, b: int) -> Tensor:
    """R-Drop: each row twice, a term for each and one for both."""
    x = rows(b)
    scores = model(torch.cat([x, x + 0.1]))
    first, second = scores.log_softmax(1).chunk(2)
    both = F.kl_div(first, second, log_target=True, reduction="none").sum(1).mean()
    return F.cross_entropy(scores, (torch.arange(2 * b) % b) % 3) + both


def group_relative(model: nn.Module, b: int) -> Tensor:
    scores = model(rows(4 * b)).sum(1).view(b, 4).log_softmax(1)
    return -(scores * torch.randn(b, 4)).sum(1).mean()


def sequence_pairs(model: nn.Module, b: int) -> Tensor:
    scores = model(rows(2 * b * 5).view(2 * b, 5, 6)).log_softmax(-1)[..., 0]
    first, second = (scores * (torch.rand(2 * b, 5) > 0.3)).sum(1).chunk(2)
    return -F.logsigmoid(first - second).mean()


COUPLED = {
    "concatenation(2)": [preference, hinge, preference_and_likelihood, regularised_dropout, sequence_pairs],
    "concatenation(3)": [triplets],
    "groups(4)": [group_relative],
}
CASES = [(loss, remedy) for remedy, losses in COUPLED.items() for loss in losses]


@pytest.mark.parametrize("b", [1, 2, 4, 7])
@pytest.mark.parametrize(("loss", "remedy"), CASES, ids=[loss.__name__ for loss, _ in CASES])
def test_rows_that_share_a_term_are_named_with_the_remedy(loss: Any, remedy: str, b: int) -> None:
    torch.manual_seed(b)
    model, parts = mlp(), int(remedy[-2])
    (text,) = doubts(model, lambda m: loss(m, b), batch=0)
    assert text.startswith(f"{parts * b} rows count as samples and share {b} terms")
    assert f"the batch then has {b}" in text
    if b > 1:  # with one, parts and groups are the same
        assert f"fs.samples.{remedy}" in text
    with fs.record_gram(model, sample_of=getattr(fs.samples, remedy[:-3])(parts)) as record:
        loss(model, b).backward()
    assert (record.batch_size, record.doubts) == (b, [])


def classes(model: nn.Module, b: int) -> Tensor:
    return F.cross_entropy(model(rows(b)), torch.arange(b) % 3)


def smooth(model: nn.Module, b: int) -> Tensor:
    return F.cross_entropy(model(rows(b)), torch.arange(b) % 3, label_smoothing=0.1)


def semi_supervised(model: nn.Module, b: int) -> Tensor:
    """Labelled and unlabelled rows in one forward: B terms of each, and 2B samples."""
    first, second = model(torch.cat([rows(b), rows(b)])).chunk(2)
    return F.cross_entropy(first, torch.arange(b) % 3) + second.log_softmax(1).exp().square().sum(1).mean()


def two_losses(model: nn.Module, b: int) -> Tensor:
    scores = model(rows(b))
    return F.cross_entropy(scores, torch.arange(b) % 3) + 0.1 * scores.square().sum(1).mean()


def elements(model: nn.Module, b: int) -> Tensor:
    return F.mse_loss(model(rows(b)), torch.randn(b, 3, dtype=torch.float64))


def contrast(model: nn.Module, b: int) -> Tensor:
    z = F.normalize(model(rows(b)), dim=1)
    return F.cross_entropy(z @ z.T / 0.1, torch.arange(b).roll(1))


def tokens(model: nn.Module, b: int) -> Tensor:
    scores = model(rows(b * 4).view(b, 4, 6))
    return F.cross_entropy(scores.flatten(0, 1), torch.arange(4 * b) % 3)


def weighted(model: nn.Module, b: int) -> Tensor:
    losses = F.cross_entropy(model(rows(b)), torch.arange(b) % 3, reduction="none")
    return (losses * torch.rand(b)).sum() / b + sum(p.square().sum() for p in model.parameters())


def of_numbers(model: nn.Module, b: int) -> Tensor:
    losses = F.cross_entropy(model(rows(b)), torch.arange(b) % 3, reduction="none")
    return torch.stack(list(losses.unbind())).mean()


def chunks(model: nn.Module, b: int) -> Tensor:
    parts = zip(rows(b).split(2), (torch.arange(b) % 3).split(2), strict=True)
    return sum(F.cross_entropy(model(x), y, reduction="sum") for x, y in parts) / b


APART = [
    classes,
    smooth,
    semi_supervised,
    two_losses,
    elements,
    contrast,
    tokens,
    weighted,
    of_numbers,
    chunks,
]


@pytest.mark.parametrize("b", [1, 2, 3, 6, 8])
@pytest.mark.parametrize("loss", APART, ids=[loss.__name__ for loss in APART])
def test_rows_with_terms_of_their_own_are_no_doubt(loss: Any, b: int) -> None:
    torch.manual_seed(b)
    assert not doubts(mlp(), lambda m: loss(m, b), batch=0)


def test_drawn_groups_are_found() -> None:
    """Any partition of the rows into terms, by an order drawn at random."""
    for seed in range(30):
        numbers = random.Random(seed)
        torch.manual_seed(seed)
        size, b = numbers.randint(2, 4), numbers.randint(1, 5)
        order = torch.randperm(size * b)
        term = torch.arange(size * b) // size

        def loss(m: nn.Module, order: Tensor = order, term: Tensor = term, b: int = b) -> Tensor:
            out = m(rows(len(order))).sum(1)[order]
            sums = out.new_zeros(b).index_add(0, term, out * torch.rand(len(order)))
            return sums.square().mean()

        (text,) = doubts(mlp(), loss)
        assert text.startswith(f"{size * b} rows count as samples and share {b} terms"), (seed, text)


def views(model: nn.Module, b: int, joined: bool) -> Tensor:
    first, second = model(rows(b)), model(rows(b))
    if joined:
        return -F.cosine_similarity(first, second).mean()
    return F.cross_entropy(first, torch.arange(b) % 3) + F.cross_entropy(second, torch.arange(b) % 3)


@pytest.mark.parametrize("b", [2, 5])
def test_two_forwards_without_a_common_term_have_both_readings(b: int) -> None:
    model = mlp()
    assert not doubts(model, lambda m: views(m, b, joined=True))
    (text,) = doubts(model, lambda m: views(m, b, joined=False))
    assert "2 forwards of the model took separate tensors" in text
    assert f"a batch), {b}." in text
    assert f"the batch has {2 * b}" in text
    for size in (b, 2 * b):
        with fs.record_gram(model, batch_size=size) as record:
            views(model, b, joined=False).backward()
        model.zero_grad()
        assert (record.batch_size, record.doubts) == (size, [])


def test_several_views_of_chunks_follow_the_count() -> None:
    """Two views of a batch of six, each in two chunks of separate tensors."""
    torch.manual_seed(0)
    model, x, y = mlp(), rows(6), torch.arange(6) % 3
    noise = rows(6)

    def loss(m: nn.Module, own: Any) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for view in (x, x + noise):
            for part in (slice(0, 3), slice(3, 6)):
                at = [k for k in range(6)[part] if k in own]
                if at:
                    total = total + F.cross_entropy(m(view[at].clone()), y[at], reduction="sum")
        return total

    with fs.record_gram(model, reduction="sum", batch_size=6) as record:
        loss(model, range(6)).backward()
    model.zero_grad()
    columns = []
    for k in range(6):
        grads = torch.autograd.grad(loss(model, [k]), list(model.parameters()))
        columns.append(torch.cat([g.flatten() for g in grads]))
    wanted = torch.stack(columns) @ torch.stack(columns).T
    assert not record.doubts
    torch.testing.assert_close(record.gram, wanted, rtol=1e-9, atol=1e-12)


def test_another_count_than_was_given_is_a_doubt() -> None:
    model = mlp()
    (text,) = doubts(model, lambda m: m(rows(6)).square().mean(), batch_size=2)
    assert text.startswith("the batch has 2 samples and 6 were counted")
    with pytest.raises(fs.gram.GramError, match="1 or more"), fs.record_gram(model, batch_size=0):
        pass


class Scored(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 9)

    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        return self.head(self.embed(input_ids).tanh())


@pytest.mark.parametrize(
    "inputs",
    [
        {"position_ids": torch.tensor([[0, 1, 2, 0, 1, 0, 1]])},
        {"cu_seq_lens_q": torch.tensor([0, 3, 5, 7])},
        {"seq_idx": torch.tensor([[0, 0, 0, 1, 1, 2, 2]])},
        {"attention_mask": torch.tensor([[1, 1, 1, 2, 2, 3, 3]])},
    ],
    ids=lambda inputs: next(iter(inputs)),
)
def test_a_packed_batch_that_counts_as_one_sample_is_a_doubt(inputs: dict[str, Tensor]) -> None:
    ids = torch.randint(0, 9, (1, 7))
    for model, said in ((Scored(), {}), (Scored(), {"sample_of": fs.samples.packing()})):
        with fs.record_gram(model, batch=0, **said) as record:
            out = model(input_ids=ids, **inputs)
            F.cross_entropy(out[0], ids[0]).backward()
        if said:
            assert (record.batch_size, record.doubts) == (3, [])
        else:
            (text,) = record.doubts
            assert "shows 3 packed sequences, and 1 rows were counted" in text
            assert "fs.samples.packing()" in text


@pytest.mark.parametrize(
    "inputs",
    [
        {"position_ids": torch.arange(7).expand(2, -1)},
        {"position_ids": torch.tensor([[0, 0, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 6]])},
        {"position_ids": torch.tensor([[1, 1, 1, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6]])},
        {"attention_mask": torch.tensor([[1, 1, 1, 0, 0, 0, 0], [1] * 7])},
    ],
    ids=["one sequence a row", "padded on the left by 0", "padded on the left by 1", "a plain mask"],
)
def test_plain_rows_of_positions_are_no_doubt(inputs: dict[str, Tensor]) -> None:
    ids = torch.randint(0, 9, (2, 7))
    model = Scored()
    assert not doubts(
        model, lambda m: F.cross_entropy(m(input_ids=ids, **inputs).flatten(0, 1), ids.flatten()), batch=0
    )


def test_terms_are_read_once_for_a_kind_of_input(monkeypatch: pytest.MonkeyPatch) -> None:
    from fisherscope.gram.identity import settlement

    calls = []
    real = settlement.shared_terms
    monkeypatch.setattr(settlement, "shared_terms", lambda *given: calls.append(1) or real(*given))
    model = mlp()
    for _ in range(3):
        assert len(doubts(model, lambda m: preference(m, 4))) == 1  # the note is in every row
    assert len(calls) == 1


def test_reading_terms_leaves_no_trace() -> None:
    torch.manual_seed(0)
    plain, seen = mlp(), mlp()
    seen.load_state_dict(plain.state_dict())
    state = torch.get_rng_state()
    preference(plain, 4).backward()
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    assert doubts_kept(seen)
    assert torch.equal(torch.get_rng_state(), after)
    assert all(
        torch.equal(a.grad, b.grad) for a, b in zip(plain.parameters(), seen.parameters(), strict=True)
    )


def doubts_kept(model: nn.Module) -> list[str]:
    with fs.record_gram(model) as record:
        preference(model, 4).backward()
    return record.doubts

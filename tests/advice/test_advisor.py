"""Advice on real models: right, and the model is left as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests.cases.advised_models import QUICK, data
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import fisherscope as fs
from fisherscope.advice import AdviceError


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))


def test_everything_is_put_back_bit_for_bit() -> None:
    model, samples = network(), data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    F.cross_entropy(model(samples[0]), samples[1]).backward()
    optimizer.step()
    model[0].eval()
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    gradients = [p.grad for p in model.parameters()]
    values = [g.clone() for g in gradients if g is not None]
    drawn = torch.get_rng_state()
    found = fs.advise(model, F.cross_entropy, samples, optimizer=optimizer, **QUICK)
    assert found.warmup == 20
    assert torch.equal(drawn, torch.get_rng_state())
    assert not model[0].training
    assert model[1].training
    assert all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
    assert all(torch.equal(g, v) for g, v in zip(gradients, values, strict=True) if g is not None)
    after = (model.state_dict(), optimizer.state_dict())
    flat = [torch.utils._pytree.tree_leaves(state) for state in (before, after)]
    assert all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(*flat, strict=True)
    )


def test_the_noise_scale_is_that_of_the_whole_data_set() -> None:
    """Without BatchNorm, against the gradients of all samples one by one."""
    torch.manual_seed(0)
    model, (x, y) = nn.Linear(6, 2), data()
    rows = []
    for k in range(len(x)):
        gradient = torch.autograd.grad(
            F.cross_entropy(model(x[k : k + 1]), y[k : k + 1]), [*model.parameters()]
        )
        rows.append(torch.cat([g.flatten() for g in gradient]).double())
    each = torch.stack(rows)
    truth = float(each.var(0).sum() / each.mean(0).square().sum())
    found = fs.advise(model, F.cross_entropy, (x, y), **{**QUICK, "warmup": 0}, level=0.999)
    assert found.noise.low <= truth <= found.noise.high
    assert found.noise.scale == pytest.approx(truth, rel=0.3)
    assert any("far too small" in note for note in found.notes)


def test_batchnorm_is_called_approximate() -> None:
    found = fs.advise(network(), F.cross_entropy, data(), **QUICK)
    assert found.coupled
    assert "about" in found.scale_text()


class Words(IterableDataset[dict[str, Any]]):
    """Nested dicts, no length."""

    def __iter__(self) -> Any:
        torch.manual_seed(0)
        for k in range(300):
            yield {"in": {"ids": torch.randint(0, 5, (4,))}, "tag": torch.tensor(k % 2)}


def test_nested_batches_and_data_without_a_length() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(16, 2))
    loss = lambda model, batch: F.cross_entropy(model(batch["in"]["ids"]), batch["tag"])  # noqa: E731
    found = fs.advise(model, loss, DataLoader(Words(), batch_size=2), **QUICK)
    assert found.dataset_size is None
    assert [step.batch_size for step in found.steps] == [4, 8, 16]


def test_a_loss_that_is_no_scalar_names_the_line_to_write() -> None:
    losses = {
        r"shape \(\d+,\).*\.mean\(\)": lambda model, b: F.cross_entropy(model(b[0]), b[1], reduction="none"),
        "without torch.no_grad": lambda model, b: F.cross_entropy(model(b[0]), b[1]).detach(),
        "gave float": lambda model, b: 1.0,
    }
    for said, loss in losses.items():
        with pytest.raises(AdviceError, match=said):
            fs.advise(network(), loss, data(), **QUICK)


def test_a_loss_that_does_not_fall_is_said() -> None:
    x, _ = data()
    noise = torch.randint(0, 2, (200,))
    found = fs.advise(nn.Linear(6, 2), F.cross_entropy, (x * 0, noise), **QUICK)
    assert any("did not fall" in note for note in found.notes)


def test_a_loss_that_is_not_finite_is_an_error_and_leaves_the_model() -> None:
    model = nn.Linear(6, 2)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(AdviceError, match=r"the loss became .* SGD\(lr=1e\+30\).*smaller lr"):
        fs.advise(
            model, lambda m, b: m(b[0]).square().mean(), data(), **QUICK,
            optimizer=lambda p: torch.optim.SGD(p, 1e30),
        )  # fmt: skip
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_sizes_and_data_below_four() -> None:
    few = TensorDataset(*(tensor[:3] for tensor in data()))
    with pytest.raises(AdviceError, match="3 samples; expected 4"):
        fs.advise(network(), F.cross_entropy, few, **QUICK)
    with pytest.raises(AdviceError, match=r"sizes=\(0,\)"):
        fs.advise(network(), F.cross_entropy, data(), sizes=(0,))
    tiny = fs.advise(network(), F.cross_entropy, data(6), **{**QUICK, "sizes": (1, 2, 4)})
    by_size = {step.batch_size: step for step in tiny.steps}
    assert by_size[1].why.startswith(
        "failed: ValueError: Expected more than 1 value per channel"
    )  # BatchNorm's own words
    assert by_size[2].fits
    assert tiny.fastest in (2, 4)


def test_one_batch_will_do() -> None:
    found = fs.advise(nn.Linear(6, 2), F.cross_entropy, batch=data(32), **QUICK)
    assert found.noise.samples == 32
    assert any("from one batch" in note for note in found.notes)


def test_without_per_sample_gradients_batches_alone_give_the_scale() -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x - x.mean(0, keepdim=True).detach()) @ torch.linalg.inv(
                torch.eye(2) + 0.01 * self.inner.weight @ self.inner.weight.T + x.mean() * 0
            )

    found = fs.advise(Mixing(), F.cross_entropy, data(), record={"parameters": "inner.bias"}, **QUICK)
    assert found.noise.scale > 0
    assert found.every is None
    assert any("no per-sample gradients" in note for note in found.notes)

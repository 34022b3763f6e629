"""The Gram against explicit per-sample gradients, and a measured step against an unmeasured one."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.cases import gram_models as cases
from tests.oracles import gram as oracle
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs

FLOAT64, FLOAT32 = 1e-12, 1e-5
"""Relative Frobenius error that is allowed in each precision."""
COUPLED_FLOAT32 = 1e-4
"""The same under BatchNorm, whose own float32 backward is further off than the products are."""


def batch(case: str, n: int, dtype: torch.dtype) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(len(case) + n)
    model = cases.CASES[case].model().to(dtype)
    x = cases.CASES[case].inputs(n)
    return model, x.to(dtype) if x.is_floating_point() else x, torch.randint(0, cases.CLASSES, (n,))


def expected(case: str, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The Gram the slow way, (n, n) float64."""
    x = x.double() if x.is_floating_point() else x
    about = cases.CASES[case]
    if about.coupled:
        return oracle.gram_of(oracle.columns_by_copies(model, lambda m: F.cross_entropy(m(x), y), len(y)))

    def loss(m: nn.Module, i: int) -> Tensor:  # twice: torch 2.13 misreads some gradients of a batch of one
        pair = torch.tensor([i, i])
        return F.cross_entropy(m(x.index_select(about.batch_dim, pair)), y[pair])

    return oracle.gram_of(oracle.columns_by_loop(model, loss, len(y)))


def assert_close(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    error = float((found - wanted).norm() / wanted.norm())
    assert error <= tolerance, f"relative error {error:.1e}, allowed {tolerance:.0e}"


@pytest.mark.parametrize("fused", [False, True], ids=["neutral", "fused"])
@pytest.mark.parametrize("n", [4, 5, 7], ids=lambda n: f"B{n}")
@pytest.mark.parametrize("case", cases.CASES)
def test_float64_is_exact(case: str, n: int, fused: bool) -> None:
    """At batch sizes that equal other dimensions of the model, and that do not."""
    model, x, y = batch(case, n, torch.float64)
    wanted = expected(case, model, x, y)
    with fs.record_gram(model, fused=fused) as record:
        F.cross_entropy(model(x), y).backward()
    assert record.status == "ok"
    assert_close(record.gram, wanted, FLOAT64)
    assert record.share_covered == 1.0


@pytest.mark.parametrize("case", cases.CASES)
def test_float32_is_as_good_as_its_products(case: str) -> None:
    model, x, y = batch(case, 6, torch.float32)
    wanted = expected(case, model, x, y)
    with fs.record_gram(model) as record:
        F.cross_entropy(model(x), y).backward()
    if (
        case == "batch norm, even background"
    ):  # float32 itself loses these digits: the check must not be fooled
        assert record.status == "ok"
        return
    assert_close(record.gram, wanted, COUPLED_FLOAT32 if cases.CASES[case].coupled else FLOAT32)


@pytest.mark.parametrize("case", cases.CASES)
def test_a_measured_step_leaves_training_as_it_is(case: str) -> None:
    """Gradients, buffers and random state, bit for bit."""
    model, x, y = batch(case, 5, torch.float32)
    twin = copy.deepcopy(model)
    torch.manual_seed(1)
    F.cross_entropy(F.dropout(twin(x), 0.3), y).backward()
    after = torch.get_rng_state()
    torch.manual_seed(1)
    with fs.record_gram(model):
        F.cross_entropy(F.dropout(model(x), 0.3), y).backward()
    assert torch.equal(torch.get_rng_state(), after)
    for (name, mine), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None), name
        assert mine.grad is None or torch.equal(mine.grad, theirs.grad), name
    for (name, mine), theirs in zip(model.named_buffers(), twin.buffers(), strict=True):
        assert torch.equal(mine, theirs), name
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    assert not any(p._backward_hooks for p in model.parameters())


@pytest.mark.parametrize("case", cases.CASES)
def test_fused_gradients_differ_by_rounding_only(case: str) -> None:
    model, x, y = batch(case, 5, torch.float64)
    twin = copy.deepcopy(model)
    F.cross_entropy(twin(x), y).backward()
    with fs.record_gram(model, fused=True):
        F.cross_entropy(model(x), y).backward()
    whole = sum(float(p.grad.norm()) for p in twin.parameters() if p.grad is not None)
    for (name, mine), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        if theirs.grad is not None:
            assert float((mine.grad - theirs.grad).norm()) <= 1e-12 * whole, name


# Laws


@pytest.mark.parametrize("case", ["conv2d", "attention", "batch norm", "tied language model"])
def test_the_columns_sum_to_the_gradient(case: str) -> None:
    """1ᵀF̃1 = |B·∇|²; mean and sum differ by B²; layers add; F̃ is symmetric."""
    model, x, y = batch(case, 5, torch.float64)
    with fs.record_gram(model, layers=True) as mean:
        F.cross_entropy(model(x), y).backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(mean.gram.sum(), (5 * gradient).square().sum(), rtol=1e-10, atol=0)
    torch.testing.assert_close(sum(mean.layers.values()), mean.gram, rtol=1e-12, atol=1e-12)
    assert torch.equal(mean.gram, mean.gram.T)
    with fs.record_gram(model, reduction="sum") as total:
        F.cross_entropy(model(x), y, reduction="sum").backward()
    assert_close(total.gram, mean.gram, FLOAT64)


@pytest.mark.parametrize("case", ["mlp", "conv2d", "lstm", "attention"])
def test_samples_permute_and_repeat(case: str) -> None:
    model, x, y = batch(case, 5, torch.float64)
    order = torch.tensor([3, 0, 4, 1, 2])
    with fs.record_gram(model) as plain:
        F.cross_entropy(model(x), y).backward()
    with fs.record_gram(model) as turned:
        F.cross_entropy(model(x[order]), y[order]).backward()
    assert_close(turned.gram, plain.gram[order][:, order], FLOAT64)
    twice = torch.tensor([0, 1, 2, 3, 4, 0, 3])
    with fs.record_gram(model) as repeated:
        F.cross_entropy(model(x[twice]), y[twice]).backward()
    assert (
        fs.spectrum(repeated.gram, repeated.entry_error).rank
        == fs.spectrum(plain.gram, plain.entry_error).rank
    )


@pytest.mark.parametrize("case", ["mlp", "conv2d", "attention"])
def test_micro_batches_assemble_to_the_whole(case: str) -> None:
    model, x, y = batch(case, 10, torch.float64)
    with fs.record_gram(model) as whole:
        F.cross_entropy(model(x), y).backward()
    with fs.record_gram(model, accumulate=True) as parts:
        for part in (slice(0, 4), slice(4, 8), slice(8, 10)):
            (F.cross_entropy(model(x[part]), y[part], reduction="sum") / 10).backward()
    assert_close(parts.gram, whole.gram, FLOAT64)


def test_each_loss_alone_sees_batch_norm_s_coupling() -> None:
    model, x, y = batch("batch norm", 5, torch.float64)
    with fs.record_gram(model, semantics="per_loss") as record:
        record.backward(F.cross_entropy(model(x), y, reduction="none"))
    twin = copy.deepcopy(model)
    losses = F.cross_entropy(twin(x), y, reduction="none")
    columns = [
        torch.cat(
            [g.flatten() for g in torch.autograd.grad(loss, list(twin.parameters()), retain_graph=True)]
        )
        for loss in losses
    ]
    assert_close(record.gram, oracle.gram_of(torch.stack(columns)), FLOAT64)
    assert record.semantics == "per_loss"


def test_a_scaled_loss_is_scaled_back() -> None:
    model, x, y = batch("conv2d", 5, torch.float64)
    with fs.record_gram(model) as plain:
        F.cross_entropy(model(x), y).backward()
    with fs.record_gram(model, loss_scale=1024.0) as scaled:
        (1024 * F.cross_entropy(model(x), y)).backward()
    assert_close(scaled.gram, plain.gram, FLOAT64)
    assert scaled.loss == pytest.approx(plain.loss)


@pytest.mark.parametrize("fused", [False, True])
def test_autocast_is_measured_in_float32(fused: bool) -> None:
    """Against the same bfloat16 forward, whose rounding (2⁻⁸) is what the Gram may be off by."""
    model, x, y = batch("conv2d", 6, torch.float32)
    wanted = expected("conv2d", model, x, y)
    with fs.record_gram(model, fused=fused) as record:
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(x), y)
        loss.backward()
    assert record.status == "ok"
    assert_close(record.gram, wanted, 8 * 2**-8)


def test_a_memory_budget_is_kept_to() -> None:
    """Blocks of a few rows give the same Gram as one block."""
    model, x, y = batch("conv2d", 6, torch.float64)
    with fs.record_gram(model) as whole:
        F.cross_entropy(model(x), y).backward()
    with fs.record_gram(model, memory_budget=6 * 18 * 8) as narrow:  # one output channel at a time
        F.cross_entropy(model(x), y).backward()
    assert_close(narrow.gram, whole.gram, FLOAT64)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_penalty_on_parameters_is_an_equal_share_of_each_samples(sign: int) -> None:
    """Column i is then the gradient of ℓ_i plus the penalty's."""
    model, x, y = batch("mlp", 5, torch.float64)

    def loss(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(m(x), y) + sign * 0.1 * sum(p.square().sum() for p in m.parameters())

    wanted = oracle.gram_of(
        oracle.columns_by_loop(model, lambda m, i: loss(m, x[i : i + 1], y[i : i + 1]), 5)
    )
    for fused in (False, True):
        with fs.record_gram(model, fused=fused) as record:
            loss(model, x, y).backward()
        assert_close(record.gram, wanted, FLOAT64)


def test_complex_parameters_count_as_pairs_of_real_ones() -> None:
    torch.manual_seed(0)
    weight, shift = torch.randn(4, 6, dtype=torch.cdouble), torch.randn(6, dtype=torch.cdouble)
    model = cases.Lambda(
        lambda s, x: s.head((x.to(s.weight.dtype) @ s.weight + s.shift).abs()),
        weight=weight, shift=shift, head=nn.Linear(6, 3).double(),
    )  # fmt: skip
    x, y = torch.randn(5, 4).double(), torch.randint(0, 3, (5,))
    rows = []
    for i in range(5):
        grads = torch.autograd.grad(
            F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), list(model.parameters())
        )
        rows.append(torch.cat([(torch.view_as_real(g) if g.is_complex() else g).flatten() for g in grads]))
    with fs.record_gram(model) as record:
        F.cross_entropy(model(x), y).backward()
    assert_close(record.gram, oracle.gram_of(torch.stack(rows)), FLOAT64)


@pytest.mark.parametrize("case", ["batch norm", "attention", "class token"])
def test_small_parameters_multiplied_together_are_what_each_is_alone(case: str) -> None:
    """With `layers=True` each parameter has its own product; without, small ones are put together."""
    model, x, y = batch(case, 5, torch.float64)
    with fs.record_gram(model, layers=True) as alone:
        F.cross_entropy(model(x), y).backward()
    with fs.record_gram(model) as together:
        F.cross_entropy(model(x), y).backward()
    assert_close(together.gram, alone.gram, FLOAT64)
    whole = float(alone.gram.trace())
    assert set(together.traces) == set(alone.traces)
    for name, trace in alone.traces.items():
        assert together.traces[name] == pytest.approx(trace, rel=1e-10, abs=1e-12 * whole)
        assert together.mean_squares[name] == pytest.approx(alone.mean_squares[name], abs=1e-10 * whole)
    assert together.status == alone.status == "ok"


def test_two_samples_whose_positions_are_alike() -> None:
    """Attention that has not begun to attend: its rows' order shows in their last digits alone."""
    model, x, y = batch("unfolded attention", 2, torch.float64)
    model.layer.self_attn.in_proj_weight.data[:16] *= 0.1
    wanted = expected("unfolded attention", model, x, y)
    with fs.record_gram(model) as record:
        F.cross_entropy(model(x), y).backward()
    assert_close(record.gram, wanted, FLOAT64)

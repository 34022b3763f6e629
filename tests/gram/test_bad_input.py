"""What a user may get wrong: a clear error or a recorded diagnosis, and training as if unmeasured."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import fisherscope as fs
from fisherscope.gram import AmbiguousBatchError, GramError, GramRecord, IncompleteError, NotSplittableError


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 3))


def samples(n: int = 5) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(n, 4), torch.randint(0, 3, (n,))


def step(model: nn.Module, x: Tensor, y: Tensor) -> None:
    F.cross_entropy(model(x), y).backward()


class Called(nn.Module):
    """A module whose forward is a function of (parts, input)."""

    def __init__(self, function: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.parts, self.function = nn.ModuleDict(parts), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.parts, x)


def state_of(model: nn.Module) -> list[Tensor]:
    """All that training goes on from."""
    grads = [torch.zeros(()) if p.grad is None else p.grad for p in model.parameters()]
    return [
        *(p.detach().clone() for p in model.parameters()),
        *model.buffers(),
        *grads,
        torch.get_rng_state(),
    ]


def assert_alike(one: list[Tensor], other: list[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@contextmanager
def trained_as_unmeasured(model: nn.Module, train: Callable[[nn.Module], object]) -> Iterator[None]:
    """Whatever is raised or recorded inside, the step is that of a twin that nobody measures."""
    twin = copy.deepcopy(model)
    torch.manual_seed(3)
    train(twin)
    wanted = state_of(twin)
    torch.manual_seed(3)
    yield
    assert_alike(state_of(model), wanted)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert not any(p._backward_hooks for p in model.parameters())


def test_a_model_without_trainable_parameters() -> None:
    model = mlp().requires_grad_(False)
    with pytest.raises(GramError, match=r"no trainable parameter.*requires_grad=True"):
        fs.record_gram(model)


def test_a_choice_that_chooses_nothing() -> None:
    with pytest.raises(GramError, match=r"chooses none of the 6 trainable parameters \(0.weight"):
        fs.record_gram(mlp(), parameters="head.*")


def test_a_loss_that_is_no_number() -> None:
    x, y = samples()
    model = mlp()
    before = state_of(model)[: len(list(model.parameters()))]
    with (
        pytest.raises(GramError, match=r"shape \(5,\); expected one number.*reduction='sum'"),
        fs.record_gram(model),
    ):
        F.cross_entropy(model(x), y, reduction="none").backward()
    assert all(p.grad is None for p in model.parameters())
    assert_alike(before, [p.detach() for p in model.parameters()])


@pytest.mark.parametrize("strict", [True, False])
def test_backward_not_called(strict: bool) -> None:
    x, _ = samples()
    model = mlp()
    with trained_as_unmeasured(model, lambda m: m(x)):
        record = recorded(model, lambda m: m(x), strict, GramError, "call loss.backward\\(\\) there")
    assert record is None or "no backward pass ran" in record.status


def recorded(
    model: nn.Module, train: Callable[[nn.Module], object], strict: bool, kind: type[GramError], words: str,
    **options: Any,
) -> GramRecord | None:  # fmt: skip
    """Measured: raises `kind` where `strict`, else gives the record."""
    if strict:
        with pytest.raises(kind, match=words), fs.record_gram(model, **options):
            train(model)
        return None
    with fs.record_gram(model, strict=False, **options) as record:
        train(model)
    return record


def reentrant() -> nn.Module:
    return Called(
        lambda parts, x: parts["head"](checkpoint(parts["body"], parts["first"](x), use_reentrant=True)),
        first=nn.Linear(4, 4), body=nn.Linear(4, 6), head=nn.Linear(6, 3),
    )  # fmt: skip


def routed() -> nn.Module:
    def forward(parts: Any, x: Tensor) -> Tensor:
        chosen, out = parts["gate"](x).argmax(1), x.new_zeros(len(x), 3)
        for k, name in enumerate(("one", "two")):
            out[chosen == k] = parts[name](x[chosen == k])
        return out + parts["gate"](x).sum(1, keepdim=True)

    return Called(forward, gate=nn.Linear(4, 2), one=nn.Linear(4, 3), two=nn.Linear(4, 3))


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


def test_a_path_that_the_probe_did_not_take_is_probed_within_the_forward() -> None:
    """And the forward goes on: a flattened layer after it is still one of its calls."""

    def forward(parts: Any, x: Tensor) -> Tensor:
        x = parts["deeper"](x) if deep else x
        return parts["head"](x.flatten(0, 1)).relu()  # type: ignore[no-any-return]

    torch.manual_seed(0)
    model = Called(forward, deeper=nn.Linear(4, 4), head=nn.Linear(4, 3)).double()
    x, grams = torch.randn(5, 6, 4).double(), []
    for deep, again in (  # noqa: B007  (read by `forward`)
        (False, model),
        (True, model),
        (True, copy.deepcopy(model)),
    ):
        with fs.record_gram(again, batch=0) as record:
            again(x).square().mean().backward()
        grams.append(record.gram)
    assert torch.equal(grams[1], grams[2])


def test_what_cannot_be_split_has_a_gram_by_losses() -> None:
    torch.manual_seed(0)
    model, (x, y) = routed().double(), samples(12)
    x = x.double()
    with fs.record_gram(model, semantics="per_loss") as record:
        record.backward(F.cross_entropy(model(x), y, reduction="none"))
    rows = []
    for k in range(12):
        model.zero_grad()
        step(model, x[k : k + 1], y[k : k + 1])
        rows.append(
            torch.cat(
                [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in model.parameters()]
            )
        )
    wanted = torch.stack(rows) @ torch.stack(rows).T
    assert float((record.gram - wanted).norm() / wanted.norm()) < 1e-12


@pytest.mark.parametrize("strict", [True, False])
def test_scripted_modules(strict: bool) -> None:
    x, y = samples()
    model = nn.Sequential(
        nn.Linear(4, 6), torch.jit.trace(nn.Linear(6, 6), torch.randn(2, 6)), nn.Linear(6, 3)
    )
    train = lambda m: step(m, x, y)  # noqa: E731
    record = recorded(model, train, strict, NotSplittableError, "scripted module '1'")
    if record is not None:
        assert record.status.startswith("partial")
    assert all(p.grad is not None for p in model.parameters())


def test_a_compiled_model_is_measured_eagerly_and_says_so() -> None:
    x, y = samples()
    model = mlp()
    model.compile()
    with fs.record_gram(model) as record:
        step(model, x, y)
    assert record.status == "ok"
    assert any("ran eagerly" in note for note in record.notes)


def test_under_ddp_it_is_this_ranks_gram_and_says_so(tmp_path: Any) -> None:
    x, y = samples()
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        plain, model = mlp().eval(), mlp().eval()
        wrapped = nn.parallel.DistributedDataParallel(model)
        with fs.record_gram(wrapped) as record:
            step(wrapped, x, y)
        with fs.record_gram(plain) as alone:
            step(plain, x, y)
    finally:
        dist.destroy_process_group()
    assert torch.equal(record.gram, alone.gram)
    assert any("this rank's samples" in note for note in record.notes)


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


def test_all_gradients_zero() -> None:
    x, _ = samples()
    model = mlp()
    with trained_as_unmeasured(model, lambda m: (m(x) * 0).sum().backward()), fs.record_gram(model) as record:
        (model(x) * 0).sum().backward()
    assert record.status.startswith("zero")
    assert not record.gram.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("strict", [True, False])
def test_a_loss_that_is_not_finite(bad: float, strict: bool) -> None:
    x, y = samples()
    x[2, 1] = bad
    model = mlp()
    torch.manual_seed(3)
    with fs.record_gram(model, strict=strict) as record:
        step(model, x, y)
    assert record.status.startswith("non-finite")
    assert not any(p._backward_hooks for p in model.parameters())


def test_a_parameter_that_got_no_gradient_is_in_the_coverage() -> None:
    x, y = samples()
    model = Called(lambda parts, x: parts["used"](x), used=nn.Linear(4, 3), idle=nn.Linear(3, 3))
    with trained_as_unmeasured(model, lambda m: step(m, x, y)), fs.record_gram(model) as record:
        step(model, x, y)
    assert record.status == "ok"
    assert {row.parameter: row.rule for row in record.coverage}["parts.idle.weight"] == "no gradient"


def test_an_ambiguous_batch_dimension() -> None:
    model, x = nn.Linear(4, 4), torch.randn(5, 5, 4)
    with pytest.raises(AmbiguousBatchError, match=r"dimensions 0 and 1 both.*batch=0"), fs.record_gram(model):
        model(x).square().mean().backward()
    with fs.record_gram(model, batch=1) as record:
        model(x).square().mean().backward()
    assert record.batch_size == 5


def test_nested_and_reused_recorders() -> None:
    x, y = samples()
    model = mlp()
    measuring = fs.record_gram(model)
    with measuring as record:
        with pytest.raises(GramError, match="still open"), fs.record_gram(model):
            pass
        step(model, x, y)
    assert record.status == "ok"
    with pytest.raises(GramError, match="used before"), measuring:
        pass


def test_an_exception_inside_passes_and_leaves_nothing_behind() -> None:
    x, _ = samples()
    model = mlp()

    def fails(m: nn.Module) -> None:
        m(x)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), fs.record_gram(model) as record:
        fails(model)
    assert "ended with ZeroDivisionError" in record.status
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert torch.autograd.Function.apply.__func__.__module__ == "torch.autograd.function"
    with fs.record_gram(model) as again:
        step(model, *samples())
    assert again.status == "ok"


def test_a_model_that_changes_meanwhile_is_noted() -> None:
    x, y = samples()
    model = mlp()
    with fs.record_gram(model) as record:
        step(model, x, y)
        model.double()
    assert any("moved or converted" in note for note in record.notes)
    model = mlp()
    with fs.record_gram(model) as record:
        step(model, x, y)
        model[0] = nn.Linear(4, 6)
    assert any("replaced" in note for note in record.notes)


def test_a_second_backward_unannounced() -> None:
    x, y = samples()
    model = mlp().eval()

    def twice(m: nn.Module) -> None:
        step(m, x, y)
        step(m, x, y)

    with trained_as_unmeasured(model, twice):
        recorded(model, twice, True, IncompleteError, "accumulate=True")


def test_columns_kept_between_passes_obey_the_budget() -> None:
    x, y = samples()
    model = mlp().eval()
    with (
        pytest.raises(GramError, match="over memory_budget=64"),
        fs.record_gram(model, accumulate=True, memory_budget=64),
    ):
        step(model, x, y)


def test_whatever_fails_in_a_rule_the_step_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from fisherscope.gram.rules import affine

    def broken(*_: object) -> None:
        raise IndexError("off by one")

    monkeypatch.setattr(affine, "positions", broken)
    x, y = samples()
    for fused in (False, True):
        model = mlp()
        with trained_as_unmeasured(model, lambda m: step(m, x, y)):
            record = recorded(model, lambda m: step(m, x, y), False, GramError, "", fused=fused)
        assert record is not None
        assert any("IndexError: off by one" in note for note in record.notes)


class Counting(nn.Module):
    """Holds what its forward passes leave behind: a counter, a list, a cache of the last input."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.calls, self.sizes, self.cache = nn.Linear(4, 3), 0, [], {}

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.sizes.append(len(x))
        self.cache["scale"] = self.body.weight * 2  # made of parameters: of no use once its graph is gone
        self.last = x
        return F.linear(x, self.cache["scale"], self.body.bias)


def test_the_probe_leaves_no_trace_in_modules_attributes() -> None:
    model, (x, y) = Counting(), samples()
    with fs.record_gram(model) as record:
        step(model, x, y)
    assert record.status == "ok"
    assert (model.calls, model.sizes) == (1, [5])
    assert model.last is x


def penalised(model: nn.Module, x: Tensor) -> Tensor:
    """A critic with a penalty on its gradient: a derivative of a derivative."""
    x = x.detach().requires_grad_()
    out = model(x)
    (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    return out.mean() + (slope.norm(2, 1) - 1).square().mean()


def test_a_gradient_penalty_is_refused_and_has_a_gram_by_losses() -> None:
    torch.manual_seed(0)
    model, (x, _) = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double(), samples()
    x = x.double()
    with trained_as_unmeasured(model, lambda m: penalised(m, x).backward()):
        recorded(model, lambda m: penalised(m, x).backward(), True, IncompleteError, "gradient penalty")
    with fs.record_gram(model, semantics="per_loss") as record:
        record.backward(torch.stack([penalised(model, x[k : k + 1]) for k in range(5)]))
    rows = [
        torch.autograd.grad(penalised(model, x[k : k + 1]), list(model.parameters()))[:3] for k in range(5)
    ]
    columns = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    torch.testing.assert_close(record.gram, columns @ columns.T + 1)  # + 1: the last bias, which adds to each


class Reversible(torch.autograd.Function):
    """A block whose backward runs it again, as reversible networks do."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, block: nn.Module) -> Tensor:
        ctx.block = block
        ctx.save_for_backward(x)
        return block(x)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None]:
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            ctx.block(x).backward(gradient)
        return x.grad, None


def test_a_reversible_block_is_refused_by_its_name() -> None:
    def forward(parts: Any, x: Tensor) -> Tensor:
        return parts["head"](Reversible.apply(parts["first"](x), parts["block"]))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    model, (x, y) = Called(forward, first=nn.Linear(4, 4), block=block, head=nn.Linear(4, 3)), samples()
    with trained_as_unmeasured(model, lambda m: step(m, x, y)):
        recorded(
            model, lambda m: step(m, x, y), True, IncompleteError, r"parts\.block\.0.*reversible network"
        )


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


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (lambda: print, {}, "expected a torch.nn.Module"),
        (lambda: nn.Sequential(nn.LazyLinear(3)), {}, "'0.weight' has no shape yet"),
        (mlp, {"memory_budget": 0}, "expected bytes, above 0"),
        (mlp, {"loss_scale": 0.0}, "a finite number other than 0"),
        (mlp, {"loss_scale": float("inf")}, "a finite number other than 0"),
        (mlp, {"batch": "x"}, "expected a dimension such as 0"),
        (mlp, {"sample_of": [0, 1, 2, 3, 4]}, "received list; expected the sample of each row"),
        (mlp, {"sample_of": torch.rand(5)}, r"received a tensor of torch.float32, shape \(5,\)"),
        (mlp, {"sample_of": torch.tensor([-1, 0])}, "whole numbers from 0"),
        (mlp, {"sample_of": torch.tensor([[0], [1]])}, r"torch.int64, shape \(2, 1\)"),
        (mlp, {"sample_of": torch.tensor([], dtype=torch.long)}, r"torch.int64, shape \(0,\)"),
        (mlp, {"sample_of": torch.tensor([True, False])}, r"torch.bool, shape \(2,\)"),
        (mlp, {"reduction": "average"}, "expected one of 'mean', 'sum'"),
        (mlp, {"semantics": "loss"}, "expected one of 'path', 'per_loss'"),
        (mlp, {"precision": "float16"}, "expected one of 'default', 'float64'"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_arguments_that_cannot_be_meant(model: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(GramError, match=words):
        fs.record_gram(model(), **options)


@pytest.mark.parametrize(
    ("options", "size", "words"),
    [
        ({}, 0, "the batch is empty"),
        ({"batch": 7}, 5, "no input has the dimension that was given"),
        ({"batch": {"input": 0}}, 5, "have no samples.*Its inputs are 0"),
    ],
    ids=["empty", "no such dimension", "no such input"],
)
def test_a_batch_that_is_not_there(options: dict[str, Any], size: int, words: str) -> None:
    x, y = samples()
    model = mlp()
    with pytest.raises(AmbiguousBatchError, match=words), fs.record_gram(model, **options):
        step(model, x[:size], y[:size])


def test_losses_wait_for_their_own_backward_and_a_record_for_its_block() -> None:
    x, y = samples()
    model = mlp()
    with (
        pytest.raises(IncompleteError, match=r"call record\.backward"),
        fs.record_gram(model, semantics="per_loss"),
    ):
        step(model, x, y)
    with fs.record_gram(model) as record:
        with pytest.raises(GramError, match="has not ended"):
            _ = record.gram
        step(model, x, y)
    with pytest.raises(ValueError, match=r"call spectrum\(record.gram"):
        fs.spectrum(record)

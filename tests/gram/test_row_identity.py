"""Whose row is this: models that move their samples' rows about, against a loop over the samples."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.cases.row_movements import CALLS, MOVEMENTS, Drawn, draw
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.gram import GramError

MODELS = int(os.environ.get("FISHERSCOPE_ROW_MODELS", "200"))
"""Drawn in one run; `make campaign` draws 2000."""
EXACT = 1e-9


def verdict_of(seed: int) -> tuple[str, list[str], str]:
    """ "exact", "refused" or "wrong" for one drawn model on five batches; its kinds; more words."""
    drawn = draw(seed)
    found = [_verdict_on(batch) for batch in (drawn, *(drawn.another(seed + k) for k in range(4)))]
    worst = next((one for kind in ("wrong", "refused") for one in found if one[0] == kind), found[-1])
    return worst[0], drawn.kinds, worst[1]


def _verdict_on(drawn: Drawn) -> tuple[str, str]:
    wanted = drawn.gram()
    drawn.model.zero_grad()
    try:
        with fs.record_gram(drawn.model, batch=0) as record:
            drawn.loss().backward()
    except GramError as refusal:
        return "refused", str(refusal)
    same = record.gram.shape == wanted.shape
    error = float((record.gram - wanted).norm() / wanted.norm()) if same else float("inf")
    right = error < EXACT and record.status == "ok" and record.grouping != "unverified"
    return "exact" if right else "wrong", f"error {error:.1e}, {record.status}, {record.grouping}"


def test_no_drawn_model_is_wrong_and_nearly_all_are_measured() -> None:
    verdicts = {seed: verdict_of(seed) for seed in range(MODELS)}
    wrong = {seed: found for seed, found in verdicts.items() if found[0] == "wrong"}
    assert not wrong
    kinds = Counter(kind for _, found, _ in verdicts.values() for kind in set(found))
    print("\n".join(f"{kind}: {count}" for kind, count in kinds.most_common()))  # noqa: T201
    assert set(kinds) == {*MOVEMENTS, *CALLS}
    assert min(kinds.values()) >= MODELS // 40
    measured = sum(found[0] == "exact" for found in verdicts.values())
    assert measured >= 0.95 * MODELS, Counter(
        text for kind, _, text in verdicts.values() if kind == "refused"
    )


class Shuffled(nn.Module):
    """A network whose middle layers see the batch in a random order; the order is noted."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(8, 16), norm, nn.Linear(16, 4)
        self.orders: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        order = torch.randperm(len(x))
        self.orders.append(order)
        hidden = self.norm(self.first(x[order])).relu()
        return self.last(hidden[order.argsort()])  # type: ignore[no-any-return]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_shuffle_under_batch_norm_is_read_in_every_precision(dtype: torch.dtype, fused: bool) -> None:
    """Path contributions through BatchNorm, against the same network without the shuffle."""
    torch.manual_seed(0)
    model, x, y = Shuffled(nn.BatchNorm1d(16)), torch.randn(128, 8), torch.randint(0, 4, (128,))
    plain = nn.Sequential(model.first, model.norm, nn.ReLU(), model.last)
    if dtype == torch.float64:
        model, x = model.double(), x.double()

    def step(network: nn.Module) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = F.cross_entropy(network(x), y)
        loss.backward()

    grams = []
    for network in (model, plain):
        network.zero_grad()
        with fs.record_gram(network, fused=fused) as record:
            step(network)
        assert record.status == "ok"
        grams.append(record.gram)
    close = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 0.05}[dtype]
    assert float((grams[0] - grams[1]).norm() / grams[1].norm()) < close


def test_rows_mixed_evenly_are_not_taken_for_the_sample_between() -> None:
    """Rows 0 and 2 averaged before a head of one number are proportional, and nobody's."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(5, 6), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            z = self.body(x)
            return self.head(z + z.roll(1, 0) + z.roll(2, 0))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    model, x = Mixed().double(), torch.randn(3, 5, dtype=torch.float64)
    with fs.record_gram(model, strict=False) as record:
        model(x).square().mean().backward()
    assert record.grouping != "verified"


class Turned(nn.Module):
    """Rows flipped between two layers: always the same way."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.flip(0)).tanh().flip(0))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("model", "passes"),
    [
        (nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4)), (3, 0, 0)),
        (Turned(), (3, 2, 2)),
        (Shuffled(nn.LayerNorm(16)), (3, 2, 2)),
        (Shuffled(nn.BatchNorm1d(16)), (3, 2, 2)),
    ],
    ids=["none", "the same way", "shuffled", "shuffled, batch norm"],
)
def test_rows_are_read_again_only_where_an_order_may_be_another(
    model: nn.Module, passes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passes of the recorder's own: three at first (two draws), then those of a new order.

    Those over the loss alone, from what it is a sum of to the outputs, are not counted.
    """
    count = []
    original = torch.autograd.grad

    def counted(outputs: Any, *given: Any, **options: Any) -> Any:
        if isinstance(outputs, Tensor) or isinstance(outputs[0], Tensor):
            count.append(1)
        return original(outputs, *given, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.BatchNorm1d):
            layer.reset_parameters()
    x, y = torch.randn(6, 8), torch.randint(0, 4, (6,))
    for expected in passes:
        count.clear()
        with fs.record_gram(model) as record:
            F.cross_entropy(model(x), y).backward()
        assert record.status == "ok"
        assert len(count) == expected
        assert record.grouping == ("verified" if isinstance(model, nn.Sequential) else "derived")
        model.zero_grad()


def test_reading_leaves_no_trace() -> None:
    """Hooks of the user's own fire once, retained gradients, buffers and random state are those of a plain
    step.
    """

    def train(measured: bool) -> tuple[list[Tensor], list[float]]:
        torch.manual_seed(0)
        model = Shuffled(nn.BatchNorm1d(16))
        heard: list[float] = []
        x, y = torch.randn(6, 8), torch.randint(0, 4, (6,))

        def step() -> None:
            hidden = model.first(x)
            hidden.register_hook(lambda gradient: heard.append(float(gradient.sum())))
            hidden.retain_grad()
            out = model(x) + model.last(model.norm(hidden))
            F.cross_entropy(out, y).backward()
            kept.append(hidden.grad)

        kept: list[Any] = []
        if measured:
            with fs.record_gram(model, strict=False):
                step()
        else:
            step()
        state = [p.grad for p in model.parameters()] + [*model.buffers(), torch.get_rng_state(), *kept]
        return [t.clone() for t in state], heard  # type: ignore[union-attr]

    (plain, once), (measured, heard) = train(False), train(True)
    assert heard == once
    assert all(torch.equal(a, b) for a, b in zip(plain, measured, strict=True))


def test_a_backward_of_the_users_own_runs_once() -> None:
    """A custom function's backward may do anything: no pass of ours goes through it."""
    runs: list[int] = []

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            runs.append(1)
            return gradient

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(Counted.apply(self.a(x)))  # type: ignore[no-any-return]

    model = Net()
    with fs.record_gram(model) as record:
        F.cross_entropy(model(torch.randn(5, 4)), torch.randint(0, 3, (5,))).backward()
    assert runs == [1]
    assert (record.status, record.grouping) == ("ok", "derived")


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def batch(size: int = 6) -> tuple[Tensor, Tensor]:
    return torch.randn(size, 5, dtype=torch.float64), torch.randint(0, 3, (size,))


def loop_gram(loss: Callable[[Tensor, Tensor], Tensor], model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    parameters = list(model.parameters())
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss(x[k : k + 1], y[k : k + 1]), parameters)])
        for k in range(len(x))
    ]
    columns = torch.stack(rows)
    return columns @ columns.T


def test_a_pass_that_was_thrown_away_is_not_measured() -> None:
    """Adversarial examples: a first backward only for the input's gradient, then zero_grad and the step's
    own.
    """
    model, (x, y) = mlp(), batch()
    for accumulate in (False, True):
        x = x.detach().requires_grad_()
        with fs.record_gram(model, accumulate=accumulate) as record:
            F.cross_entropy(model(x), y).backward()
            assert x.grad is not None
            attacked = (x + 0.1 * x.grad.sign()).detach()
            model.zero_grad()
            F.cross_entropy(model(attacked), y).backward()
        model.zero_grad()
        wanted = loop_gram(lambda a, b: F.cross_entropy(model(a), b), model, attacked, y)
        torch.testing.assert_close(record.gram, wanted, rtol=1e-9, atol=1e-12)
        assert any("thrown away" in note for note in record.notes)


@pytest.mark.parametrize("kind", ["saliency", "cancelling"])
def test_a_derivative_that_asks_for_no_parameter_forms_no_columns(kind: str) -> None:
    model, (x, y) = mlp(), batch()
    with fs.record_gram(model) as record:
        inputs = x.requires_grad_()
        out = model(inputs)
        sign = (
            torch.tensor([1.0, -1.0] * 3, dtype=torch.float64).unsqueeze(1) if kind == "cancelling" else 1.0
        )
        torch.autograd.grad((out * sign * 100).sum(), inputs, retain_graph=True)
        F.cross_entropy(out, y).backward()
    assert (record.status, record.batch_size) == ("ok", 6)
    model.zero_grad()
    wanted = loop_gram(lambda a, b: F.cross_entropy(model(a), b), model, x.detach(), y)
    torch.testing.assert_close(record.gram, wanted, rtol=1e-9, atol=1e-12)


def test_gradients_that_were_there_before_are_told() -> None:
    model, (x, y) = mlp(), batch()
    F.cross_entropy(model(x), y).backward()
    with fs.record_gram(model) as record:
        F.cross_entropy(model(x + 1), y).backward()
    assert record.status.startswith("not the step's: the gradients held")
    assert "zero_grad() forgotten" in record.status


def test_clipped_and_unscaled_gradients_are_the_steps_own() -> None:
    model, (x, y) = mlp(), batch()
    with fs.record_gram(model, loss_scale=8.0) as record:
        (8.0 * F.cross_entropy(model(x), y)).backward()
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad /= 8.0
        nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    assert record.status == "ok"


def test_cleared_gradients_are_told() -> None:
    model, (x, y) = mlp(), batch()
    with fs.record_gram(model) as record:
        F.cross_entropy(model(x), y).backward()
        model.zero_grad()
    assert "cleared before the block ended" in record.status


def test_parameters_that_change_between_passes_are_told() -> None:
    model, (x, y) = mlp(), batch()
    with fs.record_gram(model, accumulate=True) as record:
        F.cross_entropy(model(x[:3]), y[:3]).backward()
        with torch.no_grad():
            model[0].weight.add_(0.01)
        F.cross_entropy(model(x[3:]), y[3:]).backward()
    assert "the parameters changed between the passes" in record.status


@pytest.mark.parametrize("optimizer", ["LBFGS", "sharpness-aware"])
def test_evaluations_at_several_weights_measure_the_last(optimizer: str) -> None:
    model, (x, y) = mlp(), batch()
    with fs.record_gram(model) as record:
        if optimizer == "LBFGS":
            lbfgs = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)

            def closure() -> Tensor:
                lbfgs.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            lbfgs.step(closure)  # type: ignore[arg-type]
        else:
            F.cross_entropy(model(x), y).backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    assert parameter.grad is not None
                    parameter.add_(0.05 * parameter.grad)
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()
    assert (record.status, record.batch_size) == ("ok", 6)


def test_forwards_of_separate_tensors_are_said_to_be_ambiguous() -> None:
    model, (x, y) = mlp(), batch()
    with fs.record_gram(model) as record:
        (F.cross_entropy(model(x), y) + F.cross_entropy(model(x.flip(1).clone()), y)).backward()
    assert record.batch_size == 6
    assert any("taken for the same samples" in note and "12" in note for note in record.notes)


@pytest.mark.parametrize("size", [6, 8])
def test_sample_of_may_be_a_callable(size: int) -> None:
    """Pairs in one forward: rows k and k + b are one sample, also where the width equals the rows."""
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    left, right = torch.randn(2, size // 2, 5, dtype=torch.float64)

    def loss(a: Tensor, b: Tensor) -> Tensor:
        u, v = model(torch.cat([a, b])).chunk(2)
        return -F.logsigmoid((u - v).sum(1)).mean()

    with fs.record_gram(model, sample_of=lambda x: torch.arange(len(x)) % (len(x) // 2)) as record:
        loss(left, right).backward()
    model.zero_grad()
    wanted = loop_gram(loss, model, left, right)
    torch.testing.assert_close(record.gram, wanted, rtol=1e-9, atol=1e-12)
    assert record.grouping == "given"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (lambda x: torch.zeros(3, dtype=torch.long), "3 rows for inputs of 6"),
        (lambda x: torch.tensor([0, 0, 1, 1, 3, 3]), "sample 2 has no row"),
        (lambda x: [0, 1], "received list"),
        (lambda x: 1 / 0, "ZeroDivisionError"),
    ],
    ids=["another length", "a gap", "no tensor", "raises"],
)
def test_sample_of_that_can_not_be_meant(rows: Callable[[Tensor], Any], words: str) -> None:
    model, (x, y) = mlp(), batch()
    with pytest.raises(GramError, match=words), fs.record_gram(model, sample_of=rows):
        F.cross_entropy(model(x), y).backward()

"""The Gram in the optimizer's metric, against a dense P⁻¹."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tests.oracles.optimizer_metric import metric_gram, sample_gradients
from torch import nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.gram import GramError, OptimizerMetric, register_preconditioner
from fisherscope.gram.metric.optimizers import FLOOR

N = 6


class Small(nn.Module):
    """Every form of columns: a table tied with the head, two layers over positions, a convolution, norms."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.hidden, self.norm = nn.Linear(6, 5), nn.LayerNorm(5)
        self.mix = nn.Conv1d(5, 6, 3, padding=1)
        self.gain = nn.Parameter(torch.ones(6))

    def forward(self, tokens):
        x = torch.tanh(self.norm(self.hidden(self.table(tokens))))
        return (self.gain * self.mix(x.mT).mT) @ self.table.weight.T


def trained(make, steps=3, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    model = Small().to(dtype)
    optimizer = make(model)
    for _ in range(steps):
        tokens = torch.randint(11, (N, 4))
        optimizer.zero_grad()
        loss(model, tokens).backward()
        optimizer.step()
    optimizer.zero_grad()
    return model, optimizer, torch.randint(11, (N, 4))


def loss(model, tokens):
    return F.cross_entropy(model(tokens).flatten(0, 1), (tokens.flatten() + 1) % 11)


def oracle(model, optimizer, tokens, floor=FLOOR):
    gradients = sample_gradients(model, lambda i: loss(model, tokens[i : i + 1]), len(tokens))
    return metric_gram(model, optimizer, gradients, floor)


def recorded(model, tokens, metric, **options):
    with fs.record_gram(model, metric=metric, **options) as record:
        loss(model, tokens).backward()
    return record


def groups(model):
    matrices = [p for p in model.parameters() if p.dim() > 1]
    return [{"params": matrices}, {"params": [p for p in model.parameters() if p.dim() < 2], "lr": 3e-3}]


class MatricesOnly(nn.Module):
    """What Muon takes: it moves no other parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 9, bias=False), nn.Linear(9, 5, bias=False)
        self.bias = nn.Parameter(torch.zeros(5))

    def forward(self, x):
        return self.down(torch.tanh(self.up(x))).mean(1) + self.bias


OPTIMIZERS = {
    "Adam": lambda m: torch.optim.Adam(m.parameters(), 1e-2),
    "AdamW of groups": lambda m: torch.optim.AdamW(groups(m), 1e-2, betas=(0.8, 0.9), eps=1e-6),
    "AdamW amsgrad": lambda m: torch.optim.AdamW(m.parameters(), 1e-2, amsgrad=True),
    "AdamW fused": lambda m: torch.optim.AdamW(m.parameters(), 1e-2, fused=True),
    "AdamW foreach": lambda m: torch.optim.AdamW(m.parameters(), 1e-2, foreach=True),
    "Adam of a rate in a tensor": lambda m: torch.optim.Adam(
        m.parameters(), torch.tensor(1e-2), foreach=False
    ),
    "RMSprop": lambda m: torch.optim.RMSprop(m.parameters(), 1e-2),
    "RMSprop centered": lambda m: torch.optim.RMSprop(m.parameters(), 1e-2, centered=True, momentum=0.5),
    "Adagrad": lambda m: torch.optim.Adagrad(m.parameters(), 1e-2, lr_decay=0.1),
    "SGD of groups": lambda m: torch.optim.SGD(groups(m), 1e-2, momentum=0.9),
    "SGD": lambda m: torch.optim.SGD(m.parameters(), 1e-2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_exact_form_is_that_of_a_dense_inverse(name):
    model, optimizer, tokens = trained(OPTIMIZERS[name])
    expected = oracle(model, optimizer, tokens)
    record = recorded(model, tokens, OptimizerMetric(optimizer, form="exact"))
    assert record.metric.status == "ok"
    assert error(record.metric.gram, expected) <= 1e-10
    assert record.metric.error == 0.0
    assert abs(sum(record.metric.traces.values()) / np.trace(expected) - 1) <= 1e-10
    assert abs(sum(record.metric.mean_squares.values()) / expected.sum() - 1) <= 1e-10


def error(gram, expected):
    return float(np.abs(gram.numpy() - expected).max() / np.abs(expected).max())


def test_adafactor_is_factored_and_exact_on_matrices():
    model, optimizer, tokens = trained(lambda m: torch.optim.Adafactor(m.parameters(), 1e-2))
    record = recorded(model, tokens, OptimizerMetric(optimizer, floor=0.0))
    assert error(record.metric.gram, oracle(model, optimizer, tokens, 0.0)) <= 1e-10
    assert record.metric.forms["hidden.weight"] == "factored"
    assert record.metric.forms["mix.weight"] == "diagonal"


@pytest.mark.parametrize("adjust", [None, "match_rms_adamw"])
def test_muon_acts_on_the_smaller_side_and_leaves_out_what_it_does_not_move(adjust):
    torch.manual_seed(0)
    model = MatricesOnly().double()
    optimizer = torch.optim.Muon([model.up.weight, model.down.weight], 1e-2, adjust_lr_fn=adjust)
    x, y = torch.randn(3, N, 3, 6).double(), torch.randint(5, (3, N))

    def own_loss(inputs, labels):
        return F.cross_entropy(model(inputs), labels)

    for k in range(2):
        optimizer.zero_grad()
        own_loss(x[k], y[k]).backward()
        optimizer.step()
    optimizer.zero_grad()
    model.bias.grad = None
    gradients = sample_gradients(model, lambda i: own_loss(x[2, i : i + 1], y[2, i : i + 1]), N)
    expected = metric_gram(model, optimizer, gradients, FLOOR)
    with fs.record_gram(model, metric=optimizer) as record:
        own_loss(x[2], y[2]).backward()
    assert record.metric.status == "ok", record.metric.status
    assert error(record.metric.gram, expected) <= 1e-10
    assert record.metric.forms == {"up.weight": "matrix", "down.weight": "matrix", "bias": "left out"}


def test_the_rank_one_form_says_its_error():
    model, optimizer, tokens = trained(OPTIMIZERS["Adam"], steps=5)
    exact = oracle(model, optimizer, tokens)
    record = recorded(model, tokens, OptimizerMetric(optimizer, form="rank-one", check=True))
    off = np.linalg.norm(record.metric.gram.numpy() - exact) / np.linalg.norm(exact)
    assert record.metric.error == pytest.approx(off, rel=1e-6)
    assert 0.001 < off < 1
    assert record.metric.forms["hidden.weight"] == record.metric.forms["table.weight"] == "rank-one"
    unchecked = recorded(model, tokens, OptimizerMetric(optimizer, form="rank-one"))
    assert np.isnan(unchecked.metric.error)


def test_automatically_the_rank_one_form_is_taken_only_where_it_is_the_cheaper_one():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 200), nn.Tanh(), nn.Linear(200, 10)).double()
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(2, 8, 300).double(), torch.randint(10, (8,))
    F.cross_entropy(model(x[0]), y).backward()
    optimizer.step()
    with fs.record_gram(model, metric=optimizer) as record:
        F.cross_entropy(model(x[1]), y).backward()
    assert record.metric.forms == {
        "0.weight": "rank-one", "0.bias": "diagonal", "2.weight": "diagonal", "2.bias": "diagonal"
    }  # fmt: skip


def test_micro_batches_assemble_to_the_whole():
    model, optimizer, tokens = trained(OPTIMIZERS["AdamW of groups"])
    metric = OptimizerMetric(optimizer, form="exact")
    with fs.record_gram(model, metric=metric, accumulate=True) as record:
        for part in tokens.split(4):
            (loss(model, part) * len(part) / N).backward()
    assert error(record.metric.gram, oracle(model, optimizer, tokens)) <= 1e-10


@pytest.mark.parametrize("fused", [False, True])
def test_the_measured_step_is_the_same_bit_for_bit(fused):
    model, optimizer, tokens = trained(OPTIMIZERS["AdamW of groups"], dtype=torch.float32)
    twin = copy.deepcopy(model)
    with fs.record_gram(model, metric=optimizer, fused=fused) as record:
        loss(model, tokens).backward()
    with fs.record_gram(twin, fused=fused) as plain:
        loss(twin, tokens).backward()
    assert torch.equal(record.gram, plain.gram)
    for own, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(own.grad, other.grad)
    before = copy.deepcopy(optimizer.state_dict())
    recorded(model, tokens, optimizer)
    after = optimizer.state_dict()
    for key, state in before["state"].items():
        assert all(torch.equal(state[k], after["state"][key][k]) for k in state)


def test_a_scaled_loss_is_divided_out():
    model, optimizer, tokens = trained(OPTIMIZERS["Adam"])
    plain = recorded(model, tokens, optimizer).metric.gram
    with fs.record_gram(model, metric=optimizer, loss_scale=1024.0) as record:
        (1024 * loss(model, tokens)).backward()
    torch.testing.assert_close(record.metric.gram, plain, rtol=1e-12, atol=0)


# Traps ------------------------------------------------------------------------------------------


def test_a_state_that_holds_the_measured_batch_is_refused_and_would_bias_the_scale():
    model, optimizer, tokens = trained(OPTIMIZERS["Adam"])
    with fs.record_gram(model, metric=optimizer) as record:
        loss(model, tokens).backward()
        optimizer.step()
    assert record.status == "ok"
    assert "stepped inside the block" in record.metric.status
    with pytest.raises(GramError, match="stepped inside"):
        record.metric.gram  # noqa: B018


def test_a_coordinate_without_a_past_does_not_outweigh_the_others():
    model, optimizer, tokens = trained(OPTIMIZERS["Adam"])
    with torch.no_grad():
        optimizer.state[model.hidden.weight]["exp_avg_sq"][0] = 0.0
    exact = OptimizerMetric(optimizer, form="exact")
    floored = recorded(model, tokens, exact).metric
    wild = recorded(model, tokens, OptimizerMetric(optimizer, form="exact", floor=0.0)).metric
    share = {k: m.traces["hidden.weight"] / sum(m.traces.values()) for k, m in (("f", floored), ("w", wild))}
    assert share["w"] > 0.99
    assert share["f"] < share["w"]
    assert floored.floored_share["hidden.weight"] == pytest.approx(1 / 5)
    assert wild.traces["hidden.weight"] > 100 * floored.traces["hidden.weight"]


# Bad input --------------------------------------------------------------------------------------


def test_an_optimizer_without_state_is_said_and_the_euclidean_gram_stays():
    torch.manual_seed(0)
    model = Small().double()
    record = recorded(model, torch.randint(11, (N, 4)), torch.optim.Adam(model.parameters()))
    assert record.status == "ok"
    assert record.metric.status.startswith("no state yet: the optimizer holds no state of")


def test_v_of_zero_is_no_division_by_zero():
    model, optimizer, tokens = trained(lambda m: torch.optim.Adam(m.parameters(), 1e-2))
    with torch.no_grad():
        for state in optimizer.state.values():
            state["exp_avg_sq"].zero_()
    record = recorded(model, tokens, OptimizerMetric(optimizer, form="exact"))
    torch.testing.assert_close(record.metric.gram * optimizer.param_groups[0]["eps"], record.gram)


def test_parameters_of_no_group_are_left_out():
    model, optimizer, tokens = trained(lambda m: torch.optim.Adam(m.hidden.parameters(), 1e-2))
    record = recorded(model, tokens, OptimizerMetric(optimizer, form="exact"))
    assert record.metric.forms["gain"] == "left out"
    assert error(record.metric.gram, oracle(model, optimizer, tokens)) <= 1e-10
    other = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))])
    assert "no measured parameter is in a group" in recorded(model, tokens, other).metric.status


def test_an_unknown_optimizer_is_said_and_one_that_is_registered_is_used():
    class Mine(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 1.0})

    model, _, tokens = trained(OPTIMIZERS["Adam"])
    mine = Mine(model.parameters())
    record = recorded(model, tokens, mine)
    assert record.metric.name == "Mine (Euclidean)"
    torch.testing.assert_close(record.metric.gram, record.gram, rtol=1e-12, atol=0)
    from fisherscope.gram.metric import optimizers as registry

    register_preconditioner("Mine", lambda group, state, parameter, floor: fs.gram.ScalarPreconditioner(4.0))
    try:
        record = recorded(model, tokens, mine)
        torch.testing.assert_close(record.metric.gram, 4 * record.gram, rtol=1e-12, atol=0)
    finally:
        del registry.KNOWN["Mine"]


def test_what_is_no_optimizer_is_refused():
    model = Small()
    with pytest.raises(GramError, match="expected the torch optimizer"):
        fs.record_gram(model, metric="optimizer")
    with pytest.raises(GramError, match="'auto', 'exact' or 'rank-one'"):
        OptimizerMetric(torch.optim.SGD(model.parameters()), form="diagonal")
    with pytest.raises(GramError, match="expected a share"):
        OptimizerMetric(torch.optim.SGD(model.parameters()), floor=1.0)

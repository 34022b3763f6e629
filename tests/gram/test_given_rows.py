"""`sample_of` and `batch` as the user gives them: every form, several forwards, and what can't be meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.cases.grouped_rows import Grouped, draw
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.gram import GramError


def mlp(features: int = 5, width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(features, width), nn.Tanh(), nn.Linear(width, 3)).double()


def preference(model: nn.Module, rows: Tensor) -> Tensor:
    first, second = model(rows).chunk(2)
    return -F.logsigmoid((first - second).sum(1)).mean()


def pair_gram(model: nn.Module, rows: Tensor) -> Tensor:
    samples = list(torch.stack(rows.chunk(2), 1))
    return Grouped(model, samples, lambda m, some: preference(m, torch.cat(some)), None).gram()


def measured(model: nn.Module, rows: Tensor, **options: Any) -> fs.gram.GramRecord:
    with fs.record_gram(model, **options) as record:
        preference(model, rows).backward()
    model.zero_grad()
    return record


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "a tensor": lambda rows: torch.arange(len(rows)) % (len(rows) // 2),
    "a mapping of lengths": lambda rows: {len(rows): torch.arange(len(rows)) % (len(rows) // 2)},
    "a list": lambda rows: [torch.arange(len(rows)) % (len(rows) // 2)],
    "a function": lambda rows: lambda x: torch.arange(len(x)) % (len(x) // 2),
    "a function of a mapping": lambda rows: lambda x: {len(x): torch.arange(len(x)) % (len(x) // 2)},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("width", [8, 5, 4], ids=["width = rows", "plain", "width = samples"])
def test_every_form_names_the_same_samples(form: str, width: int) -> None:
    model, rows = mlp(8, width), torch.randn(8, 8, dtype=torch.float64)
    wanted = pair_gram(model, rows)
    record = measured(model, rows, sample_of=FORMS[form](rows))
    torch.testing.assert_close(record.gram, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("dims", "size"), [(lambda x: 1 if x.shape[0] == 7 else 0, 4), ({"0": 1}, 4), (lambda x: {"0": 1}, 7)]
)
def test_batch_may_be_a_function_of_the_inputs(dims: Any, size: int) -> None:
    """Time first: (7, batch, 5)."""
    model, x = nn.Linear(5, 3).double(), torch.randn(7, size, 5, dtype=torch.float64)
    with fs.record_gram(model, batch=dims) as record:
        model(x).square().sum((0, 2)).mean().backward()
    samples = [x[:, k : k + 1] for k in range(size)]
    wanted = Grouped(model, samples, lambda m, some: m(some[0]).square().sum(), None).gram()
    torch.testing.assert_close(record.gram, wanted, rtol=1e-9, atol=1e-12)


def test_batch_that_can_not_be_meant() -> None:
    model, x = mlp(), torch.randn(6, 5, dtype=torch.float64)
    for dims, words in [(lambda x: "0", "returned str"), (lambda x: 1 / 0, "ZeroDivisionError")]:
        with pytest.raises(GramError, match=words), fs.record_gram(model, batch=dims):
            model(x).square().mean().backward()
    with pytest.raises(GramError, match="function of the model's inputs"), fs.record_gram(model, batch="0"):
        pass


def test_a_head_called_by_itself_on_other_rows_is_read() -> None:
    """Nodes, then a row a graph in another order: what `sample_of` says of those is not believed."""
    batch, order = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([2, 0, 1])
    body, head = nn.Linear(4, 5).double(), nn.Linear(5, 3).double()
    both = nn.ModuleDict({"body": body, "head": head})
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2])

    def loss(model: Any, x: Tensor, batch: Tensor, y: Tensor, order: Tensor) -> Tensor:
        z = model["body"](x).tanh()
        pooled = z.new_zeros(int(batch.max()) + 1, 5).index_add(0, batch, z)
        return F.cross_entropy(model["head"](pooled[order]), y[order])

    def alone(model: Any, some: list[int]) -> Tensor:
        mine, one = batch == some[0], torch.zeros(1, dtype=torch.long)
        return loss(model, x[mine], one.expand(int(mine.sum())), y[some], one)

    wanted = Grouped(both, [0, 1, 2], alone, None).gram()
    for sample_of in (batch, lambda rows: {6: batch}[len(rows)]):
        with fs.record_gram(both, sample_of=sample_of) as record:
            loss(both, x, batch, y, order).backward()
        both.zero_grad()
        torch.testing.assert_close(record.gram, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sizes", [(6,), (2, 4), (1, 1, 1, 1, 1, 1), (3, 3), (5, 1)])
def test_rows_of_several_forwards_are_taken_in_turn(sizes: tuple[int, ...]) -> None:
    samples = torch.tensor([1, 0, 0, 2, 1, 0])
    model, x = mlp(6), torch.randn(6, 6, dtype=torch.float64)
    with fs.record_gram(model, reduction="sum", sample_of=samples) as record:
        sum(model(part.clone()).square().sum() for part in x.split(list(sizes))).backward()
    model.zero_grad()
    wanted = Grouped(model, [0, 1, 2], lambda m, some: m(x[samples == some[0]]).square().sum(), None).gram()
    torch.testing.assert_close(record.gram, wanted, rtol=1e-9, atol=1e-12)


def test_micro_batches_take_the_rows_in_turn() -> None:
    samples, model = torch.tensor([0, 0, 1, 2, 2, 2]), mlp()
    x = torch.randn(6, 5, dtype=torch.float64)
    with fs.record_gram(model, reduction="sum", sample_of=samples, accumulate=True) as record:
        for part in x.split(3):
            model(part.clone()).square().sum().backward()
    assert record.batch_size == 3
    wanted = Grouped(model, [0, 1, 2], lambda m, some: m(x[samples == some[0]]).square().sum(), None).gram()
    torch.testing.assert_close(record.gram, wanted, rtol=1e-9, atol=1e-12)


ROWS = torch.randn(6, 5, dtype=torch.float64)


@pytest.mark.parametrize(
    ("sample_of", "words"),
    [
        (torch.zeros(3, dtype=torch.long), "3 rows for inputs of 6; expected one number a row"),
        (torch.arange(12) // 2, "sample_of has 12 rows and the forwards took 6"),
        (torch.tensor([0, 0, 1, 1, 3, 3]), "sample 2 has no row"),
        (lambda x: torch.tensor([0, 0, 1, 1, 3, 3]), "sample 2 has no row"),
        (torch.tensor([-1, -1, 1, 1, 0, 0]), "the 2 rows to which sample_of gives no sample"),
        (torch.full((6,), -1), "sample 0 has no row"),
        (lambda x: None, "it returned None"),
        (lambda x: len, "returned another function"),
        (lambda x: x, "a tensor of torch.float64"),
        (lambda: 0, "it raised TypeError"),
        (torch.zeros(6, 2, 2, dtype=torch.long), r"shape \(6, 2, 2\)"),
        ([torch.arange(6) // 2, torch.tensor([0, 5])], "2 rows name sample 5"),
        ({5: torch.arange(6) // 2}, "received 6 rows under the key 5"),
        ([], "received list"),
        ("0 0 1", "received str"),
    ],
    ids=["too few", "too many", "a gap", "a gap, function", "a row without sample", "no sample", "nothing",
         "a function of a function", "numbers with a point", "another signature", "three dimensions",
         "edges of no graph", "another key", "no rows", "text"],
)  # fmt: skip
def test_rows_that_can_not_be_meant(sample_of: Any, words: str) -> None:
    model = mlp()
    with pytest.raises(GramError, match=words), fs.record_gram(model, sample_of=sample_of):
        preference(model, ROWS).backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    monitor = fs.Monitor(model, torch.optim.SGD(model.parameters(), 0.1), every=1)
    with pytest.warns(RuntimeWarning, match=words), monitor.observe(sample_of=sample_of):
        preference(model, ROWS).backward()
    assert monitor.measurement is not None
    assert monitor.measurement["status"] not in ("ok", "")
    plain = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    preference(model, ROWS).backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(plain, model.parameters(), strict=True))
    assert not gradients or all(torch.equal(a, b) for a, b in zip(gradients, plain, strict=True))


def test_a_sample_in_two_backward_passes_is_refused() -> None:
    model, samples = mlp(), torch.tensor([0, 0, 1, 1, 2, 2])

    def step() -> None:
        with fs.record_gram(model, sample_of=samples, accumulate=True):
            for part in ROWS.split(3):
                model(part.clone()).square().sum().backward()

    with pytest.raises(GramError, match="sample 1 has rows in two backward passes"):
        step()


def test_edges_as_many_as_nodes_are_no_ambiguity_for_what_is_read() -> None:
    for seed in range(40):
        case = draw("graphs", seed)
        nodes, edges = (sum(s[k].shape[d] for s in case.samples) for k, d in ((0, 0), (1, 1)))
        if nodes != edges:
            continue
        with fs.record_gram(case.model, sample_of=case.sample_of) as record:
            case.loss(case.model, case.samples).backward()
        torch.testing.assert_close(record.gram, case.gram(), rtol=1e-9, atol=1e-12)
        return
    pytest.fail("no draw has as many edges as nodes")


def test_predictions_for_edges_that_are_as_many_as_nodes_are_refused() -> None:
    """Outputs that could be rows of either kind: nothing says which."""

    class Edges(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
            return self.layer(x)[edge_index[0]]

    model, batch = Edges().double(), torch.tensor([0, 0, 1, 1])
    edge_index = torch.tensor([[0, 2, 3, 2], [1, 3, 2, 3]])
    x = torch.randn(4, 4, dtype=torch.float64)
    with (
        pytest.raises(GramError, match="4 or 4 rows of sample_of"),
        fs.record_gram(model, sample_of=fs.samples.graphs(batch=2, edge_index=1)),
    ):
        model(x, edge_index, batch).square().mean().backward()


@pytest.mark.parametrize("count", [1, 2])
def test_a_batch_of_one(count: int) -> None:
    model, rows = mlp(), torch.randn(2 * count, 5, dtype=torch.float64)
    record = measured(model, rows, sample_of=fs.samples.concatenation(2))
    torch.testing.assert_close(record.gram, pair_gram(model, rows), rtol=1e-9, atol=1e-12)


def test_what_was_read_of_other_rows_does_not_hold_for_these() -> None:
    """One model, the same shapes: pairs across halves, then side by side, then drawn anew in every step."""
    model, rows = mlp(8, 8), torch.randn(8, 8, dtype=torch.float64)
    for seed in range(12):
        torch.manual_seed(seed)
        samples = torch.randperm(8) % (2 + seed % 3)

        def loss(m: nn.Module, some: list[int], samples: Tensor = samples) -> Tensor:
            mine = torch.stack([samples == k for k in some])
            return m(rows[mine.any(0)]).square().sum()

        with fs.record_gram(model, reduction="sum", sample_of=samples, fused=bool(seed % 2)) as record:
            model(rows).square().sum().backward()
        model.zero_grad()
        wanted = Grouped(model, list(range(int(samples.max()) + 1)), loss, None).gram()
        torch.testing.assert_close(record.gram, wanted, rtol=1e-9, atol=1e-12)


def test_packed_lengths_may_change_from_step_to_step() -> None:
    """The same number of tokens, other sequences; what a graph of the same form showed is not kept."""
    case = draw("packed", 3)
    for lengths in ([3, 3, 2], [2, 4, 2], [4, 4], [2, 2, 2, 2], [5, 3], [3, 3, 2]):
        some = [torch.randint(0, 7, (k,)) for k in lengths]
        again = Grouped(case.model, some, case.loss, None)
        with fs.record_gram(case.model, sample_of=fs.samples.packing()) as record:
            case.loss(case.model, some).backward()
        case.model.zero_grad()
        torch.testing.assert_close(record.gram, again.gram(), rtol=1e-9, atol=1e-12)

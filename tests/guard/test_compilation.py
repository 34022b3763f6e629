"""A block in what `torch.compile` compiles: training as without, right rows, and nothing compiled for us."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fisherscope as fs

INSIDE = ("the step", "the model", "both", "the model in place", "two models and the step")
STEPS, EVERY = 9, 3


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


class Compiled:
    """Train by a step that is compiled in part; count the graphs that the compiler is asked for."""

    def __init__(
        self, inside: str, monitored: bool, fused: bool = False, sizes: tuple[int, ...] = (6,)
    ) -> None:
        torch.manual_seed(0)
        self.graphs = 0
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        monitor = fs.Monitor(model, optimizer, every=EVERY, stride=True, fused=fused)
        called: Callable[[Tensor], Tensor] = model
        if inside in ("the model", "both", "two models and the step"):
            called = self.compile(model)
        if inside == "the model in place":
            model.compile(backend=self.backend)
        if inside == "two models and the step":
            first, second = self.compile(model[:2]), self.compile(model[2])
            called = lambda x: second(first(x))  # noqa: E731

        def step(x: Tensor) -> Tensor:
            optimizer.zero_grad()
            with monitor.observe() if monitored else nullcontext():
                loss = called(x).square().sum(1).mean()
                loss.backward()
            optimizer.step()
            return loss.detach()

        compiled = self.compile(step) if inside in ("the step", "both", "two models and the step") else step
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.losses = [compiled(torch.randn(sizes[k % len(sizes)], 5).double()) for k in range(STEPS)]
        self.warnings = [str(w.message) for w in caught if "fisherscope" in f"{w.filename} {w.message}"]
        self.parameters = [p.detach().clone() for p in model.parameters()]
        self.rows = monitor.state.history.rows

    def compile(self, function: Any) -> Any:
        return torch.compile(function, backend=self.backend)

    def backend(self, graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        self.graphs += 1
        return graph.forward


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("inside", INSIDE)
def test_a_compiled_step_with_a_block_trains_as_without(inside: str, fused: bool) -> None:
    plain, measured = Compiled(inside, False), Compiled(inside, True, fused)
    eager = Compiled("nothing", True, fused)
    same = torch.allclose if fused else torch.equal
    assert all(map(same, plain.parameters, measured.parameters))
    assert all(map(same, plain.losses, measured.losses))
    assert [row["status"] for row in measured.rows] == ["ok"] * 3
    for row, expected in zip(measured.rows, eager.rows, strict=True):
        assert row["batch_size"] == 6
        assert row["fisher/cond"] == pytest.approx(expected["fisher/cond"], rel=1e-9)
        assert row["gradient/norm"] == pytest.approx(expected["gradient/norm"], rel=1e-9)
    assert not measured.warnings or inside == INSIDE[-1]  # the model as such is not called there


@pytest.mark.parametrize("sizes", [(6,), (6, 4, 5)])
@pytest.mark.parametrize("inside", INSIDE[:3])
def test_nothing_is_compiled_for_our_sake(inside: str, sizes: tuple[int, ...]) -> None:
    from torch._dynamo.utils import guard_failures

    model = max(Compiled("the model", False, sizes=sizes).graphs, 1)
    whole = Compiled(inside, False, sizes=sizes).graphs
    torch.compiler.reset()
    guard_failures.clear()
    graphs = Compiled(inside, True, sizes=sizes).graphs
    assert graphs <= whole + model  # a step that is not compiled whole has its model's graphs on their own
    assert not [code for code in guard_failures if "fisherscope" in str(code)]


@pytest.mark.parametrize("stance", ["force_eager", "eager_on_recompile"])
@pytest.mark.parametrize("inside", INSIDE[:3])
def test_a_stance_of_the_users_stays(inside: str, stance: str) -> None:
    from torch._dynamo import eval_frame

    with torch.compiler.set_stance(stance):
        plain, measured = Compiled(inside, False), Compiled(inside, True)
        assert eval_frame._stance.stance == stance
    assert all(map(torch.equal, plain.parameters, measured.parameters))
    assert [row["status"] for row in measured.rows] == ["ok"] * 3
    assert eval_frame._stance.stance == "default"


@pytest.mark.parametrize("inside", ["the step", "the model", "both"])
def test_an_error_in_a_compiled_step_is_the_users(inside: str) -> None:
    class Stopped(Exception):
        pass

    model = nn.Linear(5, 3)
    monitor = fs.Monitor(model, torch.optim.SGD(model.parameters(), 0.1), every=1)
    called = torch.compile(model, backend="eager") if inside != "the step" else model

    def step(x: Tensor, stops: bool) -> None:
        model.zero_grad()
        with monitor.observe():
            called(x).square().mean().backward()
            if stops:
                raise Stopped

    compiled = torch.compile(step, backend="eager") if inside != "the model" else step
    for stops in (False, True, False):
        with pytest.raises(Stopped) if stops else nullcontext():
            compiled(torch.randn(4, 5), stops)
    assert [row["status"] for row in monitor.state.history.rows] == ["ok", "ok"]


@pytest.mark.parametrize("inside", ["the step", "the model", "both"])
def test_record_gram_in_a_compiled_step(inside: str) -> None:
    model = nn.Linear(5, 3).double()
    called = torch.compile(model, backend="eager") if inside != "the step" else model

    def step(x: Tensor) -> Tensor:
        model.zero_grad()
        with fs.record_gram(model) as record:
            called(x).square().sum(1).mean().backward()
        return record.gram

    compiled = torch.compile(step, backend="eager") if inside != "the model" else step
    for _ in range(3):
        x = torch.randn(4, 5).double()
        with fs.record_gram(model) as record:
            model(x).square().sum(1).mean().backward()
        assert torch.allclose(torch.as_tensor(compiled(x)), torch.as_tensor(record.gram), rtol=1e-10)

"""Blocks of `observe`: neutral to training, and clear where a loop misuses them."""

import copy
import io
import pickle
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from tests.cases.guarded_loops import MODES
from tests.cases.monitor_loop import Loop
from torch import nn
from torch.nn import functional as F

import fisherscope as fs


def test_measuring_leaves_training_bit_for_bit_and_nothing_on_the_model():
    ends = []
    for every in (1, 10**9):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.Dropout(0.5), nn.ReLU(), nn.Linear(9, 4))
        loop = Loop(model, every=every)
        loop.run(4)
        ends.append([*loop.model.state_dict().values(), torch.get_rng_state()])
        assert not loop.model._forward_pre_hooks
        assert not loop.model._forward_hooks
        torch.save(loop.model, io.BytesIO())
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_observe_without_with_is_said_at_the_next_step():
    loop = Loop()
    loop.monitor.observe()
    with pytest.warns(RuntimeWarning, match=r"never entered.*with monitor.observe\(\):"):
        loop.monitor.observe()


def test_the_loops_own_error_passes_and_the_step_did_not_happen():
    loop = Loop(every=1)
    with pytest.raises(ZeroDivisionError), loop.monitor.observe():
        loop.model(loop.x[:4]) / (1 // 0)
    assert loop.monitor.totals()["step"] == 0
    assert not loop.model._forward_pre_hooks
    assert loop.run(1).measurement["status"] == "ok"


def test_nested_blocks_are_refused():
    loop = Loop()
    with loop.monitor.observe():
        F.cross_entropy(loop.model(loop.x[:4]), loop.y[:4]).backward()
        with pytest.raises(RuntimeError, match="still open"), loop.monitor.observe():
            pass
    assert loop.monitor.measurement["status"] == "ok"


def test_a_step_without_backward_is_a_diagnosis():
    loop = Loop(every=1)
    with pytest.warns(RuntimeWarning, match="no backward"), loop.monitor.observe():
        loop.model(loop.x[:4])
    row = loop.monitor.measurement
    assert set(row) == set(Loop().run(1).measurement)
    assert row["fisher/cond"] is row["fisher/trace"] is None
    assert "no backward" in row["status"]
    assert row["batch_size"] == 4


def test_steps_of_a_failed_measurement_are_left_to_the_next():
    loop = Loop(every=2, stride=True)
    loop.take(slice(0, 16))
    loop.take(slice(0, 16))
    with pytest.warns(RuntimeWarning), loop.monitor.observe():
        loop.model(loop.x[:16])
    loop.take(slice(0, 16))
    loop.take(slice(0, 16))
    rows = loop.monitor.history.rows(named=True)
    assert [row["steps_since"] for row in rows] == [1, 2, 4]
    assert [row["step"] for row in rows] == [0, 2, 4]
    weighted = (rows[0]["fisher/cond"] + 4 * rows[2]["fisher/cond"]) / 5
    assert rows[2]["fisher/cond_mean"] == pytest.approx(weighted)


def copies_in_a_block(copy_of: Callable[[nn.Module], nn.Module], when: str) -> tuple[nn.Module, nn.Module]:
    """Measure a step and copy the model within; return the model and its copy."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), torch.randn(6, 5)
    monitor = fs.Monitor(model, torch.optim.SGD(model.parameters(), 0.1), strict=True)
    with monitor.observe():
        copied = copy_of(model) if when == "before" else model
        loss = model(x).square().sum(1).mean()
        copied = copy_of(model) if when == "after the forward" else copied
        loss.backward()
        copied = copy_of(model) if when == "after the backward" else copied
    assert monitor.measurement["status"] == "ok"
    assert monitor.measurement["batch_size"] == 6
    return model, copied


def saved_and_loaded(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("when", ["before", "after the forward", "after the backward"])
@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), saved_and_loaded]
)
def test_a_model_is_copied_and_saved_inside_a_block(
    copy_of: Callable[[nn.Module], nn.Module], when: str
) -> None:
    model, copied = copies_in_a_block(copy_of, when)
    x = torch.randn(3, 5)
    assert torch.equal(copied(x), model(x))
    copied(x).sum().backward()
    assert all(p.grad is not None for p in copied.parameters())


def test_another_thread_uses_the_model_while_it_is_measured() -> None:
    def train(monitored: bool) -> tuple[list[torch.Tensor], list[str], int]:
        torch.manual_seed(0)
        model, data = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)), torch.randn(60, 6, 5)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        monitor = fs.Monitor(model, optimizer, every=1)
        errors: list[str] = []
        stopped, calls = threading.Event(), [0]

        def serve() -> None:
            try:
                while not stopped.is_set():
                    with torch.no_grad():
                        assert torch.isfinite(model(torch.ones(9, 5))).all()
                    calls[0] += 1
            except Exception as error:  # noqa: BLE001  (what would end a server)
                errors.append(repr(error))

        thread = threading.Thread(target=serve)
        if monitored:
            thread.start()
        for x in data:
            optimizer.zero_grad()
            with monitor.observe() if monitored else nullcontext():
                model(x).square().sum(1).mean().backward()
            optimizer.step()
        stopped.set()
        if monitored:
            thread.join()
        rows = monitor.state.history.rows
        assert [(row["status"], row["batch_size"]) for row in rows] == [("ok", 6)] * (60 * monitored)
        return [p.detach().clone() for p in model.parameters()], errors, calls[0]

    plain, _, _ = train(False)
    measured, errors, calls = train(True)
    assert all(map(torch.equal, plain, measured))
    assert calls > 10
    assert not errors


USES: dict[str, Callable[[nn.Module, torch.Tensor], object]] = {
    "forward": lambda model, x: model(x),
    "gradient of the inputs": lambda model, x: torch.autograd.grad(model(x).sum(), x),
    "backward to the inputs": lambda model, x: model(x).sum().backward(inputs=[x]),
    "gradient of the parameters": lambda model, x: torch.autograd.grad(model(x).sum(), [*model.parameters()]),
    "backward": lambda model, x: model(x).sum().backward(),
}
"""What another thread may do with the model; the last adds to the gradients, monitored or not."""
TO_PARAMETERS = ("gradient of the parameters", "backward")


def use_in_another_thread(use: str, model: nn.Module) -> list[str]:
    errors: list[str] = []

    def call() -> None:
        try:
            USES[use](model, torch.ones(9, 5, dtype=torch.float64, requires_grad=True))
        except Exception as error:  # noqa: BLE001  (what would end the other thread)
            errors.append(repr(error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return errors


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("when", ["before", "within the forward", "between", "after"])
def test_another_threads_pass_within_a_step(use: str, when: str, mode: str) -> None:
    """The numbers are dyadic: fused adds in another order, and has the same bits."""

    def train(monitored: bool) -> tuple[list[torch.Tensor], list[str], list[dict[str, Any]]]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double()
        for parameter in model.parameters():
            parameter.data = torch.randint(-2, 3, parameter.shape).double() / 2
        optimizer = torch.optim.SGD(model.parameters(), 0.25)
        monitor = fs.Monitor(model, optimizer, every=1, **MODES[mode])
        errors: list[str] = []

        reached_so_far: list[str] = []

        def reached(now: str) -> None:
            if now == when and now not in reached_so_far:
                reached_so_far.append(now)
                errors.extend(use_in_another_thread(use, model))

        model[1].register_forward_pre_hook(lambda *_: reached("within the forward"))
        for _ in range(2):
            x = torch.randint(-2, 3, (4, 5)).double()
            optimizer.zero_grad()
            reached_so_far.clear()
            with monitor.observe() if monitored else nullcontext():
                reached("before")
                out = model(x)
                reached("between")
                (out.sum() / 4).backward()
                reached("after")
            optimizer.step()
        return [p.detach().clone() for p in model.parameters()], errors, monitor.state.history.rows

    plain, _, _ = train(False)
    measured, errors, rows = train(True)
    assert all(map(torch.equal, plain, measured))
    assert not errors
    assert [row["batch_size"] for row in rows] == [4, 4]
    if use not in TO_PARAMETERS:
        assert [row["status"] for row in rows] == ["ok", "ok"]


def test_a_hook_that_another_thread_took_up_before_it_was_removed_does_nothing() -> None:
    """Torch asks a second time whether a hook wants keyword arguments: one that is removed gets none."""
    loop = Loop(every=1)
    with loop.monitor.observe():
        taken = [hook for module in loop.model.modules() for hook in module._forward_pre_hooks.values()]
        F.cross_entropy(loop.model(loop.x[:4]), loop.y[:4]).backward()
    row = loop.monitor.measurement
    assert len(taken) > 3
    for hook in taken:
        assert hook(loop.model, (loop.x,)) is None
        assert hook(loop.model, (loop.x,), {}) is None
    assert loop.monitor.measurement is row
    assert loop.run(1).totals()["samples"] == 4 + 16

"""Blocks of `observe`: neutral to training, and clear where a loop misuses them."""

import io

import pytest
import torch
from tests.cases.monitor_loop import Loop
from torch import nn
from torch.nn import functional as F


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

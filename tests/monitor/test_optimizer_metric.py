"""Rows in the optimizer's own metric."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from torch import nn

import fisherscope as fs
from fisherscope.monitor.optimizer_metric import METRIC_VALUES


def run(steps, metric="optimizer", state=None, start=0, model=None, optimizer=None):
    if model is None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    options = {} if metric is None else {"metric": metric}
    monitor = fs.Monitor(model, optimizer, every=1, **options)
    if state is not None:
        monitor.load_state_dict(state)
    for k in range(start, start + steps):
        x = torch.randn(12, 6, generator=torch.Generator().manual_seed(k))
        optimizer.zero_grad()
        with monitor.observe():
            nn.functional.cross_entropy(model(x), (x.sum(1) > 0).long()).backward()
        optimizer.step()
    return monitor, model, optimizer


def test_a_row_has_both_metrics_and_the_first_says_why_not():
    monitor, _, _ = run(5)
    rows = monitor.state.history.rows
    assert rows[0]["noise/metric"].startswith("AdamW: no state yet")
    assert rows[0]["noise/scale_optimizer"] is None
    assert rows[0]["status"] == "ok"
    assert all(row["noise/metric"] == "AdamW" for row in rows[1:])
    assert all(set(METRIC_VALUES) <= set(row) for row in rows)
    assert rows[3]["noise/variance_optimizer"] != rows[3]["noise/variance"]
    assert rows[3]["noise/metric_exact_share"] == 1.0
    assert rows[3]["noise/metric_error"] == 0.0


def test_scales_are_averaged_over_numerator_and_denominator_and_resume(tmp_path):
    monitor, model, optimizer = run(6)
    rows = monitor.state.history.rows
    means = [
        sum(row["noise/variance_optimizer"] for row in rows[1:]),
        sum(row["noise/signal_optimizer"] for row in rows[1:]),
    ]
    assert rows[-1]["noise/scale_window_optimizer"] == pytest.approx(means[0] / means[1])
    assert rows[-1]["noise/scale_mean_optimizer"] == pytest.approx(means[0] / means[1])
    saved = json.loads(json.dumps(monitor.state_dict()))
    twin, own = copy.deepcopy((model, optimizer)), monitor
    resumed, _, _ = run(3, state=saved, start=6, model=model, optimizer=optimizer)
    assert len(resumed.state.history.rows) == 9
    assert resumed.totals()["noise/scale_window_optimizer"] != own.totals()["noise/scale_window_optimizer"]
    assert twin is not None


def test_without_a_metric_nothing_is_added_and_training_is_the_same_bit_for_bit():
    plain, model, _ = run(5, metric=None)
    measured, twin, _ = run(5)
    assert not set(METRIC_VALUES) & set(plain.state.history.rows[-1])
    assert "noise/scale_window" not in plain.totals()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    for key, value in plain.state.history.rows[-1].items():
        if not key.startswith("time/"):
            assert measured.state.history.rows[-1][key] == value


def test_a_state_from_before_the_metric_is_resumed():
    monitor, model, optimizer = run(3, metric=None)
    resumed, _, _ = run(2, state=monitor.state_dict(), start=3, model=model, optimizer=optimizer)
    assert resumed.totals()["noise/scale_mean_optimizer"] is not None


def test_what_is_no_metric_is_refused():
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="expected 'optimizer'"):
        fs.Monitor(model, torch.optim.SGD(model.parameters(), 0.1), metric="adam")


def test_a_window_forgets():
    window = fs.measures.NoiseWindow(length=2)
    assert math.isnan(window.scale)
    for variance, signal in ((9.0, 1.0), (math.nan, 1.0), (60.0, 1.0), (20.0, -0.5)):
        window.add(variance, signal)
    assert window.scale == 160.0
    window.add(1.0, -3.0)
    assert math.isnan(window.scale)

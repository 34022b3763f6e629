"""The table, recommendation and notebook view of an advice."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from tests.cases.advised_models import data
from torch import nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.analysis.batch_size.advice import Advice, StepTime
from fisherscope.analysis.batch_size.noise_scale import NoiseInterval


def advice(scale: float = 64.0, low: float = 50.0, high: float = 90.0, **more: Any) -> Advice:
    noise = NoiseInterval(scale, 1.0, low, high, 0.9, 16, 1024)
    steps = [StepTime(size, 0.001 + 0.0001 * size, size << 20) for size in (16, 32, 64, 128)]
    return Advice("mine", noise, (*steps, StepTime(256, why="out of memory", fits=False)), **more)


def test_the_fastest_size_is_that_of_the_formula() -> None:
    found = advice()
    times = {b: (0.001 + 0.0001 * b) * (1 + 64 / b) for b in (16, 32, 64, 128)}
    assert found.fastest == min(times, key=times.__getitem__)
    for row in found.rows[:4]:
        size = row.step.batch_size
        assert row.relative_time == pytest.approx(times[size] / min(times.values()))
        assert row.relative_samples == pytest.approx(1 + size / 64)
    assert found.rows[4].relative_time is None
    assert "no: out of memory" in str(found)


def test_advice_without_an_upper_end_says_so_and_goes_to_json() -> None:
    found = advice(high=math.inf)
    assert "at least 50 samples" in str(found)
    assert found.range[1] == 128
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["noise"]["high"] is None


def test_seconds_in_doubt_are_said_in_the_recommendation_itself() -> None:
    assert "rely" not in advice().sentence
    found = advice(doubts=("the machine was busy",))
    assert "do not rely on it yet" in found.sentence
    assert "In doubt: the machine was busy." in str(found)
    assert found.to_dict()["doubts"] == ["the machine was busy"]


def test_the_picture_shows_sizes_noise_and_memory() -> None:
    from fisherscope.figures.advice import advice_figure

    for found in (advice(), advice(high=math.inf), Advice("none", advice().noise, ())):
        figure = advice_figure(found)
        assert [axes.get_xlabel() for axes in figure.axes[:2]] == (
            ["batch size"] * 2 if found.steps else [""] * 2
        )


def test_a_name_is_text_in_a_notebook() -> None:
    found = Advice("<script>", advice().noise, (StepTime(8, why="<b>", fits=False),))
    assert "<b></" not in found._repr_html_()
    assert "&lt;b&gt;" in found._repr_html_()


def test_what_a_notebook_shows_is_well_formed_and_small() -> None:
    from xml.etree import ElementTree

    torch.manual_seed(0)
    model, (x, y) = nn.Linear(6, 2), data(64)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    monitor = fs.Monitor(model, optimizer, every=1)
    empty = monitor._repr_html_()
    for _ in range(4):
        with monitor.observe():
            F.cross_entropy(model(x), y).backward()
    with fs.record_gram(model) as record:
        F.cross_entropy(model(x), y).backward()
    shown = [empty, monitor._repr_html_(), record._repr_html_(), fs.spectrum(record.gram)._repr_html_()]
    for text in [*shown, advice()._repr_html_()]:
        ElementTree.fromstring(f"<div>{text}</div>")
        assert len(text) < 8000
    assert shown[1].count("<svg") == 3
    assert "singular values" in shown[3]
    assert "affine" in shown[2]

"""The summary in words and in HTML, and its alerts."""

import torch
from tests.cases.monitor_loop import Loop
from torch import nn
from torch.nn import functional as F


def test_batchnorm_is_noted():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    monitor = Loop(model, every=1).run(2)
    assert sum("BatchNorm" in note for note in monitor.notes) == 1
    assert "couples" in monitor.summary()
    assert not any("BatchNorm" in note for note in Loop(every=1).run(1).notes)


def test_summary_says_where_the_run_stands():
    loop = Loop(every=2)
    assert "none measured yet" in loop.monitor.summary()
    text = loop.run(20).summary()
    for part in (
        "20 steps",
        "C̄ =",
        "L =",
        "oise",
        "Rank 16 of 16",
        "dominates",
        "Measuring took",
        "Self-check",
    ):
        assert part in text, part


def test_alerts_of_a_batch_that_repeats_itself():
    loop = Loop(every=1, lr=0.0)
    loop.x[:16], loop.y[:16] = loop.x[0].clone(), loop.y[0].clone()
    loop.x[8:16] += 1e-3 * torch.randn(8, 6)
    loop.take(slice(0, 16))
    alerts = " ".join(loop.monitor.alerts)
    assert "times the noise scale" in alerts
    loop.x[8:16] = loop.x[0].clone()
    loop.take(slice(0, 16))
    alerts = " ".join(loop.monitor.alerts)
    assert "lost rank" in alerts
    assert "censored" in alerts


def test_alert_of_one_sample_that_drives_the_step():
    loop = Loop(every=1, lr=0.0)
    loop.x[3] *= 100
    assert any("One sample holds" in alert for alert in loop.run(1).alerts)


def test_alert_of_samples_without_gradient():
    loop = Loop(every=1, lr=0.0)
    weights = torch.ones(16)
    weights[:4] = 0
    with loop.monitor.observe():
        losses = F.cross_entropy(loop.model(loop.x[:16]), loop.y[:16], reduction="none")
        (losses * weights).mean().backward()
    assert loop.monitor.measurement["gradient/zero_share"] == 0.25
    assert any("25% of the samples have no gradient" in alert for alert in loop.monitor.alerts)


def test_a_run_that_is_well_has_no_alerts():
    assert Loop(every=1).run(6).alerts == []


def test_html_is_small_and_escaped():
    loop = Loop(every=1)
    assert "nothing measured yet" in loop.monitor._repr_html_()
    page = loop.run(2)._repr_html_()
    assert page.startswith("<table>")
    assert len(page) < 4000

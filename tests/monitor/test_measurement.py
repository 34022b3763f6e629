"""What a row of a measured step says, also where the loss is NaN or the gradients are zero."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from tests.cases.monitor_loop import PRODUCTS, Loop, sample_gradients
from tests.oracles import measures as oracle
from torch.nn import functional as F

AXES = {"step", "epoch", "samples", "lr_sum", "lr", "batch_size", "steps_since", "step_scale_sum"}


NAMED = {
    "train/loss", "fisher/cond", "fisher/cond_mean", "fisher/cond_geomean", "fisher/cond_median",
    "fisher/cond_m8", "fisher/cond_limit", "fisher/censored", "fisher/trace", "fisher/energy",
    "fisher/energy_sum", "fisher/rank", "fisher/effective_rank", "fisher/accuracy", "fisher/residual",
    "noise/scale", "noise/variance", "noise/signal", "noise/snr", "test/norm", "test/inner_product",
    "test/orthogonality", "time/step_s", "time/fisher_s", "status",
}  # fmt: skip


def test_a_row_has_the_keys_that_were_promised_and_json_values():
    row = Loop().run(1).measurement
    assert set(row) >= AXES | NAMED
    json.dumps(row, allow_nan=False)
    assert row["status"] == "ok"


def test_a_row_says_what_explicit_gradients_say():
    loop = Loop(every=1)
    gradients = sample_gradients(loop.model, loop.x[:16], loop.y[:16])
    loss = float(F.cross_entropy(loop.model(loop.x[:16]), loop.y[:16]).detach())
    row = loop.run(1).measurement
    values = oracle.singular_values(gradients)
    trace = sum(float(g @ g) for g in gradients)
    close = max(row["fisher/accuracy"], PRODUCTS)
    assert row["fisher/cond"] == pytest.approx(values[0] / values[-1], rel=close)
    assert row["fisher/trace"] == pytest.approx(trace, rel=PRODUCTS)
    assert row["fisher/energy"] == pytest.approx(0.1 / 16 * math.sqrt(trace), rel=PRODUCTS)
    assert row["fisher/rank"] == 16
    assert row["noise/variance"] == pytest.approx(oracle.covariance_trace(gradients), rel=PRODUCTS)
    assert row["test/norm"] == pytest.approx(oracle.norm_test(gradients), rel=10 * PRODUCTS)
    assert row["gradient/norm"] == pytest.approx(
        np.linalg.norm(oracle.mean_gradient(gradients)), rel=PRODUCTS
    )
    assert row["train/loss"] == pytest.approx(loss, rel=1e-6)
    assert row["cabs/batch_size"] == pytest.approx(oracle.cabs(gradients, 0.1, loss), rel=10 * PRODUCTS)


def test_loss_can_be_said_and_a_summed_one_is_divided():
    loop = Loop(every=1, reduction="sum")
    with loop.monitor.observe():
        loss = F.cross_entropy(loop.model(loop.x[:8]), loop.y[:8], reduction="sum")
        loss.backward()
    assert loop.monitor.measurement["train/loss"] == pytest.approx(float(loss.detach()) / 8)
    with loop.monitor.observe() as step:
        F.cross_entropy(loop.model(loop.x[:8]), loop.y[:8], reduction="sum").backward()
        step.loss = torch.tensor(3.5)
    assert loop.monitor.measurement["train/loss"] == 3.5


def test_scaled_gradients_measure_as_unscaled_ones():
    plain = Loop(every=1).run(1).measurement
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    loop = Loop(every=1, grad_scaler=scaler)
    with loop.monitor.observe():
        scaler.scale(F.cross_entropy(loop.model(loop.x[:16]), loop.y[:16])).backward()
    row = loop.monitor.measurement
    for key in ("fisher/trace", "fisher/cond", "train/loss"):
        assert row[key] == pytest.approx(plain[key], rel=1e-5)


def test_a_subset_has_its_own_spectrum_and_the_whole_batch_its_trace():
    whole = Loop(every=1).run(1).measurement
    row = Loop(every=1, max_samples=8).run(1).measurement
    assert row["fisher/subset"] == row["fisher/rank"] == 8
    assert row["fisher/cond"] < whole["fisher/cond"]
    assert row["fisher/trace"] == whole["fisher/trace"]
    assert row["fisher/energy_sum"] == whole["fisher/energy_sum"]


def test_a_batch_below_the_subset_has_no_condition_number_but_counts_in_the_energy():
    loop = Loop(every=1, max_samples=8)
    loop.take(slice(0, 8))
    with pytest.warns(RuntimeWarning, match="below max_samples=8"):
        loop.take(slice(0, 4))
    first, second = loop.monitor.history.rows(named=True)
    assert second["fisher/cond"] is None
    assert second["fisher/cond_mean"] == first["fisher/cond_mean"]
    assert second["fisher/energy_sum"] > first["fisher/energy_sum"]


def test_paper_rule_is_the_float32_solver():
    loop = Loop(every=1, rule="paper")
    loop.x[1], loop.y[1] = loop.x[0], loop.y[0]
    row = loop.run(1).measurement
    assert row["fisher/accuracy"] is None
    assert not row["fisher/censored"]


def test_nan_is_a_status_nulls_and_an_alert():
    loop = Loop(every=1)
    loop.take(slice(0, 16))
    loop.x[3, 2] = math.nan
    with pytest.warns(RuntimeWarning, match="status"):
        loop.take(slice(0, 16))
    row = loop.monitor.measurement
    assert row["fisher/cond"] is row["fisher/trace"] is row["noise/scale"] is None
    assert row["fisher/cond_mean"] is not None
    json.dumps(row, allow_nan=False)
    assert any("NaN" in alert for alert in loop.monitor.alerts)


def test_zero_gradients_are_a_status_and_count_in_the_energy():
    loop = Loop(every=1)
    for scale in (0.0, 1.0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with loop.monitor.observe():
                (scale * F.cross_entropy(loop.model(loop.x[:16]), loop.y[:16])).backward()
    first, second = loop.monitor.history.rows(named=True)
    assert first["fisher/trace"] == first["fisher/energy_sum"] == 0
    assert first["fisher/cond"] is None
    assert "zero" in first["status"]
    assert second["fisher/cond_mean"] == second["fisher/cond"]


def test_a_batch_of_one_has_a_condition_number_of_one_and_no_noise_scale():
    loop = Loop(every=1)
    loop.take(slice(0, 1))
    row = loop.monitor.measurement
    assert row["fisher/cond"] == 1
    assert row["noise/scale"] is row["test/norm"] is None

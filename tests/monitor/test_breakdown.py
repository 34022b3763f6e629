"""Samples that stand out, and layers' shares."""

import numpy as np
import pytest
import torch
from tests.cases.monitor_loop import PRODUCTS, Loop, sample_gradients
from tests.oracles import measures as oracle


def test_samples_that_stand_out_are_named():
    loop = Loop(every=1, lr=0.0)
    loop.y = loop.x[:, :4].argmax(1)
    with torch.no_grad():
        loop.x[5] *= 30
    for _ in range(2):
        loop.take(slice(0, 16), ids=torch.arange(100, 116))
        loop.take(slice(16, 32), ids=list(range(116, 132)))
    samples = loop.monitor.samples
    assert len(samples) == 32
    assert samples["seen"].to_list() == [2] * 32
    gradients = sample_gradients(loop.model, loop.x[:16], loop.y[:16])
    mean = oracle.mean_gradient(gradients)
    whole = np.mean([g @ g for g in gradients])
    for row, gradient in zip(samples.head(16).rows(named=True), gradients, strict=True):
        assert row["relative_square_norm"] == pytest.approx(gradient @ gradient / whole, rel=1e-4)
        cosine = gradient @ mean / np.linalg.norm(gradient) / np.linalg.norm(mean)
        assert row["cosine"] == pytest.approx(cosine, rel=1e-3, abs=1e-5)
    outliers = loop.monitor.outliers(1)
    assert outliers["id"][0] == 105
    assert outliers["why"][0] == "large"


def test_ids_of_another_length_are_refused_or_recorded():
    with pytest.raises(ValueError, match="received 3 ids for a batch of 16"):
        Loop(every=1, strict=True).take(slice(0, 16), ids=[1, 2, 3])
    loop = Loop(every=1)
    with pytest.warns(RuntimeWarning, match="received 3 ids"):
        loop.take(slice(0, 16), ids=[1, 2, 3])
    assert loop.monitor.measurement["fisher/cond"] is None


def test_layers_have_their_share_and_noise_scale():
    loop = Loop(every=1)
    gradients = sample_gradients(loop.model, loop.x[:16], loop.y[:16])
    layers = loop.run(1).layers
    assert layers["trace_share"].sum() == pytest.approx(1)
    row = next(row for row in layers.rows(named=True) if row["parameter"] == "0.weight")
    part = [gradient[:54] for gradient in gradients]
    assert row["square_norm"] == pytest.approx(np.mean([g @ g for g in part]), rel=PRODUCTS)
    variance, signal = oracle.noise_scale_two_batches(part)
    expected = pytest.approx(variance / signal, rel=1e-3) if signal > 0 else None
    assert row["noise_scale"] == expected

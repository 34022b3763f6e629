"""The paper's deep networks in training mode, against copies of their parameters for each sample."""

from __future__ import annotations

import pytest
import torch
from tests.oracles import gram as oracle
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.tasks import models


@pytest.mark.parametrize("network", ["resnet110", "densenet110"])
def test_the_gram_of_110_layers_with_batch_norm_is_exact(network: str) -> None:
    """Colour images of 16 × 16; the tolerance is float64's, times the depth of 110 layers."""
    torch.manual_seed(0)
    model = models.build(network, 3, 10, 16).double().train()
    x, y = torch.randn(3, 3, 16, 16, dtype=torch.float64), torch.tensor([1, 7, 1])
    wanted = oracle.gram_of(oracle.columns_by_copies(model, lambda twin: F.cross_entropy(twin(x), y), len(y)))
    with fs.record_gram(model) as record:
        F.cross_entropy(model(x), y).backward()
    assert record.status == "ok"
    assert record.share_covered == 1.0
    error = float((record.gram - wanted).norm() / wanted.norm())
    assert error <= 110 * 100 * torch.finfo(torch.float64).eps

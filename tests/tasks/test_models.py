"""The paper's networks."""

from __future__ import annotations

import pytest
import torch

from fisherscope.tasks import models


@pytest.mark.parametrize(
    ("name", "channels", "count"),
    [
        ("resnet110", 3, 1_728_090),
        ("resnet8", 1, 75_130),
        ("densenet110", 3, 1_724_890),
        ("densenet8", 1, 10_322),
        ("mlp", 1, 768_010),
    ],
)
def test_networks_have_the_paper_s_parameter_counts(name: str, channels: int, count: int) -> None:
    model = models.build(name, channels, 10, 32)
    assert sum(p.numel() for p in model.parameters()) == count
    assert model(torch.zeros(2, channels, 32, 32)).shape == (2, 10)


def test_initialisation_is_he_s_by_fan_out() -> None:
    torch.manual_seed(0)
    model = models.build("resnet110", 3, 10, 32)
    weights = [m.weight for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.out_channels == 64]
    pooled = torch.cat([w.flatten() for w in weights])
    deviation = (2 / (9 * 64)) ** 0.5
    # the deviation of n normal numbers is off by about 1/sqrt(2n) of itself
    assert abs(float(pooled.detach().std()) / deviation - 1) < 5 / (2 * len(pooled)) ** 0.5


def test_a_residual_unit_ends_with_the_addition() -> None:
    unit = models.ResidualUnit(16, 16, 1)
    assert float(unit(-torch.ones(2, 16, 4, 4)).min()) < 0  # a ReLU after it would leave nothing below 0

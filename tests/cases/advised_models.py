"""A small network, its data, and an advice with planted times."""

from __future__ import annotations

from typing import Any

import torch

QUICK: dict[str, Any] = {"seconds": 60.0, "warmup": 20, "sizes": (4, 8, 16)}


def data(samples: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    x = torch.randn(samples, 6)
    return x, (x[:, 0] + 0.5 * torch.randn(samples) > 0).long()

"""Arguments of record_gram."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.cases.gram_steps import (
    mlp,
)
from torch import nn

import fisherscope as fs
from fisherscope.gram import GramError


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (lambda: print, {}, "expected a torch.nn.Module"),
        (lambda: nn.Sequential(nn.LazyLinear(3)), {}, "'0.weight' has no shape yet"),
        (mlp, {"memory_budget": 0}, "expected bytes, above 0"),
        (mlp, {"loss_scale": 0.0}, "a finite number other than 0"),
        (mlp, {"loss_scale": float("inf")}, "a finite number other than 0"),
        (mlp, {"batch": "x"}, "expected a dimension such as 0"),
        (mlp, {"sample_of": [0, 1, 2, 3, 4]}, "received list; expected the sample of each row"),
        (mlp, {"sample_of": torch.rand(5)}, r"received a tensor of torch.float32, shape \(5,\)"),
        (mlp, {"sample_of": torch.tensor([-2, 0])}, "whole numbers from 0"),
        (mlp, {"sample_of": torch.tensor([[[0]], [[1]]])}, r"torch.int64, shape \(2, 1, 1\)"),
        (mlp, {"sample_of": torch.tensor([], dtype=torch.long)}, r"torch.int64, shape \(0,\)"),
        (mlp, {"sample_of": torch.tensor([True, False])}, r"torch.bool, shape \(2,\)"),
        (mlp, {"reduction": "average"}, "expected one of 'mean', 'sum'"),
        (mlp, {"semantics": "loss"}, "expected one of 'path', 'per_loss'"),
        (mlp, {"precision": "float16"}, "expected one of 'default', 'float64'"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_arguments_that_cannot_be_meant(model: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(GramError, match=words):
        fs.record_gram(model(), **options)

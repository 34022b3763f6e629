"""Paths of a forward that the probe did not take."""

from __future__ import annotations

import copy
from typing import Any

import torch
from tests.cases.gram_steps import (
    Called,
)
from torch import Tensor, nn

import fisherscope as fs


def test_a_path_that_the_probe_did_not_take_is_probed_within_the_forward() -> None:
    """And the forward goes on: a flattened layer after it is still one of its calls."""

    def forward(parts: Any, x: Tensor) -> Tensor:
        x = parts["deeper"](x) if deep else x
        return parts["head"](x.flatten(0, 1)).relu()  # type: ignore[no-any-return]

    torch.manual_seed(0)
    model = Called(forward, deeper=nn.Linear(4, 4), head=nn.Linear(4, 3)).double()
    x, grams = torch.randn(5, 6, 4).double(), []
    for deep, again in (  # noqa: B007  (read by `forward`)
        (False, model),
        (True, model),
        (True, copy.deepcopy(model)),
    ):
        with fs.record_gram(again, batch=0) as record:
            again(x).square().mean().backward()
        grams.append(record.gram)
    assert torch.equal(grams[1], grams[2])

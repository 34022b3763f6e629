"""The probe leaves no trace."""

from __future__ import annotations

from tests.cases.gram_steps import (
    samples,
    step,
)
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs


class Counting(nn.Module):
    """Holds what its forward passes leave behind: a counter, a list, a cache of the last input."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.calls, self.sizes, self.cache = nn.Linear(4, 3), 0, [], {}

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.sizes.append(len(x))
        self.cache["scale"] = self.body.weight * 2  # made of parameters: of no use once its graph is gone
        self.last = x
        return F.linear(x, self.cache["scale"], self.body.bias)


def test_the_probe_leaves_no_trace_in_modules_attributes() -> None:
    model, (x, y) = Counting(), samples()
    with fs.record_gram(model) as record:
        step(model, x, y)
    assert record.status == "ok"
    assert (model.calls, model.sizes) == (1, [5])
    assert model.last is x

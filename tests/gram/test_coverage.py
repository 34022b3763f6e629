"""Parameters without a gradient."""

from __future__ import annotations

from tests.cases.gram_steps import (
    Called,
    samples,
    step,
    trained_as_unmeasured,
)
from torch import nn

import fisherscope as fs


def test_a_parameter_that_got_no_gradient_is_in_the_coverage() -> None:
    x, y = samples()
    model = Called(lambda parts, x: parts["used"](x), used=nn.Linear(4, 3), idle=nn.Linear(3, 3))
    with trained_as_unmeasured(model, lambda m: step(m, x, y)), fs.record_gram(model) as record:
        step(model, x, y)
    assert record.status == "ok"
    assert {row.parameter: row.rule for row in record.coverage}["parts.idle.weight"] == "no gradient"

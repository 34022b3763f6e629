"""Mistakes in learning-rate schedules."""

import math

import pytest

from fisherscope.policy import (
    Fixed,
    Rate,
    parse,
)


def test_wrong_rates_say_what_to_do():
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="must be positive and finite"):
            parse("s32", lr=bad, epochs=10)
    with pytest.raises(ValueError, match="epochs=0 must be at least 1"):
        parse("s32", lr=0.1, epochs=0)
    with pytest.raises(ValueError, match=r"no learning rate; give lr=0.1, or write s32-lr0.1"):
        parse("s32", epochs=10)
    with pytest.raises(ValueError, match="batch size True"):
        Fixed(True, Rate(0.1, 10))

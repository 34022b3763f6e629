"""Mistakes in learning-rate schedules."""

import math
import re
from pathlib import Path

import pytest

from fisherscope.policy import (
    Fixed,
    Observation,
    Rate,
    parse,
)

FILE = Path(__file__).parents[1] / "data" / "beacons-planted.json"


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


def rates(name, epochs=10, samples=100):
    rate = parse(name, lr=0.1, epochs=epochs).rate
    return [rate.at(Observation(e, s, samples)) for e in range(epochs) for s in (0, samples // 2)]


def test_the_curves_are_the_published_ones():
    shares = [k / 20 for k in range(20)]
    cosine = [0.1 * (0.1 + 0.9 * (1 + math.cos(math.pi * s)) / 2) for s in shares]
    assert rates("s32+cosine:end=0.1") == pytest.approx(cosine, rel=1e-14)
    linear = [0.1 * (1 - 0.99 * s) for s in shares]
    assert rates("s32+linear-decay") == pytest.approx(linear, rel=1e-14)
    wsd = [0.1 * (1 if s <= 0.75 else 1 - 0.5 * (s - 0.75) / 0.25) for s in shares]
    assert rates("s32+wsd:decay=0.25,end=0.5") == pytest.approx(wsd, rel=1e-14)


def test_a_warm_up_rises_to_the_rate_and_the_last_rate_continues():
    assert rates("s32+constant:warmup=0.1")[:3] == pytest.approx([0.001, 0.0505, 0.1])
    cosine = rates("s32+cosine:warmup=0.5")
    assert cosine[10] == max(cosine) == 0.1
    rate = parse("s32+cosine", lr=0.1, epochs=2).rate
    assert rate.at(Observation(2, 0, 7)) == rate.at(Observation(9, 3, 7)) == pytest.approx(0.001)


def test_levels_are_the_same_bits_as_before():
    assert rates("s32") == [0.1] * 10 + [0.1 / 10.0] * 5 + [0.1 / 10.0**2] * 5


def test_an_increasing_batch_follows_the_decay_and_not_the_warm_up():
    policy = parse("s32-increase:share=1.0+linear-decay:warmup=0.5", lr=0.1, epochs=4)
    sizes = [policy.update(policy.init(), Observation(e, 0, 10_000))[1].batch_size for e in range(4)]
    assert sizes[:3] == [32, 32, 32]
    assert sizes[3] == 63  # at half of the decay to a hundredth: 32 / 0.505


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("s32+cosine:warmup=1.0", "warmup=1.0 must be in [0, 1)"),
        ("s32+wsd:warmup=0.5,decay=0.6", "at most 1; both are shares"),
        ("s32+cosine:end=0.0", "end=0.0 must be in (0, 1]"),
        ("s32+cosine:ends=0.1", "did you mean end"),
        ("s32+cosin", "did you mean cosine"),
        ("s32+sqrt+cosine", "put the schedule before all wrappers"),
        (f"beacon:{FILE}+cosine", "train beacons with this schedule"),
        (f"beacon:{FILE}+decay:at=0.5/0.75,by=0.1,warmup=0.1", "train beacons with this schedule"),
    ],
)
def test_wrong_curves_say_what_to_do(name, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        parse(name, lr=0.03, epochs=40)

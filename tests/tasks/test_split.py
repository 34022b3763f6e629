"""A stream of permutations gives every sample once a pass, whatever the length of its epochs."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fisherscope.tasks.split import Stream


class Numbers:
    """A split whose samples are their own numbers."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> Tensor:
        return indices


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 70), st.integers(0, 5), st.integers(0, 3))
def test_each_pass_has_every_sample_once(samples: int, length: int, seed: int, extra: int) -> None:
    stream = Stream(Numbers(samples), length, seed)
    epochs = -(-2 * samples // length) + extra
    drawn = torch.cat([stream.batch(torch.arange(length), epoch) for epoch in range(epochs)])
    for start in range(0, len(drawn) - samples + 1, samples):
        assert sorted(drawn[start : start + samples].tolist()) == list(range(samples))
    longer = Stream(Numbers(samples), epochs * length, seed)
    assert torch.equal(longer.batch(torch.arange(epochs * length)), drawn)


def test_the_order_of_the_numbers_asked_for_is_kept_and_seeds_differ() -> None:
    stream = Stream(Numbers(50), 80, 0)
    numbers = torch.tensor([70, 3, 79, 0, 49, 50])
    assert torch.equal(stream.batch(numbers), stream.batch(torch.arange(80))[numbers])
    assert not torch.equal(stream.batch(torch.arange(80)), Stream(Numbers(50), 80, 1).batch(torch.arange(80)))
    assert len(stream) == len(stream.to("cpu")) == 80

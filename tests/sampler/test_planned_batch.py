"""Ranks share each batch."""

import pytest
from tests.cases.sampled_runs import SAMPLES, built, row_at

from fisherscope.policy import parse
from fisherscope.sampler import DynamicBatchSampler


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("name", ["s4-to-64", "s4-norm-test"])
def test_ranks_share_each_batch(name, world_size):
    alone = built(name, world_size=1)
    ranks = [built(name, rank=rank, world_size=world_size) for rank in range(world_size)]
    for epoch in range(4):
        shares = [iter(rank) for rank in ranks]
        seen = []
        while ranks[0].epoch == epoch:
            parts = [next(share) for share in shares]
            sizes = [len(part) for part in parts]
            assert max(sizes) - min(sizes) <= 1
            assert min(sizes) >= 1
            assert sum(sizes) == ranks[0].current.size
            seen += [index for part in parts for index in part]
            step = ranks[0].current.step
            for rank in ranks:
                rank.step(row_at(step) if step % 3 == 0 else None)
        assert sorted(seen) == list(range(SAMPLES))
    assert alone.world_size == 1


def test_a_tail_too_small_for_the_ranks_joins_the_batch_before():
    sampler = DynamicBatchSampler(26, parse("s8", lr=0.1, epochs=1), world_size=4)
    sizes = []
    while sampler.epoch == 0:
        sizes.append(sampler.current.size)
        sampler.step()
    assert sizes == [8, 8, 10]

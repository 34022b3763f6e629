"""Micro-batches give the gradient of the whole batch."""

import numpy as np
import pytest
import torch

from fisherscope.sampler import micro_batches


@pytest.mark.parametrize(("size", "limit"), [(1, 1), (10, 4), (10, 10), (10, 100), (7, 2)])
def test_micro_batches_give_the_whole_gradient(size, limit):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2, dtype=torch.float64)
    batch = (torch.randn(size, 3, dtype=torch.float64), torch.randint(2, (size,)))
    torch.nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
    whole = model.weight.grad.clone()
    model.zero_grad()
    sizes = []
    for (x, y), share in micro_batches(batch, limit):
        sizes.append(len(x))
        (share * torch.nn.functional.cross_entropy(model(x), y)).backward()
    assert sum(sizes) == size
    assert max(sizes) <= limit
    assert len(sizes) == -(-size // limit)
    assert max(sizes) - min(sizes) <= 1
    torch.testing.assert_close(model.weight.grad, whole, rtol=1e-14, atol=1e-15)


def test_micro_batches_of_any_structure():
    batch = {"x": torch.arange(5), "pair": (np.arange(5), ["a", "b", "c", "d", "e"])}
    parts = [part for part, _ in micro_batches(batch, 2)]
    assert [part["x"].tolist() for part in parts] == [[0], [1, 2], [3, 4]]
    assert [part["pair"][1] for part in parts] == [["a"], ["b", "c"], ["d", "e"]]
    assert [part["pair"][0].tolist() for part in parts] == [[0], [1, 2], [3, 4]]
    listed = [part for part, _ in micro_batches([torch.arange(5), torch.arange(5)], 3)]
    assert [part[0].tolist() for part in listed] == [[0, 1], [2, 3, 4]]
    with pytest.raises(ValueError, match="limit=0 must be at least 1"):
        next(micro_batches(batch, 0))
    with pytest.raises(ValueError, match=r"hold \[2, 3\] samples; .*split it by hand"):
        next(micro_batches((torch.arange(2), torch.arange(3)), 2))

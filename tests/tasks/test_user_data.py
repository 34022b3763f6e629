"""A user's own data."""

from __future__ import annotations

import random

import numpy as np
import torch

from fisherscope.tasks import user_data


def test_a_data_set_s_own_randomness_follows_from_seed_epoch_and_index() -> None:
    class Noisy(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.tensor([index, torch.rand(()).item(), np.random.rand(), random.random()])  # noqa: NPY002

    data = user_data.as_split(Noisy(), "noisy")
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    whole = data.batch(torch.arange(20), epoch=1, seed=3)
    parts = torch.cat([data.batch(torch.arange(k, k + 5), epoch=1, seed=3) for k in range(0, 20, 5)])
    assert torch.equal(whole, parts)
    assert not torch.equal(whole, data.batch(torch.arange(20), epoch=2, seed=3))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002


def test_a_list_is_samples_one_by_one() -> None:
    found = user_data.as_split([np.full(5, k, np.float32) for k in range(6)], "train")
    assert len(found) == 6
    assert found.batch(torch.tensor([2, 4])).tolist() == [[2.0] * 5, [4.0] * 5]

"""Random generators that are captured are restored."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from tests.cases.state_guards import DRAWS, Cuda, Draw
from torch import nn

from fisherscope.model_state import (
    RandomState,
    host_random_state,
    preserve_module_state,
    preserve_random_state,
    restored_after,
    rng,
    same_draws,
)


@pytest.mark.parametrize("draw", DRAWS, ids=["torch", "python", "numpy"])
def test_a_restored_state_draws_the_same_again(draw: Draw) -> None:
    before = RandomState.capture()
    first = [draw(), draw()]
    before.restore()
    assert [draw(), draw()] == first

    def draw_and_fail() -> None:
        draw()
        raise ZeroDivisionError

    before.restore()
    with pytest.raises(ZeroDivisionError), preserve_random_state():
        draw_and_fail()
    assert draw() == first[0]


def test_every_cuda_generator_is_captured_and_restored(cuda: Cuda) -> None:
    with preserve_random_state():
        cuda.draw()
        assert cuda.values == [6, 10]
    assert cuda.values == [5, 9]
    with preserve_random_state(cuda=False):
        cuda.draw()
    assert cuda.values == [6, 10]


def test_cuda_is_neither_initialised_nor_seeded_for_a_later_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: Any) -> None:
        raise AssertionError("CUDA was touched")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    for name in ("get_rng_state_all", "set_rng_state_all", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, forbidden)
    assert RandomState.capture().cuda == ()
    with same_draws(3), preserve_module_state(nn.BatchNorm1d(2)), restored_after(nn.Linear(2, 2)):
        torch.rand(2)


def test_the_form_in_checkpoints_is_what_it_was() -> None:
    rng.seed(11)
    saved = rng.state(torch.device("cpu"))
    assert set(saved) == {"torch", "cuda", "python", "numpy"}
    assert saved["cuda"] is None
    name, keys, position, *_ = saved["numpy"]
    assert (name, keys.dtype, tuple(keys.shape), position) == ("MT19937", torch.int64, (624,), 624)
    first = [draw() for draw in DRAWS]
    rng.seed(12)
    rng.restore(saved, torch.device("cpu"))
    assert [draw() for draw in DRAWS] == first


def test_host_random_state_shows_whether_something_was_drawn() -> None:
    before = host_random_state()
    torch.rand(1)
    assert host_random_state() == before
    random.random()
    assert host_random_state() != before


def test_samples_that_draw_follow_from_seed_epoch_and_index_and_leave_the_users_generators(
    cuda: Cuda,
) -> None:
    from fisherscope.tasks.user_data import DatasetSplit

    class Drawing:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> list[float]:
            cuda.draw()
            return [draw() for draw in DRAWS]

    split = DatasetSplit(Drawing())
    rng.seed(8)
    expected = [draw() for draw in DRAWS]
    rng.seed(8)
    first = split.batch(torch.arange(4), epoch=1)
    again = split.batch(torch.arange(4), epoch=1)
    assert torch.equal(torch.stack(first), torch.stack(again))
    assert [draw() for draw in DRAWS] == expected
    assert cuda.values == [8 + 8, 8 + 8]  # seeded by rng.seed alone, so it runs on

"""The trial before training leaves no trace."""

from __future__ import annotations

import pytest
import torch

import fisherscope as fs


def test_a_task_that_is_tried_trains_as_one_that_is_not(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial leaves no trace in the generators, the model or the data."""
    from fisherscope.training import Configuration, TrainState

    config = Configuration.of({"task": f"{own}:made", "batch_size": 6})
    tried = TrainState(config, fs.tasks.get(config.task))
    monkeypatch.setattr(TrainState, "_check_task", lambda *_: None)
    plain = TrainState(config, fs.tasks.get(config.task))
    for indices, same in zip(tried.sampler, plain.sampler, strict=True):
        assert indices == same
        assert torch.equal(tried.step(indices), plain.step(same))

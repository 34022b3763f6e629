"""States that a checkpoint holds, and those that it refuses."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from tests.cases.toy_run import CONFIG

import fisherscope as fs


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ({"a": {"b": [1, np.float64(2)]}}, r"state\['a'\]\['b'\]\[1\] is of float64"),
        ({"a": [1.0, {2}]}, r"state\['a'\]\[1\] is of set"),
        (np.ones(3), "state is of ndarray"),
        ({(1, 2): 3}, "key of tuple"),
    ],
)
def test_a_state_that_could_not_be_read_back_is_refused_when_saved(tmp_path, state, place):
    with fs.open_run(tmp_path / "a", CONFIG) as run:
        run.save_checkpoint({"kept": 1})
        with pytest.raises(TypeError, match=place):
            run.save_checkpoint(state)
        assert run.load_checkpoint() == {"kept": 1}


def test_states_of_torch_come_back(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "plain": [None, "x", b"1", (1, 2.5), OrderedDict(a=1)],
    }
    with fs.open_run(tmp_path / "a", CONFIG) as run:
        run.save_checkpoint(state)
        back = run.load_checkpoint()
    assert str(back) == str(state)

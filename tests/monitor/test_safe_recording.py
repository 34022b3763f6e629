"""What cannot be measured is recorded, and training continues."""

import pytest
import torch
from tests.cases.monitor_loop import Loop
from torch import nn


class Mixing(nn.Module):
    """A parameter meets the mean over the samples."""

    def __init__(self):
        super().__init__()
        self.linear, self.weight = nn.Linear(6, 6), nn.Parameter(torch.eye(6)[:, :4].clone())

    def forward(self, x):
        return self.linear(x)[:, :4] + x.mean(0) @ self.weight


def test_what_cannot_be_split_is_recorded_and_training_goes_on_unless_strict():
    loop = Loop(Mixing(), every=1)
    before = loop.model.weight.detach().clone()
    with pytest.warns(RuntimeWarning, match="status"):
        loop.run(3)
    assert len(loop.monitor.history) == 3
    assert loop.monitor.measurement["status"] != "ok"
    assert not torch.equal(before, loop.model.weight)
    with pytest.raises(Exception, match="weight"):
        Loop(Mixing(), every=1, strict=True).run(1)

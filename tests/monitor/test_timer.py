"""What measuring costs, from a loop's own blocks."""

import time

import torch
from torch import nn

import fisherscope as fs
from fisherscope.monitor.schedule import FixedInterval
from fisherscope.monitor.timer import StepTimer


def test_measuring_takes_what_its_step_takes_beyond_a_plain_one() -> None:
    """Watched, forward and backward are slower too; no clock of the measurement's own sees that."""
    model = nn.Linear(3, 2)
    monitor = fs.Monitor(model, torch.optim.SGD(model.parameters(), lr=0.1), 8)
    seconds = []
    for _ in range(17):
        with monitor.observe(batch_size=4) as seen:
            model(torch.randn(4, 3)).pow(2).mean().backward()
            time.sleep(0.2 if seen.measured else 0.0)
        if monitor.measurement is not None:
            seconds.append(monitor.measurement["time/fisher_s"])
    assert len(seconds) >= 2
    assert min(seconds[1:]) > 0.1


def test_a_block_is_compared_with_others_of_its_size() -> None:
    clock, schedule = StepTimer(), FixedInterval(10)
    for size in (4, 4, 4, 8, 8):
        clock.tick(schedule)
        clock.end_block(size)
    time.sleep(0.1)  # two of the three blocks before would have to be stopped as long
    assert clock.extra_seconds(8) == 0.0
    assert clock.extra_seconds(4) >= 0.01

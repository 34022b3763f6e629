"""Which steps are measured."""

import itertools
import json

import pytest
from tests.cases.monitor_loop import Loop

from fisherscope.monitor.schedule import WARM_STEP, Budget, FixedInterval, PerEpoch, Position, RandomInterval


def positions(steps, size=16, epoch_samples=160):
    step = 0
    for epoch in itertools.count():
        done = step_in_epoch = 0
        while done < epoch_samples:
            if step == steps:
                return
            this = min(size, epoch_samples - done)
            yield Position(step, step_in_epoch, epoch, done, size if step else 0)
            step, step_in_epoch, done = step + 1, step_in_epoch + 1, done + this


def test_the_first_step_then_one_random_step_in_each_interval():
    due = [p.step for p in positions(1001) if RandomInterval(50, 3).due(p)]
    assert due[0] == 0
    assert [(step - 1) // 50 for step in due[1:]] == list(range(20))
    assert len({(step - 1) % 50 for step in due[1:]}) > 8
    assert due != [p.step for p in positions(1001) if RandomInterval(50, 4).due(p)]


def test_a_stride_begins_anew_with_each_epoch():
    assert [p.step for p in positions(25) if FixedInterval(4).due(p)] == [0, 4, 8, 10, 14, 18, 20, 24]


@pytest.mark.parametrize("size", [1, 8, 16, 40, 33])
def test_so_many_an_epoch_for_every_batch_size(size):
    schedule, seen = PerEpoch(4, 0, 160), {}
    for position in positions(10**6 if size > 1 else 480, size):
        if position.epoch == 3:
            break
        if schedule.due(position):
            seen.setdefault(position.epoch, []).append(position.samples_in_epoch)
    assert [len(taken) for taken in seen.values()] == [4, 4, 4]
    assert seen[0][0] == 0
    if size < 40:  # at 40 every step is measured
        assert seen[1] != seen[2]


def test_a_budget_becomes_an_interval_once():
    schedule = Budget(0.02, seed=0)
    due = []
    for position in positions(600):
        if position.step:
            before = position.step - 1
            schedule.add_time(0.18 if before in due else 0.1, before in due)
        if schedule.due(position):
            due.append(position.step)
    assert schedule.every == 40  # 0.08 s more, over 2 % of 0.1 s
    assert due[:2] == [0, WARM_STEP]
    assert [(step - 1) // 40 for step in due[2:]] == list(range(due[2] // 40, 15))
    resumed = Budget(0.02, seed=0)
    resumed.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert resumed.every == 40


def test_a_budget_resolves_in_a_real_loop():
    monitor = Loop(budget=0.5).run(WARM_STEP + 3)
    assert monitor.schedule.every >= 1

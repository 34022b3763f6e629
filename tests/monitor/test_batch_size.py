"""The batch size of unmeasured steps, read off the model's inputs."""

import warnings

import pytest
import torch
from tests.cases.monitor_loop import Loop, in_parts
from torch import nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.monitor.batch_size import BatchSizeReader


class Wrapped(nn.Module):
    """Takes its input in whatever container `unwrap` opens."""

    def __init__(self, unwrap):
        super().__init__()
        self.linear, self.unwrap = nn.Linear(6, 4), unwrap

    def forward(self, *args, **kwargs):
        return self.linear(self.unwrap(*args, **kwargs))


@pytest.mark.parametrize(
    ("unwrap", "call"),
    [
        (lambda x: x, lambda model, x: model(x)),
        (lambda data: data["x"], lambda model, x: model({"x": x})),
        (lambda *, scale, x: x * scale, lambda model, x: model(scale=2.0, x=x)),
        (lambda pair: pair[0] + pair[1], lambda model, x: model([x, x])),
    ],
    ids=["tensor", "dict", "keywords", "list"],
)
def test_the_size_of_unmeasured_steps_is_read_off_the_inputs(unwrap, call):
    model = Wrapped(unwrap)
    loop = Loop(model, every=10**6)
    sizes = [16, 16, 7, 3, 16]
    for size in sizes:
        with loop.monitor.observe():
            F.cross_entropy(call(model, loop.x[:size]), loop.y[:size]).backward()
    assert loop.monitor.totals()["samples"] == sum(sizes)


def test_micro_batches_of_one_step_add_up():
    loop = Loop(every=10**6, accumulate=True)
    for sizes in ((4, 4, 2), (8, 8), (5,)):
        in_parts(loop, sizes)
    assert loop.monitor.history["batch_size"].to_list() == [10]
    assert loop.monitor.totals()["samples"] == 10 + 16 + 5


def test_micro_batches_are_accumulated_once_they_have_been_seen():
    loop = Loop(every=1)
    with pytest.warns(RuntimeWarning, match="accumulate=True"):
        in_parts(loop, (4, 4, 2))
    assert loop.monitor.measurement["fisher/cond"] is None
    in_parts(loop, (4, 4, 2))
    row = loop.monitor.measurement
    assert (row["status"], row["batch_size"], row["steps_since"]) == ("ok", 10, 2)
    with fs.record_gram(loop.model, accumulate=True) as record:
        for size in (4, 4, 2):
            loss = F.cross_entropy(loop.model(loop.x[:size]), loop.y[:size], reduction="sum") / 10
            loss.backward()
    assert row["fisher/trace"] == pytest.approx(float(record.gram.trace()))


def shapes_seen(sizes, *shapes):
    sizes._shapes = [[torch.Size(shape) for shape in call] for call in shapes]


def test_a_dimension_that_is_as_long_as_the_batch_once_is_not_taken_for_it_for_good():
    sizes = BatchSizeReader()
    shapes_seen(sizes, [(8, 8, 3)])
    sizes.learn(8)
    shapes_seen(sizes, [(8, 5, 3)])  # sequence-first
    sizes.learn(5)
    shapes_seen(sizes, [(8, 7, 3)])
    assert sizes.read() == 7


def test_samples_passed_twice_in_a_step_count_once():
    sizes = BatchSizeReader()
    shapes_seen(sizes, [(8, 3)], [(8, 3)])
    sizes.learn(8)
    shapes_seen(sizes, [(6, 3)], [(6, 3)])
    assert sizes.read() == 6


def test_a_step_whose_size_cannot_be_read_says_so_once_and_takes_the_previous():
    loop = Loop(every=10**6)
    loop.take(slice(0, 16))
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with loop.monitor.observe():
                pass
    assert not caught
    assert loop.monitor.totals()["samples"] == 48
    with loop.monitor.observe(batch_size=5):
        pass
    assert loop.monitor.totals()["samples"] == 53


def test_a_size_that_was_said_must_be_the_batchs():
    with pytest.raises(ValueError, match="received batch_size=9 for a batch of 16"):
        Loop(every=1, strict=True).take(slice(0, 16), batch_size=9)


class Reversed(torch.autograd.Function):
    """A user's own function: the batch is run in another order to see whether it moves rows."""

    @staticmethod
    def forward(ctx, x):
        return -x

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class CustomLayer(nn.Module):
    def forward(self, x):
        return Reversed.apply(x)


@pytest.mark.parametrize("on_spike", [False, True])
def test_forwards_that_look_at_the_model_are_none_of_the_steps(on_spike):
    model = nn.Sequential(nn.Linear(6, 9), CustomLayer(), nn.Linear(9, 4))
    loop = Loop(model, every=3, stride=True, on_spike=on_spike)
    sizes = [16, 16, 7, 16, 3, 5]
    for size in sizes:
        loop.take(slice(0, size))
        assert loop.monitor.state.batch_size.passes == 1
        if on_spike:
            assert [call.samples for call in loop.monitor.state.spikes._tape.calls] == [size]
    assert loop.monitor.totals()["samples"] == sum(sizes)
    assert loop.monitor.history["batch_size"].to_list() == [16, 16]
    assert loop.monitor.history["status"].to_list() == ["ok", "ok"]

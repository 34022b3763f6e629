"""Data and loaders that can't be sampled."""

import pytest
import torch
from tests.cases.sampled_runs import DATA, built, optimizer
from torch.utils.data import DataLoader, IterableDataset

from fisherscope.policy import parse
from fisherscope.sampler import DynamicBatchSampler


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(3))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (Stream(), TypeError, "Stream has no length; give a map-style dataset or the number"),
        (
            DataLoader(DATA, batch_size=4),
            TypeError,
            r"received a DataLoader; give its dataset \(loader.dataset\)",
        ),
        ([], ValueError, "the dataset is empty"),
        (0, ValueError, "the dataset is empty"),
    ],
    ids=["stream", "loader", "empty", "zero"],
)
def test_data_without_samples_to_count(data, error, message):
    with pytest.raises(error, match=message):
        DynamicBatchSampler(data, parse("s8", lr=0.1, epochs=1))


def test_wrong_arguments_say_what_to_do():
    policy = parse("s8", lr=0.1, epochs=1)
    for wrong in ({"rank": 2, "world_size": 2}, {"rank": -1}, {"world_size": 200}):
        with pytest.raises(ValueError, match="expected 0 <= rank < world_size <= samples"):
            DynamicBatchSampler(DATA, policy, **wrong)
    for wrong in ({"lag": -1}, {"seed": -1}):
        with pytest.raises(ValueError, match="neither may be negative"):
            DynamicBatchSampler(DATA, policy, **wrong)
    with pytest.raises(
        TypeError, match=r"'s8' is not a policy; make one from a name by fisherscope.policy.parse"
    ):
        DynamicBatchSampler(DATA, "s8")
    with pytest.raises(ValueError, match="first parameter group has lr=0"):
        built("s8").attach(optimizer(0.0))


def test_sizes_beyond_the_data_say_what_to_do():
    with pytest.raises(
        ValueError, match=r"asks for 256 samples per batch in epoch 0, the data have 103; .*max=103"
    ):
        built("s256")
    with pytest.raises(ValueError, match="asks for 128 samples per batch in epoch 5"):
        built("s8-to-128")
    with pytest.raises(ValueError, match=r"2 is not between the world size 4"):
        next(iter(built("s2", world_size=4)))


def test_a_loop_without_step_is_told():
    loader = DataLoader(DATA, batch_sampler=built("s8"))
    assert len(list(loader)) == 13
    with pytest.raises(RuntimeError, match=r"none of its batches was stepped; call sampler.step\(\)"):
        next(iter(loader))


def test_a_loader_with_its_own_sampler_is_refused():
    with pytest.raises(ValueError, match="mutually exclusive"):
        DataLoader(DATA, batch_sampler=built("s8"), shuffle=True)


@pytest.mark.parametrize(
    "options", [{}, {"batch_size": 4}, {"batch_size": 4, "drop_last": True}, {"num_workers": 1}]
)
def test_a_batch_sampler_given_as_a_sampler_is_told(options):
    with pytest.raises(TypeError, match="batch_sampler=sampler"):
        next(iter(DataLoader(DATA, sampler=built("s8"), **options)))


def test_a_sampler_without_automatic_batches_draws_whole_ones():
    drawn = next(iter(DataLoader(DATA, sampler=built("s8"), batch_size=None)))
    (expected,) = [next(iter(DataLoader(DATA, batch_sampler=built("s8"))))]
    assert torch.equal(torch.as_tensor(drawn[0]), torch.as_tensor(expected[0]))

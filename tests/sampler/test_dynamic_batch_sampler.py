"""Sizes, order, lag and resuming, in real DataLoaders."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.cases.sampled_runs import DATA, LOADERS, SAMPLES, built, ids, optimizer, row_at, run
from torch.utils.data import DataLoader, Dataset, TensorDataset

from fisherscope.policy import Decision, Rate, parse
from fisherscope.sampler import DynamicBatchSampler


@pytest.mark.parametrize("options", LOADERS, ids=ids)
@pytest.mark.parametrize("name", ["s4-to-64", "s16-to-4-MS+linear", "s4-growth"])
def test_every_loader_gives_the_same_batches(name, options):
    found = run(built(name), 7, options)
    assert found == run(built(name), 7)
    at = 0
    for _ in range(7):
        epoch = []
        while len(epoch) < SAMPLES:
            epoch += found[at][0]
            at += 1
        assert sorted(epoch) == list(range(SAMPLES))
    assert at == len(found)


@pytest.mark.parametrize("options", LOADERS, ids=ids)
def test_closed_loop_depends_on_lag_not_on_timing(options):
    lag = 4
    found = run(built("s4-norm-test", lag=lag), 5, options)
    assert found == run(built("s4-norm-test", lag=lag), 5)
    assert found != run(built("s4-norm-test", lag=lag - 1), 5)
    assert len({size for _, _, size in found}) > 3


def test_sizes_follow_the_policy_to_the_step():
    """Batches written out by hand: 100 samples, five stages over five epochs, the last batch what is left."""
    policy = parse("s16-to-64", lr=0.1, epochs=5)
    sampler = DynamicBatchSampler(100, policy)
    found = []
    for _ in range(5):
        found.append([])
        for indices in sampler:
            found[-1].append((len(indices), sampler.current.decision.lr))
            sampler.step()
    small, middle = [16] * 6 + [4], [32] * 3 + [4]
    assert [[size for size, _ in epoch] for epoch in found] == [small, small, middle, middle, [64, 36]]
    # rates fall at 2.5 and 3.75 epochs: with the first batch that starts at 50 or after, and at 75 or after
    assert [rate for _, rate in found[2]] == [0.1, 0.1, 0.01, 0.01]
    assert [rate for _, rate in found[3]] == [0.01, 0.01, 0.01, 0.001]


def test_order_follows_from_seed_and_epoch():
    first, again, other = (run(built("s8", seed=seed), 2) for seed in (1, 1, 2))
    assert first == again
    assert first[0] != other[0]
    assert first[0][0] != first[len(first) // 2][0]
    straight = DynamicBatchSampler(10, parse("s4", lr=0.1, epochs=1), shuffle=False)
    assert list(straight) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  # the global state is what is looked at
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    sampler = built("s8")
    for _ in sampler:
        sampler.step()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


class Echo:
    """A closed loop whose next size is the number in the row it sees: shows which batch a row reaches."""

    closed_loop = True
    rate = Rate(0.1, 10, milestones=())
    name = "echo"

    def init(self):
        return {"size": 2}

    def update(self, state, observation):
        size = int(observation.value("size") or state["size"])
        return {"size": size}, Decision(size, size / 100)


@pytest.mark.parametrize("lag", [0, 1, 4])
def test_a_row_reaches_exactly_the_batch_lag_later(lag):
    sampler = DynamicBatchSampler(1000, Echo(), lag=lag)
    used = optimizer(0.1)
    sampler.attach(used)
    found = []
    for _ in sampler:
        step = sampler.current.step
        found.append((sampler.current.decision.batch_size, used.param_groups[0]["lr"]))
        sampler.step({"size": 7} if step == 3 else None)
        if step > 12:
            break
    changed = 3 + 1 + lag
    assert [size for size, _ in found] == [2] * changed + [7] * (14 - changed)
    assert [rate for _, rate in found] == pytest.approx([0.02] * changed + [0.07] * (14 - changed))


@pytest.mark.parametrize(("options", "lag"), list(zip(LOADERS, (0, 3, 4, 4), strict=True)), ids=str)
def test_the_least_lag_is_workers_times_prefetch(options, lag):
    """Prefetching runs exactly workers x prefetch batches ahead."""

    def steps(sampler):
        count = 0
        for _ in DataLoader(range(1000), batch_sampler=sampler, **options):
            count += 1
            sampler.step()
        return count

    assert steps(DynamicBatchSampler(1000, Echo(), lag=lag)) == 500
    if lag:
        with pytest.raises(
            RuntimeError, match=rf"lag={lag - 1} is too short.*num_workers \* prefetch_factor"
        ):
            steps(DynamicBatchSampler(1000, Echo(), lag=lag - 1))


@pytest.mark.parametrize("options", LOADERS, ids=ids)
@pytest.mark.parametrize("name", ["s4-to-64-MS+sqrt", "s4-norm-test", "s8-noise-scale+hysteresis+adascale"])
@pytest.mark.parametrize("stop", [0, 1, 17, 26, 30, 49])
def test_resuming_gives_the_same_batches(name, options, stop):
    """Stopped after any number of steps, with sizes in flight; the state goes through JSON."""
    whole = run(built(name, lag=4), 6)
    first, used = built(name, lag=4), optimizer(0.5)
    first.attach(used)
    loader, done = DataLoader(DATA, batch_sampler=first, **options), 0
    while done < stop:
        for _ in loader:
            first.step(row_at(done) if done % 3 == 0 else None)
            done += 1
            if done == stop:
                break
    saved = json.loads(json.dumps(first.state_dict()))
    second, fresh = built(name, lag=4), optimizer(0.5)
    second.load_state_dict(saved)
    epochs = 6 - second.epoch
    assert run(second, epochs, options, opened=fresh) == whole[stop:]


def test_loading_sets_the_attached_rate():
    first = built("s8", epochs=1)
    for _ in range(10):
        first.step()
    second, used = built("s8", epochs=1), optimizer(0.5)
    second.attach(used)
    second.load_state_dict(first.state_dict())
    assert used.param_groups[0]["lr"] == pytest.approx(first.current.decision.lr)
    assert first.current.decision.lr < 0.1


def test_schedules_keep_no_measurements():
    sampler = built("s8")
    list(sampler)  # planned ahead, as workers do
    for step in range(13):
        sampler.step(row_at(step))
    assert sampler.state_dict()["rows"] == []


def test_a_state_is_not_changed_by_going_on():
    sampler = built("s4-norm-test", lag=2)
    state = sampler.state_dict()
    text = json.dumps(state)
    run(sampler, 2)
    assert json.dumps(state) == text


def test_a_break_goes_on_where_it_stopped():
    sampler, seen = built("s8"), []
    loader = DataLoader(DATA, batch_sampler=sampler, num_workers=2)
    for _ in range(2):
        for count, (batch,) in enumerate(loader, 1):
            seen += batch.tolist()
            sampler.step()
            if count == 5 and len(seen) == 40:
                break
    assert sorted(seen) == list(range(SAMPLES))


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"lag": 1}, {"epochs": 8}, {"name": "s16"}, {"world_size": 2}, {"shuffle": False}],
    ids=str,
)
def test_another_sampler_s_state_is_refused(other):
    with pytest.raises(ValueError, match="build it with the same arguments"):
        built(**{"name": "s8", **other}).load_state_dict(built("s8").state_dict())


@pytest.mark.parametrize("name", ["s4-to-64", "s4-growth", "s32"])
def test_len_counts_the_batches_to_come(name):
    sampler = built(name)
    before = sampler.state_dict()
    for _ in range(3):
        left = len(sampler)
        assert len(DataLoader(DATA, batch_sampler=sampler)) == left
        for _ in sampler:
            assert len(sampler) == left
            sampler.step()
            left -= 1
            if not left:
                break
    fresh = built(name)
    len(fresh)
    assert fresh.state_dict() | {"queue": []} == before | {"queue": []} | {
        key: fresh.state_dict()[key] for key in ("planned", "place", "policy_state")
    }


def test_len_of_a_closed_loop_is_unknown():
    with pytest.raises(TypeError, match="decides during training"):
        len(built("s8-norm-test"))


def test_peeking_takes_nothing():
    sampler = built("s8")
    loader = DataLoader(DATA, batch_sampler=sampler)
    first = next(iter(loader))[0].tolist()
    assert next(iter(loader))[0].tolist() == first
    assert run(sampler, 1)[0][0] == first


def test_an_old_iterator_is_told():
    sampler = built("s8")
    old = iter(sampler)
    next(old)
    for _ in range(3):
        sampler.step()
    with pytest.raises(RuntimeError, match="this iterator is out of date"):
        next(old)


def test_a_closed_loop_without_rows_is_warned_once():
    sampler = built("s8-norm-test")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(40):
            sampler.step()
    (warning,) = caught
    assert "got none for an epoch" in str(warning.message)


def blocks():
    text = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(blocks())))
def test_the_how_to_runs(number, tmp_path):
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(100, 4), torch.randint(3, (100,)))
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    scope = {"data": data, "model": model, "path": tmp_path / "checkpoint.pt"}
    before = model[0].weight.detach().clone()
    exec(compile(blocks()[number], f"docs/policies.md block {number + 1}", "exec"), scope)
    assert not torch.equal(before, model[0].weight)


def test_the_how_to_is_ten_lines():
    lines = [
        line for line in blocks()[0].splitlines() if line.strip() and not line.startswith(("import", "from"))
    ]
    assert len(lines) <= 10


def test_datasets_are_only_counted():
    class Counted(Dataset):
        def __len__(self):
            return 10

        def __getitem__(self, index):
            raise AssertionError("no sample is looked at")

    assert DynamicBatchSampler(Counted(), parse("s8", lr=0.1, epochs=1)).length == 10

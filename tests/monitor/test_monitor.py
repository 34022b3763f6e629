"""Arguments, epochs, runs and trackers of a monitor."""

import pytest
import torch
from tests.cases.monitor_loop import Loop, MemoryRun
from torch import nn

import fisherscope as fs


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"every": 0}, "every=0"),
        ({"stride": True, "budget": 0.1}, "exclude each other"),
        ({"per_epoch": 3}, "needs dataset_size"),
        ({"budget": 2.0}, r"share of the training time.*\(0, 1\)"),
        ({"max_samples": 1}, "at least 2"),
        ({"rule": "flor"}, "did you mean 'floor'"),
    ],
)
def test_contradictory_arguments_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        Loop(**options)


def test_what_is_no_optimizer_and_no_argument_is_refused():
    model = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="without param_groups"):
        fs.Monitor(model, model.parameters())
    with pytest.raises(TypeError, match="unknown argument evry"):
        fs.Monitor(model, torch.optim.SGD(model.parameters(), 0.1), evry=3)


def test_epochs_are_counted_by_samples_until_their_ends_are_said():
    loop = Loop(every=1, dataset_size=96)
    loop.run(7)
    assert loop.monitor.measurement["epoch"] == pytest.approx(1 + 1 / 6)
    said = Loop(every=1, dataset_size=96)
    for epoch in range(2):
        said.run(5)  # the last batch of the epoch is dropped
        said.monitor.epoch_end()
        said.run(1)
        assert said.monitor.measurement["epoch"] == pytest.approx(epoch + 1 + 1 / 6)
        said.run(4)
        said.monitor.state.history.running.counters.end_epoch()
        said.monitor.state.history.running.counters.epoch -= 1


def test_a_run_gets_rows_and_whole_spectra():
    run = MemoryRun()
    monitor = Loop(run=run, every=2, stride=True).run(4)
    assert [row["step"] for row in run.rows] == [0, 2]
    assert run.rows[-1] is monitor.state.history.rows[-1]
    for row, eigenvalues in zip(run.rows, run.spectra, strict=True):
        assert eigenvalues.shape == (16,)
        floor = eigenvalues[0] / row["fisher/cond_limit"] ** 2
        assert fs.measures.cond(eigenvalues, "floor", floor) == pytest.approx(row["fisher/cond"])


def test_trackers_get_each_row_and_cannot_harm_the_loop():
    seen = []

    def broken(row):
        raise OSError("server away")

    loop = Loop(every=2, stride=True, on_measure=[seen.append, broken])
    with pytest.warns(RuntimeWarning, match="server away"):
        loop.run(4)
    assert [row["step"] for row in seen] == [0, 2]
    seen[0].clear()
    assert loop.monitor.history["step"][0] == 0
    with pytest.raises(OSError, match="server away"):
        Loop(on_measure=[broken], strict=True).run(1)


def test_the_row_of_the_step_just_done_is_at_hand():
    loop = Loop(every=2, stride=True)
    loop.take(slice(0, 16))
    assert loop.monitor.measurement["step"] == 0
    loop.take(slice(0, 16))
    assert loop.monitor.measurement is None

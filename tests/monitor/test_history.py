"""A saved monitor resumes as if it had not stopped."""

import json
import warnings

import pytest
from tests.cases.monitor_loop import Loop, in_parts


def without_times(rows):
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


@pytest.mark.parametrize(
    "options",
    [
        {"every": 4},
        {"every": 4, "stride": True},
        {"per_epoch": 2, "dataset_size": 96},
        {"groups": True, "every": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("stop", [1, 5, 9])
def test_a_resumed_monitor_goes_on_as_if_it_had_not_stopped(options, stop):
    whole = Loop(**options)
    whole.run(15)
    first = Loop(**options)
    first.run(stop)
    second = Loop(**options)
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.monitor.load_state_dict(json.loads(json.dumps(first.monitor.state_dict(), allow_nan=False)))
    for step in range(stop, 15):
        second.take(slice(step * 16 % 96, step * 16 % 96 + 16))
    rows = without_times(whole.monitor.history.rows(named=True))
    assert without_times(second.monitor.history.rows(named=True)) == rows
    assert second.monitor.totals() == whole.monitor.totals()
    assert second.monitor.layers.equals(whole.monitor.layers)


def test_a_resumed_monitor_knows_of_micro_batches():
    first, second = Loop(every=2, stride=True), Loop(every=2, stride=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        in_parts(first, (4, 4))
    in_parts(first, (4, 4))
    second.monitor.load_state_dict(json.loads(json.dumps(first.monitor.state_dict())))
    in_parts(second, (4, 4))
    assert second.monitor.measurement["status"] == "ok"


def test_a_saved_state_has_the_keys_that_older_runs_have():
    monitor = Loop(per_epoch=2, dataset_size=96).run(3)
    state = monitor.state_dict()
    assert set(state) == {"settings", "account", "epochs_given", "notes", "rows", "schedule", "sizes"}
    assert set(state["account"]) == {"counters", "cond", "energy", "noise", "layers", "samples"}
    assert set(state["schedule"]) == {"epoch", "taken"}
    assert set(state["sizes"]) == {"places", "ratio", "passes", "count_ratio"}


def test_a_state_without_the_later_keys_is_resumed():
    monitor = Loop(per_epoch=2, dataset_size=96).run(3)
    state = monitor.state_dict()
    del state["sizes"]["count_ratio"]
    again = Loop(per_epoch=2, dataset_size=96).monitor
    again.load_state_dict(state)
    assert again.totals() == monitor.totals()


def test_a_state_of_another_way_of_measuring_is_refused():
    state = Loop(every=4).run(3).state_dict()
    with pytest.raises(ValueError, match=r"every=4 \(now 5\)"):
        Loop(every=5).monitor.load_state_dict(state)

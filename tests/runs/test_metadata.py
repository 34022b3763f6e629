"""How a run's end is recorded."""

from __future__ import annotations

import pytest
from tests.cases.toy_run import CONFIG

import fisherscope as fs
from fisherscope.runs import RunError


def test_the_end_is_recorded(tmp_path):
    with fs.open_run(tmp_path / "diverged", CONFIG) as run:
        run.finish("diverged", "loss is NaN at step 3")
    with pytest.raises(KeyboardInterrupt), fs.open_run(tmp_path / "stopped", CONFIG):
        raise KeyboardInterrupt
    with pytest.raises(RunError, match="closed"):
        run.log_epoch()
    with (
        fs.open_run(tmp_path / "odd", CONFIG) as run,
        pytest.raises(ValueError, match="expected one of finished"),
    ):
        run.finish("done")
    ends = dict(fs.load_runs(tmp_path).runs.select("run_id", "status").rows())
    assert ends == {"diverged": "diverged", "stopped": "interrupted", "odd": "finished"}

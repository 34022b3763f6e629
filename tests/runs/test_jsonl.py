"""Rows of the logs."""

from __future__ import annotations

import numpy as np
import pytest
from tests.cases.toy_run import CONFIG

import fisherscope as fs
from fisherscope.runs import atomic_io as run_files


@pytest.mark.parametrize("row", [{"step": 0, "a": object()}, {"step": 0, "a": {"b": np.ones(2)}}])
def test_what_is_not_plain_is_refused_by_name(tmp_path, row):
    with fs.open_run(tmp_path / "a", CONFIG) as run:
        with pytest.raises(TypeError, match=r"row\['a'\].*expected numbers"):
            run.log_step(row)
        with pytest.raises(ValueError, match="one dimension"):
            run.log_step({"step": 0}, np.ones((2, 2)))
        with pytest.raises(TypeError, match=r"'name'.*dtype"):
            run.log_outcomes(name=np.array(["a"]))
    assert len(fs.load_runs(tmp_path).steps) == 0


def test_the_last_row_is_found_whatever_its_length(tmp_path, monkeypatch):
    monkeypatch.setattr(run_files, "TAIL_BYTES", 4)
    path = tmp_path / "rows"
    assert run_files.last_row(path) is None
    path.write_bytes(b'{"a": 1}\n{"a": "long enough"}\n{"torn')
    assert run_files.last_row(path) == {"a": "long enough"}

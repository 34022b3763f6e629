"""The list of runs in a terminal."""

from __future__ import annotations

from pathlib import Path

import fisherscope as fs


def test_a_long_reason_leaves_the_other_columns(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with fs.open_run(tmp_path / "runs" / "mine", {"task": "mine"}) as made:
        made.log_epoch(epoch=1, step=1, val_error=0.25)
        made.finish("failed", "a reason that goes on and on " * 20)
    told = run("runs", "runs")
    assert "failed" in told
    assert "0.25" in told

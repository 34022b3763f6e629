"""Runs that resume, start over, or are refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from tests.cases.toy_run import CONFIG, spectrum_of

import fisherscope as fs
from fisherscope.runs import RunError


def test_rows_after_the_checkpoint_are_dropped(tmp_path):
    run = fs.open_run(tmp_path / "a", CONFIG)
    for step in range(3):
        run.log_step({"step": step}, spectrum_of(step))
    run.log_epoch(step=3)
    run.save_checkpoint({"step": 3})
    run.log_step({"step": 3}, spectrum_of(3))
    run.log_epoch(step=4)
    run.close()
    with (tmp_path / "a" / "steps.jsonl").open("ab") as file:
        file.write(b'{"step":4,"fi')  # torn
    run = fs.open_run(tmp_path / "a", CONFIG)
    assert run.load_checkpoint() == {"step": 3}
    run.log_step({"step": 3}, [9.0])
    run.log_epoch(step=4)
    run.close()
    runs = fs.load_runs(tmp_path)
    assert runs.steps["step"].to_list() == [0, 1, 2, 3]
    assert runs.epochs.select("epoch", "step").rows() == [(1, 3), (2, 4)]
    assert [list(values) for values in runs.spectra("a")] == [
        *(list(spectrum_of(step)) for step in range(3)),
        [9.0],
    ]


def test_without_a_checkpoint_a_run_begins_anew(tmp_path):
    def failing():
        with fs.open_run(tmp_path / "a", CONFIG) as run:
            run.log_step({"step": 0}, [1.0])
            run.log_epoch(step=1)
            raise ZeroDivisionError("by the loop")

    with pytest.raises(ZeroDivisionError):
        failing()
    run = fs.open_run(tmp_path / "a", CONFIG)
    assert (run.status, run.reason) == ("failed", "ZeroDivisionError: by the loop")
    assert run.load_checkpoint() is None
    assert run.status == "running"
    run.log_step({"step": 0})
    run.close()
    runs = fs.load_runs(tmp_path)
    assert (len(runs.steps), len(runs.epochs), runs.spectra("a")) == (1, 0, [None])


def test_rewinding_for_loops_with_their_own_checkpoint(tmp_path):
    with fs.open_run(tmp_path / "a", CONFIG) as run:
        for step in range(6):
            run.log_step({"step": step}, spectrum_of(step) if step % 2 else None)
            if step % 2:
                run.log_epoch(step=step + 1)
                run.save_checkpoint({"step": step + 1})
    run = fs.open_run(tmp_path / "a")
    run.rewind(4)
    run.log_step({"step": 4})
    run.log_epoch(step=6)
    run.close()
    runs = fs.load_runs(tmp_path)
    assert runs.steps["step"].to_list() == [0, 1, 2, 3, 4]
    assert runs.epochs["epoch"].to_list() == [1, 2, 3]
    assert [None if v is None else v.tolist() for v in runs.spectra("a")] == [
        None, spectrum_of(1).tolist(), None, spectrum_of(3).tolist(), None]  # fmt: skip
    assert not (tmp_path / "a" / "checkpoint.pt").exists()  # it was of step 6


def test_an_existing_run_is_never_added_to_by_accident(tmp_path):
    with fs.open_run(tmp_path / "a", CONFIG) as run:
        run.log_step({"step": 0})
        run.save_checkpoint({"step": 1})
    for write in (
        lambda r: r.log_step({"step": 1}),
        lambda r: r.log_epoch(),
        lambda r: r.log_outcomes(a=[1]),
    ):
        with fs.open_run(tmp_path / "a", CONFIG) as run:
            assert run.status == "finished"
            with pytest.raises(RunError, match=r"holds a run already \(finished\).*load_checkpoint"):
                write(run)
            assert run.load_checkpoint() == {"step": 1}  # to look at; the run stays finished
            assert len(fs.load_runs(tmp_path).steps) == 1
    with fs.open_run(tmp_path / "a", {**CONFIG, "lr": 0.2}, restart=True) as run:
        run.log_epoch(val_error=0.5)
    runs = fs.load_runs(tmp_path)
    assert (len(runs.steps), len(runs.epochs), runs.runs["lr"][0]) == (0, 1, 0.2)
    assert not (tmp_path / "a" / "checkpoint.pt").exists()


def test_a_measurement_twice_is_refused(tmp_path):
    with fs.open_run(tmp_path / "a", CONFIG) as run:
        run.log_step({"step": 4})
        with pytest.raises(RunError, match=r"step 4 .*already there.*rewind"):
            run.log_step({"step": 4})
        run.log_epoch(epoch=2, step=5)
        with pytest.raises(RunError, match=r"epoch 2 .*already there"):
            run.log_epoch(epoch=2, step=5)


def test_another_configuration_is_refused(tmp_path):
    fs.open_run(tmp_path / "a", CONFIG).close()
    with pytest.raises(
        RunError, match=r"another configuration: lr=0\.1 \(now 0\.2\), momentum=absent \(now 0\.9\)"
    ):
        fs.open_run(tmp_path / "a", {**CONFIG, "lr": 0.2, "momentum": 0.9})
    fs.open_run(tmp_path / "a", {**CONFIG, "lr": np.float64(0.1)}).close()
    run = fs.open_run(tmp_path / "a")
    assert run.config == CONFIG
    run.close()


def test_a_checkpoint_of_another_configuration_or_version_is_refused(tmp_path):
    for name, config in (("a", CONFIG), ("b", {**CONFIG, "seed": 1})):
        with fs.open_run(tmp_path / name, config) as run:
            run.log_step({"step": 0})
            run.save_checkpoint({})
            run.finish("interrupted")
    shutil.copy(tmp_path / "a" / "checkpoint.pt", tmp_path / "b" / "checkpoint.pt")
    with fs.open_run(tmp_path / "b") as run:
        with pytest.raises(RunError, match=r"another configuration: seed=0 \(now 1\)"):
            run.load_checkpoint()
        held = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)
        torch.save({**held, "format": 2}, tmp_path / "b" / "checkpoint.pt")
        with pytest.raises(RunError, match=r"checkpoint format 2, .* reads 1"):
            run.load_checkpoint()
    assert len(fs.load_runs(tmp_path / "b").steps) == 1


def test_a_run_of_another_format_is_refused_and_named(tmp_path):
    fs.open_run(tmp_path / "a", CONFIG).close()
    head = json.loads((tmp_path / "a" / "run.json").read_text())
    (tmp_path / "a" / "run.json").write_text(json.dumps({**head, "format": 2}))
    with pytest.raises(RunError, match="format 2"):
        fs.open_run(tmp_path / "a", CONFIG)
    with pytest.warns(RuntimeWarning, match="format 2"):
        assert len(fs.load_runs(tmp_path)) == 0

"""Killed at any write, or out of disk space: a run is resumed and nothing is lost."""

from __future__ import annotations

import collections
import itertools
import json
import os
import random
import resource
import shutil
import signal
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.cases.toy_run import CONFIG, fork, in_child, spectrum_of

import fisherscope as fs
from fisherscope.runs import RunError

STEPS_AN_EPOCH, EPOCHS, CHECKPOINT_EVERY = 4, 4, 3


def toy_loop(path):
    """A loop whose every number follows from its state, so that a resumed one can be compared bit for bit."""
    with fs.open_run(path, CONFIG) as run:
        if run.status == "finished":
            return
        state = run.load_checkpoint() or {"step": 0, "weights": torch.ones(20)}
        step, weights = state["step"], state["weights"]
        while step < STEPS_AN_EPOCH * EPOCHS:
            weights = weights * 1.01 + step
            run.log_step({"step": step, "fisher/cond": float(weights.sum())}, spectrum_of(step))
            step += 1
            if step % STEPS_AN_EPOCH == 0:
                run.log_epoch(epoch=step // STEPS_AN_EPOCH, step=step, train_loss=float(weights[0]))
            if step % CHECKPOINT_EVERY == 0:
                run.save_checkpoint({"step": step, "weights": weights})
        run.save_checkpoint({"step": step, "weights": weights})


def contents(path):
    """What the loop is there for; not the times of day."""
    logs = {name: (path / name).read_bytes() for name in ("steps.jsonl", "spectra.bin", "epochs.jsonl")}
    held = torch.load(path / "checkpoint.pt", weights_only=True)
    head = json.loads((path / "run.json").read_text())
    return {
        **logs,
        "weights": held["state"]["weights"].tolist(),
        "marks": held["marks"],
        "status": head["status"],
    }


def killed_at_call(path, count, partly):
    """The loop in this process, which kills itself at its `count`-th call that changes the disk."""
    real = {name: getattr(os, name) for name in ("write", "ftruncate", "fsync", "open")}
    replace, calls = Path.replace, iter(range(10**9))

    def dying(name):
        def call(*args, **options):
            if next(calls) == count:
                if name == "write" and partly:
                    real["write"](args[0], args[1][: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real[name](*args, **options)

        return call

    def dying_replace(self, target):
        if next(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    for name in real:
        setattr(os, name, dying(name))
    Path.replace = dying_replace
    toy_loop(path)


def test_killed_at_every_write_and_resumed_it_ends_the_same(tmp_path):
    toy_loop(tmp_path / "whole" / "a")
    expected = contents(tmp_path / "whole" / "a")
    count, ends = 0, []
    while not ends or ends[-1] == -signal.SIGKILL:
        path = tmp_path / str(count) / "a"
        ends.append(in_child(killed_at_call, path, count, bool(count % 2)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if path.exists():  # a reader meets no trouble, and no half measurement
                runs = fs.load_runs(path.parent)
                if len(runs):
                    for step, values in zip(runs.steps["step"], runs.spectra("a"), strict=True):
                        assert np.array_equal(values, spectrum_of(step))
        toy_loop(path) if ends[-1] else None
        assert contents(path) == expected, count
        assert not list(path.glob(".*")), count
        count += 3
    assert len(ends) > 30
    assert ends[-1] == 0


def test_killed_at_random_moments_again_and_again_it_ends_the_same(tmp_path):
    toy_loop(tmp_path / "whole")
    expected, rng, kills = contents(tmp_path / "whole"), random.Random(0), 0
    for trial in range(100):
        if trial >= 10 and kills > 10:  # on a quick machine more of them end before they are killed
            break
        path = tmp_path / str(trial)
        for attempt in itertools.count(1):
            child = fork.Process(target=toy_loop, args=(path,))
            child.start()
            child.join(rng.uniform(0, 0.005 * attempt))
            child.kill()
            child.join()
            if child.exitcode == 0:
                break
            kills += 1
        assert contents(path) == expected
    assert kills > 10


def unprivileged(work):
    """Exit code of `work` in a child process that may not do everything."""

    def child():
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            work()
        except RunError as error:
            os.write(1, f"{error}\n".encode())
            os._exit(7)

    return in_child(child)


@pytest.fixture
def open_place():
    """A directory that any user may enter."""
    path = Path(tempfile.mkdtemp(prefix="fisherscope-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_a_read_only_directory_is_a_clear_error(open_place, capfd):
    (open_place / "locked").mkdir(mode=0o555)
    assert unprivileged(lambda: fs.open_run(open_place / "locked" / "a", CONFIG)) == 7
    assert "Permission denied" in capfd.readouterr().out
    fs.open_run(open_place / "there", CONFIG).close()
    (open_place / "there").chmod(0o555)
    (open_place / "there" / "lock").chmod(0o444)
    assert unprivileged(lambda: fs.open_run(open_place / "there", CONFIG)) == 7
    said = capfd.readouterr().out
    assert "you may write to" in said
    fs.open_run(open_place / "there", CONFIG).close()


def test_a_full_disk_is_a_clear_error_and_keeps_what_was_there(tmp_path, capfd):
    """The kernel refuses to let files grow beyond a size, in the middle of a write."""
    limit = 20_000

    def child():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        run = fs.open_run(tmp_path / "a", CONFIG)
        run.save_checkpoint({"step": 0, "weights": torch.zeros(10)})
        with pytest.raises(RunError, match=r"writing checkpoint\.pt .*before is intact"):
            run.save_checkpoint({"step": 0, "weights": torch.zeros(limit)})
        begun: list[int] = []
        rows = ({"step": begun.append(step) or step, "text": "x" * 997} for step in itertools.count())
        with pytest.raises(RunError, match=r"appending to steps\.jsonl"):
            collections.deque((run.log_step(row, [1.0] * 10) for row in rows), maxlen=0)
        run.log_step({"step": begun[-1]}, [2.0])  # what fits goes on, whole
        os._exit(7)

    assert in_child(child) == 7
    run = fs.open_run(tmp_path / "a", CONFIG)
    runs = fs.load_runs(tmp_path)
    assert runs.steps["step"].to_list() == list(range(len(runs.steps)))
    assert runs.spectra("a")[-1].tolist() == [2.0]
    assert run.load_checkpoint()["weights"].tolist() == [0] * 10
    run.close()


def test_no_space_left_is_said_so(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    run = fs.open_run(tmp_path / "a", CONFIG)
    (tmp_path / "a" / "epochs.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"appending to epochs\.jsonl.*No space left.*free some space"):
        run.log_epoch(val_error=1.0)
    run.close()

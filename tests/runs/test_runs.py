"""The run directory: what is written is read back, whatever is killed, full, damaged or asked for twice."""

from __future__ import annotations

import collections
import itertools
import json
import math
import multiprocessing
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import fisherscope as fs
from fisherscope.runs import DamagedRunError, RunError, RunLockedError, lock, run_id
from fisherscope.runs import atomic_io as run_files

CONFIG = {"task": "digits/mlp", "batch_size": 32, "lr": 0.1, "epochs": 4, "seed": 0}
STEPS_AN_EPOCH, EPOCHS, CHECKPOINT_EVERY = 4, 4, 3

fork = multiprocessing.get_context("fork")


def spectrum_of(step):
    return np.random.default_rng(step).random(1 + step % 5)


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


def in_child(work, *args):
    """Exit code of `work` in a real child process; negative for a signal."""
    child = fork.Process(target=work, args=args)
    child.start()
    child.join()
    return child.exitcode


# --- what is written is read back


def test_rows_spectra_and_outcomes_come_back(tmp_path):
    with fs.open_run(tmp_path / "mine", CONFIG) as run:
        run.log_step(
            {
                "step": 0,
                "fisher/cond": math.inf,
                "n": np.int64(3),
                "x": torch.tensor(0.5),
                "ok": np.bool_(True),
            },
            [3.0, 2.0, 1.0],
        )
        run.log_step({"step": 7, "fisher/cond": 2.5, "status": "näin"})
        run.log_step({"step": 8, "fisher/cond": np.float32("nan")}, torch.ones(2, dtype=torch.float64))
        run.log_epoch({"val/error": 0.25}, train_loss=1.5, val_top_5=0.5, lr=0.1, time_train_s=2.0)
        run.log_epoch(test_error=math.nan)
        correct, loss = np.arange(22).reshape(2, 11) % 3 == 0, np.linspace(0, 1, 11, dtype=np.float32)
        run.log_outcomes(correct=correct, loss=loss)
        run.log_text("hello")
    runs = fs.load_runs(tmp_path)
    assert runs.steps.select("step", "fisher/cond", "n", "x", "ok", "status").rows() == [
        (0, None, 3, 0.5, True, None),
        (7, 2.5, None, None, None, "näin"),
        (8, None, None, None, None, None),
    ]
    spectra = runs.spectra("mine")
    assert spectra[0].tolist() == [3, 2, 1]
    assert spectra[1] is None
    assert spectra[2].tolist() == [1, 1]
    first, second = runs.epochs.to_dicts()
    assert first == {"run_id": "mine", "epoch": 1, "val/error": 0.25, "train/loss": 1.5, "val/top_5": 0.5,
                     "lr": 0.1, "time/train_s": 2.0, "test/error": None}  # fmt: skip
    assert second["epoch"] == 2
    held = runs.outcomes("mine")
    assert held["correct"].dtype == bool
    assert np.array_equal(held["correct"], correct)
    assert np.array_equal(held["loss"], loss)
    assert (tmp_path / "mine" / "log.txt").read_text().endswith("Z hello\n")
    row = runs.runs.row(0, named=True)
    assert (row["run_id"], row["status"], row["batch_size"], row["lr"]) == ("mine", "finished", 32, 0.1)
    assert runs.head("mine")["environment"]["torch"] == torch.__version__.partition("+")[0] or "torch"


def test_a_monitor_writes_and_resumes_through_it(tmp_path):
    def loop(run, steps):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        monitor = fs.Monitor(model, optimizer, every=2, run=run, dataset_size=16)
        for _ in range(steps):
            optimizer.zero_grad()
            with monitor.observe():
                torch.nn.functional.cross_entropy(model(torch.randn(8, 3)), torch.randint(2, (8,))).backward()
            optimizer.step()
        run.log_epoch(**monitor.epoch_end())
        run.save_checkpoint({"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                             "monitor": monitor.state_dict()})  # fmt: skip
        return monitor

    with fs.open_run(tmp_path / "a", CONFIG) as run:
        monitor = loop(run, 6)
    runs = fs.load_runs(tmp_path)
    assert runs.steps["fisher/cond"].to_list() == monitor.history["fisher/cond"].to_list()
    assert [len(values) for values in runs.spectra("a")] == [8] * len(monitor.history)
    assert runs.epochs["fisher/cond_mean"][0] == pytest.approx(monitor.totals()["fisher/cond_mean"])
    run = fs.open_run(tmp_path / "a", CONFIG)
    assert run.load_checkpoint()["monitor"]["rows"]["step"] == runs.steps["step"].to_list()
    run.close()


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ({"a": {"b": [1, np.float64(2)]}}, r"state\['a'\]\['b'\]\[1\] is of float64"),
        ({"a": [1.0, {2}]}, r"state\['a'\]\[1\] is of set"),
        (np.ones(3), "state is of ndarray"),
        ({(1, 2): 3}, "key of tuple"),
    ],
)
def test_a_state_that_could_not_be_read_back_is_refused_when_saved(tmp_path, state, place):
    with fs.open_run(tmp_path / "a", CONFIG) as run:
        run.save_checkpoint({"kept": 1})
        with pytest.raises(TypeError, match=place):
            run.save_checkpoint(state)
        assert run.load_checkpoint() == {"kept": 1}


def test_states_of_torch_come_back(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "plain": [None, "x", b"1", (1, 2.5), OrderedDict(a=1)],
    }
    with fs.open_run(tmp_path / "a", CONFIG) as run:
        run.save_checkpoint(state)
        back = run.load_checkpoint()
    assert str(back) == str(state)


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


# --- going on


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


# --- how it ends


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


# --- one writer


WRITER = textwrap.dedent(
    """
    import sys, time, fisherscope as fs
    run = fs.open_run(sys.argv[1], {"task": "x"})
    print("open", flush=True)
    for step in range(100_000):
        run.log_step({"step": step, "x": step / 7, "y": None}, [1.0, float(step)])
    """
)


@pytest.fixture
def writer(tmp_path):
    """A second process that writes the run `busy` for as long as the test lasts."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "busy")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "open\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_writer_is_told_who_has_it_and_a_dead_one_is_succeeded(tmp_path, writer):
    with pytest.raises(RunLockedError, match=f"process {writer.pid} on {socket.gethostname()}"):
        fs.open_run(tmp_path / "busy", {"task": "x"})
    assert fs.load_runs(tmp_path).runs["status"].to_list() == ["running"]
    with pytest.raises(RunLockedError):  # asking did not take the lock away
        fs.open_run(tmp_path / "busy", {"task": "x"})
    writer.kill()
    writer.wait()
    runs = fs.load_runs(tmp_path)
    assert runs.runs.select("status", "reason").row(0) == (
        "interrupted",
        "the process exited without closing the run",
    )
    run = fs.open_run(tmp_path / "busy", {"task": "x"})
    assert run.load_checkpoint() is None
    run.close()


def test_one_process_does_not_open_a_run_twice_and_reading_does_not_unlock_it(tmp_path):
    run = fs.open_run(tmp_path / "a", CONFIG)
    with pytest.raises(RunLockedError, match=str(os.getpid())):
        fs.open_run(tmp_path / "." / "a", CONFIG)
    assert fs.load_runs(tmp_path).runs["status"][0] == "running"

    def other():
        lock._own_locks.clear()  # as a process that was not forked from this one
        try:
            fs.open_run(tmp_path / "a", CONFIG)
        except RunLockedError:
            os._exit(7)

    assert in_child(other) == 7
    run.close()
    fs.open_run(tmp_path / "a", CONFIG).close()


def test_a_forked_child_neither_writes_nor_unlocks(tmp_path):
    run = fs.open_run(tmp_path / "a", CONFIG)

    def child():
        try:
            run.log_epoch()
        except RunError as error:
            run.close()
            os._exit(7 if "log from the process that opened it" in str(error) else 1)

    assert in_child(child) == 7
    run.log_epoch()
    with pytest.raises(RunLockedError):
        fs.open_run(tmp_path / "a", CONFIG)
    run.close()


@pytest.mark.parametrize(
    ("left", "stale"),
    [
        ({"pid": 1, "host": "another.example", "boot": "x"}, False),
        ({"pid": os.getppid(), "host": socket.gethostname(), "boot": lock._boot()}, False),
        ({"pid": os.getppid(), "host": socket.gethostname(), "boot": "before"}, True),
        ({"pid": 2**22 + 1, "host": socket.gethostname(), "boot": lock._boot()}, True),
        (None, True),
    ],
)
def test_where_the_file_system_has_no_locks_the_record_counts(tmp_path, monkeypatch, left, stale):
    monkeypatch.setattr(lock, "fcntl", None)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "lock").write_text("" if left is None else json.dumps(left))
    if not stale:
        with pytest.raises(RunLockedError, match=rf"process {left['pid']} on"):
            fs.open_run(tmp_path / "a", CONFIG)
    else:
        fs.open_run(tmp_path / "a", CONFIG).close()
    assert (lock.holder(tmp_path / "a" / "lock") is None) == stale


def test_many_processes_at_once_one_writes(tmp_path):
    go, held = fork.Event(), fork.Event()

    def one(k):
        go.wait()
        try:
            with fs.open_run(tmp_path / "a", CONFIG) as run:
                run.log_text(f"writer {k}")
                held.wait()
        except RunLockedError:
            os._exit(7)

    children = [fork.Process(target=one, args=(k,)) for k in range(6)]
    for child in children:
        child.start()
    go.set()
    while sum(child.exitcode == 7 for child in children) < 5:
        assert not any(child.exitcode == 1 for child in children)
        time.sleep(0.01)
    held.set()
    for child in children:
        child.join()
    assert sorted(child.exitcode for child in children) == [0, 7, 7, 7, 7, 7]
    assert (tmp_path / "a" / "log.txt").read_text().count("writer") == 1


# --- killed


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


# --- reading while writing


def test_reading_a_run_that_is_being_written(tmp_path, writer):
    lengths = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while len(set(lengths)) < 4 or lengths[-1] < 5000:  # it writes for as long as it is read
            assert writer.poll() is None, "the writer has died"
            runs = fs.load_runs(tmp_path)
            steps = runs.steps["step"].to_list()
            assert steps == list(range(len(steps)))
            for step, values in zip(steps, runs.spectra("busy"), strict=True):
                assert values[1] == step
            lengths.append(len(steps))
    assert lengths == sorted(lengths)


# --- trouble with the disk


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


# --- damage


@pytest.fixture
def damaged(tmp_path):
    """A good run, and one to be damaged; both interrupted after a checkpoint."""
    for name in ("good", "bad"):
        with fs.open_run(tmp_path / name, CONFIG) as run:
            for step in range(5):
                run.log_step({"step": step, "x": 1.0}, [1.0, 2.0])
            run.log_epoch(step=5, val_error=0.5)
            run.log_outcomes(loss=np.ones(50))
            run.save_checkpoint({"step": 5, "weights": torch.ones(2000)})
            run.finish("interrupted")
    return tmp_path


def middle(data):
    return data[: len(data) // 2] + b"\0\0\0\0" + data[len(data) // 2 + 4 :]


@pytest.mark.parametrize("name", ["steps.jsonl", "epochs.jsonl", "run.json", "checkpoint.pt", "outcomes.npz"])
@pytest.mark.parametrize("how", [middle, lambda data: data[: len(data) // 2], lambda data: b""])
def test_a_damaged_file_is_named_and_left_as_it_is(damaged, name, how):
    path = damaged / "bad" / name
    harmed = how(path.read_bytes())
    path.write_bytes(harmed)
    lost_rows_only = name.endswith("jsonl") and b"\0" not in harmed  # for a reader a run that has fewer rows
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        runs = fs.load_runs(damaged)
        assert "good" in runs.paths
        assert runs.steps.filter(run_id="good").height == 5
        assert runs.epochs.filter(run_id="good").height == 1
    if name in ("steps.jsonl", "epochs.jsonl", "run.json") and not lost_rows_only:
        assert [str(path)] == [str(place) for place in runs.damaged]
        assert any(str(path) in str(warning.message) for warning in said)
    if name == "outcomes.npz":
        with pytest.raises(DamagedRunError, match=str(path)):
            runs.outcomes("bad")
    elif b"\0\0\0\0" not in harmed or not name.endswith("jsonl"):
        with pytest.raises(DamagedRunError, match=name):  # noqa: PT012  (either may find it)
            run = fs.open_run(damaged / "bad", CONFIG)
            try:
                run.load_checkpoint()
            finally:
                run.close()
    assert path.read_bytes() == harmed


def test_measurements_without_their_head_are_not_taken_for_a_new_run(damaged):
    (damaged / "bad" / "run.json").unlink()
    with pytest.raises(DamagedRunError, match=r"measurements but no run\.json"):
        fs.open_run(damaged / "bad", CONFIG)
    assert len(fs.load_runs(damaged)) == 1


def test_spectra_that_are_missing_are_named(damaged):
    path = damaged / "bad" / "spectra.bin"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DamagedRunError, match=r"spectra\.bin.*\(9 values\)"):
        fs.load_runs(damaged).spectra("bad")


def test_places_that_are_not_runs(tmp_path):
    fs.open_run(tmp_path / "runs" / "a", CONFIG).close()
    with pytest.raises(RunError, match="holds runs, such as a"):
        fs.open_run(tmp_path / "runs", CONFIG)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="it is a file"):
        fs.open_run(tmp_path / "file", CONFIG)
    with pytest.raises(RunError, match="neither a directory nor a complete export"):
        fs.load_runs(tmp_path / "file")
    with pytest.raises(FileNotFoundError, match="there is no"):
        fs.load_runs(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    runs = fs.load_runs(tmp_path / "empty")
    assert (len(runs), runs.steps.columns, runs.runs.columns[:2]) == (
        0,
        ["run_id", "step"],
        ["run_id", "path"],
    )
    with pytest.raises(KeyError, match="; near: a"):
        fs.load_runs(tmp_path).outcomes("aa")


# --- ids and tables


def test_ids_are_readable_and_follow_from_the_configuration():
    assert run_id(CONFIG).startswith("digits-mlp-s32-lr0.1-seed0-")
    assert run_id(CONFIG) == run_id(dict(reversed(CONFIG.items())))
    assert run_id({**CONFIG, "note": None}) == run_id(CONFIG)
    assert run_id({**CONFIG, "momentum": 0.9}, {"momentum": 0.9}) == run_id(CONFIG)
    staged = {"policy": "s32-to-128-MS+bounds:min=8,max=64", "lr": 1e-05, "seed": 3, "task": "mine:make"}
    assert run_id(staged).startswith("mine-make-s32-to-128-MS+bounds-min=8-max=64-lr1e-05-seed3-")
    several = [{}, CONFIG, {**CONFIG, "lr": 0.2}, {**CONFIG, "seed": 1}, {**CONFIG, "momentum": 0.5}, staged,
               {**staged, "policy": "s32-to-128-MS+bounds:min=8:max=64"}, {**CONFIG, "policy": "s32-lr0.1"},
               {**CONFIG, "policy": "s32-lr0.1", "batch_size": 64}, {**CONFIG, "lr": 0.1000001}]  # fmt: skip
    assert len({run_id(config) for config in several}) == len(several)


def test_runs_of_one_name_in_two_experiments_are_told_apart(tmp_path):
    for place in ("x/a", "y/a", "y/b"):
        with fs.open_run(tmp_path / place, CONFIG) as run:
            run.log_epoch(val_error=len(place))
    runs = fs.load_runs(tmp_path)
    assert runs.runs["run_id"].to_list() == ["x/a", "y/a", "b"]
    assert len(fs.load_runs([tmp_path / "x", tmp_path / "y" / "b"])) == 2
    part = runs.filter(pl.col("run_id").str.starts_with("y"))
    assert part.epochs["run_id"].to_list() == ["y/a"]
    assert repr(part) == "<Runs: 1; 1 finished>"


def test_configurations_of_all_kinds_make_one_table(tmp_path):
    fs.open_run(tmp_path / "a", {"lr": 1, "policy": {"name": "x", "size": 3}, "list": [1, 2]}).close()
    fs.open_run(tmp_path / "b", {"lr": 0.5, "status": "mine", "flag": True}).close()
    table = fs.load_runs(tmp_path).runs
    assert table["lr"].to_list() == [1.0, 0.5]
    assert table["policy.name"].to_list() == ["x", None]
    assert table["list"].to_list() == ["[1, 2]", None]
    assert table["config.status"].to_list() == [None, "mine"]


@pytest.mark.parametrize("odd", ["late key", "missing key", "late type", "colon in text", "swapped key"])
def test_rows_that_are_not_alike_lose_nothing(tmp_path, odd):
    rows = [{"step": k, "x": k * 0.5, "n": k} for k in range(1000)]
    rows[500] = {
        "late key": {**rows[500], "late": 7},
        "missing key": {"step": 500, "n": 500},
        "late type": {**rows[500], "n": 0.5},
        "colon in text": {**rows[500], "x": None},
        "swapped key": {"step": 500, "x": 250.0, "late": 7},
    }[odd]
    if odd == "colon in text":
        rows = [{**row, "status": 'a ": b' if row["step"] == 500 else "ok"} for row in rows]
    with fs.open_run(tmp_path / "a", CONFIG) as run:
        for row in rows:
            run.log_step(row)
    table = fs.load_runs(tmp_path).steps
    for row in (rows[0], rows[500], rows[999]):
        assert {key: table[key][row["step"]] for key in row} == row
    assert table.height == 1000


def test_a_run_whose_column_is_empty_joins_one_whose_is_not(tmp_path):
    for name, value in (("a", None), ("b", 1.5), ("c", 2)):
        with fs.open_run(tmp_path / name, CONFIG) as run:
            run.log_step({"step": 0, "x": value})
    assert fs.load_runs(tmp_path).steps["x"].to_list() == [None, 1.5, 2.0]


def test_the_last_row_is_found_whatever_its_length(tmp_path, monkeypatch):
    monkeypatch.setattr(run_files, "TAIL_BYTES", 4)
    path = tmp_path / "rows"
    assert run_files.last_row(path) is None
    path.write_bytes(b'{"a": 1}\n{"a": "long enough"}\n{"torn')
    assert run_files.last_row(path) == {"a": "long enough"}

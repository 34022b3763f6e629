"""One writer a run, whatever processes do."""

from __future__ import annotations

import json
import os
import socket
import time

import pytest
from tests.cases.toy_run import CONFIG, fork, in_child

import fisherscope as fs
from fisherscope.runs import RunError, RunLockedError, lock


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

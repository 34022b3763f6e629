"""Sweeps in real processes: killed, interrupted, started twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cases.small_sweep import GRID

import fisherscope as fs


def final(root: Path) -> dict[str, Any]:
    """Parameters and epochs of every run, without their times."""
    found = {}
    for path in sorted(root.iterdir()):
        state = torch.load(path / "checkpoint.pt", weights_only=True)["state"]
        rows = [json.loads(line) for line in (path / "epochs.jsonl").read_text().splitlines()]
        plain = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]
        found[path.name] = ({name: value.tolist() for name, value in state["model"].items()}, plain)
    return found


def test_started_again_there_is_nothing_to_do(swept: Path) -> None:
    again = fs.run_sweep(GRID, swept, jobs=2)
    assert (again.done_before, again.ends) == (8, {})


HELD = """
import sys, time
import fisherscope as fs

def event(kind, run_id, what):
    if kind == "epoch":
        seen.add(run_id)
    if len(seen) == 2:
        print("two train", flush=True)
        time.sleep(600)

seen = set()
if __name__ == "__main__":
    fs.run_sweep({grid!r}, sys.argv[1], jobs=2, event=event)
"""
"""A sweep whose own process stops to hand out runs when two have trained an epoch."""


def test_killed_whole_and_started_again_it_ends_the_same(swept: Path, tmp_path: Path) -> None:
    script = tmp_path / "sweep.py"
    script.write_text(HELD.format(grid=GRID))
    command = [sys.executable, str(script), str(tmp_path / "runs")]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"two train\n"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert fs.run_sweep(GRID, tmp_path / "runs", jobs=2).complete
    assert final(tmp_path / "runs") == final(swept)


DEADLY = """
import os, signal
import dataclasses
from pathlib import Path
import fisherscope as fs

class Deadly:
    def __init__(self, whole):
        self.whole = whole

    def __len__(self):
        return len(self.whole)

    def batch(self, indices, epoch=None, seed=0):
        if epoch == 2 and not (mark := Path(__file__).with_name("died")).exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.whole.batch(indices, epoch, seed)

def made():
    task = fs.tasks.get("digits/mlp")
    return dataclasses.replace(task, train=Deadly(task.train))
"""


def test_a_killed_worker_costs_one_retry(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    (tmp_path / "deadly.py").write_text(DEADLY)
    grid = GRID | {"task": f"{tmp_path}/deadly.py:made", "seeds": [0], "epochs": 3}
    result = fs.run_sweep(
        grid,
        tmp_path / "runs",
        jobs=1,
        event=lambda kind, _, what: seen.append((kind, what[0] if kind == "end" else "")),
    )
    assert seen.count(("end", "died")) == 1
    assert seen.count(("end", "finished")) == 4
    assert result.complete


def test_a_setting_that_cannot_run_leaves_the_others_alone(tmp_path: Path) -> None:
    result = fs.run_sweep(GRID | {"batch_sizes": [64, 301], "seeds": [0], "epochs": 1}, tmp_path, jobs=1)
    ends = sorted(result.ends.values())
    assert [status for status, _ in ends] == ["finished", "finished", "refused", "refused"]
    assert "301" in ends[-1][1]


def test_interrupted_by_a_real_signal_it_goes_on_to_the_same_end(tmp_path: Path) -> None:
    """The runs would take minutes; where they were interrupted is where both are then compared."""
    grid = GRID | {"batch_sizes": [64], "lrs": [0.1], "epochs": 5000}
    settings, out = tmp_path / "grid.yaml", tmp_path / "runs"
    settings.write_text(json.dumps(grid))
    words = ["sweep", "--config", settings, "--jobs", "2", "--out", out]
    command = [sys.executable, "-m", "fisherscope", *words]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)
    while process.poll() is None and len(list(out.glob("*/epochs.jsonl"))) < 2:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert "2 runs are left; run the same command to resume them" in told
    heads = [json.loads(path.read_text()) for path in out.glob("*/run.json")]
    assert [head["status"] for head in heads] == ["interrupted"] * 2
    until = 1 + max(path.read_text().count("\n") for path in out.glob("*/epochs.jsonl"))
    for place in (out, tmp_path / "alone"):
        fs.run_sweep(grid, place, jobs=2, until=until)
    assert final(out) == final(tmp_path / "alone")


def test_processes_start_with_the_interrupt_block_signal(tmp_path: Path) -> None:
    """In a new interpreter: the first process that is ever started brings another one with it."""
    (tmp_path / "held.py").write_text(
        "import multiprocessing, signal\n"
        "from fisherscope.sweep.pool import _block_signals\n"
        "def blocked(pipe):\n"
        "    pipe.send(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set()))\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    for _ in range(2):\n"
        "        ours, theirs = context.Pipe()\n"
        "        process = context.Process(target=blocked, args=(theirs,))\n"
        "        with _block_signals():\n"
        "            process.start()\n"
        "        print(ours.recv())\n"
        "        process.join()\n"
        "    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set()))\n"
    )
    done = subprocess.run([sys.executable, tmp_path / "held.py"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "False"]


def test_an_interrupt_while_workers_start_shows_no_traceback(tmp_path: Path) -> None:
    """As a terminal sends it, to all of them, the moment there is a child; each would be importing still."""
    words = ["sweep", "digits/mlp", "--batch-sizes", "16,32", "--epochs", "5000", "--jobs", "2"]
    command = [sys.executable, "-m", "fisherscope", *words, "--out", tmp_path]
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and len(children.read_text().split()) < 2:  # one tracks semaphores
        time.sleep(0.01)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    told, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    assert process.returncode == 128 + signal.SIGINT
    assert "2 runs are left; run the same command to resume them" in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_its_own_process_alone_has_the_workers_save_and_stop(
    tmp_path: Path, number: signal.Signals
) -> None:
    """As `kill` and job managers send it. The runs would take minutes."""
    words = ["sweep", "digits/mlp", "--batch-sizes", "16,32,64", "--epochs", "5000", "--jobs", "2"]
    command = [sys.executable, "-m", "fisherscope", *words, "--out", tmp_path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while process.poll() is None and len(list(tmp_path.glob("*/epochs.jsonl"))) < 2:
        time.sleep(0.01)
    process.send_signal(number)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "3 runs are left; run the same command to resume them" in told
    heads = {path.parent: json.loads(path.read_text()) for path in tmp_path.glob("*/run.json")}
    assert len(heads) == 2  # the third was not begun
    for path, head in heads.items():
        epochs = (path / "epochs.jsonl").read_text().count("\n")
        assert (head["status"], head["reason"]) == ("interrupted", f"by SIGTERM in epoch {epochs}; resumable")
        assert (path / "checkpoint.pt").exists()


def test_started_twice_at_once_each_run_is_trained_once_and_both_say_so(swept: Path, tmp_path: Path) -> None:
    settings, out = tmp_path / "grid.yaml", tmp_path / "runs"
    settings.write_text(json.dumps(GRID))
    words = ["sweep", "--config", settings, "--jobs", "1", "--out", out, "--no-check"]
    command = [sys.executable, "-m", "fisherscope", *words]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=900)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    shares = [int(share) for text in told for share in re.findall(r"another process took (\d) run", text)]
    assert 1 <= sum(shares) <= 8  # what one trained, the other left out; but what ended before it began
    assert all("failed" not in text and "are left" not in text for text in told)
    assert fs.run_sweep(GRID, out, jobs=1).complete
    assert final(out) == final(swept)

"""What a terminal shows of a run."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console

from fisherscope.cli.train_progress import values_table
from fisherscope.training import Configuration, TrainState, task_of


def test_a_terminal_shows_what_holds_now_and_an_interrupt_how_to_go_on(tmp_path: Path) -> None:
    command = ["train", "digits/mlp", "--batch-size", "2", "--epochs", "400", "--out", str(tmp_path)]
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color"}
    process = subprocess.Popen(
        [sys.executable, "-m", "fisherscope", *command], stdout=inner, stderr=inner, env=environment
    )
    os.close(inner)
    seen = read_until(outer, "\n2/400 ")  # the table in the second epoch, the first one's error in it
    before = seen[: seen.index("\n2/400 ")]  # more frames may have come with it
    *_, bar, head = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", before).rstrip("\r").split("\r\n")
    assert head.split() == ["epoch", "loss", "val", "error", "C̄", "L", "|B|", "lr", "measuring"]
    assert "digits/mlp s2 " in bar
    assert bar.rstrip().endswith("left")
    process.send_signal(signal.SIGINT)
    assert "Run the same command to resume." in read_until(outer, "to resume.")
    assert process.wait() == 128 + signal.SIGINT
    os.close(outer)


def read_until(terminal: int, word: str) -> str:
    """What a terminal shows up to a word, and what came with it."""
    seen = b""
    while word not in (text := seen.decode(errors="replace")):
        seen += os.read(terminal, 4096)
    return text


def test_a_narrow_terminal_shows_fewer_values_and_each_whole() -> None:
    session = TrainState(config := Configuration.of({"task": "digits/mlp"}), task_of(config))
    session.step(next(iter(session.sampler)))
    shown = {}
    for width in (20, 40, 120):
        console = Console(width=width, file=(out := io.StringIO()))
        console.print(values_table(session, {"val/error": 0.25, "val/loss": 1.0}, width))
        shown[width] = out.getvalue().split("\n")[0].split()
        assert "…" not in out.getvalue()
    assert shown[20][:2] == ["epoch", "loss"]
    assert shown[120] == ["epoch", "loss", "val", "error", "C̄", "L", "|B|", "lr", "measuring"]
    assert shown[40] == shown[120][: len(shown[40])]
    assert len(shown[20]) < len(shown[40]) < len(shown[120])

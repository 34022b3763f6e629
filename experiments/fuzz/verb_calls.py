"""Call a verb in this process as the command line would, and judge how it ended."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import fisherscope.cli as cli
from fisherscope.step_cost import process_memory

SECONDS = 20
"""Seconds after which a call counts as hanging."""
LONGEST_OUTPUT = 200_000
LARGEST_GROWTH = 600
"""MiB that a call may add to the process: with what is loaded (400 MiB), it stays within 1 GiB."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
CODES = {0, 1, 2, 130, 143}


@dataclass(frozen=True)
class Outcome:
    """Hold how a call ended: exit code (None if an exception or a time-out ended it), texts, seconds.

    `growth` and `peak` are the MiB that it added at most, and those of the process then.
    """

    arguments: tuple[str, ...]
    code: int | None
    out: str
    err: str
    trace: str
    seconds: float
    growth: int = 0
    peak: int = 0

    @property
    def problem(self) -> str | None:
        """What is wrong with this end; None if a user could live with it."""
        if self.trace:
            lines = self.trace.strip().splitlines()
            place = next(
                (line.strip() for line in reversed(lines) if "fisherscope" in line and "File" in line), ""
            )
            return f"traceback: {lines[-1][:200]} ({place})"
        if self.code not in CODES:
            return f"exit code {self.code}"
        if self.code == 2 and not self.err.strip():
            return "refused without a word"
        if CONTROL.search(self.out) or CONTROL.search(self.err):
            return "a control character was printed"
        if len(self.err) > LONGEST_OUTPUT or len(self.out) > LONGEST_OUTPUT:
            return f"{len(self.out)} + {len(self.err)} characters were printed"
        if self.growth > LARGEST_GROWTH:
            return f"{self.growth} MiB more were used"
        return None


class Hangs(BaseException):
    """Report a call that takes too long; no handler of errors may catch it."""


def call(arguments: Sequence[str], folder: Path | None = None, seconds: float = SECONDS) -> Outcome:
    """Call `fisherscope ARGUMENTS` in this process.

    Args:
        arguments: The command line, without the program's name.
        folder: Working directory of the call.
        seconds: Time limit.

    Returns:
        How it ended.
    """
    out, err, began = io.StringIO(), io.StringIO(), time.monotonic()
    code: int | None = 0
    trace, before = "", process_memory("VmRSS") or 0
    _forget_peak()
    cli._warnings.clear()
    with _surroundings(arguments, folder, out, err, seconds):
        try:
            cli.main()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        except Hangs:
            code, trace = None, "".join(traceback.format_exc(limit=-6)) + f"hangs: {seconds} s"
        except BaseException:  # noqa: BLE001  (what would print a traceback)
            code, trace = None, traceback.format_exc()
    seconds, peak = time.monotonic() - began, process_memory("VmHWM") or 0
    mib = ((peak - before) >> 20, peak >> 20)
    return Outcome(tuple(arguments), code, out.getvalue(), err.getvalue(), trace, seconds, *mib)


def _forget_peak() -> None:
    """Let the largest memory of this process be counted from now on, where Linux allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


@contextlib.contextmanager
def _surroundings(
    arguments: Sequence[str], folder: Path | None, out: io.StringIO, err: io.StringIO, seconds: float
) -> Iterator[None]:
    def hangs(_: int, __: FrameType | None) -> None:
        raise Hangs

    before, place, path = sys.argv, Path.cwd(), list(sys.path)
    handlers = {
        number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGINT, signal.SIGTERM)
    }
    show = warnings.showwarning
    signal.signal(signal.SIGALRM, hangs)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    sys.argv = ["fisherscope", *arguments]
    try:
        if folder is not None:
            os.chdir(folder)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("always", RuntimeWarning)
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.argv, sys.path[:] = before, path
        warnings.showwarning = show
        os.chdir(place)

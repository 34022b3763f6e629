"""Stop at a signal: at once while loading, after the step while training; sent twice, it counts once."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

SAME_EVENT_SECONDS = 3.0
"""Seconds within which a second signal is taken for the first one again: `timeout`, a batch system or a
terminal sends it to the whole group, and a parent passes it on."""
NUMBERS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Interruption:
    """Hold what interrupts a run, if anything has.

    Args:
        reason: Name of the signal, or another reason in words; empty if nothing interrupts.
        number: Number of the signal; None without one.
        came: When it came, on the monotonic clock.
    """

    reason: str = ""
    number: int | None = None
    came: float = 0.0
    _acts: bool = False

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Let signals end the block at once, also one that came before it: nothing is lost by that.

        Raises:
            KeyboardInterrupt: At SIGINT.
            SystemExit: At SIGTERM, with 143.
        """
        self._acts = True
        try:
            if self.number is not None:
                _end(self.number)
            yield
        finally:
            self._acts = False

    def note(self, number: int) -> bool:
        """Note a signal.

        Args:
            number: Its number.

        Returns:
            Whether it is another event than the one that was noted before.
        """
        now = time.monotonic()
        again = self.number is not None and now - self.came > SAME_EVENT_SECONDS
        if self.number is None:
            self.reason = self.reason or signal.Signals(number).name
            self.number, self.came = number, now
        if self._acts:
            _end(number)
        return again


def _end(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


@contextmanager
def deferred_signals() -> Iterator[Interruption]:
    """Note SIGINT and SIGTERM instead of interrupting a step.

    The block includes the opening and the end of a run, so that neither is cut short. A signal that comes
    `SAME_EVENT_SECONDS` after the first acts as it did before. Python delivers no signals outside the main
    thread; nothing is changed there.

    Example:
        ```python
        import signal

        from fisherscope.training.interruption import deferred_signals

        with deferred_signals() as interruption:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        assert interruption.reason == "SIGTERM" and interruption.number == 15
        ```
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def handle(number: int, frame: Any) -> None:
        if interruption.note(number):
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)

    before = {number: signal.signal(number, handle) for number in NUMBERS}
    try:
        yield interruption
    finally:
        _ended.append(interruption)
        for number, handler in before.items():
            signal.signal(number, handler)


_ended: deque[Interruption] = deque(maxlen=1)


def ignore_repeats() -> None:
    """Let a process that does one thing, such as a command, take a signal sent twice for one to its very end.

    SIGINT and SIGTERM act at once, as KeyboardInterrupt and SystemExit, unless they repeat the signal that
    `deferred_signals` has just noted. In another thread than the main one nothing is changed.
    """

    def handle(number: int, _: Any) -> None:
        last = _ended[0] if _ended else None
        if last is None or last.number is None or time.monotonic() - last.came > SAME_EVENT_SECONDS:
            _end(number)

    if threading.current_thread() is threading.main_thread():
        for number in NUMBERS:
            signal.signal(number, handle)

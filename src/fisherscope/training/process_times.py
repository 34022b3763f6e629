"""CPU seconds that this process spends in steps, apart for measured and unmeasured ones."""

from __future__ import annotations

import time
from typing import Any


class ProcessTimes:
    """Add up the process's CPU seconds in the steps of an epoch.

    Seconds on the clock of runs that train side by side say little about a run; CPU seconds of the process
    leave out the time in which others ran. They mean nothing where another device does the work, so nothing
    is recorded there.

    Args:
        device: Type of the device that trains.

    Example:
        ```python
        from fisherscope.training.process_times import ProcessTimes

        times = ProcessTimes("cpu")
        times.begin()
        times.end(measured=False)
        assert times.epoch_row()["time/plain_steps"] == 1
        ```
    """

    def __init__(self, device: str) -> None:
        self.recorded = device == "cpu"
        self._began = 0.0
        self._plain = self._measured = 0.0
        self._plain_steps = 0

    def begin(self) -> None:
        """Begin a step."""
        self._began = time.process_time()

    def end(self, *, measured: bool) -> None:
        """End the step.

        Args:
            measured: Whether it was measured.
        """
        seconds = time.process_time() - self._began
        if measured:
            self._measured += seconds
        else:
            self._plain += seconds
            self._plain_steps += 1

    def epoch_row(self) -> dict[str, Any]:
        """Return the sums by the keys of an epoch's row, and begin the next epoch's.

        Returns:
            `time/plain_process_s` of `time/plain_steps` unmeasured steps, and `time/measured_process_s` of
            the others; empty where another device than the CPU trains.
        """
        row = {
            "time/plain_process_s": self._plain,
            "time/plain_steps": self._plain_steps,
            "time/measured_process_s": self._measured,
        }
        self._plain = self._measured = 0.0
        self._plain_steps = 0
        return row if self.recorded else {}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of the present epoch, as plain values."""
        return {"plain": self._plain, "measured": self._measured, "plain_steps": self._plain_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sums; a state of an earlier version has none."""
        self._plain, self._measured = float(state.get("plain", 0.0)), float(state.get("measured", 0.0))
        self._plain_steps = int(state.get("plain_steps", 0))

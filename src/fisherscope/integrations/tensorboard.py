"""TensorBoard: each number of a row as a scalar under its own key."""

import os
from collections.abc import Mapping
from typing import Any

from fisherscope.integrations.optional_import import import_framework
from fisherscope.integrations.scalars import numbers


class TensorBoardTracker:
    """Write each row to TensorBoard: `fs.Monitor(…, on_measure=[TensorBoardTracker(path)])`.

    Needs the framework; see docs/how-to/trackers.md for a loop that uses it.

    Args:
        where: A directory, or an existing `SummaryWriter`.

    Raises:
        MissingFrameworkError: TensorBoard is not installed.
    """

    def __init__(self, where: Any) -> None:
        if isinstance(where, str | os.PathLike):
            import_framework("tensorboard", "tensorboard")
            where = import_framework("torch.utils.tensorboard", "tensorboard").SummaryWriter(os.fspath(where))
        self.writer = where

    def rewind(self, step: int) -> None:
        """Hide the scalars of steps from `step` on, which a resumed training writes again.

        Args:
            step: Optimizer steps completed.

        `Monitor.load_state_dict` calls it (see `Monitor`).
        """
        events = import_framework("tensorboard.compat.proto.event_pb2", "tensorboard")
        file = getattr(self.writer, "file_writer", None) or self.writer._get_file_writer()
        file.add_event(events.Event(step=step, file_version="brain.Event:2"))
        start = events.SessionLog(status=events.SessionLog.START)  # as SummaryWriter(purge_step=…) does
        file.add_event(events.Event(step=step, session_log=start))

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Write the numbers of a row as scalars.

        Args:
            row: A row of a monitor; its `step` is the global step.
        """
        for key, value in numbers(row).items():
            self.writer.add_scalar(key, value, row["step"])

    def close(self) -> None:
        """Write what is buffered and close the writer; see docs/how-to/trackers.md."""
        self.writer.close()

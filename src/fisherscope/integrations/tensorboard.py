"""TensorBoard: each measured value as a scalar under its own key."""

import os
from collections.abc import Mapping
from typing import Any

from fisherscope.integrations.optional_import import required
from fisherscope.integrations.scalars import numbers


class TensorBoardTracker:
    """`Monitor(on_measure=[TensorBoardTracker("runs/mine")])`.

    Args:
        where: A directory, or the `SummaryWriter` that the loop has already.
    """

    def __init__(self, where: Any) -> None:
        if isinstance(where, str | os.PathLike):
            required("tensorboard", "tensorboard")
            where = required("torch.utils.tensorboard", "tensorboard").SummaryWriter(os.fspath(where))
        self.writer = where

    def __call__(self, row: Mapping[str, Any]) -> None:
        for key, value in numbers(row).items():
            self.writer.add_scalar(key, value, row["step"])

    def close(self) -> None:
        """Write what is buffered."""
        self.writer.close()

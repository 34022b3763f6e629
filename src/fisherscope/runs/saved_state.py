"""Read the state that a run saved last, without opening the run for writing."""

import os
from pathlib import Path
from typing import Any

from fisherscope.runs import checkpoint
from fisherscope.runs.errors import RunError
from fisherscope.runs.metadata import read_run
from fisherscope.runs.paths import CHECKPOINT
from fisherscope.runs.queries import is_run


def checkpoint_state(path: str | os.PathLike[str]) -> Any:
    """Return the state of a run's last checkpoint, also while the run is being written.

    Args:
        path: The run's directory.

    Returns:
        The state as it was saved; tensors on the CPU.

    Raises:
        DamagedRunError: run.json or the checkpoint is damaged.
        RunError: There is no run or no checkpoint, or it cannot be read or is of another format.

    Cost: reads the checkpoint.

    Example:
        ```python
        with fs.open_run("runs/mine/stated", {"seed": 0}, restart=True) as run:
            run.save_checkpoint({"step": 3})
        assert fs.runs.checkpoint_state("runs/mine/stated") == {"step": 3}
        ```
    """
    path = Path(path)
    if not is_run(path):
        raise RunError(f"reading the checkpoint of {path}: there is no run; expected a run's directory")
    if not (path / CHECKPOINT).exists():
        raise RunError(
            f"reading the checkpoint of {path}: it has none; give a run that was saved, such as one of "
            "fisherscope train, or train it further"
        )
    return checkpoint.read(path / CHECKPOINT, read_run(path)["config"])[0]

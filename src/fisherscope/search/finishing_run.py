"""Train a recorded run to its end, such as the one that `select` names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fisherscope.runs.reader import load_runs
from fisherscope.tasks import check_trust
from fisherscope.training import Configuration, Result, train


def finish_run(
    run_id: str,
    directories: Sequence[str | os.PathLike[str]],
    data_dir: str | os.PathLike[str] | None = None,
    *,
    task: str | None = None,
) -> Result:
    """Resume a run of `train` or `sweep` and train it to its end.

    Args:
        run_id: Name of the run, such as `Selection.next_run`.
        directories: Directories of runs, one of which holds it.
        data_dir: Directory of the data files, as for `fs.tasks.get`.
        task: The run's task, needed if it is code of yours (module:function): a run directory alone never
            chooses what code is run.

    Returns:
        How the run stands; a signal may have interrupted it.

    Raises:
        ValueError: The run was not made by `train` or `sweep`, so that its configuration does not say how to
            train it; or it is in an exported file.
        ConfigurationError, TaskError, DataError, RunError: As `train`.

    Cost: the epochs of the run that are left.

    Example:
        ```python
        from fisherscope.search import finish_run
        from fisherscope.training import train

        started = train({"task": "digits/mlp", "batch_size": 64, "epochs": 2}, "runs/started", until=1)
        finish_run(started.id, ["runs/started"])
        assert fs.load_runs("runs/started").head(started.id)["status"] == "finished"
        ```
    """
    runs = load_runs([Path(directory) for directory in directories])
    config, path = runs.head(run_id)["config"], runs.paths[run_id]
    if not path.is_dir():
        raise ValueError(
            f"finishing {run_id}: {path.parent} is an exported file; give the directory of its runs"
        )
    check_trust(str(config.get("task", "")), task)
    if Configuration.of(config).path_in(path.parent) != path:
        raise ValueError(
            f"finishing {run_id}: it was not trained by fisherscope; finish it with its own loop"
        )
    return train(config, path.parent, data_dir=data_dir)

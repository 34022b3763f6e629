"""The errors of run directories."""


class RunError(RuntimeError):
    """Say why a run directory could not be written or read, and what to do.

    Example:
        ```python
        from pathlib import Path

        Path("a-file").touch()
        try:
            fs.open_run("a-file", {"seed": 0})
        except fs.runs.RunError as error:
            print(error)
        ```
    """


class RunLockedError(RunError):
    """Say which process is writing the run already.

    Example:
        ```python
        with fs.open_run("runs/mine/locked", {"seed": 0}):
            try:
                fs.open_run("runs/mine/locked")
            except fs.runs.RunLockedError as error:
                print(error)
        ```
    """


class DamagedRunError(RunError):
    """Say which file of a run is not what was written; the file is left as it is.

    Example:
        ```python
        from pathlib import Path

        fs.open_run("runs/mine/damaged", {"seed": 0}).close()
        Path("runs/mine/damaged/run.json").write_text("{")
        try:
            fs.runs.status("runs/mine/damaged")
        except fs.runs.DamagedRunError as error:
            print(error)
        ```
    """


class ChangedRunError(RunError):
    """Say that a run would resume with other data, another model or another loss.

    Example:
        ```python
        with fs.open_run("runs/mine/changed", {"seed": 0}, restart=True) as run:
            run.identify({"loss": 0.7})
            try:
                run.identify({"loss": -0.7})
            except fs.runs.ChangedRunError as error:
                print(error)
        ```
    """

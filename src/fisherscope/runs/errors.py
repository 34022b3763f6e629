"""The errors of run directories."""


class RunError(RuntimeError):
    """A run directory could not be written or read; the text says what to do."""


class RunLockedError(RunError):
    """Another process is writing this run."""


class DamagedRunError(RunError):
    """A file of a run is not what was written; it is left as it is."""

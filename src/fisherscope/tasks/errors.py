"""The errors of tasks and their data."""


class TaskError(ValueError):
    """A task can't be made: its name, its factory or what that returns is not as it has to be."""


class DataError(TaskError):
    """A data file is missing, or is not what was published."""

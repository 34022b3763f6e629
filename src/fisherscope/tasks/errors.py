"""Define the errors of tasks and their data."""


class TaskError(ValueError):
    """Report a task that cannot be made: its name, factory or contents are wrong."""


class DataError(TaskError):
    """Report a data file that is missing, or differs from the published one."""

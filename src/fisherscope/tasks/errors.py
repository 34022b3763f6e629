"""Define the errors of tasks and their data."""


class TaskError(ValueError):
    """Report a task that cannot be made: its name, its factory or what the factory returned is wrong."""


class DataError(TaskError):
    """Report a data file that is missing, or differs from the published one."""

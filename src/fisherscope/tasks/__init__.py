"""Describe what a run trains: the paper's data and networks by name, or a user's own task."""

from __future__ import annotations

from fisherscope.tasks.errors import DataError, TaskError
from fisherscope.tasks.factory import file_digest
from fisherscope.tasks.registry import check_name, check_trust, get, names, settings
from fisherscope.tasks.sanity_check import check_task
from fisherscope.tasks.split import Split
from fisherscope.tasks.task import Evaluation, Task
from fisherscope.tasks.user_code import error_text, reraise_with_location
from fisherscope.tasks.workload import TEMPLATE, Workload, subject, subject_of

__all__ = [
    "TEMPLATE",
    "DataError",
    "Evaluation",
    "Split",
    "Subject",
    "Task",
    "TaskError",
    "Workload",
    "check_name",
    "check_task",
    "check_trust",
    "error_text",
    "file_digest",
    "get",
    "names",
    "reraise_with_location",
    "settings",
    "subject",
    "subject_of",
    "told",
    "tried",
]

Subject = Workload  # older names, for code written with them
told = reraise_with_location
tried = check_task

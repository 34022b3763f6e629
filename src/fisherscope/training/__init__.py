"""The built-in loop: a configuration becomes a run directory."""

from fisherscope.training.configuration import Configuration, ConfigurationError
from fisherscope.training.loop import Result, task_of, train
from fisherscope.training.session import Session

__all__ = ["Configuration", "ConfigurationError", "Result", "Session", "task_of", "train"]

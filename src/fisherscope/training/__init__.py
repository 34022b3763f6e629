"""The built-in loop: a configuration becomes a run directory."""

from fisherscope.training.configuration import Configuration, ConfigurationError
from fisherscope.training.loop import Result, task_of, train
from fisherscope.training.train_state import TrainState

__all__ = ["Configuration", "ConfigurationError", "Result", "TrainState", "task_of", "train"]

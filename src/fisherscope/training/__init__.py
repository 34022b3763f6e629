"""Train: a configuration becomes a run directory."""

from fisherscope.training.configuration import Configuration, ConfigurationError
from fisherscope.training.loop import Result, make_state, task_of, train
from fisherscope.training.train_state import TrainState

__all__ = ["Configuration", "ConfigurationError", "Result", "TrainState", "make_state", "task_of", "train"]

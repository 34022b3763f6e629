"""Train: a configuration becomes a run directory."""

from fisherscope.training.configuration import Configuration, ConfigurationError
from fisherscope.training.initial_state import frozen_path, make_state, task_of
from fisherscope.training.loop import Result, train
from fisherscope.training.paper_preset import fill_from_paper, paper_grid, paper_settings
from fisherscope.training.train_state import TrainState

__all__ = [
    "Configuration",
    "ConfigurationError",
    "Result",
    "TrainState",
    "fill_from_paper",
    "frozen_path",
    "make_state",
    "paper_grid",
    "paper_settings",
    "task_of",
    "train",
]

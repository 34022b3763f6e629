"""The built-in loop: a configuration becomes a run directory."""

from fisherscope.training.configuration import Configuration, ConfigurationError
from fisherscope.training.loop import Result, train

__all__ = ["Configuration", "ConfigurationError", "Result", "train"]

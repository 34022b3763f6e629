"""Search settings by training: successive halving, and the finishing run of a selection."""

from fisherscope.search.finishing_run import finish_run
from fisherscope.search.successive_halving import SearchListener, choose

__all__ = ["SearchListener", "choose", "finish_run"]

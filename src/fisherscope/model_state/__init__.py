"""Save and restore what a model, an optimizer and random generators hold.

`RandomState` is the one capture of random generators, `ModuleState`, `TensorValues` and `OptimizerState` are
those of a model and its optimizer; the context managers combine them for one purpose each.
"""

from fisherscope.model_state import rng
from fisherscope.model_state.probe_state import preserve_module_state
from fisherscope.model_state.reproducible import same_buffers, same_draws
from fisherscope.model_state.rng import RandomState, host_random_state, preserve_random_state
from fisherscope.model_state.snapshot import ModuleState, OptimizerState, TensorValues, restored_after

__all__ = [
    "ModuleState",
    "OptimizerState",
    "RandomState",
    "TensorValues",
    "host_random_state",
    "preserve_module_state",
    "preserve_random_state",
    "restored_after",
    "rng",
    "same_buffers",
    "same_draws",
]

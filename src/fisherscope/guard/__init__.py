"""The guard around a user's training step: an error of ours ends the measurement, never the step."""

from fisherscope.guard.containment import contain_errors, repeat_once, unchanged_on_error
from fisherscope.guard.refusal import Refusal, RefusedState, RefusedType, RefusedValue, describe

__all__ = [
    "Refusal",
    "RefusedState",
    "RefusedType",
    "RefusedValue",
    "contain_errors",
    "describe",
    "repeat_once",
    "unchanged_on_error",
]

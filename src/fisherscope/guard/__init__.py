"""The guard around a user's training step: an error of ours ends the measurement, never the step."""

from fisherscope.guard.containment import contain_errors, unchanged_on_error
from fisherscope.guard.refusal import Refusal, RefusedState, RefusedValue, describe

__all__ = ["Refusal", "RefusedState", "RefusedValue", "contain_errors", "describe", "unchanged_on_error"]

"""The guard around a user's training step: an error of ours ends the measurement, never the step."""

from fisherscope.guard.containment import contained, unchanged_on_error
from fisherscope.guard.refusal import Refusal, RefusedState, RefusedValue, describe

__all__ = ["Refusal", "RefusedState", "RefusedValue", "contained", "describe", "unchanged_on_error"]

"""The errors of measuring a Gram matrix."""

from fisherscope.guard import Refusal


class GramError(Refusal, RuntimeError):
    """A Gram matrix could not be measured; the text says what to do."""


class AmbiguousBatchError(GramError):
    """Which dimension carries the samples cannot be determined from the model's inputs."""


class NotSplittableError(GramError):
    """A parameter's gradient cannot be split by sample."""


class IncompleteError(GramError):
    """The columns do not add up to the gradient that reached the parameter."""

"""The Gram engine: the exact inner products of per-sample gradients, from one backward pass."""

from fisherscope.gram.errors import AmbiguousBatchError, GramError, IncompleteError, NotSplittableError
from fisherscope.gram.record import Coverage, GramRecord
from fisherscope.gram.recorder import record_gram

__all__ = [
    "AmbiguousBatchError",
    "Coverage",
    "GramError",
    "GramRecord",
    "IncompleteError",
    "NotSplittableError",
    "record_gram",
]

"""The Gram engine: the exact inner products of per-sample gradients, from one backward pass."""

from fisherscope.gram.api import record_gram
from fisherscope.gram.errors import AmbiguousBatchError, GramError, IncompleteError, NotSplittableError
from fisherscope.gram.identity.known_functions import register_row_mover
from fisherscope.gram.malloc import keep_freed_blocks
from fisherscope.gram.record import Coverage, GramRecord

__all__ = [
    "AmbiguousBatchError",
    "Coverage",
    "GramError",
    "GramRecord",
    "IncompleteError",
    "NotSplittableError",
    "keep_freed_blocks",
    "record_gram",
    "register_row_mover",
]

"""The Gram engine: the exact inner products of per-sample gradients, from one backward pass."""

from fisherscope.gram.api import record_gram
from fisherscope.gram.errors import AmbiguousBatchError, GramError, IncompleteError, NotSplittableError
from fisherscope.gram.identity.known_functions import register_row_mover
from fisherscope.gram.malloc import keep_freed_blocks
from fisherscope.gram.metric.metric_gram import MetricRecord
from fisherscope.gram.metric.optimizer_metric import OptimizerMetric
from fisherscope.gram.metric.optimizers import register_preconditioner
from fisherscope.gram.metric.preconditioners import (
    DiagonalPreconditioner,
    FactoredPreconditioner,
    MatrixPreconditioner,
    ScalarPreconditioner,
)
from fisherscope.gram.record import Coverage, GramRecord

__all__ = [
    "AmbiguousBatchError",
    "Coverage",
    "DiagonalPreconditioner",
    "FactoredPreconditioner",
    "GramError",
    "GramRecord",
    "IncompleteError",
    "MatrixPreconditioner",
    "MetricRecord",
    "NotSplittableError",
    "OptimizerMetric",
    "ScalarPreconditioner",
    "keep_freed_blocks",
    "record_gram",
    "register_preconditioner",
    "register_row_mover",
]

"""How a call's parameter gradient splits by sample: one file a family of functions."""

from fisherscope.gram.rules import (
    affine,
    attention,
    convolution,
    elementwise,
    embedding,
    indexing,
    normalization,
    recurrent,
    replay,
)
from fisherscope.gram.rules.registry import (
    Call,
    Formula,
    Rule,
    UnsuitedError,
    register,
    rule_of,
    signature_of,
)

__all__ = [
    "Call",
    "Formula",
    "Rule",
    "UnsuitedError",
    "affine",
    "attention",
    "convolution",
    "elementwise",
    "embedding",
    "indexing",
    "normalization",
    "recurrent",
    "register",
    "replay",
    "rule_of",
    "signature_of",
]

"""Chance taken out of a forward: dropout is off, random draws are constant, so that only samples differ."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

DROPOUT = frozenset([
    "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout",
    "feature_alpha_dropout", "native_dropout",
])  # fmt: skip
DRAWS = frozenset([
    "rand", "randn", "randint", "rand_like", "randn_like", "randint_like", "randperm", "normal", "bernoulli",
    "multinomial", "uniform", "exponential", "geometric", "cauchy", "log_normal", "poisson", "gumbel_softmax",
    "rrelu",
])  # fmt: skip
_RECURRENT = frozenset(["lstm", "gru", "rnn_tanh", "rnn_relu"])


def constant_sample(func: Any, name: str, args: Any, kwargs: Any) -> Any:
    """Replace a random draw by a constant: 1/2 for numbers, 1 for coins, 0 for integers."""
    out = func(*args, **kwargs)
    if not isinstance(out, Tensor) or out.grad_fn is not None or name == "randperm":
        return out
    with torch.no_grad():
        value = 1.0 if name == "bernoulli" else 0.5
        return out.fill_(value if out.is_floating_point() else 0)


def without_dropout(name: str, args: Any, kwargs: Any) -> Any:
    """Return the same call without its own dropout (attention, recurrent layers)."""
    if name == "scaled_dot_product_attention" or name in _RECURRENT:
        start = 4 if name == "scaled_dot_product_attention" else 5
        args = tuple(0.0 if i >= start and isinstance(arg, float) else arg for i, arg in enumerate(args))
        kwargs = {**kwargs, "dropout_p": 0.0} if "dropout_p" in kwargs else kwargs
    return args, kwargs

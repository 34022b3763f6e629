"""Numbers that a loss makes of all samples together, and each sample's part of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.interception.torch_function import results

WEIGHTINGS = frozenset(["mul", "div", "dot", "matmul", "inner"])
"""Functions that are linear in the numbers that a learned weight meets."""
_LOSSES = frozenset([
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss",
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss",
    "gaussian_nll_loss", "soft_margin_loss",
    "multilabel_soft_margin_loss", "multi_margin_loss", "multilabel_margin_loss", "hinge_embedding_loss",
    "cosine_embedding_loss", "margin_ranking_loss", "triplet_margin_loss",
])  # fmt: skip
_JOINED = frozenset(["add", "sub", "stack", "cat", "hstack", "concat"])
_SCALED = frozenset([
    "mul", "div", "neg", "getitem", "view", "reshape", "squeeze", "unsqueeze", "flatten", "to", "float",
    "double", "sum", "mean",
])  # fmt: skip
SHARED = _JOINED
"""Functions to whose parameters' gradients those numbers add nothing: each sample has an equal share."""
_SMALL = 64
"""Numbers that a result may have to be taken for terms of a loss."""
_CLOSE = 1e-4


class LossTerms:
    """Calls in the user's own code whose results are a few numbers, and their split by sample."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[str, Any, tuple[Any, ...], dict[str, Any], Tensor]] = {}

    def note(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Keep a call that may have made a term of a loss."""
        if name not in _LOSSES and name not in _JOINED and name not in _SCALED:
            return
        for result in results(name, out, args):
            if result.numel() <= _SMALL and result.grad_fn is not None:
                self._calls[id(result)] = name, func, args, kwargs, result

    def mark(self, out: Tensor) -> None:
        """Keep the result of a learned weight or of a penalty added: made of all samples, not split again."""
        self._calls[id(out)] = "weighted", None, (), {}, out

    def clear(self) -> None:
        """Forget all calls: their backward pass has begun."""
        self._calls.clear()

    def are_terms(self, tensor: Tensor) -> bool:
        """Tell whether a tensor holds numbers of all samples together: losses, means, sums of them."""
        if id(tensor) not in self._calls:
            return False
        name, _, args, kwargs, out = self._calls[id(tensor)]
        if name == "weighted":
            return True
        if name in _LOSSES:
            return str(kwargs.get("reduction", "mean")) != "none"
        if name in ("sum", "mean") and out.dim() == 0:
            return True
        inner = [value for value in _tensors(args) if value.grad_fn is not None]
        return bool(inner) and all(self.are_terms(value) for value in inner)

    def shares(self, tensor: Tensor, rows: Callable[[Tensor], Tensor | None], samples: int) -> Tensor | None:
        """Split numbers by sample.

        Args:
            tensor: The numbers.
            rows: The sample of each row of a tensor along its first dimension; None where that is unknown.
            samples: Number of samples.

        Returns:
            (n, *shape): each sample's part; None where they can't be split.
        """
        found = self._split(tensor, rows, samples)
        if found is None:
            return None
        miss = float((found.sum(0) - tensor.detach()).norm())
        return found if miss <= _CLOSE * float(found.norm()) else None

    def _split(self, tensor: Tensor, rows: Callable[[Tensor], Tensor | None], samples: int) -> Tensor | None:
        name, func, args, kwargs, out = self._calls.get(id(tensor), ("", None, (), {}, tensor))
        if name in _LOSSES:
            whole = func(*args, **{**kwargs, "reduction": "none"}).detach()
            return _by_sample(whole, rows(_first(args, kwargs)), samples, out)
        if name in ("sum", "mean") and out.dim() == 0 and not self.are_terms(args[0]):
            return _by_sample(args[0].detach(), rows(args[0]), samples, out)
        if name not in _JOINED and name not in _SCALED:
            return None
        parts: dict[int, Tensor] = {}
        for value in _tensors(args):
            if value.grad_fn is not None:
                part = self._split(value, rows, samples)
                if part is None:
                    return None
                parts[id(value)] = part
        if name in ("mul", "div") and (len(parts) != 1 or (name == "div" and id(args[0]) not in parts)):
            return None
        share = 1 / samples if name in _JOINED else 1.0
        numbers = share if name in ("add", "sub") else 1.0
        with torch.no_grad():
            found = [
                func(*_arguments_of_sample(args, parts, k, share, numbers), **kwargs) for k in range(samples)
            ]
        return torch.stack(found)


def _by_sample(values: Tensor, ids: Tensor | None, samples: int, whole: Tensor) -> Tensor | None:
    """Add up terms by sample, scaled as the whole is of their sum."""
    if ids is None or not values.dim() or values.shape[0] != len(ids) or bool((ids < 0).any()):
        return None
    by_row = values.flatten(1).sum(1) if values.dim() > 1 else values
    sums = by_row.new_zeros(samples).index_add_(0, ids.to(values.device), by_row)
    total = sums.sum()
    return sums * (whole.detach() / total) if float(total) != 0 else None


def _first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    found: Tensor = args[0] if args else kwargs["input"]
    return found


def _tensors(args: Any) -> list[Tensor]:
    found = []
    for value in args:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += [item for item in value if isinstance(item, Tensor)]
    return found


def _arguments_of_sample(
    args: Any, parts: Mapping[int, Tensor], sample: int, share: float, numbers: float
) -> list[Any]:
    """Return the arguments with a sample's part in place of each tensor, constants shared out."""

    def one(value: Any) -> Any:
        if isinstance(value, Tensor):
            return parts[id(value)][sample] if id(value) in parts else value * share
        return value * numbers if numbers != 1 and isinstance(value, float | int) else value

    return [type(v)(one(item) for item in v) if isinstance(v, list | tuple) else one(v) for v in args]

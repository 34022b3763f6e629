"""What users say about functions of their own: may the backward run twice, and may rows change places?"""

from __future__ import annotations

from typing import Any

import torch

from fisherscope.gram.errors import GramError
from fisherscope.gram.interception.torch_private import forward_class_of, operator_name

_known: dict[str, bool] = {
    "transformers.models.phimoe.modeling_phimoe.PhimoeMultiplier": False,
    "flash_attn.bert_padding.IndexFirstAxis": True,
    "flash_attn.bert_padding.IndexPutFirstAxis": True,
}
"""Whether a function may move rows, by the name of its node in the graph; those here have no side effects."""
_STAYING = frozenset(["CheckpointFunction", "BackwardHookFunction"])
"""Functions of torch whose backward must not run twice, and which move no rows."""
_GENERATED = "GeneratedBackwardFor_"
"""How torch begins the names of the nodes of `torch.library` operators."""


def register_row_mover(function: Any, *, moves: bool = True) -> None:
    """Register a function of your own that `record_gram` can't know.

    A backward written in Python may have side effects, so that `record_gram` does not run it twice to read
    whose each row is; and it can't see whether the function puts samples' rows in other places. Without a
    registration it runs the forward twice more in each measured step to see whether rows moved, and refuses
    those that did. Registered, it reads the rows through the function's backward.

    Args:
        function: A subclass of `torch.autograd.Function`, an operator of `torch.library` (the decorated
            function or `torch.ops.name.op`), or the name of a function of a C++ extension.
        moves: Whether rows of the output can be those of other places of the input, by data or by chance.
            They are then read in every measured step; else when they are first measured.

    Raises:
        GramError: It is none of these.

    Example:
        ```python
        import torch

        import fisherscope as fs

        class Reverse(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.flip(0)

            @staticmethod
            def backward(ctx, gradient):
                return gradient.flip(0)

        fs.register_row_mover(Reverse)
        ```

    The backward must be a function of the gradient and of what was saved, without side effects.
    """
    _known[_registered_name(function)] = moves


def moves_rows(node: Any) -> bool | None:
    """Tell whether a node of a function of the user's own may move rows; None if nobody said so."""
    for name in _names_of(node):
        if name in _known:
            return _known[name]
    return None


def function_name(node: Any) -> str:
    """Return the name of a node's function as its author knows it."""
    return _names_of(node)[-1]


def stays_in_place(node: Any) -> bool:
    """Tell whether a function that must not be run twice is known to leave rows where they are."""
    return function_name(node) in _STAYING


def _names_of(node: Any) -> tuple[str, ...]:
    """Return the names that a node's function may be registered by, the shortest last."""
    kind = type(node).__name__
    if kind == "CppFunction":
        return (str(node.name()).removeprefix("torch::autograd::CppNode<").rstrip(">").rpartition("::")[2],)
    function = forward_class_of(node)
    short = kind.removesuffix("Backward")
    if function is None or short.startswith(_GENERATED):
        return (short.removeprefix(_GENERATED).removesuffix("_default"),)
    return f"{function.__module__}.{function.__qualname__}", short


def _registered_name(function: Any) -> str:
    if isinstance(function, type) and issubclass(function, torch.autograd.Function):
        return f"{function.__module__}.{function.__qualname__}"
    qualified = function if isinstance(function, str) else operator_name(function)
    if qualified is None:
        raise GramError(
            f"register_row_mover({function!r}): expected a subclass of torch.autograd.Function, an operator "
            "of torch.library, or the name of a C++ extension's function."
        )
    return qualified.replace("::", "_").replace(".", "_") if "::" in qualified else qualified

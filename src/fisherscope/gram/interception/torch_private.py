"""Every private name of torch that the engine uses, each behind one function that says why.

Those of the guard are in `guard/thread_state.py`.
A new release of torch may change any of them: this is the file to look at then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

# Modes and dispatch


def disable_torch_function() -> AbstractContextManager[None]:
    """Switch off all of `__torch_function__`; torch's public guard leaves modes on."""
    guard: AbstractContextManager[None] = torch._C.DisableTorchFunction()
    return guard


set_grad_enabled: Callable[[bool], None] = torch._C._set_grad_enabled
"""Switches gradient recording without a context manager: it runs once or twice for each recorded call."""


# The autograd graph


def is_in_backward() -> bool:
    """Tell whether this thread runs a backward pass: a checkpoint repeats its forward there."""
    return bool(torch._C._current_graph_task_id() != -1)


def is_in_functional_transform() -> bool:
    """Tell whether a transform of `torch.func` runs: tensors in it hide their graph."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def has_saved_tensor_hooks() -> bool:
    """Tell whether hooks pack saved tensors: to read such tensors would unpack them."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


def saved_batch_statistics(node: Any) -> tuple[Tensor, Tensor]:
    """Return a batch-norm node's (mean, 1/deviation), which the call does not return."""
    return node._saved_result1, node._saved_result2


def saved_layer_statistics(node: Any) -> tuple[Tensor, Tensor]:
    """Return a layer-norm node's (mean, 1/deviation), which the call does not return."""
    return node._saved_result1, node._saved_result2


def saved_batch_norm_weight(node: Any) -> Tensor | None:
    """Return a batch-norm node's scale: its backward with constant statistics needs it."""
    weight: Tensor | None = node._saved_weight
    return weight


def uses_batch_statistics(node: Any) -> bool:
    """Tell whether a batch-norm node ran in training mode: others have constants."""
    return bool(node._saved_training)


def forward_class_of(node: Any) -> Any:
    """Return the `autograd.Function` of a node whose backward is Python code; None of others."""
    return getattr(type(node), "_forward_cls", None)


def operator_name(operator: Any) -> str | None:
    """Return "space::name" of an operator of `torch.library`, or None: there is no public attribute."""
    operator = getattr(operator, "_opoverload", operator)  # what `torch.library.custom_op` returns
    if isinstance(operator, torch._ops.OpOverload):
        return str(operator.name())
    if isinstance(operator, torch._ops.OpOverloadPacket):
        return str(operator._qualified_op_name)
    return None


# Tensors


def version_of(tensor: Tensor) -> int:
    """Return a tensor's count of in-place writes: it shows an overwritten input."""
    return tensor._version


def versions_of(tensors: Iterable[Tensor]) -> list[int]:
    """Return `version_of` each of some tensors."""
    return [tensor._version for tensor in tensors]


def is_view(tensor: Tensor) -> bool:
    """Tell whether a tensor views another: a view's node moves when the view is written into."""
    return tensor._is_view()


def base_of(tensor: Tensor) -> Tensor | None:
    """Return the tensor that a view looks into: its node stays when the view is written into."""
    return tensor._base


def backward_hooks_of(tensor: Tensor) -> Any:
    """Return a tensor's ordered hooks, or None: ours must precede those that rescale."""
    return tensor._backward_hooks


# Compiled modules


def compiled_from(module: nn.Module) -> Any:
    """Return what `torch.compile(module)` wraps, or None: names of parameters come from it."""
    return getattr(module, "_orig_mod", None)


def is_compiled_in_place(module: nn.Module) -> bool:
    """Tell whether `module.compile()` was called: it leaves no other trace."""
    return module._compiled_call_impl is not None


# Nested containers: torch.utils._pytree knows model outputs and dataclasses, and has no public name


def tree_leaves(tree: Any) -> list[Any]:
    """List the leaves of nested containers, dataclasses and model outputs included."""
    return pytree.tree_leaves(tree)


def tree_flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], Any]:
    """Split nested containers into (leaves, structure), to change or compare them."""
    return pytree.tree_flatten(tree, is_leaf=is_leaf)


def tree_unflatten(leaves: list[Any], structure: Any) -> Any:
    """Put leaves back into the structure that `tree_flatten` returned."""
    return pytree.tree_unflatten(leaves, structure)


def tree_map(change: Callable[[Any], Any], tree: Any) -> Any:
    """Apply a function to each leaf of nested containers, keeping their types."""
    return pytree.tree_map(change, tree)


# Sharded models


@contextmanager
def quiet_fsdp_hooks(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Run a block in which forwards of `fully_shard` modules move no parameters; inputs are still cast.

    `fully_shard` has no public way to run a module whose parameters are gathered already: its hooks gather
    and shard, in step with the other ranks, also in a forward that only this rank runs.
    """
    changed: list[tuple[dict[int, Any], int, Any]] = []
    for module in modules:
        policy = module._get_fsdp_state()._mp_policy  # type: ignore[operator]
        entering = policy.param_dtype if policy.cast_forward_inputs else None
        for hooks, quiet in (
            (module._forward_pre_hooks, lambda _, args, kwargs, to=entering: _cast((args, kwargs), to)),
            (module._forward_hooks, lambda _, args, output, to=policy.output_dtype: _cast(output, to)),
        ):
            for number, hook in list(hooks.items()):
                if (getattr(hook, "__module__", None) or "").startswith("torch.distributed.fsdp"):
                    changed.append((hooks, number, hook))
                    hooks[number] = quiet
    try:
        yield
    finally:
        for hooks, number, hook in changed:
            hooks[number] = hook


def _cast(values: Any, dtype: torch.dtype | None) -> Any:
    """Cast the floating-point tensors among some values, as the hooks of `fully_shard` do."""
    if dtype is None:
        return values
    return tree_map(lambda v: v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v, values)

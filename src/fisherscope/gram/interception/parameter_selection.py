"""Which parameters a record is about, and what of the model stands in the way of seeing their calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatch

import torch
from torch import Tensor, nn

from fisherscope.gram.errors import GramError
from fisherscope.gram.interception.torch_private import compiled_from, is_compiled_in_place

Chosen = str | Sequence[str] | Callable[[str, Tensor], bool] | None

_HAND_ON = ("DistributedDataParallel", "OptimizedModule")  # wrappers: what they wrap is the model


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside `torch.compile`'s wrapper, with its own parameter names."""
    inner = compiled_from(model)
    return inner if isinstance(inner, nn.Module) else model


def is_wrapper(module: nn.Module) -> bool:
    """Tell whether the module only hands its input on to the one it wraps."""
    return type(module).__name__ in _HAND_ON


def trainable_parameters(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters that receive gradients, by name.

    Args:
        parameters: All of a model's, by name.

    Returns:
        Parameters by name, at least one.

    Raises:
        GramError: There is none.
    """
    by_name = {name: p for name, p in parameters.items() if p.requires_grad}
    if not by_name:
        raise GramError(
            "record_gram(model): the model has no trainable parameter; a Gram matrix is made of their "
            "gradients. "
            "Set requires_grad=True on those that are to be measured."
        )
    return by_name


def select_parameters(parameters: Mapping[str, Tensor], chosen: Chosen) -> dict[str, Tensor]:
    """Return the parameters that a pattern, several patterns or a predicate choose.

    Returns:
        Parameters by name, at least one.

    Raises:
        GramError: None is chosen.
    """
    if chosen is None:
        return dict(parameters)
    if callable(chosen):
        selection = {name: p for name, p in parameters.items() if chosen(name, p)}
        selection = selection or {n: p for n, p in parameters.items() if chosen(plain_name(n), p)}
    else:
        patterns = [chosen] if isinstance(chosen, str) else chosen
        matching = {name for pattern in patterns for name in _matching(parameters, pattern)}
        selection = {name: p for name, p in parameters.items() if name in matching}
    if not selection:
        names = ", ".join(list(parameters)[:8])
        raise GramError(
            f"record_gram(model, parameters={chosen!r}): this chooses none of the {len(parameters)} "
            "trainable "
            f"parameters ({names}, …); give a name, a pattern such as 'head.*', or a predicate (name, "
            "tensor) -> bool."
        )
    return selection


def plain_name(name: str) -> str:
    """Return a parameter's name without what DistributedDataParallel and `torch.compile` put into it."""
    parts = [part for part in name.split(".") if part != "_orig_mod"]
    while len(parts) > 1 and parts[0] == "module":
        del parts[0]
    return ".".join(parts)


def _matching(names: Iterable[str], pattern: str) -> list[str]:
    """Return the names that match a pattern as they stand; where none does, without wrappers' prefixes."""
    as_given = [name for name in names if fnmatch(name, pattern)]
    return as_given or [name for name in names if fnmatch(plain_name(name), plain_name(pattern))]


def scripted_parameters(model: nn.Module, modules: Sequence[nn.Module]) -> dict[int, str]:
    """Map parameters of scripted modules, whose calls are hidden: id → the module's path."""
    if not any(isinstance(module, torch.jit.ScriptModule) for module in modules):
        return {}
    return {
        id(parameter): path or type(model).__name__
        for path, module in model.named_modules()
        if isinstance(module, torch.jit.ScriptModule)
        for parameter in module.parameters()
    }


def model_notes(model: nn.Module, inner: nn.Module, modules: Sequence[nn.Module], alone: bool) -> list[str]:
    """List what a reader of the result should know about the model.

    Args:
        model: As given.
        inner: Without the compiler's wrapper.
        modules: All of its modules.
        alone: Whether this process is measured without the others that train with it.

    Returns:
        One sentence each.
    """
    notes = []
    if model is not inner or any(map(is_compiled_in_place, modules)):
        notes.append("the model is compiled; this step ran eagerly, so that its calls could be seen")
    if alone and any(type(module).__name__ == "DistributedDataParallel" for module in modules):
        notes.append("distributed: this is the Gram of this rank's samples alone")
    return notes

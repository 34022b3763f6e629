"""What one forward of a few samples shows of every call that receives a parameter: shapes, and values."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from traceback import clear_frames
from typing import Any

import torch
from torch import Tensor, nn

from fisherscope.gram.batch_axis.determinism import DRAWS, DROPOUT, constant_sample, without_dropout
from fisherscope.gram.batch_axis.forward_call import ForwardCall, flat
from fisherscope.gram.interception.call_ids import CallIds, Key
from fisherscope.gram.interception.provenance import ParameterSource, ParameterSources, tensors_in
from fisherscope.gram.interception.torch_function import (
    Interceptor,
    bind_arguments,
    call_name,
    results,
    takes_arguments,
)
from fisherscope.gram.interception.torch_private import tree_leaves
from fisherscope.guard.custom_functions import custom_functions_seen
from fisherscope.guard.step_guard import Guard
from fisherscope.model_state import host_random_state, preserve_module_state

PICKS = frozenset(["getitem", "index_select", "select"])
_here = threading.local()


@dataclass
class CallTrace:
    """What one probe run saw of one call: shapes, and values where they are to be compared."""

    shapes: dict[str, torch.Size]
    values: dict[str, Tensor]
    depends: bool  # whether any other argument came from the batch


@dataclass
class ProbeRun:
    """One forward of a few samples.

    `drew` says whether NumPy or Python drew numbers: such draws (masks made on the host) stay with the rows
    when the samples change places.
    """

    sights: dict[Key, CallTrace]
    outputs: list[Tensor]  # of the model
    drew: bool


def run_probe(
    entry: ForwardCall, chosen: list[int], parameters: Any, signatures: Any, entering: set[Key], keep: bool
) -> ProbeRun:
    """Run the forward of some samples and trace its calls.

    Args:
        entry: The model's call.
        chosen: Which of its samples.
        parameters: Those measured, by name.
        signatures: Argument names of a function, or None.
        entering: Calls of parameters alone at which a size of the batch enters.
        keep: Keep values too.

    Returns:
        The traces and outputs.

    Raises:
        ModelError: The model raised on these samples.
    """
    args, kwargs = entry.subset(chosen)
    inputs = [
        leaf
        for given, dim in zip(flat((args, kwargs))[0], entry.dims, strict=True)
        if dim is not None
        for leaf in tree_leaves(given)
        if isinstance(leaf, Tensor)
    ]
    guard = Guard()
    watcher = _Watcher(ParameterSources(parameters), inputs, signatures, entering, keep, guard)
    with preserve_module_state(entry.module), torch.enable_grad(), custom_functions_seen(), watcher.mode:
        before = host_random_state()
        out = _call_model(entry.module, args, kwargs)
        drew = host_random_state() != before
    if guard.error is not None:
        raise guard.error
    outputs = [leaf.detach() for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
    del watcher.mode  # it and the watcher hold each other, and all tensors of the forward
    return ProbeRun(watcher.sights, outputs, drew)


def _call_model(model: nn.Module, args: Any, kwargs: Any) -> Any:
    """Call the user's model; what it raises becomes a `ModelError`."""
    _here.probing = True
    try:
        return model(*args, **kwargs)
    except Exception as error:
        clear_frames(error.__traceback__)  # up to torch 2.12, a checkpoint's hooks stay while its frame lives
        raise ModelError(f"the model raised {type(error).__name__}: {str(error)[:200]}") from error
    finally:
        _here.probing = False


def is_probing() -> bool:
    """Tell whether this thread runs the model to look at it: such a call is none of the training step's."""
    return getattr(_here, "probing", False)


class ModelError(Exception):
    """The user's model raised on part of its batch."""


class _Watcher:
    """Follow one forward: what depends on the batch, and what on parameters alone."""

    def __init__(
        self,
        sources: ParameterSources,
        inputs: list[Tensor],
        signatures: Any,
        entering: set[Key],
        keep: bool,
        guard: Guard,
    ) -> None:
        self._sources, self._signatures, self._entering, self._keep = sources, signatures, entering, keep
        self._alive: dict[int, Tensor] = {id(tensor): tensor for tensor in inputs}
        self._keys = CallIds()
        self.sights: dict[Key, CallTrace] = {}
        self.mode = Interceptor(lambda args, kwargs: True, takes_arguments(self.handle), guard=guard)

    def handle(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One call of the forward, whatever it receives."""
        name, inplace = call_name(func)
        if name in DRAWS:
            return constant_sample(func, name, args, kwargs)
        if name in DROPOUT:
            inplace = inplace or bool(kwargs.get("inplace"))
            return self._without_dropout(name, func, args or (kwargs["input"],), kwargs, inplace)
        values = bind_arguments(self._signatures(name), args, kwargs)
        args, kwargs = without_dropout(name, args, kwargs)
        found = self._sources.among(values)
        if name.startswith("Function ") and not found:  # the recorder looks inside, too
            with self.mode:
                return self._note_custom_output(func(*args, **kwargs), values)
        depends = not self._picks_parameter(name, args) and any(
            id(t) in self._alive for _, t in tensors_in(values) if self._sources.get(t) is None
        )
        before = {
            key: tensor.detach().clone() if inplace and self._keep else tensor.detach()
            for key, tensor in tensors_in(values)
            if key not in found
        }
        out = func(*args, **kwargs)
        given = results(name, out, args)
        if depends:
            self._alive.update((id(t), t) for t in given)
            if inplace and args and isinstance(args[0], Tensor):
                self._alive[id(args[0])] = args[0]
        if any(t.requires_grad for t in given) and self._see(name, found, given, before, depends):
            for result in given:
                self._sources.derive(name, result, found.values(), args, kwargs, func)
        return out

    def _picks_parameter(self, name: str, args: tuple[Any, ...]) -> bool:
        """Tell whether the call picks entries of a value made of parameters, which stay one."""
        return name in PICKS and bool(args) and self._sources.get(args[0]) is not None

    def _note_custom_output(self, out: Any, values: dict[str, Any]) -> Any:
        """Note what a user's own function returned: of the batch if an argument is."""
        if any(id(tensor) in self._alive for _, tensor in tensors_in(values)):
            self._alive.update((id(t), t) for _, t in tensors_in({"": out}))
        return out

    def _without_dropout(self, name: str, func: Any, args: Any, kwargs: Any, inplace: bool) -> Any:
        """Return the input unchanged; a value made of parameters remains one."""
        out = args[0] if inplace else args[0].clone()
        source = self._sources.get(args[0])
        if source is not None and not inplace:
            self._sources.derive(name, out, [source], args, kwargs, func)
        elif id(args[0]) in self._alive:
            self._alive[id(out)] = out
        return out

    def _see(
        self,
        name: str,
        found: dict[str, ParameterSource],
        given: list[Tensor],
        before: dict[str, Tensor],
        depends: bool,
    ) -> bool:
        """Trace a call that receives something made of parameters."""
        if not found or all(self._sources.get(t) is not None for t in given):
            return False
        key = self._keys.next(name, found)
        named = {"out": given[0].detach(), **{f"out.{i}": t.detach() for i, t in enumerate(given[1:], 1)}}
        sight = CallTrace({k: t.shape for k, t in {**before, **named}.items()}, {}, depends)
        if self._keep:
            sight.values = {k: t.clone() for k, t in named.items()} | before
        self.sights[key] = sight
        if depends or key in self._entering:
            self._alive.update((id(t), t) for t in given)
            return False
        return True

"""Seeing every call that receives a parameter: names, argument binding, composites opened."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from fisherscope.guard.function_mode import FunctionMode, UserCall
from fisherscope.guard.step_guard import Guard

_ALIASES = {
    "radd": "add",
    "rmul": "mul",
    "multiply": "mul",
    "subtract": "sub",
    "divide": "div",
    "true_divide": "div",
    "truediv": "div",
    "rtruediv": "div",
    "matmul": "matmul",
    "rmatmul": "rmatmul",
    "rsub": "rsub",
    "mm": "matmul",
}
_INPLACE_DUNDER = frozenset(["iadd", "imul", "isub", "itruediv", "idiv", "ipow", "imatmul"])
_COMPOSITES = ("torch.nn.functional", "torch.functional")
_BACKWARD = ("self", "gradient", "retain_graph", "create_graph", "inputs")
_AUTOGRAD_BACKWARD = ("self", "gradient", "retain_graph", "create_graph", "grad_variables", "inputs")
_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


_names: dict[Callable[..., Any], tuple[str, bool]] = {}


def call_name(func: Callable[..., Any]) -> tuple[str, bool]:
    """Return (canonical name, whether the call writes into its first argument)."""
    known = _names.get(func)
    if known is None:
        known = _call_name(func)
        if isinstance(func, types.BuiltinFunctionType | types.MethodDescriptorType):  # torch's own: they stay
            _names[func] = known
    return known


def _call_name(func: Callable[..., Any]) -> tuple[str, bool]:
    raw: str = getattr(func, "__name__", type(func).__name__)
    if raw == "__get__":  # a property such as Tensor.T
        raw = getattr(getattr(func, "__self__", None), "__name__", raw)
    stem = raw.strip("_")
    if stem == "setitem":
        return stem, True
    dunder = raw.startswith("__")
    inplace = (dunder and stem in _INPLACE_DUNDER) or (not dunder and raw.endswith("_") and stem != "")
    if dunder and stem in _INPLACE_DUNDER:
        stem = stem[1:]
    return _ALIASES.get(stem, stem), inplace


def bind_arguments(
    signature: Sequence[str] | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Name the arguments; without a signature, positional ones by their number."""
    names = signature or [str(place) for place in range(len(args))]
    return {**dict(zip(names, args, strict=False)), **kwargs}


def restore_arguments(
    values: Mapping[str, Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    signature: Sequence[str] | None,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Invert `bind_arguments`: (args, kwargs) with the named values in place."""
    names = signature or [str(place) for place in range(len(args))]
    return tuple(values[name] for name in names[: len(args)]), {name: values[name] for name in kwargs}


_opened: dict[Callable[..., Any], Callable[..., Any] | None] = {}


def open_composite(func: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return a copy of a torch function in Python whose inner calls are seen.

    Such functions (`F.multi_head_attention_forward`, `F.batch_norm`, …) hand themselves over whole to
    an active mode; their copy believes that no mode is active. None for functions written in C.

    Returns:
        The copy; None for functions written in C.
    """
    if func not in _opened:
        _opened[func] = _copy_without_handover(func)
    return _opened[func]


def _copy_without_handover(func: Callable[..., Any]) -> Callable[..., Any] | None:
    if not isinstance(func, types.FunctionType) or func.__globals__.get("__name__") not in _COMPOSITES:
        return None
    scope = {**func.__globals__, **{name: _no for name in _CHECKS if name in func.__globals__}}
    copy = types.FunctionType(func.__code__, scope, func.__name__, func.__defaults__, func.__closure__)
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


def _broadcast(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Broadcast by one call a tensor: each result then has one known source."""
    shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
    return tuple(tensor.expand(shape) for tensor in tensors)


def _no(*_: object, **__: object) -> bool:
    return False


def results(name: str, out: Any, args: Sequence[Any]) -> list[Tensor]:
    """List the tensors that a call returned or wrote into."""
    if name == "setitem":
        return [args[0]]
    if isinstance(out, Tensor):
        return [out]
    return [leaf for leaf in out if isinstance(leaf, Tensor)] if isinstance(out, list | tuple) else []


class StepObserver(Protocol):
    """What a recorder is notified of besides the calls that receive a parameter."""

    def before_backward(self, loss: Tensor, gradient: Tensor | None, keeps_graph: bool) -> None:
        """Note that a backward pass begins."""

    def observe(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note a call that receives no parameter."""

    def note_result(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> None:
        """Note what such a call returned."""

    def derivative(self, inputs: Sequence[Any], creates_graph: bool) -> AbstractContextManager[None]:
        """Run a derivative by these inputs that is no backward pass."""

    def wrap_hook(self, hook: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        """Wrap a hook that the user registers on a tensor."""

    def note_retained(self, tensor: Tensor) -> None:
        """Note a tensor that retains its gradient."""


def takes_arguments(handle: Callable[..., Any]) -> Callable[[UserCall], Any]:
    """Return a handler of calls from one of (func, args, kwargs)."""
    return lambda call: handle(call.func, call.args, call.kwargs)


class Interceptor(FunctionMode):
    """Pass each call with a parameter-made argument to `handler`; run others unchanged.

    Args:
        concerns: Tells whether a call with these arguments goes to the handler.
        handler: Makes a call, and records it.
        step: What else of a step is reported; None in forwards of our own.
        guard: Of the step; None where errors are to reach the caller.
    """

    def __init__(
        self,
        concerns: Callable[[tuple[Any, ...], Mapping[str, Any]], bool],
        handler: Callable[[UserCall], Any],
        step: StepObserver | None = None,
        guard: Guard | None = None,
    ) -> None:
        super().__init__(guard)
        self._concerns, self._handler, self._step = concerns, handler, step
        self._inside: list[Any] = []  # the composites whose bodies run

    def concerns(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Tell whether a call with these arguments goes to the handler."""
        return self._concerns(args, kwargs)

    def intercept(self, call: UserCall) -> Any:
        """Make one call of the step.

        Returns:
            What the user receives.
        """
        func, args, kwargs = call.func, call.args, call.kwargs
        if self._step is not None and func in _OF_THE_STEP:
            return self._of_the_step(self._step, call)
        if not self._concerns(args, kwargs):
            if self._step is None:
                return call()
            self._step.observe(func, args, kwargs)
            out = call()
            self._step.note_result(func, args, kwargs, out)
            return out
        if getattr(func, "__name__", "") == "broadcast_tensors":
            with self:
                return call.made_by(
                    _broadcast, (args[0] if len(args) == 1 and not isinstance(args[0], Tensor) else args,), {}
                )
        body = open_composite(func)
        if (
            body is None or func in self._inside
        ):  # `meshgrid` hands itself over from inside a function it calls
            return self._handler(call)
        self._inside.append(func)
        try:
            with self:
                return call.made_by(body, args, kwargs)
        finally:
            self._inside.pop()

    def _of_the_step(self, step: StepObserver, call: UserCall) -> Any:
        """Make a backward pass, a derivative or a hook of the user's own."""
        func, args, kwargs = call.func, call.args, call.kwargs
        if func is torch.autograd.grad:
            inputs = kwargs.get("inputs", args[1] if len(args) > 1 else ())
            creates = bool(kwargs.get("create_graph", args[4] if len(args) > 4 else False))
            with step.derivative(inputs if isinstance(inputs, list | tuple) else [inputs], creates):
                return call()
        if func is _REGISTER_HOOK:
            tensor, hook = (*args, kwargs["hook"])[:2] if "hook" in kwargs else args[:2]
            own: Any = hook if tensor.is_leaf else step.wrap_hook(hook)
            return call.made_by(func, (tensor, own), {})
        if func is Tensor.retain_grad:
            step.note_retained(args[0])
            return call()
        arguments = bind_arguments(_BACKWARD if func is Tensor.backward else _AUTOGRAD_BACKWARD, args, kwargs)
        loss = arguments["self"]
        losses = [loss] if isinstance(loss, Tensor) else list(loss)
        gradient = arguments.get("gradient")
        gradients = [gradient] if gradient is None or isinstance(gradient, Tensor) else list(gradient)
        keeps, creates = arguments.get("retain_graph"), bool(arguments.get("create_graph"))
        if len(losses) == 1:
            step.before_backward(losses[0], gradients[0], creates if keeps is None else keeps)
        return call()


_REGISTER_HOOK: Any = Tensor.register_hook
_OF_THE_STEP = frozenset([
    Tensor.backward, torch.autograd.backward, torch.autograd.grad, _REGISTER_HOOK, Tensor.retain_grad,
])  # fmt: skip

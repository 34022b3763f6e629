"""Each sample's path contribution the slow way: one backward pass a sample, other samples' shares masked.

Every call `y = f(x, w)` that receives a parameter is made twice: once with the parameter cut off, which
carries the gradient of the whole batch on to x, and once with x cut off, whose gradient is masked to one
sample's rows. What reaches a parameter is then that sample's share, also where BatchNorm couples the samples.
It shares the interception of calls with the recorder and nothing else: no rule, no probe, no product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fisherscope.gram.interception.torch_function import Interceptor, call_name, takes_arguments
from fisherscope.gram.interception.torch_private import tree_leaves, tree_map
from fisherscope.model_state.reproducible import same_buffers, same_draws


class UncheckableError(RuntimeError):
    """The slow way does not work for this model; the text says why."""


@dataclass(frozen=True)
class SampleMask:
    """Where the samples lie in a call's output: along `dim`, read as (outer, n, inner)."""

    dim: int
    outer: int
    inner: int

    def mask(self, sample: int, samples: int, like: Tensor) -> Tensor:
        """1 on the rows of one sample (none if below 0), 0 elsewhere; broadcasts to `like`."""
        rows = like.new_zeros(self.outer, samples, self.inner)
        if sample >= 0:
            rows[:, sample] = 1
        shape = [1] * like.dim()
        shape[self.dim] = rows.numel()
        return rows.reshape(shape)


def path_columns(
    model: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    batch: Any,
    larger: Any,
    alone: Any,
    samples: int,
) -> Tensor:
    """Differentiate each sample's share of the loss's gradient with the others masked.

    Args:
        model: A copy that may be changed.
        loss: (model, batch) → scalar.
        batch: n samples.
        larger: The same and one sample more, to see which dimensions grow.
        alone: The first of them alone.
        samples: n.

    Returns:
        (n, p), over the trainable parameters in order.

    Raises:
        UncheckableError: Which calls are made depends on the data, or a call mixes samples.

    What no call brings from the samples (a penalty on the parameters) is an equal share of each one's.

    Cost: n + 2 backward passes of about twice the step's memory.
    """
    leaves: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    places = _places(model, loss, leaves, batch, larger, alone, samples)
    current = [0]
    masked = _Masked(leaves, places, samples, current)
    with same_buffers(model):
        with same_draws(), masked.mode:
            value = loss(model, batch)
        if masked.count != len(places):
            raise UncheckableError(f"it made {len(places)} calls with parameters, then {masked.count}")
        rows = []
        for sample in range(-1, samples):
            current[0] = sample
            grads = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
            flat = [torch.zeros_like(p) if g is None else g for p, g in zip(leaves, grads, strict=True)]
            rows.append(torch.cat([g.to_dense().flatten() if g.is_sparse else g.flatten() for g in flat]))
    return torch.stack(rows[1:]) - rows[0] * (1 - 1 / samples)


# Where the samples lie --------------------------------------------------------------------------------


@dataclass
class _Scout:
    """Shapes of every call that receives a parameter, and the outputs of some."""

    sources: set[int]
    kept: list[Tensor] = field(default_factory=list)
    outputs: list[list[Tensor]] = field(default_factory=list)


def _places(
    model: nn.Module, loss: Any, leaves: list[Tensor], batch: Any, larger: Any, alone: Any, samples: int
) -> list[list[SampleMask | None]]:
    grown: set[int] = set()
    while True:  # a value is of parameters alone until its size depends on the batch
        few = _outputs(model, loss, leaves, batch, grown)
        more = _outputs(model, loss, leaves, larger, grown)
        if len(few) != len(more):
            raise UncheckableError("which calls it makes depends on the data")
        new = {k for k, (a, b) in enumerate(zip(few, more, strict=True)) if a[0].shape != b[0].shape} - grown
        if not new:
            break
        grown.add(min(new))
    whole, single = few, few
    if any(size != samples for size in _grown_sizes(few, more, grown)):
        whole = _in_eval(model, lambda: _outputs(model, loss, leaves, batch, grown))
        single = _in_eval(model, lambda: _outputs(model, loss, leaves, alone, grown))
    if not len(whole) == len(single) == len(few):
        raise UncheckableError("in eval mode it makes other calls")
    return [
        [
            _place(a, b, w, s, samples) if k in grown else None
            for a, b, w, s in zip(few[k], more[k], whole[k], single[k], strict=True)
        ]
        for k in range(len(few))
    ]


def _grown_sizes(few: list[list[Tensor]], more: list[list[Tensor]], grown: set[int]) -> list[int]:
    """Sizes of the dimensions that grew."""
    return [
        a
        for k in grown
        for one, other in zip(few[k], more[k], strict=True)
        for a, b in zip(one.shape, other.shape, strict=True)
        if a != b
    ]


def _in_eval(model: nn.Module, call: Callable[[], Any]) -> Any:
    mode = {module: module.training for module in model.modules()}
    model.eval()
    try:
        return call()
    finally:
        for module, training in mode.items():
            module.training = training


def _place(few: Tensor, more: Tensor, whole: Tensor, single: Tensor, samples: int) -> SampleMask:
    dims = [d for d in range(few.dim()) if few.shape[d] != more.shape[d]]
    if len(dims) != 1 or few.shape[dims[0]] % samples:
        raise UncheckableError(f"a call's output grows from {tuple(few.shape)} to {tuple(more.shape)}")
    (dim,) = dims
    if whole.shape != few.shape:
        raise UncheckableError("in eval mode it makes other calls")
    rest = few.shape[dim] // samples
    if rest == 1:
        return SampleMask(dim, 1, 1)
    for outer in (d for d in range(1, rest + 1) if rest % d == 0):
        split = whole.unflatten(dim, (outer, samples, rest // outer)).select(dim + 1, 0).reshape(single.shape)
        if torch.allclose(split, single, rtol=1e-4, atol=1e-5):
            return SampleMask(dim, outer, rest // outer)
    raise UncheckableError(f"the order of the rows in an output {tuple(few.shape)} does not show")


def _outputs(
    model: nn.Module, loss: Any, leaves: list[Tensor], batch: Any, grown: set[int]
) -> list[list[Tensor]]:
    seen = _Calls(leaves, grown)
    with same_draws(), same_buffers(model), seen.mode:
        loss(model, batch)
    return seen.outputs


class _Calls:
    """Follows calls that receive values made of parameters alone."""

    def __init__(self, leaves: list[Tensor], grown: set[int]) -> None:
        self.sources = {id(leaf): leaf for leaf in leaves}
        self.grown, self.count = grown, 0
        self.outputs: list[list[Tensor]] = []
        self.mode = Interceptor(self.concerns, takes_arguments(self.handle))

    def concerns(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Tell whether one of the arguments is made of parameters."""
        return torch.is_grad_enabled() and any(
            id(leaf) in self.sources for leaf in tree_leaves((args, dict(kwargs)))
        )

    def handle(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one such call."""
        out = func(*args, **kwargs)
        given = [args[0]] if call_name(func)[0] == "setitem" else output_tensors(out)
        if not any(t.requires_grad for t in given) or all(id(t) in self.sources for t in given):
            return out
        number, self.count = self.count, self.count + 1
        self.outputs.append([t.detach().clone() for t in given])
        if number not in self.grown:
            self.sources.update((id(t), t) for t in given)
        return out


class _Masked(_Calls):
    """The calls made twice, with the parameters' part masked to the current sample."""

    def __init__(
        self, leaves: list[Tensor], places: list[list[SampleMask | None]], samples: int, current: list[int]
    ) -> None:
        super().__init__(leaves, {k for k, of in enumerate(places) if of[0] is not None})
        self.places, self.samples, self.current = places, samples, current

    def handle(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one such call."""
        name, inplace = call_name(func)
        state = torch.get_rng_state()
        if not inplace:
            out = func(*args, **kwargs)
            if all(id(t) in self.sources for t in output_tensors(out)):  # `to`, where there is nothing to do
                return out
            torch.set_rng_state(state)
        apart, cut = self._apart((args, kwargs), cut_sources=False), self._apart((args, kwargs), True)
        (own_args, own_kwargs), (cut_args, cut_kwargs) = apart, cut
        if inplace:
            own_args = (own_args[0].clone(), *own_args[1:])
            cut_args = (args[0], *cut_args[1:])
        own = func(*own_args, **own_kwargs)
        given = [own_args[0]] if name == "setitem" else output_tensors(own)
        if not any(t.requires_grad for t in given):
            torch.set_rng_state(state)
            return func(*args, **kwargs)
        number = self.count
        if number >= len(self.places) or number not in self.grown:
            torch.set_rng_state(state)
            return super().handle(func, args, kwargs)
        self.count += 1
        torch.set_rng_state(state)
        plain = func(*cut_args, **cut_kwargs)
        if name == "setitem":
            args[0].add_(self._share(given[0], self.places[number][0]))
            return plain
        if inplace:
            return plain.add_(self._share(given[0], self.places[number][0]))
        shares = iter(self._share(t, at) for t, at in zip(given, self.places[number], strict=True))
        return tree_map(lambda t: t + next(shares) if isinstance(t, Tensor) else t, plain)

    def _apart(self, tree: Any, cut_sources: bool) -> Any:
        """Return the arguments with the sources cut off, or with all but them."""

        def cut(value: Any) -> Any:
            if not isinstance(value, Tensor) or not value.requires_grad:
                return value
            return value.detach() if (id(value) in self.sources) == cut_sources else value

        return tree_map(cut, tree)

    def _share(self, own: Tensor, place: SampleMask | None) -> Tensor:
        """Return zero with the parameters' gradient behind it, masked."""
        if place is None or not own.requires_grad:
            return torch.zeros_like(own)
        own = own.clone()
        own.register_hook(lambda g: g * place.mask(self.current[0], self.samples, g))
        return own - own.detach()


def output_tensors(out: Any) -> list[Tensor]:
    """List the tensors that a call gave.

    Returns:
        Its outputs, in the order of the tree.
    """
    return [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]

"""Finding, once per kind of input, where the samples lie in every tensor that meets a parameter.

The model's forward is run on two and on three of the batch's own samples: a dimension that grows with
their number carries the batch. A third run with the three samples in another order confirms it: along
that dimension values must move with the samples. Random state is forked, buffers are swapped for
copies, dropout is off and random draws are constant, so the probe leaves no trace.
"""

from __future__ import annotations

import random
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils import _pytree as pytree

from fisherscope.gram.errors import AmbiguousBatchError
from fisherscope.gram.grouping import Layout
from fisherscope.gram.interception import Interceptor, bound, call_name, custom_functions_seen
from fisherscope.gram.sources import Source, Sources, tensors_in

_ORDER = (1, 2, 0)  # no sample keeps its place
_MATCH = 0.05  # of the spread between samples: by how much a permuted run may miss
_CONSTANT = 1e-6  # of the norm: samples that differ by less can't be told apart

Key = tuple[str, tuple[str, ...], int]


@dataclass
class Sight:
    """What one probe run saw of one call: shapes, and values where they are to be compared."""

    shapes: dict[str, torch.Size]
    values: dict[str, Tensor]
    depends: bool  # whether any other argument came from the batch


@dataclass
class Finding:
    """How a call treats the samples: layouts by argument name, "out" for the output."""

    layouts: dict[str, Layout] = field(default_factory=dict)
    derived: bool = False
    packed: bool = False
    shared: bool = False  # a number of parameters alone, added to the loss
    problem: str | None = None


Plan = dict[Key, Finding]


@dataclass(frozen=True)
class Entry:
    """One outermost call of a module: what was called, with what, and which inputs carry samples."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    dims: tuple[int | None, ...]  # for each leaf of (args, kwargs): its batch dimension
    samples: int

    def subset(self, chosen: list[int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) of the chosen samples alone."""
        leaves, tree = _flat((self.args, self.kwargs))
        picked = [
            leaf if dim is None else _select(leaf, dim, chosen)
            for leaf, dim in zip(leaves, self.dims, strict=True)
        ]
        args, kwargs = pytree.tree_unflatten(picked, tree)
        return args, kwargs


def _is_packed(value: object) -> bool:
    return isinstance(value, PackedSequence)


def _flat(tree: Any) -> tuple[list[Any], Any]:
    return pytree.tree_flatten(tree, is_leaf=_is_packed)


def _select(leaf: Any, dim: int, chosen: list[int]) -> Any:
    if isinstance(leaf, PackedSequence):
        padded, lengths = pad_packed_sequence(leaf, batch_first=True)
        return pack_padded_sequence(padded[chosen], lengths[chosen], batch_first=True, enforce_sorted=False)
    return leaf.detach().index_select(dim, torch.tensor(chosen, device=leaf.device))


def entry_of(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dim: int | Mapping[str, int | None]
) -> Entry | None:
    """The call's inputs with dimension `dim` as the batch, or None if no input has it.

    The first tensor that has the dimension sets the number of samples; a tensor that has that many
    along `dim`, or else along dimension 0, carries them too.
    """
    if isinstance(dim, Mapping):
        return _entry_by_name(module, args, kwargs, dim)
    plain = not kwargs and all(isinstance(arg, Tensor) for arg in args)
    leaves = args if plain else _flat((args, kwargs))[0]
    samples = next((size for leaf in leaves if (size := _size(leaf, dim)) is not None), None)
    if samples is None:
        return None
    dims = tuple(next((d for d in (dim, 0) if _size(leaf, d) == samples), None) for leaf in leaves)
    return Entry(module, args, kwargs, dims, samples)


def _size(leaf: Any, dim: int) -> int | None:
    if isinstance(leaf, PackedSequence):
        return int(leaf.batch_sizes[0])
    if isinstance(leaf, Tensor) and leaf.dim() > dim:
        return leaf.shape[dim]
    return None


def _entry_by_name(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], named: Mapping[str, int | None]
) -> Entry:
    """An entry whose batch dimensions are said by input name (or position, as a string)."""
    dims: list[int | None] = []
    sizes = []
    for name, value in [*((str(i), arg) for i, arg in enumerate(args)), *kwargs.items()]:
        leaves, _ = _flat(value)
        for leaf in leaves:
            dim = named.get(name)
            dims.append(dim if dim is not None and _size(leaf, dim) is not None else None)
            if dims[-1] is not None:
                sizes.append(_size(leaf, dims[-1]))
    if len(set(sizes)) != 1:
        raise AmbiguousBatchError(
            f"batch={dict(named)!r} was given for {type(module).__name__}, and the inputs it names have "
            f"{sorted(set(sizes), key=str)} samples; they must all have the same number."
        )
    return Entry(module, args, kwargs, tuple(dims), int(sizes[0] or 0))


class Keys:
    """Names calls by function, the parameters they use, and their turn: the same in every forward."""

    def __init__(self) -> None:
        self._turns: Counter[tuple[str, tuple[str, ...]]] = Counter()

    def next(self, name: str, sources: Mapping[str, Source]) -> Key:
        """The key of the next call of `name` with these sources."""
        who = (name, tuple(sorted({leaf for source in sources.values() for leaf in source.leaves})))
        self._turns[who] += 1
        return (*who, self._turns[who] - 1)


def probe(
    entry: Entry, parameters: Mapping[str, Tensor], signatures: Callable[[str], Any]
) -> tuple[Plan, bool]:
    """How every call of the entry's forward that receives a parameter treats the samples.

    Args:
        entry: the call and its inputs.
        parameters: the trainable parameters by name.
        signatures: argument names of a function, or None.

    Returns:
        A finding for each call, and whether the forward's output grows with the samples. Cost: about eight
        samples' forward passes.

    Raises:
        Whatever the model raises on part of a batch.
    """
    some = list(range(entry.samples))[:3]
    two, three = (some * 3)[:2], (some * 3)[:3]
    moved = [three[place] for place in _ORDER]
    entering: set[Key] = set()
    while True:
        small, few, _ = _watch(entry, two, parameters, signatures, entering, keep=False)
        large, more_rows, drew = _watch(entry, three, parameters, signatures, entering, keep=True)
        more = {
            key
            for key in small.keys() & large.keys()
            if not large[key].depends and small[key].shapes["out"] != large[key].shapes["out"]
        } - entering
        if not more:
            break
        entering |= more
    turned, _, _ = _watch(entry, moved, parameters, signatures, entering, keep=True)
    plan = {
        key: _finding(small[key], large[key], turned.get(key), len(some), drew, key[0])
        if key in small
        else _unmatched()
        for key in large
    }
    return plan, few != more_rows


def is_penalty(name: str, out: torch.Size) -> bool:
    """Whether a call that does not keep the samples apart adds a number made of parameters to one of samples.

    Its value is the same whatever the samples are, so that each has an equal share.
    """
    return name in ("add", "sub") and len(out) == 0


def _unmatched() -> Finding:
    return Finding(problem="it was called for three samples and not for two: the calls depend on the data")


def _finding(
    small: Sight, large: Sight, turned: Sight | None, samples: int, drew: bool, function: str
) -> Finding:
    """The layouts of one call from its three sights."""
    if turned is None:
        return Finding(problem="the order of the samples changes which calls are made")
    finding = Finding()
    rest: dict[str, int] = {}
    for name, shape in large.shapes.items():
        before = small.shapes.get(name)
        if before is None or len(before) != len(shape):
            finding.problem = f"its {name} changes form with the number of samples"
            return finding
        grown = [d for d, (a, b) in enumerate(zip(before, shape, strict=True)) if a != b]
        if not grown:
            continue
        if len(grown) > 1:
            if name == "out":
                finding.problem = f"its output grows in {len(grown)} dimensions with the number of samples"
            continue
        dim = grown[0]
        if before[dim] * 3 != shape[dim] * 2:
            finding.packed = finding.packed or name == "out"
            continue
        rest[name] = shape[dim] // 3
        finding.layouts[name] = Layout(dim)
    if "out" not in finding.layouts and not finding.packed and finding.problem is None:
        if large.depends and is_penalty(function, large.shapes["out"]):
            finding.shared = True
        elif large.depends:
            finding.problem = "it mixes the samples: its input carries them and its output does not"
        else:
            finding.derived = True
        return finding
    orders = {}
    for name in list(finding.layouts):
        layout, verdict = _order(
            finding.layouts[name],
            rest[name],
            large.values.get(name),
            turned.values.get(name),
            1 if drew and rest[name] == 1 else samples,
        )
        if layout is not None:
            finding.layouts[name] = layout
        orders[name] = verdict
    if orders.get("out") == "differs" and finding.problem is None:
        finding.problem = "its output does not move with the samples when they change places"
    finding.layouts = {name: layout for name, layout in finding.layouts.items() if orders[name] != "differs"}
    if orders.get("out") == "unknown":
        _order_from_inputs(finding, rest, orders)
    return finding


def _order(
    layout: Layout, rest: int, large: Tensor | None, turned: Tensor | None, samples: int
) -> tuple[Layout | None, str]:
    """The layout with its order, and "confirmed", "differs" or "unknown"."""
    if samples == 1:  # all rows are its own, in whichever order
        return None, "confirmed"
    if large is None or turned is None:
        return None, ("confirmed" if rest == 1 else "unknown")
    if not (large.is_floating_point() or large.is_complex()):
        large, turned = large.double(), turned.double()
    large, turned = torch.nan_to_num(large, 0, 0, 0), torch.nan_to_num(turned, 0, 0, 0)
    floor = _CONSTANT * float(large.norm())
    fitting = []
    for outer in (d for d in range(1, rest + 1) if rest % d == 0):
        split = large.unflatten(layout.dim, (outer, 3, rest // outer))
        expected = split.index_select(layout.dim + 1, torch.tensor(_ORDER, device=large.device))
        expected = expected.reshape(large.shape)
        spread, miss = float((expected - large).norm()), float((turned - expected).norm())
        if miss <= max(_MATCH * spread, floor):
            fitting.append(outer)
    if not fitting:
        return None, "differs"
    if len(fitting) > 1:
        return None, "unknown"
    outer = fitting[0]
    if outer == 1:
        return Layout(layout.dim), "confirmed"
    return (
        Layout(layout.dim, None) if outer == rest else Layout(layout.dim, outer, rest // outer)
    ), "confirmed"


def _order_from_inputs(finding: Finding, rest: dict[str, int], orders: dict[str, str]) -> None:
    """Where an output is the same for all samples, its order is that of an input as long."""
    for name, verdict in orders.items():
        if name != "out" and verdict == "confirmed" and rest[name] == rest["out"]:
            other = finding.layouts[name]
            finding.layouts["out"] = Layout(finding.layouts["out"].dim, other.outer, other.inner)
            return
    finding.problem = finding.problem or (
        "several rows belong to a sample, and their values do not show in which order they lie"
    )


class _Watcher:
    """Follows one probe forward: which tensors depend on the batch, which on parameters alone."""

    def __init__(
        self, sources: Sources, inputs: list[Tensor], signatures: Any, entering: set[Key], keep: bool
    ) -> None:
        self._sources, self._signatures, self._entering, self._keep = sources, signatures, entering, keep
        self._alive: dict[int, Tensor] = {id(tensor): tensor for tensor in inputs}
        self._keys = Keys()
        self.sights: dict[Key, Sight] = {}
        self.mode = Interceptor(lambda args, kwargs: True, self.handle)

    def handle(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name, inplace = call_name(func)
        if name in _RANDOM:
            return _constant(func, name, args, kwargs)
        if name in DROPOUT:
            first = args[0] if args else kwargs["input"]
            return self._undropped(
                name, func, (first, *args[1:]), kwargs, inplace or bool(kwargs.get("inplace"))
            )
        signature = self._signatures(name)
        values = bound(signature, args, kwargs)
        args, kwargs = _without_dropout(name, args, kwargs)
        found = self._sources.among(values)
        if name.startswith("Function ") and not found:  # the recorder looks inside, too
            with self.mode:
                return self._followed(func(*args, **kwargs), values)
        depends = any(id(t) in self._alive for _, t in tensors_in(values) if self._sources.get(t) is None)
        before = {
            key: tensor.detach().clone() if inplace and self._keep else tensor.detach()
            for key, tensor in tensors_in(values)
            if key not in found
        }
        out = func(*args, **kwargs)
        results = [out] if isinstance(out, Tensor) else [t for _, t in tensors_in({"": out})]
        if name == "setitem" and args:
            results = [args[0]]
        if depends:
            self._alive.update((id(t), t) for t in results)
            if inplace and args and isinstance(args[0], Tensor):
                self._alive[id(args[0])] = args[0]
        if found and any(t.requires_grad for t in results):
            self._record(name, found, results, before, depends, func, args, kwargs)
        return out

    def _followed(self, out: Any, values: dict[str, Any]) -> Any:
        """What a function of the user's own gave: of the batch where one of its arguments is."""
        if any(id(tensor) in self._alive for _, tensor in tensors_in(values)):
            self._alive.update((id(t), t) for _, t in tensors_in({"": out}))
        return out

    def _undropped(self, name: str, func: Any, args: Any, kwargs: Any, inplace: bool) -> Any:
        """The input as it is; of a value made of parameters, still one."""
        out = args[0] if inplace else args[0].clone()
        source = self._sources.get(args[0])
        if source is not None and not inplace:
            self._sources.derive(name, out, [source], args, kwargs, func)
        elif id(args[0]) in self._alive:
            self._alive[id(out)] = out
        return out

    def _record(
        self,
        name: str,
        found: Any,
        results: Any,
        before: Any,
        depends: bool,
        func: Any,
        args: Any,
        kwargs: Any,
    ) -> None:
        if all(self._sources.get(t) is not None for t in results):
            return
        key = self._keys.next(name, found)
        named = {"out": results[0].detach(), **{f"out.{i}": t.detach() for i, t in enumerate(results[1:], 1)}}
        sight = Sight({k: t.shape for k, t in {**before, **named}.items()}, {}, depends)
        if self._keep:
            sight.values = {k: t.clone() for k, t in named.items()} | before
        self.sights[key] = sight
        if depends or key in self._entering:
            self._alive.update((id(t), t) for t in results)
        else:
            for result in results:
                self._sources.derive(name, result, found.values(), args, kwargs, func)


def _watch(
    entry: Entry, chosen: list[int], parameters: Any, signatures: Any, entering: set[Key], keep: bool
) -> tuple[dict[Key, Sight], list[torch.Size], bool]:
    """What one forward of some samples shows, its outputs' shapes, whether NumPy or Python drew numbers.

    Such draws (masks made on the host) stay with the rows when the samples change places.
    """
    args, kwargs = entry.subset(chosen)
    leaves, _ = pytree.tree_flatten((args, kwargs))
    inputs = [
        leaf
        for given, dim in zip(_flat((args, kwargs))[0], entry.dims, strict=True)
        if dim is not None
        for leaf in pytree.tree_leaves(given)
        if isinstance(leaf, Tensor)
    ]
    watcher = _Watcher(Sources(parameters), inputs, signatures, entering, keep)
    with _untouched(entry.module, leaves), torch.enable_grad(), custom_functions_seen(), watcher.mode:
        before = _host_state()
        out = entry.module(*args, **kwargs)
        drew = _host_state() != before
    shapes = [leaf.shape for leaf in pytree.tree_leaves(out) if isinstance(leaf, Tensor)]
    return watcher.sights, shapes, drew


def _host_state() -> tuple[Any, ...]:
    numpy = sys.modules.get("numpy")
    state = numpy.random.get_state() if numpy else ()
    return (random.getstate(), *(item.tobytes() if hasattr(item, "tobytes") else item for item in state))


@contextmanager
def _untouched(module: nn.Module, leaves: list[Any]) -> Iterator[None]:
    """Random state forked; buffers replaced by copies; Python's and NumPy's generators put back.

    What modules hold as plain attributes (counters, a cache of the last input) is put back too.
    """
    devices = {leaf.device for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_cuda}
    devices |= {p.device for p in module.parameters() if p.is_cuda}
    numpy = sys.modules.get("numpy")
    python_state, numpy_state = random.getstate(), numpy.random.get_state() if numpy else None
    originals = [
        (owner, name, buffer)
        for owner in module.modules()
        for name, buffer in owner._buffers.items()
        if buffer is not None
    ]
    attributes = [_Attributes(owner) for owner in module.modules()]
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[d.index or 0 for d in devices]))
        for owner, name, buffer in originals:
            owner._buffers[name] = buffer.clone()
        try:
            yield
        finally:
            for held in attributes:
                held.put_back()
            for owner, name, buffer in originals:
                owner._buffers[name] = buffer
            random.setstate(python_state)
            if numpy and numpy_state is not None:
                numpy.random.set_state(numpy_state)


class _Attributes:
    """A module's own attributes, and what its plain lists, dicts and sets hold, as they are now."""

    def __init__(self, module: nn.Module) -> None:
        self._own = module.__dict__
        self._held = dict(self._own)
        self._inside = [
            (value, value.copy())
            for name, value in self._held.items()
            if type(value) in (list, dict, set, OrderedDict, defaultdict, deque) and name not in _TORCHS_OWN
        ]

    def put_back(self) -> None:
        self._own.clear()
        self._own.update(self._held)
        for value, before in self._inside:
            value.clear()
            value.extend(before) if isinstance(value, list | deque) else value.update(before)


_TORCHS_OWN = frozenset(nn.Module().__dict__) - {"_parameters", "_modules"}

DROPOUT = frozenset(
    [
        "dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "alpha_dropout",
        "feature_dropout",
        "feature_alpha_dropout",
        "native_dropout",
    ]
)
_RANDOM = frozenset(
    [
        "rand",
        "randn",
        "randint",
        "rand_like",
        "randn_like",
        "randint_like",
        "randperm",
        "normal",
        "bernoulli",
        "multinomial",
        "uniform",
        "exponential",
        "geometric",
        "cauchy",
        "log_normal",
        "poisson",
        "gumbel_softmax",
        "rrelu",
    ]
)


def _constant(func: Any, name: str, args: Any, kwargs: Any) -> Any:
    """A random draw made the same for all samples: 1/2 for numbers, 1 for coins, 0 for integers."""
    out = func(*args, **kwargs)
    if not isinstance(out, Tensor) or out.grad_fn is not None or name == "randperm":
        return out
    with torch.no_grad():
        value = 1.0 if name == "bernoulli" else 0.5
        return out.fill_(value if out.is_floating_point() else 0)


def _without_dropout(name: str, args: Any, kwargs: Any) -> Any:
    """The same call without its own dropout (attention, recurrent layers)."""
    if name == "scaled_dot_product_attention" or name in _RECURRENT:
        start = 4 if name == "scaled_dot_product_attention" else 5
        args = tuple(0.0 if i >= start and isinstance(arg, float) else arg for i, arg in enumerate(args))
        kwargs = {**kwargs, "dropout_p": 0.0} if "dropout_p" in kwargs else kwargs
    return args, kwargs


_RECURRENT = frozenset(["lstm", "gru", "rnn_tanh", "rnn_relu"])

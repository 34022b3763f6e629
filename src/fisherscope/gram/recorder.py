"""`record_gram`: watches one training step and gives its Gram matrix."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from fnmatch import fnmatch
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from fisherscope.gram.columns import Arithmetic, Columns, Dense
from fisherscope.gram.errors import AmbiguousBatchError, GramError, IncompleteError, NotSplittableError
from fisherscope.gram.grouping import Grouping, Layout, packed_rows, rows_grouping
from fisherscope.gram.interception import Interceptor, bound, call_name
from fisherscope.gram.ledger import Ledger, Share
from fisherscope.gram.per_loss import per_loss_backward
from fisherscope.gram.probe import Entry, Finding, Keys, Plan, entry_of, probe
from fisherscope.gram.record import Coverage, GramRecord
from fisherscope.gram.rules import Call, Rule, UnsuitedError, rule_of, signature_of
from fisherscope.gram.rules.recurrent import is_packed
from fisherscope.gram.sources import Source, Sources, leaf_geometry, rounding_of, tensors_in, without_hooks

Chosen = str | Sequence[str] | Callable[[str, Tensor], bool] | None
# A parameter's miss is measured against its own gradient, or this share of the whole one if that is more:
# some gradients (an attention key's bias) are zero in exact arithmetic and hold nothing but rounding.
_NEGLIGIBLE = 1e-3
_open = threading.local()
_plans: WeakKeyDictionary[nn.Module, dict[Any, tuple[Any, Plan]]] = WeakKeyDictionary()


class Recorder:
    """The state of one open `record_gram`; `GramRecord` is what users see of it."""

    def __init__(
        self,
        model: nn.Module,
        record: GramRecord,
        *,
        reduction: Literal["mean", "sum"],
        batch: int | Mapping[str, int | None] | None,
        sample_of: Tensor | None,
        parameters: Chosen,
        fused: bool,
        precision: str,
        strict: bool,
        accumulate: bool,
        memory_budget: int,
        loss_scale: float,
        layers: bool,
    ) -> None:
        self.model, self.record = model, record
        self.reduction, self.batch, self.sample_of = reduction, batch, sample_of
        self.fused, self.strict, self.loss_scale = fused, strict, loss_scale
        self.trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.parameters = _select(self.trainable, parameters)
        dtype = torch.float64 if precision == "float64" else None
        self.ledger = Ledger(self.parameters, Arithmetic(dtype, memory_budget), layers, accumulate)
        self.sources = Sources(self.parameters)
        self.mode = Interceptor(self.concerns, self.handle, self.before_backward)
        self.entry: Entry | None = None
        self.plan: Plan = {}
        self.keys = Keys()
        self.packings: dict[int, Tensor] = {}
        self.packed_order: Tensor | None = None
        self.samples: int | None = None
        self.uses: dict[str, int] = dict.fromkeys(self.parameters, 0)
        self.rules: dict[str, set[str]] = {name: set() for name in self.parameters}
        self.unseen: set[str] = set()
        self.hidden: set[str] = set()  # parameters used where gradients were off
        self.problems: dict[str, str] = {}
        self.entries = 0
        self.backwards = 0
        self.closed = False
        self.probing = False
        self.handles: list[Any] = []
        self.seconds = 0.0
        self.eps = {name: torch.finfo(p.dtype).eps for name, p in self.parameters.items()}

    # Opening and closing -----------------------------------------------------------------------

    def attach(self) -> None:
        """Put the hooks in place: module entries and leaves' gradients."""
        for module in self.model.modules():
            if not _is_wrapper(module):
                self.handles.append(module.register_forward_pre_hook(self.enter, with_kwargs=True))
        for name, parameter in self.parameters.items():
            handle = parameter.register_hook(lambda gradient, name=name: self.arrived(name, gradient))
            hooks = parameter._backward_hooks
            if hooks is not None:
                hooks.move_to_end(handle.id, last=False)  # before hooks that rescale the gradient
            self.handles.append(handle)

    def detach(self) -> None:
        """Remove every hook; nothing stays behind."""
        self.closed = True
        for handle in self.handles:
            handle.remove()
        self.handles.clear()

    # Entries: which inputs carry samples -------------------------------------------------------

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Called before each module's forward; the outermost one is an entry."""
        if self.probing:
            return
        for leaf in pytree.tree_leaves((args, kwargs), is_leaf=lambda x: isinstance(x, PackedSequence)):
            if isinstance(leaf, PackedSequence):
                self._note_packing(leaf)
        if self.entry is not None or self.closed or not torch.is_grad_enabled():
            return
        started = time.perf_counter()
        self.probing = True
        try:
            found = self._planned(module, args, kwargs)
        finally:
            self.probing = False
        self.record.probe_seconds += time.perf_counter() - started
        self.entry, self.plan = found
        self.entries += 1
        self.keys = Keys()
        self._agree(self.entry.samples)
        self.handles.append(module.register_forward_hook(self.leave, always_call=True))

    def leave(self, module: nn.Module, *_: Any) -> None:
        """The entry's forward has ended."""
        if self.entry is not None and module is self.entry.module:
            self.entry, self.plan, self.keys = None, {}, Keys()

    def _note_packing(self, packed: PackedSequence) -> None:
        self.packings[len(packed.data)] = packed_rows(packed.batch_sizes, packed.sorted_indices)
        self.packed_order = packed.sorted_indices

    def _agree(self, samples: int) -> None:
        self.samples = samples

    def _planned(self, module: nn.Module, args: Any, kwargs: Any) -> tuple[Entry, Plan]:
        if self.sample_of is not None:
            return Entry(module, args, kwargs, (), int(self.sample_of.max()) + 1), {}
        leaves, tree = pytree.tree_flatten((args, kwargs))
        signature = (
            str(tree), module.training, str(self.batch), tuple(sorted(self.parameters)),
            tuple((leaf.dim(), leaf.dtype) if isinstance(leaf, Tensor) else str(leaf)[:80] for leaf in leaves),
            tuple(min(leaf.shape[d], 2) for leaf in leaves if isinstance(leaf, Tensor) for d in range(min(2, leaf.dim()))),
        )  # fmt: skip
        cache = _plans.setdefault(module, {})
        if signature in cache:
            dim, plan = cache[signature]
            entry = entry_of(module, args, kwargs, dim)
            if entry is not None:
                return entry, plan
        dim, entry, plan = self._probe(module, args, kwargs)
        cache[signature] = (dim, plan)
        return entry, plan

    def _probe(self, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Entry, Plan]:
        """Try each dimension that might carry the batch: the one whose calls all follow the samples.

        Where some call follows them along neither (it mixes samples, say), the one with fewer such calls;
        a tie is an error.
        """
        tried: list[tuple[int, Any, Entry, Plan]] = []
        failed: list[str] = []
        for dim in (self.batch,) if self.batch is not None else (0, 1):
            entry = entry_of(module, args, kwargs, dim)
            if entry is None or (entry.samples < 2 and dim == 1 and self.batch is None):
                continue
            try:
                plan = probe(entry, self.parameters, signature_of)
            except Exception as error:  # noqa: BLE001  (whatever the user's model raises on part of a batch)
                failed.append(f"dimension {dim}: the model raised {type(error).__name__}: {str(error)[:200]}")
                continue
            problems = [f"{key[0]}: {found.problem}" for key, found in plan.items() if found.problem]
            failed += [f"dimension {dim}: in {text}" for text in problems[:1]]
            tried.append((len(problems), dim, entry, plan))
        tried.sort(key=lambda attempt: attempt[0])
        if len(tried) == 1 or (len(tried) == 2 and tried[0][0] < tried[1][0]):
            _, dim, entry, plan = tried[0]
            return dim, entry, plan
        raise AmbiguousBatchError(_batch_text(module, args, kwargs, [attempt[1] for attempt in tried], failed))

    # Calls ---------------------------------------------------------------------------------------

    def concerns(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call is to be recorded."""
        return not self.probing and self.sources.inside(args, kwargs)

    def handle(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One call that receives something made of parameters."""
        name, inplace = call_name(func)
        rule = rule_of(name)
        values = bound(rule.signature, args, kwargs)
        found = self.sources.among(values)
        if not torch.is_grad_enabled():
            self.hidden.update(leaf for source in found.values() for leaf in source.leaves)
            return func(*args, **kwargs)
        state = torch.get_rng_state() if rule.draws else None
        kept = self._kept(rule, values, found, inplace)
        attachable = self.fused and self._attachable(name, found)
        out = self._detached_call(func, args, kwargs, found) if attachable else func(*args, **kwargs)
        results = _results(name, out, args)
        if not results or not (attachable or any(r.requires_grad for r in results)):
            return out
        if all(self.sources.get(result) is not None for result in results):
            return out
        finding, key = self._finding(name, found, values, results[0])
        if finding.derived:
            for result in results:
                self.sources.derive(name, result, found.values(), args, kwargs, func)
            return out
        call = self._call(name, func, rule, finding, kept, found, results[0], len(args), state)
        if call is None:  # told to leave it out
            return func(*args, **kwargs) if attachable else out
        if rule.keeps_outputs:
            call.outputs = [result.detach() for result in results]
            nodes = [result.grad_fn for result in results]
            call.chained_outputs = len({id(node) for node in nodes}) == len(nodes)
        for source in found.values():
            for leaf in source.leaves:
                self.uses[leaf] += 1
                self.eps[leaf] = max(self.eps[leaf], source.eps, rounding_of(results[0].dtype))
                self.rules[leaf].add(rule.name if source.geometry is not None else f"{rule.name} (derived)")
        if attachable:
            return self._attached(out, rule, call, found)
        self._listen(rule, call, found, results)
        return out

    def _kept(self, rule: Rule, values: dict[str, Any], found: dict[str, Source], inplace: bool) -> dict[str, Any]:
        """The call's arguments as the rule will need them, detached; overwritten ones copied."""
        if not rule.keeps:
            plain = {name: value for name, value in values.items() if not isinstance(value, Tensor)}
            return plain
        first = next(iter(values), None)
        kept: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, Tensor):
                value = value.detach()
                kept[name] = value.clone() if inplace and name == first and rule.name != "assignment" else value
            elif isinstance(value, list | tuple) and any(isinstance(item, Tensor) for item in value):
                kept[name] = type(value)(item.detach() if isinstance(item, Tensor) else item for item in value)
            else:
                kept[name] = value
        return kept

    def _finding(
        self, name: str, found: dict[str, Source], values: dict[str, Any], out: Tensor
    ) -> tuple[Finding, Any]:
        key = self.keys.next(name, found)
        if self.sample_of is not None:
            return self._by_rows(found, values, out), key
        if self.entry is None:
            return self._outside(found, values, out), key
        finding = self.plan.get(key)
        if finding is None:
            return Finding(problem="the probe on part of the batch did not meet this call: the calls depend on the data"), key
        return finding, key

    def _by_rows(self, found: dict[str, Source], values: dict[str, Any], out: Tensor) -> Finding:
        """Rows said by hand: the one dimension as long as `sample_of`."""
        assert self.sample_of is not None
        length = len(self.sample_of)
        dims = [dim for dim, size in enumerate(out.shape) if size == length]
        if len(dims) == 1:
            return Finding({"out": Layout(dims[0])})
        if not dims and all(self.sources.get(t) is not None for _, t in tensors_in(values)):
            return Finding(derived=True)
        return Finding(problem=f"{len(dims)} of its output's dimensions {tuple(out.shape)} have the {length} rows of sample_of")

    def _outside(self, found: dict[str, Source], values: dict[str, Any], out: Tensor) -> Finding:
        """A call in the user's own code, not inside a module: by shape alone, where that is plain."""
        others = [t for _, t in tensors_in(values) if self.sources.get(t) is None]
        if not others:
            return Finding(derived=True)
        dims = [dim for dim, size in enumerate(out.shape) if size == self.samples]
        layouts = {}
        for argument, tensor in tensors_in(values):
            same = [dim for dim, size in enumerate(tensor.shape) if size == self.samples]
            if len(same) == 1:
                layouts[argument] = Layout(same[0])
        if len(dims) == 1:
            return Finding({**layouts, "out": Layout(dims[0])})
        return Finding(problem=f"it is called outside the model's forward and its output {tuple(out.shape)} does not "
                               f"show which dimension holds the {self.samples} samples")  # fmt: skip

    def _call(
        self, name: str, func: Any, rule: Rule, finding: Finding, kept: dict[str, Any], found: dict[str, Source],
        out: Tensor, positional: int, state: Tensor | None,
    ) -> Call | None:  # fmt: skip
        parameters = {argument: source.tensor.detach() for argument, source in found.items()}
        try:
            if rule.name == "recurrent" and is_packed(kept):
                grouping = rows_grouping(packed_rows(kept["1"], self.packed_order))
            elif finding.problem is not None:
                raise NotSplittableError(finding.problem)
            else:
                grouping = self._grouping(finding, out)
        except NotSplittableError as error:
            self._refuse(name, found, str(error))
            return None
        return Call(
            name, func, kept, positional, parameters, grouping, finding.layouts, out.shape, out.dtype, state,
            self.packed_order, entry=self.entries,
        )  # fmt: skip

    def _grouping(self, finding: Finding, out: Tensor) -> Grouping:
        if self.sample_of is not None:
            return rows_grouping(self.sample_of, finding.layouts["out"].dim)
        assert self.samples is not None
        layout = finding.layouts.get("out")
        if self.packings and (finding.packed or (layout is not None and layout.outer is None)):
            dim = next((d for d, size in enumerate(out.shape) if size in self.packings), None)
            if dim is not None:
                return rows_grouping(self.packings[out.shape[dim]], dim, self.samples)
        if layout is None:
            raise NotSplittableError("the number of its rows is not a multiple of the number of samples")
        grouping = Grouping(self.samples, finding.layouts["out"])
        if not grouping.fits(out.shape):
            raise NotSplittableError(
                f"its output {tuple(out.shape)} does not hold {self.samples} samples along dimension "
                f"{grouping.dim} as it did when the model was probed"
            )
        return grouping

    def _refuse(self, name: str, found: dict[str, Source], why: str) -> None:
        """A call that cannot be split: an error, or a parameter left out."""
        for leaf in {leaf for source in found.values() for leaf in source.leaves}:
            self._problem(leaf, f"`{name}` cannot be split by sample: {why}", NotSplittableError)

    def _problem(self, leaf: str, text: str, kind: type[GramError]) -> None:
        parameter = self.parameters[leaf]
        whole = (
            f"Measuring the Gram matrix: parameter {leaf!r} {tuple(parameter.shape)}: {text}. Remedies: say where the samples "
            f"lie (batch=…, or sample_of=… for flattened rows); leave it out (parameters=lambda name, p: name != {leaf!r}, "
            "or strict=False); or take semantics='per_loss'."
        )
        if self.strict:
            raise kind(whole)
        self.problems.setdefault(leaf, text)

    # Gradients -----------------------------------------------------------------------------------

    def _listen(self, rule: Rule, call: Call, found: dict[str, Source], results: list[Tensor]) -> None:
        """Have the gradient of the call's output reported."""
        versions = [(value, value._version) for _, value in tensors_in(call.values)]

        def report(gradient: Tensor) -> None:
            self.reported(rule, call, found, gradient, versions)

        if rule.name == "recurrent":
            handle = torch.autograd.graph.register_multi_grad_hook(
                [r for r in results if r.requires_grad],
                lambda gradients: self.reported(rule, call, found, gradients, versions),  # type: ignore[arg-type]
                mode="all",
            )
            self.handles.append(handle)
            return
        target = results[0]
        base = target._base
        if target._is_view() and base is not None and base.grad_fn is not None and self.sources.get(base) is None:
            size, stride, offset = target.shape, target.stride(), target.storage_offset()
            number = base.output_nr
            self.handles.append(
                base.grad_fn.register_prehook(
                    lambda gradients: _hear(gradients[number], lambda g: report(_viewed(g, size, stride, offset)))
                )
            )
            return
        assert target.grad_fn is not None
        number = target.output_nr
        self.handles.append(target.grad_fn.register_prehook(lambda gradients: _hear(gradients[number], report)))

    def reported(
        self, rule: Rule, call: Call, found: dict[str, Source], gradient: Any, versions: list[tuple[Tensor, int]]
    ) -> None:
        """A recorded call's output has its gradient: form the columns of its parameters."""
        if self.closed:
            return
        started = time.perf_counter()
        with _quiet(gradient):
            try:
                if any(value._version != version for value, version in versions):
                    raise NotSplittableError("an input of the call was overwritten before its gradient came")
                for name, columns in self._formed(rule, call, gradient).items():
                    self._contribute(found[name], columns, call.entry)
            except NotSplittableError as error:
                self._refuse(call.name, found, str(error))
        self.seconds += time.perf_counter() - started

    def _formed(self, rule: Rule, call: Call, gradient: Any) -> dict[str, Columns]:
        try:
            return rule.formula(call, gradient)
        except UnsuitedError as why:
            if not rule.keeps or call.grouping.rows is not None or not isinstance(gradient, Tensor):
                raise NotSplittableError(str(why)) from why
            return rule_of("*").formula(call, gradient)

    def _contribute(self, source: Source, columns: Columns, entry: int) -> None:
        if source.geometry is not None:
            self.ledger.add(source.leaves[0], Share(columns, source.geometry, entry))
            return
        for leaf, pulled in self._pulled_back(source, columns).items():
            self.ledger.add(leaf, Share(pulled, leaf_geometry(self.parameters[leaf]), entry))

    def _pulled_back(self, source: Source, columns: Columns) -> dict[str, Columns]:
        """Columns of a computed value → of the parameters it was computed from, through the live graph."""
        jacobian = columns.dense(self.ledger.arithmetic).gradients
        jacobian = jacobian.reshape(columns.samples, *source.tensor.shape).to(source.tensor.dtype)
        leaves = [self.parameters[name] for name in source.leaves]
        with without_hooks(leaves):
            try:
                grads = torch.autograd.grad(
                    source.tensor, leaves, jacobian, retain_graph=True, allow_unused=True, is_grads_batched=True
                )
            except RuntimeError:  # a backward that has no batching rule
                grads = _one_by_one(source.tensor, leaves, jacobian)
        return {
            name: Dense(gradient.flatten(1), leaf.shape)
            for name, leaf, gradient in zip(source.leaves, leaves, grads, strict=True)
            if gradient is not None
        }

    def before_backward(self, loss: Tensor) -> None:
        """`loss.backward()` is about to run."""
        if loss.numel() == 1 and self.record.loss is None:
            self.record.loss = float(loss.detach()) / self.loss_scale
        self.backwards += 1
        self.ledger.passes.begin()

    def arrived(self, name: str, gradient: Tensor) -> None:
        """The whole gradient of a backward pass has reached a parameter."""
        if self.closed or name in self.problems:
            return
        started = time.perf_counter()
        try:
            with _quiet(gradient):
                self.ledger.settle(name, gradient)
        except GramError as error:
            text = str(error)
            if "did not see" in text:
                text += self._why_unseen(name)
            self._problem(name, text, IncompleteError)
        self.seconds += time.perf_counter() - started

    def _why_unseen(self, name: str) -> str:
        if name in self.hidden:
            return " (its calls ran where gradients were off: reentrant checkpointing? say use_reentrant=False)"
        return " (inside an autograd.Function or a traced module, or made before the recorder was opened)"


    def finish(self) -> None:
        """Bring what was found to the CPU, scale it, and say how far it can be trusted."""
        ledger, record = self.ledger, self.record
        if ledger.accumulate and ledger.stored:
            ledger.assemble()
        record.coverage = [self._row(name, p) for name, p in self.trainable.items()]
        if ledger.gram is None or ledger.spread is None:
            record.status = self._nothing()
            if self.strict:
                raise GramError(f"Measuring the Gram matrix: {record.status}")
            return
        gram = ledger.gram.cpu()
        samples = gram.shape[0]
        factor = (samples if self.reduction == "mean" else 1.0) / self.loss_scale
        record._gram, record.batch_size = gram * factor**2, samples
        names = list(ledger.tallies)
        table = torch.stack([torch.stack([t.trace, t.mean_square, t.miss, t.scale]) for t in ledger.tallies.values()])
        whole = float(gram.diagonal().sum().clamp_min(0).sqrt())
        for name, (trace, square, miss, scale) in zip(names, table.tolist(), strict=True):
            scale = max(scale, _NEGLIGIBLE * whole)
            record.traces[name], record.mean_squares[name] = trace * factor**2, square * factor**2
            record.residuals[name] = miss / scale if scale > 0 else (0.0 if miss == 0 else float("inf"))
        if ledger.keep_layers:
            record.layers = {n: t.gram.cpu() * factor**2 for n, t in ledger.tallies.items() if t.gram is not None}
        diagonal = gram.diagonal()
        relative = ledger.spread.cpu()[diagonal > 0] / diagonal[diagonal > 0]
        record.entry_error = float(relative.max()) if len(relative) else 0.0
        record.status = "ok"
        self._judge(gram)
        record.wall_seconds = self.seconds + ledger.seconds

    def _judge(self, gram: Tensor) -> None:
        """Diagnoses: what does not add up is reported, not believed."""
        record = self.record
        if not bool(torch.isfinite(gram).all()):
            record.status = "non-finite: the gradients hold NaN or infinity"
            return
        if not bool(gram.diagonal().any()):
            record.status = "zero: every per-sample gradient is zero"
        wrong = {n: r for n, r in record.residuals.items() if not r <= self.tolerance(n)}
        if wrong:
            worst = max(wrong, key=lambda name: wrong[name])
            record.status = f"incomplete: the columns of {worst!r} miss its gradient by {wrong[worst]:.1e}"
            if self.strict:
                raise IncompleteError(
                    f"Measuring the Gram matrix: {record.status} (tolerance {self.tolerance(worst):.0e}); some use of it "
                    "was not seen. Leave it out with parameters=…, or take semantics='per_loss'."
                )
        if self.problems and record.status == "ok":
            record.status = f"partial: {len(self.problems)} parameters left out"
        record.notes += [f"{name}: {text}" for name, text in self.problems.items()]

    def tolerance(self, name: str) -> float:
        """How far the columns' sum may lie from the gradient: rounding of the backward pass."""
        return 256 * self.eps[name]

    def _nothing(self) -> str:
        if self.backwards == 0 and not self.ledger.tallies:
            return "nothing measured: no backward pass ran inside the `with` block; call loss.backward() there"
        return "nothing measured: no parameter's gradient could be split by sample (" + "; ".join(
            f"{name}: {text}" for name, text in list(self.problems.items())[:3]
        ) + ")"

    def _row(self, name: str, parameter: Tensor) -> Coverage:
        measured = name in self.ledger.tallies and name not in self.problems
        if name not in self.parameters:
            rule = "not selected"
        elif name in self.problems:
            rule = "left out"
        elif not measured:
            rule = "no gradient"
        else:
            rule = " + ".join(sorted(self.rules[name])) or "own backward pass"
        return Coverage(name, rule, parameter.numel(), measured)

    # Fused ---------------------------------------------------------------------------------------

    def _attachable(self, name: str, found: dict[str, Source]) -> bool:
        plain = all(len(s.leaves) == 1 and s.tensor is self.parameters[s.leaves[0]] for s in found.values())
        return plain and (name == "linear" or name.startswith("conv")) and not self.ledger.accumulate

    def _detached_call(self, func: Any, args: Any, kwargs: Any, found: dict[str, Source]) -> Any:
        """The call with its parameters cut off: the backend then forms the input's gradient alone."""
        swap = {id(source.tensor): source.tensor.detach() for source in found.values()}
        out = func(*(swap.get(id(a), a) for a in args), **{k: swap.get(id(v), v) for k, v in kwargs.items()})
        return torch.ops.aten._unsafe_view(out, out.shape) if out._is_view() else out

    def _attached(self, out: Tensor, rule: Rule, call: Call, found: dict[str, Source]) -> Tensor:
        names = list(found)
        result: Tensor = _Attached.apply(out, self, rule, call, found, *(found[name].tensor for name in names))  # type: ignore[no-untyped-call]
        return result

    def fused_totals(self, rule: Rule, call: Call, found: dict[str, Source], gradient: Tensor) -> list[Tensor | None]:
        """Columns now, their products if this use is the parameter's only one, and their sums."""
        started = time.perf_counter()
        with _quiet(gradient):
            columns = self._formed(rule, call, gradient)
            totals: list[Tensor | None] = []
            for name, source in found.items():
                leaf = source.leaves[0]
                share = Share(columns[name], source.geometry)  # type: ignore[arg-type]
                self.ledger.multiply(share)
                if self.uses[leaf] > 1:
                    share.products = None
                self.ledger.add(leaf, share)
                assert share.total is not None
                totals.append(share.total.reshape(source.tensor.shape).to(source.tensor.dtype))
        self.seconds += time.perf_counter() - started
        return totals


class _Attached(torch.autograd.Function):
    """Gives a call its parameters back: passes the gradient on, and their per-sample sums to them."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, recorder: Recorder, rule: Rule, call: Call, found: Any, *_: Tensor) -> Tensor:
        ctx.mark_dirty(out)
        ctx.told = recorder, rule, call, found
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        recorder, rule, call, found = ctx.told
        return gradient, None, None, None, None, *recorder.fused_totals(rule, call, found, gradient)


def _one_by_one(value: Tensor, leaves: list[Tensor], jacobian: Tensor) -> list[Tensor | None]:
    rows = [torch.autograd.grad(value, leaves, row, retain_graph=True, allow_unused=True) for row in jacobian]
    return [None if rows[0][k] is None else torch.stack([row[k] for row in rows]) for k in range(len(leaves))]


@contextmanager
def _quiet(gradient: Any) -> Iterator[None]:
    """No recording of gradients, no autocast, no interception while columns are formed."""
    device = gradient.device.type if isinstance(gradient, Tensor) else "cpu"
    with ExitStack() as stack:
        stack.enter_context(torch._C.DisableTorchFunction())
        stack.enter_context(torch.no_grad())
        if torch.is_autocast_enabled(device):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


def _hear(gradient: Tensor | None, report: Callable[[Tensor], None]) -> None:
    if gradient is not None:
        report(gradient)


def _viewed(gradient: Tensor, size: torch.Size, stride: tuple[int, ...], offset: int) -> Tensor:
    """The gradient of a base, as its view lies in it."""
    return gradient.contiguous().as_strided(size, stride, offset)


def _results(name: str, out: Any, args: tuple[Any, ...]) -> list[Tensor]:
    if name == "setitem":
        return [args[0]]
    if isinstance(out, Tensor):
        return [out]
    return [t for _, t in tensors_in({"": out})] if isinstance(out, list | tuple) else []


def _is_wrapper(module: nn.Module) -> bool:
    """Modules that hand their input on: what they wrap is the model."""
    return type(module).__name__ in ("DistributedDataParallel", "OptimizedModule")


def _select(trainable: dict[str, Tensor], chosen: Chosen) -> dict[str, Tensor]:
    """The parameters that a pattern, several patterns or a predicate choose.

    Raises:
        GramError: none is trainable, or none is chosen.
    """
    if not trainable:
        raise GramError(
            "record_gram(model): the model has no trainable parameter; a Gram matrix is made of their gradients. "
            "Set requires_grad=True on those that are to be measured."
        )
    if chosen is None:
        return trainable
    patterns = [chosen] if isinstance(chosen, str) else chosen
    if callable(patterns):
        kept = {name: p for name, p in trainable.items() if patterns(name, p)}
    else:
        kept = {name: p for name, p in trainable.items() if any(fnmatch(name, pattern) for pattern in patterns)}
    if not kept:
        names = ", ".join(list(trainable)[:8])
        raise GramError(f"parameters={chosen!r} chooses none of the {len(trainable)} trainable parameters ({names}, …).")
    return kept


def _batch_text(module: nn.Module, args: Any, kwargs: Any, tried: list[Any], failed: list[str]) -> str:
    shapes = [tuple(leaf.shape) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    head = f"Finding the batch dimension of {type(module).__name__}, called with tensors of shape {shapes}: "
    if tried:
        dims = " and ".join(str(dim) for dim in tried)
        why = f" ({'; '.join(failed)})" if failed else ""
        return head + f"dimensions {dims} both behave as a batch{why}. Say which: record_gram(model, batch={tried[0]})."
    if not shapes:
        return head + "no tensor among its inputs. Say which sample each row belongs to: record_gram(model, sample_of=…)."
    return head + "; ".join(failed) + ". Say which dimension holds the samples (batch=0), or sample_of=… for rows."


@contextmanager
def record_gram(
    model: nn.Module,
    *,
    reduction: Literal["mean", "sum"] = "mean",
    batch: int | Mapping[str, int | None] | None = None,
    sample_of: Tensor | None = None,
    parameters: Chosen = None,
    semantics: Literal["path", "per_loss"] = "path",
    fused: bool = False,
    precision: Literal["default", "float64"] = "default",
    strict: bool = True,
    accumulate: bool = False,
    memory_budget: int = 128 << 20,
    loss_scale: float = 1.0,
    layers: bool = False,
) -> Iterator[GramRecord]:
    """The exact Gram matrix of per-sample gradients of the step that runs inside the `with` block."""
    record = GramRecord(semantics)
    recorder = Recorder(
        model, record, reduction=reduction, batch=batch, sample_of=sample_of, parameters=parameters, fused=fused,
        precision=precision, strict=strict, accumulate=accumulate, memory_budget=memory_budget,
        loss_scale=loss_scale, layers=layers,
    )  # fmt: skip
    recorder.attach()
    if semantics == "per_loss":
        record._backward = per_loss_backward(recorder.ledger, reduction)
    try:
        with recorder.mode if semantics == "path" else nullcontext():
            yield record
    finally:
        recorder.detach()
    recorder.finish()

"""One open recorder: sees the calls of a step, hears their gradients, hands columns to the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fisherscope.gram.calls import formed, kept, pulled_back
from fisherscope.gram.columns import Arithmetic, Columns
from fisherscope.gram.entries import Entries
from fisherscope.gram.errors import GramError, IncompleteError, NotSplittableError
from fisherscope.gram.finding import Finding
from fisherscope.gram.fused import attachable, attached, detached_call
from fisherscope.gram.grouping import packed_rows, rows_grouping
from fisherscope.gram.interception import Interceptor, bound, call_name, results
from fisherscope.gram.joining import Share, share_of
from fisherscope.gram.ledger import Ledger
from fisherscope.gram.listening import Quiet, listen, listen_to_all
from fisherscope.gram.rules import Call, Rule, rule_of
from fisherscope.gram.rules.recurrent import is_packed
from fisherscope.gram.rules.replay import gradients_of
from fisherscope.gram.selection import Chosen, is_wrapper, scripted, selected, trainable
from fisherscope.gram.sources import Source, Sources, leaf_geometry, rounding_of, tensors_in


@dataclass(frozen=True)
class Settings:
    """What `record_gram` was asked for; its docstring explains each."""

    semantics: Literal["path", "per_loss"]
    reduction: Literal["mean", "sum"]
    batch: int | Mapping[str, int | None] | None
    sample_of: Tensor | None
    parameters: Chosen
    fused: bool
    precision: Literal["default", "float64"]
    strict: bool
    accumulate: bool
    memory_budget: int
    loss_scale: float
    layers: bool


@dataclass
class Usage:
    """What was seen of one parameter's calls."""

    eps: float  # the coarsest rounding on the way of its gradient
    calls: int = 0
    rules: set[str] = field(default_factory=set)
    hidden: bool = False  # used where gradients were off


class Recorder:
    """Watches one model: `attach()`, a step under `mode`, `detach()`.

    Args:
        model: Whose parameters are measured; never a wrapper of `torch.compile`.
        settings: As asked for.

    Raises:
        GramError: Nothing to measure, or a module whose calls can't be seen.
    """

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        self.model, self.settings, self.modules = model, settings, list(model.modules())
        self.trainable = trainable(model)
        self.parameters = selected(self.trainable, settings.parameters)
        dtype = torch.float64 if settings.precision == "float64" else None
        arithmetic = Arithmetic(dtype, settings.memory_budget)
        self.ledger = Ledger(self.parameters, arithmetic, settings.layers, settings.accumulate)
        self.entries = Entries(self.parameters, settings.batch, settings.sample_of)
        self.sources = Sources(self.parameters)
        self.mode = Interceptor(self.concerns, self.handle, self.before_backward)
        self.usage = {name: Usage(torch.finfo(p.dtype).eps) for name, p in self.parameters.items()}
        self.problems: dict[str, str] = {}
        self.failure: GramError | None = (
            None  # with `strict`: raised when the block ends, the step being whole
        )
        self.backwards = 0
        self.loss: Tensor | None = None
        self.seconds = 0.0
        self.probe_seconds = 0.0
        self._handles: list[Any] = []
        self._measured = {id(p) for p in self.parameters.values()}
        self.began = {name: (p.shape, p.dtype, p.device) for name, p in self.trainable.items()}
        self._idle = False  # no call is looked at: while probing, and after an entry that failed
        self._closed = False
        self._releases = False  # whether the running backward frees its graph

    # Opening and closing -----------------------------------------------------------------------

    def attach(self) -> None:
        """Put the hooks in place: leaves' gradients, and with "path" semantics the entries of modules."""
        for name, parameter in self.parameters.items():
            handle = parameter.register_hook(lambda gradient, name=name: self.arrived(name, gradient))
            hooks: Any = parameter._backward_hooks
            hooks.move_to_end(handle.id, last=False)  # before hooks that rescale the gradient
            self._handles.append(handle)
        if self.settings.semantics == "per_loss":
            return
        unseen = scripted(self.model, self.modules)
        for name, parameter in self.parameters.items():
            if id(parameter) in unseen:
                self._problem(
                    name,
                    f"the calls of scripted module {unseen[id(parameter)]!r} can't be seen; use the "
                    "module it was made of",
                    NotSplittableError,
                )
        for module in self.modules:
            if not is_wrapper(module) and not isinstance(module, torch.jit.ScriptModule):
                self._handles.append(module.register_forward_pre_hook(self.enter, with_kwargs=True))

    def detach(self) -> None:
        """Remove every hook; nothing stays behind."""
        self._idle = self._closed = True
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    # Entries -------------------------------------------------------------------------------------

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Called before each module's forward; the outermost one is an entry."""
        if self._idle:
            return
        self.entries.note_packing(args, kwargs)
        if self.entries.current is not None or not torch.is_grad_enabled() or _in_backward():
            return
        if not self._holds(module) and not self.sources.inside(args, kwargs):
            return  # a loss, or a metric whose state a probe would count twice
        started = time.perf_counter()
        self._idle = True
        try:
            self.entries.begin(module, args, kwargs)
            self._idle = False
        except GramError as error:
            if self.settings.strict:
                raise
            self.problems.update((name, str(error)) for name in self.parameters)
            return
        finally:
            self.probe_seconds += time.perf_counter() - started
        self._handles.append(module.register_forward_hook(self.leave, always_call=True))

    def _holds(self, module: nn.Module) -> bool:
        """Whether a module has a parameter that is measured."""
        return any(id(p) in self._measured for p in module.parameters())

    def leave(self, module: nn.Module, *_: Any) -> None:
        """The forward of an entry has ended."""
        self.entries.end(module)

    # Calls ---------------------------------------------------------------------------------------

    def concerns(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call is to be recorded."""
        return not self._idle and self.sources.inside(args, kwargs)

    def handle(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One call that receives something made of parameters."""
        name, inplace = call_name(func)
        rule = rule_of(name)
        values = bound(rule.signature, args, kwargs)
        found = self.sources.among(values)
        if not torch.is_grad_enabled():
            for leaf in _leaves(found):
                self.usage[leaf].hidden = True
            return func(*args, **kwargs)
        fused = (
            self.settings.fused and not self.settings.accumulate and attachable(name, found, self.parameters)
        )
        if _in_backward():  # a checkpoint runs its part again: gradients come to the calls seen before
            return func(*args, **kwargs)
        state = torch.get_rng_state() if rule.draws else None
        inputs = kept(rule, values, inplace)
        out = detached_call(func, args, kwargs, found) if fused else func(*args, **kwargs)
        outputs = results(name, out, args)
        if not outputs or not (fused or any(output.requires_grad for output in outputs)):
            return out
        if all(self.sources.get(output) is not None for output in outputs):
            return out
        call = None
        try:
            finding = self._finding(name, found, values, outputs[0])
            if finding.derived:
                for output in outputs:
                    self.sources.derive(name, output, found.values(), args, kwargs, func)
                return out
            call = self._call(name, func, rule, finding, inputs, found, outputs, len(args), state)
        except Exception as error:  # noqa: BLE001  (whatever goes wrong in measuring, the step goes on)
            self._refuse(name, found, f"{type(error).__name__}: {error}")
        if call is None:  # left out
            return func(*args, **kwargs) if fused else out
        self._note_use(rule, found, outputs[0])
        if fused:
            return attached(out, lambda gradient: self.fused_totals(rule, call, found, gradient), found)
        self._listen(rule, call, found, outputs)
        return out

    def _finding(self, name: str, found: dict[str, Source], values: dict[str, Any], out: Tensor) -> Finding:
        self._idle = True  # a call that the plan lacks is looked for by another probe
        try:
            return self.entries.finding(name, found, values, out, self.sources)
        finally:
            self._idle = False

    def _call(
        self, name: str, func: Any, rule: Rule, finding: Finding, inputs: dict[str, Any],
        found: dict[str, Source], outputs: list[Tensor], positional: int, state: Tensor | None,
    ) -> Call | None:  # fmt: skip
        out, order = outputs[0], self.entries.packed_order
        try:
            if rule.name == "recurrent" and is_packed(inputs):
                grouping = rows_grouping(packed_rows(inputs["1"], order))
            else:
                grouping = self.entries.grouping(finding, out.shape)
        except NotSplittableError as error:
            self._refuse(name, found, str(error))
            return None
        parameters = {argument: source.tensor.detach() for argument, source in found.items()}
        call = Call(
            name, func, inputs, positional, parameters, grouping, finding.layouts, out.shape, out.dtype,
            state, order, entry=self.entries.count, shared=finding.shared,
        )  # fmt: skip
        if rule.keeps_outputs:
            call.outputs = [output.detach().clone() for output in outputs]  # it may be written into later
            nodes = [output.grad_fn for output in outputs]
            call.chained_outputs = len({id(node) for node in nodes}) == len(nodes)
        if rule.notice is not None:
            rule.notice(call, out)
        return call

    def _note_use(self, rule: Rule, found: dict[str, Source], out: Tensor) -> None:
        for source in found.values():
            for leaf in source.leaves:
                use = self.usage[leaf]
                use.calls += 1
                use.eps = max(use.eps, source.eps, rounding_of(out.dtype))
                use.rules.add(rule.name if source.geometry is not None else f"{rule.name} (derived)")

    def _refuse(self, name: str, found: dict[str, Source], why: str) -> None:
        """A call that can't be split: an error, or parameters left out."""
        for leaf in _leaves(found):
            self._problem(leaf, f"`{name}` cannot be split by sample: {why}", NotSplittableError)

    def _problem(self, leaf: str, text: str, kind: type[GramError]) -> None:
        if self.settings.strict and self.failure is None:
            self.failure = kind(
                f"Measuring the Gram matrix: parameter {leaf!r} {tuple(self.parameters[leaf].shape)}: "
                f"{text}. Remedies: say "
                "where the samples lie (batch=…, or sample_of=… for flattened rows); leave the parameter out "
                f"(parameters=lambda name, p: name != {leaf!r}, or strict=False); or take "
                "semantics='per_loss'."
            )
        self.problems.setdefault(leaf, text)

    # Gradients -----------------------------------------------------------------------------------

    def before_backward(self, loss: Tensor, gradient: Tensor | None, keeps_graph: bool) -> None:
        """`loss.backward()` is about to run.

        Raises:
            GramError: It is no scalar, and no gradient was given.
        """
        if loss.numel() != 1 and gradient is None:
            raise GramError(
                f"Measuring the Gram matrix: backward() of a tensor of shape {tuple(loss.shape)}; "
                "expected one number, the "
                "batch's loss. Take its mean, or its sum with record_gram(model, reduction='sum')."
            )
        if loss.numel() == 1:  # the losses of a step's backward passes add up, as their gradients do
            self.loss = loss.detach() if self.loss is None else self.loss + loss.detach()
        self.backwards += 1
        self._releases = not keeps_graph
        self.ledger.passes.begin()

    def _listen(self, rule: Rule, call: Call, found: dict[str, Source], outputs: list[Tensor]) -> None:
        """Have the gradient of the call's output reported."""
        versions = [(value, value._version) for _, value in tensors_in(call.values)]

        def report(gradient: Any) -> None:
            self.reported(rule, call, found, gradient, versions)

        if rule.name == "recurrent" or (rule.name == "replay" and len(outputs) > 1):
            self._handles.append(listen_to_all(outputs, report))
        else:
            self._handles.append(listen(outputs, report, lambda tensor: self.sources.get(tensor) is not None))

    def reported(
        self,
        rule: Rule,
        call: Call,
        found: dict[str, Source],
        gradient: Any,
        versions: list[tuple[Tensor, int]],
    ) -> None:
        """A recorded call's output has its gradient: form the columns of its parameters."""
        if self._closed:
            return
        started = time.perf_counter()
        with Quiet(gradient):
            try:
                if call.released:
                    raise NotSplittableError("a second backward pass came over it; say accumulate=True")
                if any(value._version != version for value, version in versions):
                    raise NotSplittableError("an input of the call was overwritten before its gradient came")
                for name, columns in formed(rule, call, gradient).items():
                    self._contribute(found[name], columns, call.entry)
            except NotSplittableError as error:
                self._refuse(call.name, found, str(error))
            except Exception as error:  # noqa: BLE001  (as in `handle`)
                self._refuse(call.name, found, f"{type(error).__name__}: {error}")
        if self._releases:
            versions.clear()
            call.release()
        self.seconds += time.perf_counter() - started

    def _contribute(self, source: Source, columns: Columns, entry: int) -> None:
        if source.geometry is not None:
            self.ledger.add(
                source.leaves[0], share_of(columns, source.geometry, entry, self.ledger.arithmetic)
            )
            return
        leaves = {name: self.parameters[name] for name in source.leaves}
        for leaf, pulled in pulled_back(source, leaves, columns, self.ledger.arithmetic).items():
            place = leaf_geometry(self.parameters[leaf])
            self.ledger.add(leaf, share_of(pulled, place, entry, self.ledger.arithmetic))

    def fused_totals(
        self, rule: Rule, call: Call, found: dict[str, Source], gradient: Tensor
    ) -> list[Tensor | None]:
        """Columns of a fused call now, and their sums: the gradients of its parameters.

        Raises:
            GramError: A second backward pass came over a call whose inputs are released.
        """
        if call.released:
            raise GramError(
                f"Measuring the Gram matrix, fused: a second backward pass came over `{call.name}` "
                "after one that did not "
                "retain the graph. Say accumulate=True, or fused=False."
            )
        started = time.perf_counter()
        with Quiet(gradient):
            try:
                totals = self._fused_shares(rule, call, found, gradient)
            except Exception as error:  # noqa: BLE001  (as in `handle`; the gradient has to come all the same)
                self._refuse(call.name, found, f"{type(error).__name__}: {error}")
                totals = gradients_of(call, gradient)
        if self._releases:
            call.release()
        self.seconds += time.perf_counter() - started
        return totals

    def _fused_shares(
        self, rule: Rule, call: Call, found: dict[str, Source], gradient: Tensor
    ) -> list[Tensor | None]:
        totals: list[Tensor | None] = []
        columns = formed(rule, call, gradient)
        for name, source in found.items():
            leaf = source.leaves[0]
            assert source.geometry is not None, "only plain leaves are attached"
            share = Share(columns[name], source.geometry)
            share.form_total(
                self.ledger.arithmetic, multiply=self.usage[leaf].calls == 1 and not self._closed
            )
            assert share.total is not None, "formed in the line before"
            share.total = share.total.reshape(source.tensor.shape).to(source.tensor.dtype)
            totals.append(share.total)
            if not self._closed:
                self.ledger.add(leaf, share)
        return totals

    def arrived(self, name: str, gradient: Tensor) -> None:
        """The whole gradient of a backward pass has reached a parameter."""
        if self._closed or name in self.problems:
            return
        started = time.perf_counter()
        try:
            with Quiet(gradient):
                self.ledger.settle(name, gradient)
        except GramError as error:
            text = str(error)
            if "did not see" in text:
                text += _why_unseen(self.usage[name].hidden, self.settings.semantics)
            self._problem(name, text, IncompleteError)
        except Exception as error:  # noqa: BLE001  (as in `handle`)
            self._problem(name, f"{type(error).__name__}: {error}", GramError)
        self.seconds += time.perf_counter() - started


def _in_backward() -> bool:
    return bool(torch._C._current_graph_task_id() != -1)


def _leaves(found: dict[str, Source]) -> list[str]:
    return sorted({leaf for source in found.values() for leaf in source.leaves})


def _why_unseen(hidden: bool, semantics: str) -> str:
    if semantics == "per_loss":
        return " (with semantics='per_loss' call record.backward(losses) in place of loss.backward())"
    if hidden:
        return (
            " (its calls ran where gradients were off: reentrant checkpointing? say use_reentrant=False; "
            "a reversible network can't be seen)"
        )
    return (
        " (inside an autograd.Function or a traced module, made before the recorder was opened, or by a "
        "derivative of a derivative, as of a gradient penalty)"
    )

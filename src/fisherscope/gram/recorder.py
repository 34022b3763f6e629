"""One open recorder: sees a step's calls into the model, and those that receive a parameter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fisherscope.gram.accumulation.accumulator import GramAccumulator
from fisherscope.gram.accumulation.backward_listener import BackwardListener
from fisherscope.gram.accumulation.call_columns import kept
from fisherscope.gram.accumulation.coverage import SkippedParameters, leaves_of, note_use, usage_of
from fisherscope.gram.accumulation.step_frame import StepFrame
from fisherscope.gram.batch_axis.inference import CallLayout
from fisherscope.gram.batch_axis.row_movers import MOVERS, may_move_rows
from fisherscope.gram.batch_axis.tracker import ForwardTracker
from fisherscope.gram.columns import ProductOptions
from fisherscope.gram.errors import GramError, NotSplittableError
from fisherscope.gram.grouping import Grouping, Layout, packed_rows, rows_grouping
from fisherscope.gram.identity.pending import PendingCall
from fisherscope.gram.identity.settlement import VERIFIED, OutsideCall, Settlement
from fisherscope.gram.interception.call_ids import Key
from fisherscope.gram.interception.fused import attachable, attached, detached_call
from fisherscope.gram.interception.output_edge import output_edge
from fisherscope.gram.interception.parameter_selection import is_wrapper, scripted, selected, trainable
from fisherscope.gram.interception.provenance import ParameterSource, ParameterSources
from fisherscope.gram.interception.torch_function import Interceptor, bound, call_name, results
from fisherscope.gram.interception.torch_private import disable_torch_function, is_in_backward
from fisherscope.gram.options import GramOptions
from fisherscope.gram.rules import Call, Rule, rule_of
from fisherscope.gram.rules.recurrent import is_packed


class Recorder:
    """Watches one model: `attach()`, a step under `mode`, `detach()`.

    Args:
        model: Whose parameters are measured; never a wrapper of `torch.compile`.
        settings: As asked for.

    Raises:
        GramError: Nothing to measure, or a module whose calls can't be seen.
    """

    def __init__(self, model: nn.Module, settings: GramOptions) -> None:
        self.model, self.settings, self.modules = model, settings, list(model.modules())
        self.trainable = trainable(model)
        self.began = {name: (p.shape, p.dtype, p.device) for name, p in self.trainable.items()}
        self.parameters = selected(self.trainable, settings.parameters)
        dtype = torch.float64 if settings.precision == "float64" else None
        arithmetic = ProductOptions(dtype, settings.memory_budget)
        self.ledger = GramAccumulator(self.parameters, arithmetic, settings.layers, settings.accumulate)
        self.problems = SkippedParameters(self.parameters, settings.strict)
        self.usage = usage_of(self.parameters)
        self.entries = ForwardTracker(self.parameters, settings.batch, settings.sample_of)
        self.sources = ParameterSources(self.parameters)
        self.frame = StepFrame(self.parameters)
        self.gradients = BackwardListener(
            self.ledger, self.sources, self.usage, self.problems, settings.semantics, self.frame
        )
        self.settlement = Settlement(self.entries, self.unrecorded, settings.memory_budget)
        self.mode = Interceptor(self.concerns, self.handle, self)
        self.probe_seconds = 0.0
        self._handles: list[Any] = []
        self._measured = {id(p) for p in self.parameters.values()}
        self._retaining: list[Tensor] = []
        self._idle = False  # no call is looked at: while probing, and after an entry that failed

    # Opening and closing -----------------------------------------------------------------------

    def attach(self) -> None:
        """Put the hooks in place: leaves' gradients, and with "path" semantics the entries of modules."""
        self.gradients.attach()
        self.frame.begin()
        if self.settings.semantics == "per_loss":
            return
        unseen = scripted(self.model, self.modules)
        for name, parameter in self.parameters.items():
            if id(parameter) in unseen:
                self.problems.add(
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
        self._idle = True
        self.gradients.detach()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    # Entries -------------------------------------------------------------------------------------

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Called before each module's forward; the outermost one is an entry."""
        if self._idle:
            return
        self.entries.note_packing(args, kwargs)
        if self.entries.current is not None or not torch.is_grad_enabled() or is_in_backward():
            return
        if not self._holds(module) and not self.sources.inside(args, kwargs):
            return  # a loss, or a metric whose state a probe would count twice
        started = time.perf_counter()
        self.frame.forward_begins()
        self._idle = True
        try:
            self.settlement.link(self.entries.begin(module, args, kwargs))
            self._idle = False
        except GramError as error:
            if self.settings.strict:
                raise
            self.problems.add_all(str(error))
            return
        finally:
            self.probe_seconds += time.perf_counter() - started
        self._handles.append(module.register_forward_hook(self.leave, always_call=True))

    def _holds(self, module: nn.Module) -> bool:
        """Whether a module has a parameter that is measured."""
        return any(id(p) in self._measured for p in module.parameters())

    def leave(self, module: nn.Module, _: Any, output: Any) -> None:
        """The forward of an entry has ended, and not that of a probe of it."""
        if not self._idle:
            self.entries.end(module, output)

    @contextmanager
    def unrecorded(self, calls_seen: bool = False) -> Iterator[None]:
        """A block in which nothing is recorded and no columns are formed: passes of our own.

        Args:
            calls_seen: Leave function calls to be seen by a mode of the block's own.
        """
        idle, self._idle = self._idle, True
        paused, self.gradients.paused = self.gradients.paused, True
        tensors = self._retaining
        held = [tensor.grad for tensor in tensors]
        try:
            with ExitStack() as stack:
                if not calls_seen:
                    stack.enter_context(disable_torch_function())
                    stack.enter_context(torch.autocast("cpu", enabled=False))
                yield
        finally:
            self._idle, self.gradients.paused = idle, paused
            for tensor, gradient in zip(tensors, held, strict=True):
                tensor.grad = gradient

    # What the interceptor reports ------------------------------------------------------------------

    def before_backward(self, loss: Tensor, gradient: Tensor | None, keeps_graph: bool) -> None:
        """`loss.backward()` is about to run: settle whose rows the calls hold."""
        started = time.perf_counter()
        if self.frame.pass_begins():
            self.ledger.drop()
            self.gradients.loss = None
        self.gradients.before_backward(loss, gradient, keeps_graph)
        if self.settings.semantics == "path" and not self._idle:
            self.settlement.begin(loss)
            self.gradients.seconds += time.perf_counter() - started

    def observe(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A call that receives no parameter: it may move rows."""
        forward = self.entries.current
        if forward is None or forward.moves or self._idle:
            return
        name = call_name(func)[0]
        forward.moves = name in MOVERS and may_move_rows(name, args, kwargs, forward.rows)

    def hooked(self, hook: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        """A user's hook on a tensor, silent while passes of our own run."""
        return lambda gradient: None if self.gradients.paused else hook(gradient)

    def retains(self, tensor: Tensor) -> None:
        """A tensor whose gradient the user keeps: passes of our own must not add to it."""
        self._retaining.append(tensor)

    @contextmanager
    def derivative(self, inputs: Sequence[Any]) -> Iterator[None]:
        """`torch.autograd.grad` of the user's: a pass that asks for no parameter forms no columns."""
        if any(self.sources.get(value) is not None for value in inputs):
            yield
            return
        paused, self.gradients.ignoring = self.gradients.ignoring, True
        try:
            yield
        finally:
            self.gradients.ignoring = paused

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
            for leaf in leaves_of(found.values()):
                self.usage[leaf].hidden = True
            return func(*args, **kwargs)
        fused = (
            self.settings.fused and not self.settings.accumulate and attachable(name, found, self.parameters)
        )
        if is_in_backward():  # a checkpoint runs its part again: gradients come to the calls seen before
            return func(*args, **kwargs)
        state = torch.get_rng_state() if rule.draws else None
        inputs = kept(rule, values, inplace)
        out = detached_call(func, args, kwargs, found) if fused else func(*args, **kwargs)
        outputs = results(name, out, args)
        if not outputs or not (fused or any(output.requires_grad for output in outputs)):
            return out
        if self._is_derived(name, inplace, outputs, values, found, args, kwargs, func):
            return out
        call = None
        try:
            key, layout = self._layout(name, found, values, outputs[0])
            if layout.derived:
                for output in outputs:
                    self.sources.derive(name, output, found.values(), args, kwargs, func)
                return out
            call = self._call(name, func, rule, layout, inputs, found, outputs, len(args), state)
            expected, problem = self._expected(layout, call)
        except NotSplittableError as error:
            self.problems.refuse(name, found.values(), str(error))
            call = None
        except Exception as error:  # noqa: BLE001  (whatever goes wrong in measuring, the step goes on)
            self.problems.refuse(name, found.values(), f"{type(error).__name__}: {error}")
            call = None
        if call is None:  # left out
            return func(*args, **kwargs) if fused else out
        note_use(self.usage, rule, found.values(), outputs[0])
        if fused:
            out = attached(
                out, lambda gradient: self.gradients.fused_totals(rule, call, found, gradient), found
            )
            outputs = [out]
        else:
            self.gradients.listen_to(rule, call, found, outputs)
        if not layout.shared:
            self._await_rows(key, call, expected, problem, outputs)
        return out

    def _is_derived(
        self, name: str, inplace: bool, outputs: list[Tensor], values: dict[str, Any],
        found: dict[str, ParameterSource], args: Any, kwargs: Any, func: Any,
    ) -> bool:  # fmt: skip
        """Whether the outputs are made of parameters alone, known so or by being written into."""
        if not all(self.sources.get(output) is not None for output in outputs):
            return False
        if inplace:  # a value made of parameters that is written into is made of what is written, too
            before = [source for output in outputs if (source := self.sources.get(output)) is not None]
            for output in outputs:
                self.sources.derive(name, output, [*before, *found.values()], args, kwargs, func)
        return True

    def _layout(
        self, name: str, found: dict[str, ParameterSource], values: dict[str, Any], out: Tensor
    ) -> tuple[Key, CallLayout]:
        self._idle = True  # a call that the plan lacks is looked for by another probe
        try:
            return self.entries.layout_of(name, found, values, out, self.sources)
        finally:
            self._idle = False

    def _call(
        self, name: str, func: Any, rule: Rule, layout: CallLayout, inputs: dict[str, Any],
        found: dict[str, ParameterSource], outputs: list[Tensor], positional: int, state: Tensor | None,
    ) -> Call:  # fmt: skip
        out = outputs[0]
        parameters = {argument: source.tensor.detach() for argument, source in found.items()}
        call = Call(
            name, func, inputs, positional, parameters, Grouping(0, Layout(0)), layout.layouts, out.shape,
            out.dtype, state, self.entries.packed_order, entry=self.entries.count, shared=layout.shared,
        )  # fmt: skip
        if rule.keeps_outputs:
            call.outputs = [output.detach().clone() for output in outputs]  # it may be written into later
            nodes = [output.grad_fn for output in outputs]
            call.chained_outputs = len({id(node) for node in nodes}) == len(nodes)
        if rule.notice is not None:
            rule.notice(call, out)
        return call

    def _expected(self, layout: CallLayout, call: Call) -> tuple[Grouping | None, str]:
        """The grouping that the plan says, or None and why it says none."""
        if layout.shared:
            call.evidence = VERIFIED  # an equal share each, whoever they are
        try:
            if rule_of(call.name).name == "recurrent" and is_packed(call.values):
                rows = packed_rows(call.values["1"], self.entries.packed_order)
                current = self.entries.current
                expected = rows_grouping(rows, samples=None if current is None else current.rows)
            else:
                expected = self.entries.grouping(layout, call.out_shape)
        except NotSplittableError as error:
            return None, str(error)
        call.grouping = expected
        return expected, ""

    def _await_rows(
        self, key: Key, call: Call, expected: Grouping | None, problem: str, outputs: list[Tensor]
    ) -> None:
        """Put the call among those whose rows are settled when its backward pass begins."""
        edges = [
            (number, output_edge(output, lambda tensor: self.sources.get(tensor) is not None))
            for number, output in enumerate(outputs)
            if output.grad_fn is not None
        ]
        pending = PendingCall(key, call, edges, expected, problem)
        if self.entries.current is not None:
            self.entries.current.pending.append(pending)
        else:
            self.settlement.outside.append(OutsideCall(pending, outputs[0]))

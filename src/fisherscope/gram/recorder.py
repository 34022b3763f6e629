"""One open recorder: sees a step's calls into the model, and those that receive a parameter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from fisherscope.gram.accumulation.accumulator import GramAccumulator
from fisherscope.gram.accumulation.backward_listener import BackwardListener
from fisherscope.gram.accumulation.call_columns import save_arguments
from fisherscope.gram.accumulation.coverage import SkippedParameters, leaves_of, note_use, usage_of
from fisherscope.gram.accumulation.new_call import new_call, planned_grouping
from fisherscope.gram.accumulation.step_frame import StepFrame
from fisherscope.gram.batch_axis.inference import CallLayout
from fisherscope.gram.batch_axis.row_movers import MOVERS, may_move_rows, place_text
from fisherscope.gram.batch_axis.tracker import ForwardTracker
from fisherscope.gram.columns import ProductOptions
from fisherscope.gram.errors import GramError, NotSplittableError
from fisherscope.gram.grouping import Grouping
from fisherscope.gram.identity.pending import PendingCall
from fisherscope.gram.identity.reader import Pass
from fisherscope.gram.identity.settlement import OutsideCall, Settlement
from fisherscope.gram.interception.call_ids import Key
from fisherscope.gram.interception.fused import attach_parameters, attachable, detached_call
from fisherscope.gram.interception.model_parts import ModelParts
from fisherscope.gram.interception.output_edge import output_edge
from fisherscope.gram.interception.parameter_selection import (
    is_wrapper,
    scripted_parameters,
    select_parameters,
    trainable_parameters,
)
from fisherscope.gram.interception.provenance import ParameterSource, ParameterSources, tensors_in
from fisherscope.gram.interception.torch_function import Interceptor, bind_arguments, call_name, results
from fisherscope.gram.interception.torch_private import (
    disable_torch_function,
    has_saved_tensor_hooks,
    is_in_backward,
    is_in_functional_transform,
)
from fisherscope.gram.metric.metric_gram import RANKS, MetricGram
from fisherscope.gram.options import GramOptions
from fisherscope.gram.ranks.process_group import find_ranks
from fisherscope.gram.ranks.quiet_collectives import quiet_collectives
from fisherscope.gram.ranks.sharded_model import ShardedModel
from fisherscope.gram.rules import Call, rule_of
from fisherscope.gram.rules.replay import gradients_of
from fisherscope.guard.function_mode import UserCall
from fisherscope.guard.step_guard import Guard
from fisherscope.guard.thread_state import without_function_mode


class Recorder:
    """Watches one model: `attach()`, a step under `mode`, `detach()`.

    Args:
        model: Whose parameters are measured; never a wrapper of `torch.compile`.
        parts: What it is made of.
        settings: As asked for.
        guard: Of the step: every hook goes through it.

    Raises:
        GramError: Nothing to measure, or a module whose calls can't be seen.
    """

    def __init__(self, model: nn.Module, parts: ModelParts, settings: GramOptions, guard: Guard) -> None:
        self.guard = guard
        self.model, self.settings, self.modules = model, settings, parts.modules
        self.ranks = find_ranks(settings.group)
        self.sharded = ShardedModel.of(model, parts, self.ranks)
        everything = parts.parameters if self.sharded is None else self.sharded.parameters
        self.trainable = trainable_parameters(everything)
        self.began = {name: (p.shape, p.dtype, p.device) for name, p in self.trainable.items()}
        self.parameters = select_parameters(self.trainable, settings.parameters)
        dtype = torch.float64 if settings.precision == "float64" else None
        product_options = ProductOptions(dtype, settings.memory_budget)
        jointly = self.ranks is not None and settings.spectrum == "global"
        self.accumulator = GramAccumulator(
            self.parameters, product_options, settings.layers, settings.accumulate, jointly
        )
        self.metric: MetricGram | None = None
        if settings.metric is not None:
            self.metric = MetricGram(settings.metric, self.parameters, product_options)
            self.metric.problem = "" if self.ranks is None else RANKS
            self.accumulator.metric = self.metric
        self.problems = SkippedParameters(self.parameters, settings.strict)
        self.usage = usage_of(self.parameters)
        expected = None if settings.accumulate else settings.batch_size  # of one backward pass
        self.tracker = ForwardTracker(self.parameters, settings.batch, settings.sample_of, expected)
        self.sources = ParameterSources(self.parameters)
        self.frame = StepFrame(self.parameters, None if self.sharded is None else self.sharded.gradient)
        self.gradients = BackwardListener(
            self.accumulator, self.sources, self.usage, self.problems, settings.semantics, self.frame, guard
        )
        self.settlement = Settlement(self.tracker, self.pause_recording, settings.memory_budget)
        self.mode = Interceptor(self.concerns, self.handle, self, guard)
        self.probe_seconds = 0.0
        self._measured = {id(p) for p in self.parameters.values()}
        self._retained_tensors: list[Tensor] = []
        self._idle = False  # no call is looked at: while probing, and after an entry that failed

    # Opening and closing -----------------------------------------------------------------------

    def attach(self) -> None:
        """Register the hooks: on parameters, and with "path" semantics before module calls."""
        self.gradients.attach()
        self.frame.begin()
        if self.settings.semantics == "per_loss":
            return
        self.problems.add_scripted(scripted_parameters(self.model, self.modules))
        for module in self.modules:
            if not is_wrapper(module) and not isinstance(module, torch.jit.ScriptModule):
                self.guard.before_forward(module, self.on_forward_pre)

    def detach(self) -> None:
        """Record nothing any more."""
        self._idle = True
        self.gradients.detach()

    def forget(self) -> None:
        """Let go of all parts: they refer to each other, and would wait for the collector."""
        vars(self).clear()

    # Entries -------------------------------------------------------------------------------------

    def on_forward_pre(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Begin a forward before an outermost module runs (a forward pre-hook)."""
        if self._idle:
            return
        if self.sharded is not None and module is not self.model:
            return  # every rank has to be here, and be so alike
        self.tracker.note_packing(args, kwargs)
        if self.tracker.current is not None or not torch.is_grad_enabled() or is_in_backward():
            return
        if not self._holds(module) and not self.sources.inside(args, kwargs):
            return  # a loss, or a metric whose state a probe would count twice
        start = time.perf_counter()
        self.frame.begin_forward()
        self._idle = True
        try:
            with without_function_mode(self.mode), self._apart_from_ranks():
                self.tracker.may_probe_again = self.sharded is None  # in mid-forward they are in pieces
                self.settlement.link(self.tracker.begin(module, args, kwargs))
            self._idle = False
        except GramError as error:
            self.problems.add_all(error)
            return
        finally:
            self.probe_seconds += time.perf_counter() - start
        self.guard.after_forward(module, self.on_forward)

    def _apart_from_ranks(self) -> AbstractContextManager[object]:
        """Run forwards of our own: whole parameters of a sharded model, and nothing sent to other ranks."""
        return nullcontext() if self.ranks is None else self._apart(self.sharded)

    @contextmanager
    def _apart(self, sharded: ShardedModel | None) -> Iterator[None]:
        with ExitStack() as stack:
            if sharded is not None:
                stack.enter_context(sharded.gather_parameters())
            stack.enter_context(quiet_collectives())
            yield

    def _holds(self, module: nn.Module) -> bool:
        """Tell whether a module has a parameter that is measured."""
        if self.sharded is not None:
            return True
        return any(id(p) in self._measured for p in module.parameters())

    def on_forward(self, module: nn.Module, _: Any, output: Any) -> None:
        """End the forward when its outermost module returns (a forward hook)."""
        if not self._idle:
            self.tracker.end(module, output)

    @contextmanager
    def pause_recording(self, calls_seen: bool = False) -> Iterator[None]:
        """Run a block in which no call is recorded and no columns are formed.

        Args:
            calls_seen: Leave function calls to be seen by a mode of the block's own.
        """
        was_idle, self._idle = self._idle, True
        before, self.guard.paused = self.guard.paused, True
        tensors = self._retained_tensors
        gradients = [tensor.grad for tensor in tensors]
        try:
            with ExitStack() as stack:
                if not calls_seen:
                    stack.enter_context(disable_torch_function())
                    stack.enter_context(torch.autocast("cpu", enabled=False))
                yield
        finally:
            self._idle, self.guard.paused = was_idle, before
            for tensor, gradient in zip(tensors, gradients, strict=True):
                tensor.grad = gradient

    # What the interceptor reports ------------------------------------------------------------------

    def before_backward(self, loss: Tensor, gradient: Tensor | None, keeps_graph: bool) -> None:
        """Settle whose rows the calls hold, before `loss.backward()` runs."""
        if loss.numel() != 1 and gradient is None:
            return  # torch refuses it
        start = time.perf_counter()
        if self.frame.begin_pass():
            self.accumulator.drop()
            self.gradients.loss = None
        self.gradients.before_backward(loss, keeps_graph)
        if self.settings.semantics == "path" and (not self._idle or self.sharded is not None):
            with self._apart_from_ranks():
                if not self._idle:
                    self.settlement.begin(Pass(loss, gradient))
            self.gradients.seconds += time.perf_counter() - start

    def observe(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note whether a call that receives no parameter may move rows."""
        forward = self.tracker.current
        if forward is None or self._idle:
            return
        name = call_name(func)[0]
        if name == "setitem":
            forward.writes.append(place_text(args[1]))
        forward.moves = forward.moves or (name in MOVERS and may_move_rows(name, args, kwargs, forward.rows))

    def note_result(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> None:
        """Note numbers that the user's own code makes of the samples: a learned weight may follow."""
        if self.tracker.current is None and self.tracker.forwards and not self._idle:
            self.tracker.terms.note(call_name(func)[0], func, args, kwargs, out)

    def wrap_hook(self, hook: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        """Wrap a user's hook on a tensor so that it is silent in the recorder's own passes."""
        self.settlement.reader.hooked = True
        return self.guard.silent_hook(hook)

    def note_retained(self, tensor: Tensor) -> None:
        """Note a tensor that retains its gradient: the recorder's passes must not add to it."""
        self._retained_tensors.append(tensor)

    @contextmanager
    def derivative(self, inputs: Sequence[Any], creates_graph: bool) -> Iterator[None]:
        """Run a user's `torch.autograd.grad`; one that asks for no parameter forms no columns."""
        self.problems.step.second_order = self.problems.step.second_order or creates_graph
        if any(self.sources.get(value) is not None for value in inputs):
            yield
            return
        before, self.gradients.ignoring = self.gradients.ignoring, True
        try:
            yield
        finally:
            self.gradients.ignoring = before

    # Calls ---------------------------------------------------------------------------------------

    def concerns(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Tell whether a call is to be recorded."""
        return not self._idle and self.sources.inside(args, kwargs)

    def handle(self, user_call: UserCall) -> Any:
        """Run and record one call that receives something made of parameters."""
        func, args, kwargs = user_call.func, user_call.args, user_call.kwargs
        name, inplace = call_name(func)
        rule = rule_of(name)
        values = bind_arguments(rule.signature, args, kwargs)
        sources = self.sources.among(values)
        if inplace:
            _keep_constant(values)
        if not torch.is_grad_enabled():
            for leaf in leaves_of(sources.values()):
                self.usage[leaf].hidden = True
            return user_call()
        fused = (
            self.settings.fused
            and not self.settings.accumulate
            and self.ranks is None
            and attachable(name, sources, self.parameters)
        )
        if is_in_backward():  # a checkpoint runs its part again: gradients come to the calls seen before
            return user_call()
        state = torch.get_rng_state() if rule.draws else None
        inputs = save_arguments(rule, values, inplace)
        out = detached_call(func, args, kwargs, sources) if fused else user_call()
        outputs = results(name, out, args)
        if not outputs or not (fused or any(output.requires_grad for output in outputs)):
            self.problems.step.functional = self.problems.step.functional or is_in_functional_transform()
            return out
        if self._is_derived(name, inplace, outputs, values, sources, args, kwargs, func):
            return out
        call = None
        try:
            key, layout = self._layout(name, sources, values, outputs[0])
            if layout.derived:
                for output in outputs:
                    self.sources.derive(name, output, sources.values(), args, kwargs, func)
                return out
            call = new_call(
                name, func, rule, layout, inputs, sources, outputs, len(args), state, self.tracker
            )
            expected, problem = planned_grouping(layout, call, self.tracker)
        except NotSplittableError as error:
            self.problems.refuse(name, sources.values(), str(error))
            call = None
        except Exception as error:  # noqa: BLE001  (whatever goes wrong in measuring, the step goes on)
            self.problems.refuse(name, sources.values(), f"{type(error).__name__}: {error}")
            call = None
        if call is None:  # left out
            return user_call() if fused else out
        note_use(self.usage, rule, sources.values(), outputs[0])
        if fused:
            out = attach_parameters(
                out,
                self.guard,
                lambda gradient: self.gradients.fused_totals(rule, call, sources, gradient),
                lambda gradient: gradients_of(call, gradient),
                sources,
            )
            outputs = [out]
        else:
            self.gradients.listen_to_call(rule, call, sources, outputs)
        if layout.shared:
            self.tracker.terms.mark(outputs[0])
        else:
            self._await_rows(key, call, expected, problem, outputs, values)
        return out

    def _is_derived(
        self, name: str, inplace: bool, outputs: list[Tensor], values: dict[str, Any],
        sources: dict[str, ParameterSource], args: Any, kwargs: Any, func: Any,
    ) -> bool:  # fmt: skip
        """Tell whether the outputs are made of parameters alone."""
        if not all(self.sources.get(output) is not None for output in outputs):
            return False
        if inplace:  # a value made of parameters that is written into is made of what is written, too
            before = [source for output in outputs if (source := self.sources.get(output)) is not None]
            for output in outputs:
                self.sources.derive(name, output, [*before, *sources.values()], args, kwargs, func)
        return True

    def _layout(
        self, name: str, sources: dict[str, ParameterSource], values: dict[str, Any], out: Tensor
    ) -> tuple[Key, CallLayout]:
        self._idle = True  # a call that the plan lacks is looked for by another probe
        try:
            with nullcontext() if self.ranks is None else quiet_collectives():
                return self.tracker.layout_of(name, sources, values, out, self.sources)
        finally:
            self._idle = False

    def _await_rows(
        self, key: Key, call: Call, expected: Grouping | None, problem: str, outputs: list[Tensor],
        values: dict[str, Any],
    ) -> None:  # fmt: skip
        """Add the call to those whose rows are settled when its backward pass begins."""
        edges = [
            (number, output_edge(output, lambda tensor: self.sources.get(tensor) is not None))
            for number, output in enumerate(outputs)
            if output.grad_fn is not None
        ]
        pending = PendingCall(key, call, edges, expected, problem, outputs[0])
        if self.tracker.current is not None:
            self.tracker.current.pending.append(pending)
            self.tracker.current.packs = self.tracker.current.packs or has_saved_tensor_hooks()
        else:
            others = {name: tensor for name, tensor in tensors_in(values) if self.sources.get(tensor) is None}
            if call.weighted:
                self.tracker.terms.mark(outputs[0])
            self.settlement.outside.append(OutsideCall(pending, outputs[0], others))


def _keep_constant(values: dict[str, Any]) -> None:
    """Replace a number that a call writes into by what it was: a constant, which a sum begins with."""
    for name, number in list(values.items())[:1]:
        if isinstance(number, Tensor) and number.numel() == 1 and not number.requires_grad:
            values[name] = number.detach().clone()

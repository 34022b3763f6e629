"""The gradients of a step as they arrive: at a recorded call's output, then whole at each parameter."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from torch import Tensor

from fisherscope.gram.accumulation.accumulator import GramAccumulator
from fisherscope.gram.accumulation.call_columns import columns_of_call, pull_back
from fisherscope.gram.accumulation.coverage import SkippedParameters, Usage
from fisherscope.gram.accumulation.parameter_uses import ParameterUse, build_use
from fisherscope.gram.accumulation.step_frame import StepFrame
from fisherscope.gram.columns import Columns
from fisherscope.gram.errors import GramError, IncompleteError, NotSplittableError
from fisherscope.gram.interception.gradient_hooks import (
    NoDispatch,
    register_output_hook,
    register_outputs_hook,
)
from fisherscope.gram.interception.provenance import (
    ParameterSource,
    ParameterSources,
    leaf_geometry,
    tensors_in,
)
from fisherscope.gram.interception.torch_private import backward_hooks_of, version_of
from fisherscope.gram.rules import Call, Rule
from fisherscope.gram.rules.replay import gradients_of
from fisherscope.guard.step_guard import Guard


class BackwardListener:
    """Pass each gradient of a backward pass to the accumulator: columns, or what they sum to.

    Args:
        accumulator: Of the parameters that are measured.
        sources: What is known to be made of them.
        usage: What was seen of their calls.
        problems: Where to say what can't be measured: nothing that goes wrong here stops the step.
        semantics: As in `record_gram`.
        frame: What is compared at the block's end.
        guard: Of the step: every hook goes through it.
    """

    def __init__(
        self,
        accumulator: GramAccumulator,
        sources: ParameterSources,
        usage: dict[str, Usage],
        problems: SkippedParameters,
        semantics: str,
        frame: StepFrame,
        guard: Guard,
    ) -> None:
        self._frame, self._guard = frame, guard
        self._accumulator, self._sources, self._usage = accumulator, sources, usage
        self._problems, self._semantics = problems, semantics
        self.backwards = 0
        self.loss: Tensor | None = None
        self.seconds = 0.0
        self._closed = False
        self._releases = False  # whether the running backward frees its graph
        self.evidence: set[str] = set()  # of whose rows the columns are
        self.ignoring = False  # a pass of the user's runs that asks for no parameter's gradient

    def attach(self) -> None:
        """Register a hook on each parameter."""
        for name, parameter in self._accumulator.parameters.items():
            handle = parameter.register_hook(self._guard.hook(partial(self.on_gradient, name)))
            self._guard.add_handle(handle)
            backward_hooks_of(parameter).move_to_end(
                handle.id, last=False
            )  # before hooks that rescale the gradient

    def detach(self) -> None:
        """Form no columns any more."""
        self._closed = True

    def before_backward(self, loss: Tensor, keeps_graph: bool) -> None:
        """Count a backward pass that is about to run."""
        if loss.numel() == 1:  # the losses of a step's backward passes add up, as their gradients do
            self.loss = loss.detach() if self.loss is None else self.loss + loss.detach()
        self.backwards += 1
        self._releases = not keeps_graph
        self._accumulator.passes.begin()

    def listen_to_call(
        self, rule: Rule, call: Call, sources: dict[str, ParameterSource], outputs: list[Tensor]
    ) -> None:
        """Register a hook for the gradient of the call's output."""
        versions = [(value, version_of(value)) for _, value in tensors_in(call.values)]

        def report(gradient: Any) -> None:
            self.form_columns(rule, call, sources, gradient, versions)

        if rule.name == "recurrent" or (rule.name == "replay" and len(outputs) > 1):
            handle = register_outputs_hook(outputs, report, self._guard.hook)
        else:
            handle = register_output_hook(
                outputs, report, lambda tensor: self._sources.get(tensor) is not None, self._guard.hook
            )
        self._guard.add_handle(handle)

    def form_columns(
        self,
        rule: Rule,
        call: Call,
        sources: dict[str, ParameterSource],
        gradient: Any,
        versions: list[tuple[Tensor, int]],
    ) -> None:
        """Form the columns of a call's parameters from the gradient of its output."""
        if self._closed or self._guard.paused or self.ignoring:
            return
        start = time.perf_counter()
        with NoDispatch(gradient):
            try:
                self._take_evidence(call, gradient)
                if call.released:
                    raise NotSplittableError("a second backward pass came over it; say accumulate=True")
                if any(version_of(value) != version for value, version in versions):
                    raise NotSplittableError("an input of the call was overwritten before its gradient came")
                for name, columns in columns_of_call(rule, call, gradient).items():
                    self._contribute(sources[name], columns, call.entry)
            except NotSplittableError as error:
                self._problems.refuse(call.name, sources.values(), str(error))
            except Exception as error:  # noqa: BLE001  (as in `handle`)
                self._problems.refuse(call.name, sources.values(), f"{type(error).__name__}: {error}")
        if self._releases:
            versions.clear()
            call.release()
        self.seconds += time.perf_counter() - start

    def _take_evidence(self, call: Call, gradient: Any) -> None:
        """Read whose the call's rows are where that waits for its gradient; note how it is known."""
        if call.late is not None:
            call.late(gradient)
        if call.refusal:
            parts = [gradient] if isinstance(gradient, Tensor) else gradient
            if any(part is not None and bool(part.any()) for part in parts) or not call.samples:
                self.evidence.add(call.evidence)
                raise NotSplittableError(call.refusal)
            return
        self.evidence.add(call.evidence)

    def _contribute(self, source: ParameterSource, columns: Columns, entry: int) -> None:
        if source.geometry is not None:
            self._accumulator.add(
                source.leaves[0],
                build_use(columns, source.geometry, entry, self._accumulator.product_options),
            )
            return
        leaves = {name: self._accumulator.parameters[name] for name in source.leaves}
        for leaf, leaf_columns in pull_back(
            source, leaves, columns, self._accumulator.product_options
        ).items():
            place = leaf_geometry(self._accumulator.parameters[leaf])
            self._accumulator.add(
                leaf, build_use(leaf_columns, place, entry, self._accumulator.product_options)
            )

    def fused_totals(
        self, rule: Rule, call: Call, sources: dict[str, ParameterSource], gradient: Tensor
    ) -> list[Tensor | None]:
        """Form the columns of a fused call and return their sums, its parameters' gradients.

        In a pass that asks for no parameter there are none.

        Returns:
            One gradient for each parameter of the call; None in a pass that asks for none.

        Raises:
            GramError: A second backward pass came over a call whose inputs are released.
        """
        if self._guard.paused or self.ignoring:
            return [None] * len(sources)
        if call.released:
            raise GramError(
                f"Measuring the Gram matrix, fused: a second backward pass came over `{call.name}` "
                "after one that did not "
                "retain the graph. Say accumulate=True, or fused=False."
            )
        start = time.perf_counter()
        with NoDispatch(gradient):
            try:
                totals = self._fused_uses(rule, call, sources, gradient)
            except Exception as error:  # noqa: BLE001  (as in `handle`; the gradient has to come all the same)
                self._problems.refuse(call.name, sources.values(), f"{type(error).__name__}: {error}")
                totals = gradients_of(call, gradient)
        if self._releases:
            call.release()
        self.seconds += time.perf_counter() - start
        return totals

    def _fused_uses(
        self, rule: Rule, call: Call, sources: dict[str, ParameterSource], gradient: Tensor
    ) -> list[Tensor | None]:
        totals: list[Tensor | None] = []
        self._take_evidence(call, gradient)
        columns = columns_of_call(rule, call, gradient)
        for name, source in sources.items():
            leaf = source.leaves[0]
            assert source.geometry is not None, "only plain leaves are attached"
            use = ParameterUse(columns[name], source.geometry)
            use.form_total(
                self._accumulator.product_options, multiply=self._usage[leaf].calls == 1 and not self._closed
            )
            assert use.total is not None, "formed in the line before"
            use.total = use.total.reshape(source.tensor.shape).to(source.tensor.dtype)
            totals.append(use.total)
            if not self._closed:
                self._accumulator.add(leaf, use)
        return totals

    def on_gradient(self, name: str, gradient: Tensor) -> None:
        """Settle a parameter when its whole gradient of a backward pass arrives."""
        if self._closed or self._guard.paused or self.ignoring or name in self._problems.by_parameter:
            return
        start = time.perf_counter()
        try:
            with NoDispatch(gradient):
                self._frame.on_gradient(name, gradient)
                self._accumulator.complete(name, gradient)
        except GramError as error:
            text = str(error)
            if "did not see" in text:
                text += _why_unseen(self._usage[name].hidden, self._semantics)
            self._problems.add(name, text, IncompleteError)
        self.seconds += time.perf_counter() - start


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

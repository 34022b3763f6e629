"""The forwards of the model that run in a step: how each of their calls, in turn, splits by sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fisherscope.gram.accumulation.remedies import FUNCTIONAL
from fisherscope.gram.batch_axis.determinism import DROPOUT
from fisherscope.gram.batch_axis.forward_call import ForwardCall, flat, inputs_of
from fisherscope.gram.batch_axis.given_rows import GivenRows, SampleRows
from fisherscope.gram.batch_axis.inference import CallLayout
from fisherscope.gram.batch_axis.loss_terms import LossTerms
from fisherscope.gram.batch_axis.outside import outside_call
from fisherscope.gram.batch_axis.packed_inputs import packing_doubt
from fisherscope.gram.batch_axis.plan import KnownPlan, find_plan, given_plan
from fisherscope.gram.batch_axis.probe import probe
from fisherscope.gram.batch_axis.probe_run import PICKS
from fisherscope.gram.batch_axis.row_movers import picks_entries
from fisherscope.gram.errors import AmbiguousBatchError, NotSplittableError
from fisherscope.gram.grouping import Grouping, Layout, packed_rows, rows_grouping
from fisherscope.gram.identity.pending import PendingCall
from fisherscope.gram.identity.storage import StorageRows
from fisherscope.gram.interception.call_ids import CallIds, Key
from fisherscope.gram.interception.provenance import ParameterSource, ParameterSources, tensors_in
from fisherscope.gram.interception.torch_private import is_in_functional_transform, tree_leaves
from fisherscope.gram.options import BatchOption, SampleOf, batch_of
from fisherscope.gram.rules import signature_of


@dataclass
class Forward:
    """One outermost forward of the step, until its backward begins.

    Args:
        number: How many such forwards came before in the step, from 1.
        call: Module and inputs.
        known: What is known of this way of calling it.
        ids: The sample of each of its rows, (rows,) long, counted over the whole step.
        given: The samples of its rows, where `sample_of` specifies them.
        outputs: What it gave.
        pending: Its calls whose rows are to be read.
        moves: Whether a call was seen that may move rows by data or chance.
        packs: Whether hooks packed the tensors that a call saved, as a checkpoint's do.
        writes: The places that were written into by numbers, in their order.
        linked: How `ids` came about, where it is not the first forward.
    """

    number: int
    call: ForwardCall
    known: KnownPlan
    ids: Tensor
    given: GivenRows | None = None
    outputs: list[Tensor] = field(default_factory=list)
    pending: list[PendingCall] = field(default_factory=list)
    moves: bool = False
    packs: bool = False
    writes: list[str] = field(default_factory=list)
    linked: str = ""

    def __post_init__(self) -> None:
        self.rows = len(self.ids)  # of its inputs


class ForwardTracker:
    """Follow which module call is the outermost; answer how its inner calls split.

    Args:
        parameters: Those measured, by name.
        batch: Dimension that carries the samples, or one for each input by name; None to find out.
        sample_of: The sample of each row, where the rows of several samples are mixed, or a callable of the
            model's inputs that gives them.
        expected: Samples of a backward pass, where known.
    """

    def __init__(
        self,
        parameters: dict[str, Tensor],
        batch: BatchOption,
        sample_of: SampleOf,
        expected: int | None = None,
    ) -> None:
        self.parameters, self.batch, self.sample_rows = parameters, batch, SampleRows(sample_of)
        self.current: Forward | None = None
        self.count = 0
        self.samples: int | None = None  # of all forwards since the last backward
        self.forwards: list[Forward] = []  # those whose backward has not begun
        self.notes: list[str] = []
        self.doubts: list[str] = []  # samples that may be others than were meant
        self.expected = expected
        self.packed_order: Tensor | None = None
        self.storage = StorageRows()
        self.terms = LossTerms()
        self._keys = CallIds()
        self._renewed = False
        self.may_probe_again = True
        self._packings: dict[int, Tensor] = {}

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Forward:
        """Start a forward of the model: find its plan, probing the first time.

        Returns:
            The forward that begins.

        Raises:
            AmbiguousBatchError: The batch dimension can't be determined.
        """
        _check_inputs(module, args, kwargs)
        given = self.sample_rows.of_forward(args, kwargs)
        if given is not None:
            call = ForwardCall(module, args, kwargs, (), len(given.samples))
            known, ids = given_plan(module, args, kwargs, self.parameters), given.samples
        else:
            batch = batch_of(self.batch, args, kwargs)
            call, known = find_plan(module, args, kwargs, self.parameters, batch)
            ids = torch.arange(call.samples)
            self.doubt(packing_doubt(args, kwargs, call.samples))
        self.count += 1
        self.current = Forward(self.count, call, known, ids, given)
        self.forwards.append(self.current)
        self._count_samples(ids, call.samples if given is None else None)
        self._keys, self._renewed = CallIds(), False
        return self.current

    def place(self, ids: Tensor, how: str) -> None:
        """Say which samples, counted over the step, the rows of the current forward are."""
        assert self.current is not None, "a forward has begun"
        self.current.ids, self.current.linked = ids, how
        self._count_samples(ids)

    def _count_samples(self, ids: Tensor, known: int | None = None) -> None:
        count = known if known is not None else int(ids.max()) + 1 if len(ids) else 0
        self.samples = max(self.samples or 0, count)

    def doubt(self, text: str) -> None:
        """Note that samples may be others than were meant, once."""
        if text and text not in self.doubts:
            self.doubts.append(text)

    def end(self, module: nn.Module, output: Any) -> None:
        """End the forward of `module`, which returned `output`."""
        if self.current is not None and module is self.current.call.module:
            self.current.outputs = [t for t in tree_leaves(output) if isinstance(t, Tensor)]
            self.current, self._keys = None, CallIds()

    def take_forwards(self) -> list[Forward]:
        """Take the forwards that the backward pass that begins now is about."""
        forwards, self.forwards = self.forwards, []
        self.sample_rows.begin_pass()
        return forwards

    def note_packing(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Remember which sample each row of a packed sequence belongs to."""
        for value in (*args, *kwargs.values()):
            if isinstance(value, PackedSequence):
                self._packings[len(value.data)] = packed_rows(value.batch_sizes, value.sorted_indices)
                self.packed_order = value.sorted_indices

    def layout_of(
        self,
        name: str,
        found: dict[str, ParameterSource],
        values: dict[str, Any],
        out: Tensor,
        sources: ParameterSources,
    ) -> tuple[Key, CallLayout]:
        """How this call treats the samples, and its name in every forward."""
        key = self._keys.next(name, found)
        if name in DROPOUT and all(sources.get(t) is not None for _, t in tensors_in(values)):
            return key, CallLayout(derived=True)  # of a weight; the probe leaves dropout out
        if self.current is None:
            return key, outside_call(name, self.samples, values, out, sources, self._inputs(), self.terms)
        if name in PICKS and picks_entries(*values.values()) and sources.get(next(iter(values.values()))):
            return key, CallLayout(derived=True)  # of parameters, whichever entries the data chose
        if self.current.given is not None:
            return key, self.current.given.layout_of(name, values, out, sources)
        plan = self.current.known.plan
        if key not in plan and self.may_probe_again and not self._renewed and not self._packings:
            self._renewed = True  # the model took another path than when it was probed: look once more
            plan.update(probe(self.current.call, self.parameters, signature_of).plan)
        return key, plan.get(key) or CallLayout(
            problem="the probe on part of the batch did not meet this call: which calls are made "
            "depends on the data"
        )

    def grouping(self, layout: CallLayout, out: torch.Size) -> Grouping:
        """Return the samples of a call's output, in the numbers of its own forward.

        Returns:
            The grouping.

        Raises:
            NotSplittableError: Its rows are not those of the samples.
        """
        samples = self.current.rows if self.current is not None else self.samples
        if (layout.shared or layout.weighted) and samples is not None:
            return Grouping(samples, Layout(0))
        if layout.problem is not None:
            raise NotSplittableError(layout.problem)
        assert samples is not None, "a call is planned after a forward has begun"
        if layout.given is not None:
            return layout.given
        place = layout.layouts.get("out")
        if self._packings and (layout.packed or (place is not None and place.outer is None)):
            dim = next((d for d, size in enumerate(out) if size in self._packings), None)
            if dim is not None:
                return rows_grouping(self._packings[out[dim]], dim, samples)
        if place is None:
            raise NotSplittableError("the number of its rows is not a multiple of the number of samples")
        grouping = Grouping(samples, place)
        if not grouping.fits(out):
            raise NotSplittableError(
                f"its output {tuple(out)} does not hold {samples} samples along dimension "
                f"{grouping.dim} as it did when the model was probed"
            )
        return grouping

    def output_rows(self, forward: Forward) -> list[tuple[Tensor, Grouping]]:
        """List the outputs of a forward that hold rows of samples, with those samples.

        Returns:
            Pairs of an output and its rows' samples.
        """
        found = []
        for place, tensor in enumerate(forward.outputs):
            if not (tensor.requires_grad and tensor.grad_fn is not None and tensor.dim()):
                continue
            if forward.given is not None:
                grouping = forward.given.find(tensor.shape)
            else:
                layouts = forward.known.outputs
                layout = layouts[place] if len(layouts) == len(forward.outputs) else None
                grouping = None if layout is None else Grouping(forward.rows, layout)
            if grouping is not None and grouping.fits(tensor.shape):
                found.append((tensor, grouping))
        return found

    def _inputs(self) -> list[Tensor]:
        """Tensors that the forwards of this pass were given or gave: what depends on the batch."""
        tensors: list[Tensor] = []
        for forward in self.forwards:
            leaves = flat((forward.call.args, forward.call.kwargs))[0]
            tensors += [leaf for leaf in leaves if isinstance(leaf, Tensor)]
            tensors += forward.outputs
        return tensors


def _check_inputs(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse inputs of which no part can be taken for a sample."""
    name = type(module).__name__
    if is_in_functional_transform():
        raise AmbiguousBatchError(f"{name} was called inside torch.func. {FUNCTIONAL}")
    if any(isinstance(leaf, Tensor) and leaf.is_nested for leaf in inputs_of(args, kwargs)):
        raise AmbiguousBatchError(
            f"{name} was called with a nested tensor, whose rows can't be taken apart by sample. Give it the "
            "rows of all samples as one tensor (nested.values()), and the sample of each row: "
            "record_gram(model, sample_of=torch.repeat_interleave(torch.arange(n), lengths))."
        )

"""The forward of the model that runs: how each of its calls, in turn, splits by sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fisherscope.gram.batch_axis.determinism import DROPOUT
from fisherscope.gram.batch_axis.forward_call import ForwardCall
from fisherscope.gram.batch_axis.inference import CallLayout, is_penalty
from fisherscope.gram.batch_axis.plan import planned
from fisherscope.gram.batch_axis.probe import Plan, probe
from fisherscope.gram.errors import NotSplittableError
from fisherscope.gram.grouping import Grouping, Layout, packed_rows, rows_grouping
from fisherscope.gram.interception.call_ids import CallIds
from fisherscope.gram.interception.provenance import ParameterSource, ParameterSources, tensors_in
from fisherscope.gram.rules import signature_of


class ForwardTracker:
    """Follows which module call is the outermost, and answers how its inner calls split by sample.

    Args:
        parameters: Those measured, by name.
        batch: Dimension that carries the samples, or one for each input by name; None to find out.
        sample_of: The sample of each row, where the rows of several samples are mixed; (rows,) integers.
    """

    def __init__(
        self,
        parameters: dict[str, Tensor],
        batch: int | Mapping[str, int | None] | None,
        sample_of: Tensor | None,
    ) -> None:
        self.parameters, self.batch, self.sample_of = parameters, batch, sample_of
        self.current: ForwardCall | None = None
        self.count = 0
        self.samples: int | None = None
        self.packed_order: Tensor | None = None
        self._plan: Plan = {}
        self._keys = CallIds()
        self._renewed = False
        self._packings: dict[int, Tensor] = {}

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward of the model starts: find its plan, probing the first time.

        Raises:
            AmbiguousBatchError: The batch dimension can't be told.
        """
        if self.sample_of is not None:
            self.current, self._plan = (
                ForwardCall(module, args, kwargs, (), int(self.sample_of.max()) + 1),
                {},
            )
        else:
            self.current, self._plan = planned(module, args, kwargs, self.parameters, self.batch)
        self.count += 1
        self.samples, self._keys, self._renewed = self.current.samples, CallIds(), False

    def end(self, module: nn.Module) -> None:
        """The forward of `module` has ended."""
        if self.current is not None and module is self.current.module:
            self.current, self._plan, self._keys = None, {}, CallIds()

    def note_packing(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Remember which sample each row of a packed sequence belongs to."""
        for value in (*args, *kwargs.values()):
            if isinstance(value, PackedSequence):
                self._packings[len(value.data)] = packed_rows(value.batch_sizes, value.sorted_indices)
                self.packed_order = value.sorted_indices

    def finding(
        self,
        name: str,
        found: dict[str, ParameterSource],
        values: dict[str, Any],
        out: Tensor,
        sources: ParameterSources,
    ) -> CallLayout:
        """How this call treats the samples."""
        if name in DROPOUT and all(sources.get(t) is not None for _, t in tensors_in(values)):
            return CallLayout(derived=True)  # of a weight; the probe leaves dropout out
        key = self._keys.next(name, found)
        if self.sample_of is not None:
            return _by_rows(self.sample_of, values, out, sources)
        if self.current is None:
            return _outside(name, self.samples, values, out, sources)
        if key not in self._plan and not self._renewed and not self._packings:
            self._renewed = True  # the model took another path than when it was probed: look once more
            self._plan.update(probe(self.current, self.parameters, signature_of).plan)
        return self._plan.get(key) or CallLayout(
            problem="the probe on part of the batch did not meet this call: which calls are made "
            "depends on the data"
        )

    def grouping(self, finding: CallLayout, out: torch.Size) -> Grouping:
        """The samples of a call's output.

        Raises:
            NotSplittableError: Its rows are not those of the samples.
        """
        if finding.shared and self.samples is not None:
            return Grouping(self.samples, Layout(0))
        if finding.problem is not None:
            raise NotSplittableError(finding.problem)
        if self.sample_of is not None:
            return rows_grouping(self.sample_of, finding.layouts["out"].dim)
        assert self.samples is not None, "a call is planned after an entry"
        layout = finding.layouts.get("out")
        if self._packings and (finding.packed or (layout is not None and layout.outer is None)):
            dim = next((d for d, size in enumerate(out) if size in self._packings), None)
            if dim is not None:
                return rows_grouping(self._packings[out[dim]], dim, self.samples)
        if layout is None:
            raise NotSplittableError("the number of its rows is not a multiple of the number of samples")
        grouping = Grouping(self.samples, layout)
        if not grouping.fits(out):
            raise NotSplittableError(
                f"its output {tuple(out)} does not hold {self.samples} samples along dimension "
                f"{grouping.dim} as it did when the model was probed"
            )
        return grouping


def _by_rows(sample_of: Tensor, values: dict[str, Any], out: Tensor, sources: ParameterSources) -> CallLayout:
    """Rows said by hand: the one dimension as long as `sample_of`."""
    length = len(sample_of)
    dims = [dim for dim, size in enumerate(out.shape) if size == length]
    if len(dims) == 1:
        return CallLayout({"out": Layout(dims[0])})
    if not dims and all(sources.get(t) is not None for _, t in tensors_in(values)):
        return CallLayout(derived=True)
    return CallLayout(
        problem=f"{len(dims)} of its output's dimensions {tuple(out.shape)} have the {length} rows of "
        "sample_of"
    )


def _outside(
    name: str, samples: int | None, values: dict[str, Any], out: Tensor, sources: ParameterSources
) -> CallLayout:
    """A call in the user's own code, not inside a module: by shape alone, where that is plain."""
    if all(sources.get(t) is not None for _, t in tensors_in(values)):
        return CallLayout(derived=True)
    if samples is None:
        return CallLayout(
            problem="it was called before the model's forward, so that the samples are not known yet"
        )
    if is_penalty(name, out.shape):
        return CallLayout(shared=True)
    layouts = {}
    for argument, tensor in [*tensors_in(values), ("out", out)]:
        same = [dim for dim, size in enumerate(tensor.shape) if size == samples]
        if len(same) == 1:
            layouts[argument] = Layout(same[0])
    if "out" in layouts:
        return CallLayout(layouts)
    return CallLayout(
        problem=f"it is called outside the model's forward, and its output {tuple(out.shape)} does not "
        "show which "
        f"dimension holds the {samples} samples"
    )

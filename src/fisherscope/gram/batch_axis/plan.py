"""Which dimension of a model's inputs carries the samples, and so the plan of its calls; probed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fisherscope.gram.batch_axis.forward_call import ForwardCall, entry_of
from fisherscope.gram.batch_axis.probe import Plan, ProbeResult, probe
from fisherscope.gram.batch_axis.probe_run import ModelError
from fisherscope.gram.errors import AmbiguousBatchError
from fisherscope.gram.grouping import Layout
from fisherscope.gram.identity.carried_rows import CarriedRows
from fisherscope.gram.interception.call_ids import Key
from fisherscope.gram.interception.torch_private import tree_flatten, tree_leaves
from fisherscope.gram.rules import signature_of

Batch = int | Mapping[str, int | None]
"""The dimension that carries the samples, or one for each input by name."""


_KINDS = 64
"""Kinds of graphs of one way of calling a module that are remembered."""


@dataclass
class SettledRows:
    """How a call's rows were settled, for graphs of the same signature.

    Args:
        verdict: As `settle` returns it.
        shape: Of the call's output.
        dim: The dimension along which they lie.
        lead: How many leading dimensions they lie along.
        holes: Rows that no cotangent reached: a gradient there calls for another reading.
        tries: How often the call was read.
    """

    verdict: str
    shape: torch.Size
    dim: int = 0
    lead: int = 1
    holes: Tensor | None = None
    tries: int = 1


@dataclass
class KnownPlan:
    """What is known of one way of calling a module: from the probe, then from measurements.

    Args:
        dim: The dimension of the inputs that carries the samples.
        plan: How each call that receives a parameter treats the samples.
        outputs: Where the samples lie in each output tensor.
        settled: What reading the rows of each call gave, by the rows' number and the graph's signature.
        readings: How often rows were read.
        carried: Which calls may take over rows from others, by the rows' number and the graph's signature.
        hard: Calls that a reading did not explain: their rows mix samples, or no cotangent reached them.
        permuted: The calls that were checked by the whole batch in another order, and whether they
            passed; None where that could not be determined.
        doubts: By numbers of forwards and samples and the form of the loss, what its terms said of the
            samples that were counted.
        keep: Remembers a plan with problems, once the rows of all its calls could be read nevertheless.
    """

    dim: Batch
    plan: Plan
    outputs: list[Layout | None]
    settled: dict[tuple[int, int], dict[Key, SettledRows]] = field(default_factory=dict)
    readings: int = 0
    carried: dict[tuple[int, int], CarriedRows] = field(default_factory=dict)
    hard: set[Key] = field(default_factory=set)
    permuted: dict[Key, bool | None] = field(default_factory=dict)
    keep: Callable[[], None] | None = None
    doubts: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def settled_for(self, rows: int, signature: int) -> dict[Key, SettledRows]:
        """Return what is known of the calls of a forward of so many rows with such a graph."""
        if len(self.settled) > _KINDS and (rows, signature) not in self.settled:
            self.settled.clear()
            self.carried.clear()
        return self.settled.setdefault((rows, signature), {})

    def carried_for(self, rows: int, signature: int) -> CarriedRows:
        """Return what is known of the calls that take over rows, in such a forward."""
        return self.carried.setdefault((rows, signature), CarriedRows())


_plans: WeakKeyDictionary[nn.Module, dict[Any, KnownPlan]] = WeakKeyDictionary()


def find_plan(
    module: nn.Module, args: Any, kwargs: Any, parameters: Mapping[str, Tensor], batch: Batch | None
) -> tuple[ForwardCall, KnownPlan]:
    """Find how a module's call carries its samples and how its inner calls treat them.

    Where `batch` is None it is found out, by a probe the first time that the module is called in this way.

    Returns:
        The call, and what is known of its plan.

    Raises:
        AmbiguousBatchError: The batch dimension can't be determined.
    """
    _refuse_nested(module, args, kwargs)
    kind = _kind(module, args, kwargs, batch, tuple(parameters))
    plans = _plans.setdefault(module, {})
    plan = plans.get(kind)
    if plan is not None:
        entry = entry_of(module, args, kwargs, plan.dim)
        if entry is not None:
            return entry, plan
    found = _search_plan(module, args, kwargs, parameters, batch)
    plan = KnownPlan(found.dim, found.probed.plan, found.probed.outputs)
    if any(finding.problem for finding in plan.plan.values()):  # another batch may show more
        plan.keep = lambda: plans.update({kind: plan})
    else:
        plans[kind] = plan
    return found.entry, plan


def given_plan(module: nn.Module, args: Any, kwargs: Any, parameters: Mapping[str, Tensor]) -> KnownPlan:
    """Return what is known of a module's call whose rows' samples were given: readings, no probe."""
    kind = _kind(module, args, kwargs, None, ("given", *parameters))
    return _plans.setdefault(module, {}).setdefault(kind, KnownPlan(0, {}, []))


def _refuse_nested(module: nn.Module, args: Any, kwargs: Any) -> None:
    for leaf in (*args, *kwargs.values()):
        if isinstance(leaf, Tensor) and leaf.is_nested:
            raise AmbiguousBatchError(
                f"Finding the batch dimension of {type(module).__name__}: received a nested tensor, whose "
                "samples differ in shape; expected dense tensors. Call the model with padded inputs and a "
                "mask in the steps that are measured."
            )


def _kind(module: nn.Module, args: Any, kwargs: Any, batch: Batch | None, measured: tuple[str, ...]) -> Any:
    """Describe what a plan depends on: form and kind of inputs, mode, parameters; no sizes."""
    form: Any = len(args)
    leaves: Sequence[Any] = args
    if kwargs or not all(isinstance(arg, Tensor) for arg in args):
        leaves, tree = tree_flatten((args, kwargs))
        form = str(tree)
    kinds = tuple(
        (leaf.dtype, leaf.dim(), *(min(size, 2) for size in leaf.shape[:2]))
        if isinstance(leaf, Tensor)
        else str(leaf)[:80]
        for leaf in leaves
    )
    return form, module.training, str(batch), measured, kinds


@dataclass(frozen=True)
class _Attempt:
    """One dimension tried as the batch's."""

    dim: Batch
    entry: ForwardCall
    probed: ProbeResult

    @property
    def unlikely(self) -> tuple[int, bool, bool]:
        """Rank: calls that don't follow the samples; whether no output does; whether a loop runs."""
        return len(self.problems), not self.probed.carries, self.probed.has_loop

    @property
    def problems(self) -> list[str]:
        found = self.probed.plan.items()
        return [f"{key[0]}: {f.problem}" for key, f in found if f.problem and not f.has_loop]

    @property
    def is_loop(self) -> bool:
        """Tell whether a Python loop takes the samples of this dimension one by one."""
        return self.unlikely == (0, False, True)


def _search_plan(
    module: nn.Module, args: Any, kwargs: Any, parameters: Mapping[str, Tensor], batch: Batch | None
) -> _Attempt:
    """Try each dimension as the batch's until every call follows the samples.

    Where some call follows them along neither (it mixes samples, say), the one with fewer such calls; where
    all follow along both, the one that the output still carries (a mean over positions leaves the samples).
    A tie is an error, and so is a loop over the first dimension whose outputs move with it: it may be over
    samples, or over the positions of a sequence-first input.

    Returns:
        The attempt that succeeds.
    """
    attempts: list[_Attempt] = []
    failures: list[str] = []
    for dim in (batch,) if batch is not None else (0, 1):
        entry = entry_of(module, args, kwargs, dim)
        if entry is None or not entry.samples or (entry.samples < 2 and dim == 1 and batch is None):
            continue
        try:
            attempts.append(_Attempt(dim, entry, probe(entry, parameters, signature_of)))
        except ModelError as error:
            failures.append(f"dimension {dim}: {error}")
            continue
        failures += [f"dimension {dim}: in {text}" for text in attempts[-1].problems[:1]]
    attempts.sort(key=lambda attempt: attempt.unlikely)
    if len(attempts) == 1:
        return attempts[0]
    if len(attempts) == 2 and attempts[0].unlikely < attempts[1].unlikely:
        if attempts[0].dim == 0 or not attempts[1].is_loop:
            return attempts[0]
        failures.append("in a loop over dimension 0, in one piece along dimension 1")
    raise AmbiguousBatchError(
        _text(module, args, kwargs, sorted((a.dim for a in attempts), key=str), failures)
    )


def _text(module: nn.Module, args: Any, kwargs: Any, attempts: list[Any], failures: list[str]) -> str:
    shapes = [tuple(leaf.shape) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    head = f"Finding the batch dimension of {type(module).__name__}, called with tensors of shape {shapes}: "
    if attempts:
        dims = " and ".join(str(dim) for dim in attempts)
        why = f" ({'; '.join(failures)})" if failures else ""
        return (
            head + f"dimensions {dims} both behave as a batch{why}. Say which: record_gram(model, "
            f"batch={attempts[0]})."
        )
    if any(0 in shape[:1] for shape in shapes):
        return head + "the batch is empty. Measure steps that have samples."
    if not shapes:
        return (
            head + "no tensor among its inputs. Say which sample each row belongs to: record_gram(model, "
            "sample_of=…)."
        )
    if any("offsets" in failure for failure in failures):
        return (
            head
            + "; ".join(failures)
            + ". Offsets into a flat tensor of indices hide where a sample ends. Say the sample of each: "
            "sample_of=lambda ids, offsets: torch.repeat_interleave(torch.arange(len(offsets)), "
            "torch.diff(offsets, append=torch.tensor([len(ids)])))."
        )
    failures = failures or ["no input has the dimension that was given"]
    return (
        head
        + "; ".join(failures)
        + ". Say which dimension holds the samples (batch=0), or sample_of=… for rows."
    )

"""What each parameter's uses contribute: joined, multiplied, checked against the gradient that arrives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from fisherscope.gram.accumulation.parameter_uses import ParameterUse, covers_leaf, disjoint_uses, on_leaf
from fisherscope.gram.accumulation.residual import rounding_scale, sum_error
from fisherscope.gram.accumulation.small_parameters import SMALL, SmallParameterBatch
from fisherscope.gram.columns import Columns, Dense, ProductOptions, join_columns
from fisherscope.gram.errors import GramError

SECOND_PASS = (
    "a second backward pass of the same step reached it; say accumulate=True, which keeps the columns of "
    "each pass until the step is complete"
)

JOINT_BUDGETS = 8
"""Memory budgets that the columns kept for other ranks may take: mostly the graph's own tensors."""


@dataclass
class ParameterStats:
    """Scalars of one parameter, on the device until the record is closed."""

    trace: Tensor
    mean_square: Tensor
    sum_error: Tensor  # |Σ columns - gradient|
    rounding_scale: Tensor  # what the rounding of the sums is relative to
    gram: Tensor | None = None
    sizes: Tensor | None = (
        None  # of several passes' gradients, added up: what their sum errors are relative to
    )

    def combine(self, more: ParameterStats) -> ParameterStats:
        """Add two backward passes' errors and scales, whatever cancels between them."""
        assert self.sizes is not None, "sizes exist where there are several passes"
        assert more.sizes is not None, "sizes exist where there are several passes"
        return ParameterStats(
            self.trace,
            self.mean_square,
            self.sum_error + more.sum_error,
            self.rounding_scale + more.rounding_scale,
            sizes=self.sizes + more.sizes,
        )


@dataclass
class Passes:
    """Tell which samples a backward pass is about: new forwards bring new samples."""

    of_entry: dict[int, int] = field(default_factory=dict)
    current: int | None = None
    finished: set[str] = field(default_factory=set)  # in the current backward pass

    def begin(self) -> None:
        """Start a backward pass."""
        self.current = None
        self.finished.clear()

    def number(self, name: str, entries: set[int]) -> int:
        """Return the group of samples that the gradient of `name` belongs to."""
        if name in self.finished:
            self.begin()
        self.finished.add(name)
        if self.current is None:
            count = [self.of_entry[entry] for entry in entries if entry in self.of_entry]
            self.current = count[0] if count else len(set(self.of_entry.values()))
        for entry in entries:
            self.of_entry.setdefault(entry, self.current)
        return self.current


class StepMetric(Protocol):
    """Add up the same columns in another metric; see `fisherscope.gram.metric`."""

    def add(self, name: str, uses: list[ParameterUse], leaf: Tensor) -> None:
        """Add a parameter of a step of one pass."""

    def add_passes(
        self, passes: Mapping[str, dict[int, Columns]], places: dict[int, slice], total: int
    ) -> None:
        """Add the columns kept from several passes."""

    def drop(self) -> None:
        """Forget the passes so far."""


@dataclass
class GramAccumulator:
    """Collect columns during a backward pass; multiply a parameter's when its gradient arrives."""

    parameters: Mapping[str, Tensor]
    product_options: ProductOptions
    keep_layers: bool = False
    accumulate: bool = False
    jointly: bool = False  # columns are kept for products with other ranks' samples
    metric: StepMetric | None = None  # the same sums in another metric
    gram: Tensor | None = None
    entry_error: Tensor | None = None  # Σ_p error_p · diag(F̃_p): the entry errors, absolute
    statistics: dict[str, ParameterStats] = field(default_factory=dict)
    uses: dict[str, list[ParameterUse]] = field(default_factory=lambda: defaultdict(list))
    stored_columns: dict[str, dict[int, Columns]] = field(default_factory=lambda: defaultdict(dict))
    stored_bytes: int = 0
    seconds: float = 0.0
    passes: Passes = field(default_factory=lambda: Passes())
    pools: dict[tuple[torch.dtype, torch.device], SmallParameterBatch] = field(
        default_factory=lambda: defaultdict(SmallParameterBatch)
    )

    def add(self, name: str, use: ParameterUse) -> None:
        """Add one use's columns for the parameter `name`, to be completed with the others."""
        self.uses[name].append(use)

    def drop(self) -> None:
        """Forget the passes so far: their gradients were thrown away, no step is made by them."""
        self.gram, self.entry_error, self.stored_bytes = None, None, 0
        for store in (self.statistics, self.uses, self.stored_columns, self.pools):
            store.clear()
        self.passes = Passes()
        if self.metric is not None:
            self.metric.drop()

    def complete(self, name: str, gradient: Tensor) -> None:
        """Join a parameter's uses, multiply them and compare their sum with `gradient`.

        Args:
            name: The parameter.
            gradient: The gradient that arrives at the parameter in this pass.

        Raises:
            GramError: no recorded call explains the gradient, or a second pass comes unannounced.
        """
        uses = self.uses.pop(name, [])
        if not uses:
            raise GramError("its gradient came from a call that the recorder did not see")
        leaf = self.parameters[name].detach()
        if leaf.is_complex():
            leaf, gradient = torch.view_as_real(leaf), torch.view_as_real(gradient.resolve_conj())
        if self.accumulate or self.jointly:
            number = self.passes.number(name, {use.entry for use in uses}) if self.accumulate else 0
            if self._second_pass(name):
                raise GramError(SECOND_PASS)
            self._store(name, uses, gradient, leaf, number)
            return
        if self._second_pass(name):
            raise GramError(SECOND_PASS)
        if self.metric is not None:
            self.metric.add(name, uses, leaf)
        if self._add_to_pool(name, uses, gradient, leaf):
            return
        disjoint = disjoint_uses(uses, leaf, self.product_options)
        products = [use.multiply(self.product_options) for use in disjoint]
        gram, error = products[0].gram, products[0].error
        for more in products[1:]:
            entry_error = gram.diagonal() * error + more.gram.diagonal() * more.error
            gram = gram + more.gram
            error = entry_error / gram.diagonal().clamp_min(torch.finfo(torch.float64).tiny)
        self._add_parameter(
            name, gram, error, disjoint, sum_error(disjoint, gradient, leaf, self.product_options)
        )

    def _second_pass(self, name: str) -> bool:
        """Tell whether a gradient has arrived at a parameter before, in a step that was to have one pass."""
        return not self.accumulate and (
            name in self.statistics or any(name in pool.names for pool in self.pools.values())
        )

    def _add_to_pool(self, name: str, uses: list[ParameterUse], gradient: Tensor, leaf: Tensor) -> bool:
        """Add a small parameter to its pool, or return False if it is to be multiplied alone."""
        columns = uses[0].columns
        if (
            len(uses) > 1
            or not isinstance(columns, Dense)
            or self.keep_layers
            or leaf.numel() > SMALL
            or gradient.is_sparse
            or not leaf.is_contiguous()
            or not covers_leaf(uses[0].geometry, leaf)
        ):
            return False
        dtype = self.product_options.of(columns.gradients)
        pool = self.pools[dtype, columns.device]
        self._check_samples(columns.samples, pool.samples)
        pool.add(name, columns, gradient, dtype)
        if pool.is_full:
            self.multiply_pool(dtype, columns.device)
        return True

    def multiply_pools(self) -> None:
        """Multiply the small parameters that are still in pools."""
        for dtype, device in list(self.pools):
            self.multiply_pool(dtype, device)

    def multiply_pool(self, dtype: torch.dtype, device: torch.device) -> None:
        """Multiply the small parameters of one dtype and device."""
        products = self.pools.pop((dtype, device)).products()
        self._add(products.gram, products.gram.diagonal(), products.error)
        columns = (
            products.traces,
            products.mean_squares,
            products.differences,
            torch.zeros_like(products.differences),
        )
        for name, *row in zip(products.names, *(column.unbind() for column in columns), strict=True):
            self.statistics[name] = ParameterStats(*row)

    def _check_samples(self, samples: int, *others: int | None) -> None:
        count = next((n for n in (*others, None if self.gram is None else len(self.gram)) if n), samples)
        if samples != count:
            raise GramError(
                f"it has {samples} samples where the parameters before it have {count}; "
                "calls of one backward pass must be on the same samples"
            )

    def _add(self, gram: Tensor, diagonal: Tensor, error: float | Tensor) -> None:
        if self.gram is None or self.entry_error is None:
            self.gram, self.entry_error = gram.clone(), diagonal * error
            return
        if gram.shape != self.gram.shape:
            self._check_samples(len(gram))
        device = self.gram.device
        self.gram += gram.to(device)
        if isinstance(error, float):
            self.entry_error.add_(diagonal.to(device), alpha=error)
        else:
            self.entry_error += (diagonal * error).to(device)

    def _add_parameter(
        self, name: str, gram: Tensor, error: float | Tensor, uses: list[ParameterUse], difference: Tensor
    ) -> None:
        diagonal = gram.diagonal()
        self._add(gram, diagonal, error)
        trace, mean_square = diagonal.sum(), gram.sum()
        scale = rounding_scale(uses, difference, (mean_square, trace), self.parameters[name])
        self.statistics[name] = ParameterStats(
            trace, mean_square, difference, scale, gram if self.keep_layers else None
        )

    # Several backward passes in one step -------------------------------------------------------

    def _store(
        self, name: str, uses: list[ParameterUse], gradient: Tensor, leaf: Tensor, pass_number: int
    ) -> None:
        disjoint = disjoint_uses(uses, leaf, self.product_options)
        if len(disjoint) > 1 or not covers_leaf(disjoint[0].geometry, leaf):
            disjoint = [on_leaf(uses, leaf, self.product_options)]
        difference, columns = sum_error(disjoint, gradient, leaf, self.product_options), disjoint[0].columns
        before = self.stored_columns[name].get(pass_number) if name in self.stored_columns else None
        self.stored_bytes += columns.nbytes()
        if self.stored_bytes > self.product_options.memory_budget and self.accumulate:
            raise GramError(
                f"the columns kept between backward passes take {self.stored_bytes:,} bytes, over "
                f"memory_budget={self.product_options.memory_budget:,}; allow more, or "
                "measure fewer parameters"
            )
        self.stored_columns[name][pass_number] = (
            columns if before is None else join_columns([before, columns])
        )
        size, zero = gradient.double().norm(), torch.zeros((), dtype=torch.float64)
        new = ParameterStats(
            zero, zero, difference, rounding_scale(disjoint, difference, (size.square(),), leaf), sizes=size
        )
        old = self.statistics.get(name)
        self.statistics[name] = new if old is None else old.combine(new)
        if not self.accumulate and self.stored_bytes > JOINT_BUDGETS * self.product_options.memory_budget:
            self.multiply_stored()

    def multiply_stored(self) -> None:
        """Multiply the columns kept for other ranks by themselves: they, or the next ones, don't fit."""
        self.jointly = False
        for name in list(self.stored_columns):
            columns, stats = self.stored_columns.pop(name)[0], self.statistics[name]
            products = columns.products(self.product_options)
            diagonal = products.gram.diagonal()
            self._add(products.gram, diagonal, products.error)
            stats.trace, stats.mean_square = diagonal.sum(), products.gram.sum()
            stats.gram = products.gram if self.keep_layers else None
        self.stored_bytes = 0

    def assemble(self) -> None:
        """Assemble the Gram of the step from the stored columns, samples in pass order."""
        passes = sorted({number for columns in self.stored_columns.values() for number in columns})
        sizes = {n: next(c[n].samples for c in self.stored_columns.values() if n in c) for n in passes}
        start, total = {}, 0
        for number in passes:
            start[number], total = total, total + sizes[number]
        self.gram, self.entry_error = (
            torch.zeros(total, total, dtype=torch.float64),
            torch.zeros(total, dtype=torch.float64),
        )
        if self.metric is not None:
            places = {n: slice(start[n], start[n] + sizes[n]) for n in passes}
            self.metric.add_passes(self.stored_columns, places, total)
        for name, columns in self.stored_columns.items():
            gram, entry_error = torch.zeros_like(self.gram), torch.zeros_like(self.entry_error)
            for a, left in columns.items():
                rows = slice(start[a], start[a] + sizes[a])
                products = left.products(self.product_options)
                gram[rows, rows] = products.gram.cpu()
                entry_error[rows] = (products.error * products.gram.diagonal()).cpu()
                for b, right in columns.items():
                    if b > a:
                        cols = slice(start[b], start[b] + sizes[b])
                        gram[rows, cols] = left.cross(right, self.product_options).cpu()
                        gram[cols, rows] = gram[rows, cols].T
            self.gram += gram
            self.entry_error += entry_error
            old = self.statistics[name]
            assert old.sizes is not None, "sizes exist where there are several passes"
            self.statistics[name] = ParameterStats(
                gram.diagonal().sum(), gram.sum(), old.sum_error.cpu(), old.rounding_scale.cpu(),
                gram if self.keep_layers else None, old.sizes.cpu(),
            )  # fmt: skip

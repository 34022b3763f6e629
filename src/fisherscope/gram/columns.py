"""Per-sample gradients of one parameter, held in the cheapest exact form, and their inner products.

`Columns` are the n per-sample gradients of a parameter of shape (r, q) (all but the first dimension
flattened). They are never held whole: `block` forms the gradients of some rows of the parameter, for
all samples, and products run over such blocks within a memory budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Products of this many terms are rounded once each; longer ones are added up in float64.
_SEGMENT = 8192
# Products of fewer terms take less time in one piece than by half the blocks.
_WIDE = 4096
# A pairwise product is kept only if sum_t |a_t||d_t| <= this many times |g_i| (cancellation).
_CANCELLATION = 8.0


@dataclass(frozen=True)
class Arithmetic:
    """How products are formed: their dtype, and the bytes that a block of gradients may take."""

    dtype: torch.dtype | None = None  # None: that of the backward pass (half precisions as float32)
    memory_budget: int = 128 << 20

    def of(self, tensor: Tensor) -> torch.dtype:
        if self.dtype is not None:
            return self.dtype
        return torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.dtype


@dataclass(frozen=True)
class Products:
    """What is kept of one parameter's columns."""

    gram: Tensor  # (n, n) float64
    total: Tensor | None  # (r * q,) the columns' sum, where it came with the products
    error: float | Tensor  # bound of the relative error of gram[i, i], or (n,) of each: eps x growth


def rounding(dtype: torch.dtype, terms: int) -> float:
    """Bound of the relative error of an inner product of `terms` rounded terms (blocked summation)."""
    blocked: float = 2.0 + min(terms, _SEGMENT) ** 0.5 / 16.0
    return torch.finfo(dtype).eps * blocked


class Columns:
    """Per-sample gradients of a parameter of `shape`; leaves say how a block of them is formed."""

    samples: int
    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    @property
    def size(self) -> tuple[int, int]:
        """(r, q): the parameter's first dimension and the product of the others."""
        if len(self.shape) < 2:
            return 1, self.shape.numel()
        return self.shape[0], self.shape.numel() // max(self.shape[0], 1)

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        """Gradients of parameter rows start…stop, shape (n, stop - start, q)."""
        raise NotImplementedError

    def row_bytes(self) -> int:
        """Bytes that one parameter row of the block takes, all samples together."""
        return self.samples * self.size[1] * self.dtype.itemsize

    def blocks(self, arithmetic: Arithmetic, dtype: torch.dtype) -> Iterator[tuple[int, int, Tensor]]:
        """(start, stop, block) over the whole parameter, each within the memory budget."""
        rows = self.size[0]
        step = max(1, min(rows, arithmetic.memory_budget // max(self.row_bytes(), 1)))
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            yield start, stop, self.block(start, stop, dtype)

    def total(self, arithmetic: Arithmetic) -> Tensor:
        """The columns' sum, (r * q,)."""
        dtype = arithmetic.of(torch.empty(0, dtype=self.dtype))
        return torch.cat([block.flatten(1).sum(0) for _, _, block in self.blocks(arithmetic, dtype)])

    def products(self, arithmetic: Arithmetic) -> Products:
        """Inner products of all pairs, and the sum. Time n·p (blocks) + n²·p/2."""
        return self.multiplied(arithmetic, summed=True)

    def multiplied(self, arithmetic: Arithmetic, summed: bool) -> Products:
        """Inner products from blocks, and the sum if it is asked for."""
        dtype = arithmetic.of(torch.empty(0, dtype=self.dtype))
        gram: Tensor | None = None
        totals = []
        for _, _, block in self.blocks(arithmetic, dtype):
            flat = block.flatten(1)
            product = symmetric_product(flat)
            gram = product if gram is None else gram.add_(product)
            if summed:
                totals.append(flat.sum(0))
        assert gram is not None, "a parameter has rows"
        error = rounding(dtype, self.shape.numel())
        if not summed:
            return Products(gram, None, error)
        return Products(gram, totals[0] if len(totals) == 1 else torch.cat(totals), error)

    def cross(self, other: Columns, arithmetic: Arithmetic) -> Tensor:
        """Inner products with other samples' gradients of the same parameter, (n, m) float64."""
        dtype = arithmetic.of(torch.empty(0, dtype=self.dtype))
        gram = torch.zeros(self.samples, other.samples, dtype=torch.float64, device=self.device)
        for start, stop, block in self.blocks(arithmetic, dtype):
            gram += segmented_product(block.flatten(1), other.block(start, stop, dtype).flatten(1))
        return gram

    def dense(self, arithmetic: Arithmetic) -> Dense:
        """The same columns, held whole: n·p values."""
        rows = self.size[0]
        whole = self.block(0, rows, arithmetic.of(torch.empty(0, dtype=self.dtype)))
        return Dense(whole.flatten(1), self.shape)

    def nbytes(self) -> int:
        """Bytes held."""
        raise NotImplementedError

    def reach(self) -> Tensor | None:
        """|terms|·sqrt(number of terms) of the sums behind the total, a scalar: what its rounding goes by.

        By Cauchy and Schwarz over whole factors; None where a total has few terms.
        """
        return None


def symmetric_product(matrix: Tensor) -> Tensor:
    """M Mᵀ in float64 from (n, k) M: upper blocks only, sums of segments in float64."""
    n, k = matrix.shape
    if n < 64 or k < _WIDE or matrix.is_cuda:
        return segmented_product(matrix, matrix)
    step = -(-n // 4) if n >= 128 else -(-n // 2)
    gram = torch.empty(n, n, dtype=torch.float64, device=matrix.device)
    for start in range(0, n, step):
        stop = min(start + step, n)
        rows = segmented_product(matrix[start:stop], matrix[start:])
        gram[start:stop, start:] = rows
        gram[start:, start:stop] = rows.T
    return gram


def segmented_product(left: Tensor, right: Tensor) -> Tensor:
    """L Rᵀ in float64 from (n, k) and (m, k), products in their dtype over segments of k."""
    k = left.shape[1]
    if k <= _SEGMENT:
        return (left @ right.T).double()
    gram = torch.zeros(left.shape[0], right.shape[0], dtype=torch.float64, device=left.device)
    for start in range(0, k, _SEGMENT):
        gram += left[:, start : start + _SEGMENT] @ right[:, start : start + _SEGMENT].T
    return gram


def _reach(left: Tensor, right: Tensor, terms: int) -> Tensor:
    sizes: Tensor = left.norm().double() * right.norm().double()
    return sizes.mul(terms**0.5)


class Dense(Columns):
    """Gradients held whole, (n, p)."""

    def __init__(self, gradients: Tensor, shape: Sequence[int]) -> None:
        self.gradients = gradients
        self.samples, self.shape = gradients.shape[0], torch.Size(shape)
        self.dtype, self.device = gradients.dtype, gradients.device

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        rows, q = self.size
        return self.gradients.reshape(self.samples, rows, q)[:, start:stop].to(dtype)

    def nbytes(self) -> int:
        return self.gradients.nbytes


class Equal(Columns):
    """The same gradient (p,) for every sample: an equal share of a term that knows no samples (a penalty)."""

    def __init__(self, gradient: Tensor, samples: int, shape: Sequence[int]) -> None:
        self.gradient = gradient
        self.samples, self.shape = samples, torch.Size(shape)
        self.dtype, self.device = gradient.dtype, gradient.device

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        rows = self.gradient.reshape(self.size)[start:stop].to(dtype)
        return rows.expand(self.samples, *rows.shape)

    def nbytes(self) -> int:
        return self.gradient.nbytes


class Computed(Columns):
    """Gradients formed on demand by `form(start, stop, dtype)` → (n, stop - start, q)."""

    def __init__(
        self,
        form: Callable[[int, int, torch.dtype], Tensor],
        samples: int,
        shape: Sequence[int],
        like: Tensor,
        factors: tuple[Tensor, Tensor],
        terms: int,
    ) -> None:
        self._form, self._factors, self._terms = form, factors, terms
        self.samples, self.shape = samples, torch.Size(shape)
        self.dtype, self.device = like.dtype, like.device

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        return self._form(start, stop, dtype)

    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._factors)

    def reach(self) -> Tensor:
        return _reach(*self._factors, self._terms)


class Outer(Columns):
    """Sums of outer products: gradient i = Σ_t left[i, t] right[i, t]ᵀ; (n, t, r) and (n, t, q)."""

    def __init__(self, left: Tensor, right: Tensor, shape: Sequence[int]) -> None:
        self.left, self.right = left, right
        self.samples, self.shape = left.shape[0], torch.Size(shape)
        self.dtype, self.device = left.dtype, left.device
        self._left_pairs: Tensor | None = None

    @property
    def positions(self) -> int:
        return self.left.shape[1]

    def transposed(self) -> Outer:
        """The columns of the transposed parameter."""
        return Outer(self.right, self.left, (self.shape[1], self.shape[0]))

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        return torch.bmm(self.left[:, :, start:stop].to(dtype).transpose(1, 2), self.right.to(dtype))

    def nbytes(self) -> int:
        return self.left.nbytes + self.right.nbytes

    def reach(self) -> Tensor:
        return _reach(self.left, self.right, self.samples * self.positions)

    def total(self, arithmetic: Arithmetic) -> Tensor:
        dtype = arithmetic.of(self.left)
        return (self.left.flatten(0, 1).to(dtype).T @ self.right.flatten(0, 1).to(dtype)).flatten()

    def sketch(self, directions: Tensor, arithmetic: Arithmetic) -> Tensor:
        """The sum (r, q) times (q, k) directions, without forming it: time n·t·(r + q)·k."""
        dtype = arithmetic.of(self.left)
        return self.left.flatten(0, 1).to(dtype).T @ (
            self.right.flatten(0, 1).to(dtype) @ directions.to(dtype)
        )

    def left_pairs(self, arithmetic: Arithmetic) -> Tensor:
        """Inner products of all rows of the left factor, (n·t, n·t) float64; formed once."""
        if self._left_pairs is None:
            left = self.left.flatten(0, 1).to(arithmetic.of(self.left))
            self._left_pairs = symmetric_product(left)
        return self._left_pairs

    def pairwise_is_cheaper(self, arithmetic: Arithmetic) -> bool:
        """Whether products of positions take fewer operations than forming the gradients."""
        n, t, (r, q) = self.samples, self.positions, self.size
        if t > 1 and self.left.is_cuda:  # whether they cancel is looked up, which waits for the device
            return False
        if (n * t) ** 2 * 2 * self.dtype.itemsize > 2 * arithmetic.memory_budget:
            return False
        return n * n * t * t * (r + q) < n * t * r * q + n * n * r * q // 2

    def products(self, arithmetic: Arithmetic) -> Products:
        """As the contract; for few positions from the factors: (L Lᵀ) ∘ (R Rᵀ), time n²·t²·(r + q), "
        "no sum."""
        if not self.pairwise_is_cheaper(arithmetic):
            return super().products(arithmetic)
        dtype = arithmetic.of(self.left)
        pairs = self.left_pairs(arithmetic) * symmetric_product(self.right.to(dtype).flatten(0, 1))
        error = 2 * rounding(dtype, max(self.size))
        if self.positions == 1:
            return Products(pairs, None, error)
        n, t = self.samples, self.positions
        reach = pairs.diagonal().clamp_min(0).sqrt().reshape(n, t).sum(1)
        pairs = pairs.reshape(n, t, n, t).sum((1, 3))
        growth = reach.square() / pairs.diagonal().clamp_min(torch.finfo(torch.float64).tiny)
        if bool(((growth > _CANCELLATION**2) & (reach > 0)).any()):
            return super().products(arithmetic)
        return Products(pairs, None, growth * error)

    def cross(self, other: Columns, arithmetic: Arithmetic) -> Tensor:
        if isinstance(other, Outer) and self.positions == other.positions == 1:
            dtype = arithmetic.of(self.left)
            left = segmented_product(self.left[:, 0].to(dtype), other.left[:, 0].to(dtype))
            return left * segmented_product(self.right[:, 0].to(dtype), other.right[:, 0].to(dtype))
        return super().cross(other, arithmetic)


class Margin(Columns):
    """What adds one to every product of an outer one: gradient i = Σ_t left[i, t], a bias; (n, r)."""

    def __init__(self, outer: Outer, shape: Sequence[int]) -> None:
        self.outer = outer
        self.samples, self.shape = outer.samples, torch.Size(shape)
        self.dtype, self.device = outer.dtype, outer.device

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        return self.outer.left.to(dtype).sum(1, keepdim=True)

    def products(self, arithmetic: Arithmetic) -> Products:
        """As the contract; for one position the products that the weight needs too."""
        if self.outer.positions > 1 or not self.outer.pairwise_is_cheaper(arithmetic):
            return super().products(arithmetic)
        dtype = arithmetic.of(self.outer.left)
        error = rounding(dtype, self.shape.numel())
        return Products(self.outer.left_pairs(arithmetic), self.outer.left[:, 0].to(dtype).sum(0), error)

    def nbytes(self) -> int:
        return self.outer.left.nbytes


class Rows(Columns):
    """Sparse gradients of a table: row index[i, t] receives values[i, t]; (n, t) and (n, t, q).

    An index below 0 is padding and receives nothing.
    """

    def __init__(self, index: Tensor, values: Tensor, shape: Sequence[int]) -> None:
        self.index, self.values = index, values
        self.samples, self.shape = index.shape[0], torch.Size(shape)
        self.dtype, self.device = values.dtype, values.device

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        inside = (self.index >= start) & (self.index < stop)
        place = torch.where(inside, self.index - start, 0)
        values = self.values.to(dtype) * inside.unsqueeze(-1)
        out = torch.zeros(self.samples, stop - start, values.shape[-1], dtype=dtype, device=self.device)
        return out.scatter_add_(1, place.unsqueeze(-1).expand_as(values), values)

    def nbytes(self) -> int:
        return self.index.nbytes + self.values.nbytes

    def total(self, arithmetic: Arithmetic) -> Tensor:
        values = (self.values * (self.index >= 0).unsqueeze(-1)).to(arithmetic.of(self.values)).flatten(0, 1)
        out = torch.zeros(self.size, dtype=values.dtype, device=self.device)
        return out.index_add_(0, self.index.clamp_min(0).flatten(), values).flatten()

    def sketch(self, directions: Tensor, arithmetic: Arithmetic) -> Tensor:
        """The sum (r, q) times (q, k) directions, (r, k)."""
        dtype = arithmetic.of(self.values)
        values = (self.values.to(dtype) @ directions.to(dtype)) * (self.index >= 0).unsqueeze(-1)
        out = torch.zeros(self.size[0], values.shape[-1], dtype=dtype, device=self.device)
        return out.index_add_(0, self.index.clamp_min(0).flatten(), values.flatten(0, 1))

    def compact(self) -> tuple[Tensor, Rows]:
        """The table rows that occur, and the same columns over those rows alone."""
        present, place = torch.unique(self.index.clamp_min(0), return_inverse=True)
        place = torch.where(self.index < 0, -1, place)
        return present, Rows(place, self.values, (len(present), *self.shape[1:]))

    def products(self, arithmetic: Arithmetic) -> Products:
        """As the contract, over the rows that occur: n·(rows present)·q values in place of n·p."""
        present, compact = self.compact()
        inner = Columns.products(compact, arithmetic)
        assert inner.total is not None, "products of blocks give the sum"
        total = torch.zeros(self.size, dtype=inner.total.dtype, device=self.device)
        total[present] = inner.total.reshape(len(present), -1)
        return Products(inner.gram, total.flatten(), inner.error)


class Tied(Columns):
    """A table used both as linear weight and as embedding: Outer + Rows (INTERNALS: the cross term
    needs only the columns of the rows present)."""

    def __init__(self, outer: Outer, rows: Rows) -> None:
        self.outer, self.rows = outer, rows
        self.samples, self.shape = outer.samples, outer.shape
        self.dtype, self.device = outer.dtype, outer.device

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        return self.outer.block(start, stop, dtype) + self.rows.block(start, stop, dtype)

    def nbytes(self) -> int:
        return self.outer.nbytes() + self.rows.nbytes()

    def reach(self) -> Tensor:
        return self.outer.reach()

    def products(self, arithmetic: Arithmetic) -> Products:
        """G = outer + rows + cross + crossᵀ, the cross term over the rows present alone."""
        present, compact = self.rows.compact()
        rows = compact.multiplied(arithmetic, summed=False)  # sums are as large as the table, and not needed
        if self.outer.pairwise_is_cheaper(arithmetic):
            outer = self.outer.products(arithmetic)
        else:
            outer = self.outer.multiplied(arithmetic, summed=False)
        gathered = Outer(self.outer.left[:, :, present], self.outer.right, compact.shape)
        cross = Columns.cross(gathered, compact, arithmetic)
        gram = outer.gram + rows.gram + cross + cross.T
        spread = (outer.gram.diagonal() * outer.error + rows.gram.diagonal() * rows.error) * 2
        error = spread / gram.diagonal().clamp_min(torch.finfo(torch.float64).tiny)
        return Products(gram, None, error)

    def total(self, arithmetic: Arithmetic) -> Tensor:
        return self.outer.total(arithmetic).add_(self.rows.total(arithmetic))

    def sketch(self, directions: Tensor, arithmetic: Arithmetic) -> Tensor:
        """As for outer products: the sum is as large as the table, and is not formed for its check."""
        sketched = self.outer.sketch(directions, arithmetic)
        return sketched.add_(self.rows.sketch(directions, arithmetic))


class Sum(Columns):
    """Gradients that add up, sample by sample: a parameter used more than once."""

    def __init__(self, parts: Sequence[Columns]) -> None:
        self.parts = parts
        self.samples, self.shape = parts[0].samples, parts[0].shape
        self.dtype, self.device = parts[0].dtype, parts[0].device

    def row_bytes(self) -> int:
        return 2 * super().row_bytes()

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        total = self.parts[0].block(start, stop, dtype)
        for part in self.parts[1:]:
            total = total + part.block(start, stop, dtype)
        return total

    def nbytes(self) -> int:
        return sum(part.nbytes() for part in self.parts)

    def reach(self) -> Tensor | None:
        found = [reach for part in self.parts if (reach := part.reach()) is not None]
        return torch.stack(found).sum() if found else None


def joined(parts: Sequence[Columns]) -> Columns:
    """All uses of one parameter as one set of columns, in the cheapest exact form."""
    if len(parts) == 1:
        return parts[0]
    outers = [part for part in parts if isinstance(part, Outer)]
    tables = [part for part in parts if isinstance(part, Rows)]
    merged: list[Columns] = [p for p in parts if not isinstance(p, Outer | Rows)]
    outer = _along_positions(outers)
    table = _rows_along_positions(tables)
    if outer is not None and table is not None and len(outer.shape) == 2:
        merged.append(Tied(outer, table))
    else:
        merged += [part for part in (outer, table) if part is not None]
    return merged[0] if len(merged) == 1 else Sum(merged)


def _along_positions(parts: Sequence[Outer]) -> Outer | None:
    if len(parts) < 2:
        return parts[0] if parts else None
    dtype = torch.promote_types(parts[0].dtype, parts[-1].dtype)
    left = torch.cat([part.left.to(dtype) for part in parts], dim=1)
    return Outer(left, torch.cat([part.right.to(dtype) for part in parts], dim=1), parts[0].shape)


def _rows_along_positions(parts: Sequence[Rows]) -> Rows | None:
    if len(parts) < 2:
        return parts[0] if parts else None
    index = torch.cat([part.index for part in parts], dim=1)
    return Rows(index, torch.cat([part.values for part in parts], dim=1), parts[0].shape)

"""The Gram of all ranks' samples, from the columns that each rank kept until its step was complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fisherscope.gram.accumulation.accumulator import GramAccumulator, ParameterStats
from fisherscope.gram.columns import Columns, ProductOptions, Products, rounding, symmetric_product
from fisherscope.gram.ranks.process_group import Ranks, RanksError
from fisherscope.gram.ranks.slices import ColumnsLayout, Exchange, joint_columns, mismatch, plan

_BUCKET = 1 << 22
"""Numbers of one sample's gradients that are exchanged at once, over the ranks' samples."""


@dataclass
class RankColumns:
    """What one rank brings to an exchange.

    Args:
        columns: By parameter, one part for each of the rank's backward passes.
        samples: Samples of each pass.
        product_options: How products are formed.
    """

    columns: Mapping[str, Mapping[int, Columns]]
    samples: Mapping[int, int]
    product_options: ProductOptions

    @classmethod
    def of(cls, accumulator: GramAccumulator) -> RankColumns:
        """Take the columns that an accumulator stored."""
        samples: dict[int, int] = {}
        for passes in accumulator.stored_columns.values():
            for number, columns in passes.items():
                samples.setdefault(number, columns.samples)
        return cls(accumulator.stored_columns, dict(sorted(samples.items())), accumulator.product_options)

    @property
    def total(self) -> int:
        """Samples of this rank."""
        return sum(self.samples.values())

    def layouts(self) -> dict[str, ColumnsLayout]:
        """Describe each parameter's columns to the other ranks."""
        return {
            name: ColumnsLayout.of([passes.get(number) for number in self.samples], self.product_options)
            for name, passes in self.columns.items()
        }

    def parts(self, name: str) -> list[Columns]:
        """Return the parameter's columns pass by pass; none where this rank has no gradient for it."""
        passes = self.columns.get(name)
        return [] if passes is None else [passes[number] for number in self.samples]

    def block(self, name: str, exchange: Exchange, start: int, stop: int) -> Tensor:
        """Form the gradients of parameter rows start…stop, (samples, (stop - start)·q), zero where none."""
        width = _matrix(exchange.shape)[1]
        out: Tensor | None = None
        row = 0
        for number, count in self.samples.items():
            part = self.columns.get(name, {}).get(number)
            if part is not None:
                block = part.block(start, stop, exchange.dtype).flatten(1)
                if out is None:
                    out = block.new_zeros(self.total, (stop - start) * width)
                out[row : row + count] = block
            row += count
        if out is None:
            return torch.zeros(self.total, (stop - start) * width, dtype=exchange.dtype)
        return out


def _matrix(shape: Sequence[int]) -> tuple[int, int]:
    """Return (r, q) of a parameter, as `Columns.size`."""
    if len(shape) < 2:
        return 1, torch.Size(shape).numel()
    return shape[0], torch.Size(shape[1:]).numel()


@dataclass
class Partial:
    """This rank's share of the global products, filled as exchanges go on."""

    gram: Tensor
    entry_error: Tensor
    traces: dict[str, Tensor]
    mean_squares: dict[str, Tensor]
    failure: str | None = None

    @classmethod
    def empty(cls, samples: int, names: Sequence[str]) -> Partial:
        """Begin with nothing."""
        zero = torch.zeros((), dtype=torch.float64)
        return cls(
            torch.zeros(samples, samples, dtype=torch.float64),
            torch.zeros(samples, dtype=torch.float64),
            dict.fromkeys(names, zero),
            dict.fromkeys(names, zero),
        )

    def add(self, names: Sequence[str], products: Products) -> None:
        """Add products of one parameter, or of several whose own sums are added elsewhere."""
        gram = products.gram.cpu()
        error = products.error.cpu() if isinstance(products.error, Tensor) else products.error
        self.gram += gram
        self.entry_error += gram.diagonal() * error
        if len(names) == 1:
            self.traces[names[0]] = self.traces[names[0]] + gram.diagonal().sum()
            self.mean_squares[names[0]] = self.mean_squares[names[0]] + gram.sum()


def plans(
    layouts: Sequence[Mapping[str, ColumnsLayout]], counts: Sequence[int]
) -> tuple[dict[str, Exchange], dict[str, str]]:
    """Choose each parameter's exchange from what all ranks said: the same on each.

    Returns:
        The exchanges in the order of names, and why a parameter can't be exchanged.
    """
    exchanges, problems = {}, {}
    for name in sorted({name for layout in layouts for name in layout}):
        present = [layout.get(name) for layout in layouts]
        problem = mismatch(present)
        if problem is None:
            exchanges[name] = plan(present, counts)
        else:
            problems[name] = problem
    return exchanges, problems


def bytes_to_send(exchanges: Mapping[str, Exchange], counts: Sequence[int]) -> int:
    """Count the bytes that the rank with most samples will send."""
    ranks, samples = len(counts), sum(counts)
    matrix = 2 * samples * samples * 8 * (ranks - 1) // ranks
    return sum(exchange.bytes_sent for exchange in exchanges.values()) + matrix


def exchange_columns(
    ranks: Ranks, mine: RankColumns, exchanges: Mapping[str, Exchange], counts: list[int]
) -> Partial:
    """Multiply all samples' gradients of this rank's share of every parameter.

    An error of this rank is kept as `failure`; it goes on taking part, with zeros, so that no rank waits.

    Args:
        ranks: The channel.
        mine: This rank's columns.
        exchanges: Of each parameter, the same on every rank.
        counts: Samples of each rank.

    Returns:
        What this rank's share contributes.

    Raises:
        RanksError: An exchange failed.

    Cost: N²·P/(2·ranks) multiplications, and the bytes of the exchanges.
    """
    partial = Partial.empty(sum(counts), list(exchanges))
    bucket = _Bucket(ranks, counts, partial)
    for name, exchange in exchanges.items():
        if exchange.form == "slices":
            for start, stop in _steps(exchange, counts, mine.product_options):
                block = _block_or_error(partial, mine, name, exchange, start, stop)
                bucket.add(name, block)
            continue
        try:
            parts = mine.parts(name)
            columns = joint_columns(ranks, exchange, parts, counts)
            if columns is not None:
                partial.add([name], columns.products(mine.product_options))
        except RanksError:
            raise
        except Exception as error:  # noqa: BLE001  (the other ranks must not wait for this one)
            partial.failure = partial.failure or f"{name}: {type(error).__name__}: {error}"
    bucket.exchange()
    return partial


def _steps(exchange: Exchange, counts: Sequence[int], options: ProductOptions) -> Iterator[tuple[int, int]]:
    """Split a parameter's rows so that a block of all ranks' samples fits the budget: alike on each rank."""
    rows, width = _matrix(exchange.shape)
    step = max(1, options.memory_budget // max(max(counts) * width * exchange.dtype.itemsize, 1))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def _block_or_error(
    partial: Partial, mine: RankColumns, name: str, exchange: Exchange, start: int, stop: int
) -> Tensor:
    """Form a block; zeros, and the failure noted, where that fails."""
    try:
        return mine.block(name, exchange, start, stop)
    except Exception as error:  # noqa: BLE001  (the other ranks must not wait for this one)
        partial.failure = partial.failure or f"{name}: {type(error).__name__}: {error}"
        width = (stop - start) * _matrix(exchange.shape)[1]
        return torch.zeros(mine.total, width, dtype=exchange.dtype)


class _Bucket:
    """Blocks that wait to be exchanged together: one exchange for many small parameters."""

    def __init__(self, ranks: Ranks, counts: list[int], partial: Partial) -> None:
        self._ranks, self._counts, self._partial = ranks, counts, partial
        self._blocks: list[Tensor] = []
        self._names: list[str] = []
        self._limit = max(1, _BUCKET // max(counts))

    def add(self, name: str, block: Tensor) -> None:
        if self._blocks and block.dtype != self._blocks[0].dtype:
            self.exchange()
        self._blocks.append(block)
        self._names.append(name)
        if sum(block.shape[1] for block in self._blocks) >= self._limit:
            self.exchange()

    def exchange(self) -> None:
        """Send the blocks' slices, receive every sample's, multiply them."""
        if not self._blocks:
            return
        ranks, size = self._ranks, self._ranks.size
        widths = [block.shape[1] for block in self._blocks]
        each = [-(-width // size) for width in widths]  # numbers of a parameter that a rank receives
        padded = torch.cat(
            [
                torch.nn.functional.pad(block, (0, share * size - width)).view(len(block), size, share)
                for block, width, share in zip(self._blocks, widths, each, strict=True)
            ],
            dim=2,
        )
        received = ranks.transpose(padded.flatten(1), self._counts)
        error = rounding(received.dtype, received.shape[1])
        self._partial.add([], Products(symmetric_product(received), None, error))
        start = 0
        for name, share in zip(self._names, each, strict=True):
            part = received[:, start : start + share].double()
            partial = self._partial
            partial.traces[name] = partial.traces[name] + part.square().sum().cpu()
            partial.mean_squares[name] = partial.mean_squares[name] + part.sum(0).square().sum().cpu()
            start += share
        self._blocks, self._names = [], []


def add_up(
    ranks: Ranks, partial: Partial, statistics: Mapping[str, ParameterStats]
) -> dict[str, ParameterStats]:
    """Sum the ranks' shares; afterwards `partial` holds the global Gram.

    Args:
        ranks: The channel.
        partial: This rank's share.
        statistics: What each parameter's columns missed on this rank.

    Returns:
        Each parameter's scalars over all ranks.

    Raises:
        RanksError: An exchange failed, or products on any rank.
    """
    names = list(partial.traces)
    zero = torch.zeros((), dtype=torch.float64)
    table = torch.zeros(len(names), 5, dtype=torch.float64)
    for row, name in enumerate(names):
        tally = statistics.get(name)
        local = (
            (zero, zero, zero)
            if tally is None
            else (tally.sum_error, tally.rounding_scale, tally.sizes if tally.sizes is not None else zero)
        )
        table[row] = torch.stack(
            [value.double().cpu() for value in (partial.traces[name], partial.mean_squares[name], *local)]
        )
    failed = torch.tensor([float(partial.failure is not None)], dtype=torch.float64)
    flat = torch.cat([partial.gram.flatten(), partial.entry_error, table.flatten(), failed])
    flat = ranks.add_up(flat).cpu()
    samples = len(partial.gram)
    if flat[-1] > 0:
        raise RanksError(
            f"measuring over {ranks.size} ranks: products failed on {int(flat[-1])} of them"
            + (f", here: {partial.failure}" if partial.failure else "")
        )
    partial.gram = flat[: samples * samples].view(samples, samples)
    partial.entry_error = flat[samples * samples : samples * samples + samples]
    table = flat[samples * samples + samples : -1].view(len(names), 5)
    return {
        name: ParameterStats(row[0], row[1], row[2], row[3], sizes=row[4])
        for name, row in zip(names, table, strict=True)
    }

"""The processes that train together, and a channel of our own between them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from fisherscope.gram.errors import GramError

Group = Literal["auto", False] | Any
"""What `group=` accepts: "auto", False for this process alone, or a `torch.distributed` process group."""

TIMEOUT = timedelta(seconds=60)
"""How long a rank waits for the others in a measurement. Training goes on without measuring after that."""

T = TypeVar("T")


class RanksError(GramError):
    """The ranks can't measure together; the text says which rank and why."""


class Ranks:
    """The ranks of one process group, with a group of our own for what they exchange.

    Own groups keep our collectives apart from those of training, and give them a time limit of their own.
    After a failed exchange the channel is closed: later measurements say so at once instead of waiting again.

    Args:
        parent: The process group whose ranks train together.

    Raises:
        RanksError: The other ranks did not open the channel in time.
    """

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.rank, self.size = dist.get_rank(parent), dist.get_world_size(parent)
        self.members = dist.get_process_group_ranks(parent)
        self.bytes_sent = 0
        self.closed: str | None = None
        self._pending: list[Any] = []
        self.rounds = 0
        options: dict[str, Any] = {"timeout": TIMEOUT, "use_local_synchronization": True}
        self._objects = self._call_or_raise(lambda: dist.new_group(self.members, backend="gloo", **options))
        backend = dist.get_backend(parent)
        self._on_cpu = backend == "gloo"
        self._tensors = (
            self._objects
            if self._on_cpu
            else self._call_or_raise(lambda: dist.new_group(self.members, backend=backend, **options))
        )

    def _call_or_raise(self, call: Callable[[], T]) -> T:
        """Run a collective; a failure closes the channel."""
        if self.closed is not None:
            raise RanksError(f"measuring over {self.size} ranks: an earlier exchange failed ({self.closed})")
        try:
            return call()
        except Exception as error:
            self.closed = f"{type(error).__name__}: {str(error)[:200]}"
            raise RanksError(
                f"measuring over {self.size} ranks: the exchange with the other ranks failed "
                f"({self.closed}). Every rank has to measure the same steps; give group=False to "
                "measure each rank alone"
            ) from error

    # Words ---------------------------------------------------------------------------------------

    def agree(self, code: int, wait: bool = True) -> list[int]:
        """Tell the other ranks how this one stands, and read how they stand.

        Args:
            code: What this rank says.
            wait: Whether to wait for the others; a rank that must go on does not.

        Returns:
            One code a rank, in rank order; empty where it was not waited for.

        Raises:
            RanksError: The others did not answer in time, or are at another exchange.
        """
        self.rounds += 1
        mine = torch.tensor([code, self.rounds])
        there = [torch.zeros_like(mine) for _ in range(self.size)]
        work = self._call_or_raise(lambda: dist.all_gather(there, mine, group=self._objects, async_op=True))
        if not wait:
            self._pending.append((work, mine, there))  # kept until it has been sent
            return []
        self._call_or_raise(work.wait)
        self._pending.clear()
        rounds = [int(row[1]) for row in there]
        if len(set(rounds)) > 1:
            self.closed = f"ranks are at exchanges {rounds}"
            raise RanksError(f"measuring over {self.size} ranks: {self.closed}; they measured other steps")
        return [int(row[0]) for row in there]

    def gather(self, value: Any) -> list[Any]:
        """Give every rank every rank's value (plain data, pickled), in rank order."""
        there: list[Any] = [None] * self.size
        self._call_or_raise(lambda: dist.all_gather_object(there, value, group=self._objects))
        self.bytes_sent += len(pickle.dumps(value)) * (self.size - 1)
        return there

    # Numbers -------------------------------------------------------------------------------------

    def transpose(self, rows: Tensor, counts: list[int]) -> Tensor:
        """Exchange rows for columns: from this rank's samples whole to every sample's share.

        Args:
            rows: (n, w), this rank's samples; w is a multiple of the number of ranks.
            counts: Samples of each rank.

        Returns:
            (N, w / ranks), all samples in rank order.
        """
        width = rows.shape[1] // self.size
        pieces = rows.reshape(len(rows), self.size, width).transpose(0, 1).contiguous()
        pieces = self._place(pieces)
        received = pieces.new_empty(sum(counts) * width)
        self._call_or_raise(
            lambda: dist.all_to_all_single(
                received,
                pieces.flatten(),
                [count * width for count in counts],
                [len(rows) * width] * self.size,
                group=self._tensors,
            )
        )
        self.bytes_sent += pieces.nbytes * (self.size - 1) // self.size
        return received.view(-1, width)

    def stack(self, rows: Tensor, counts: list[int]) -> Tensor:
        """Gather every rank's samples: (n, …) → (N, …), in rank order."""
        largest = max(counts)
        padded = self._place(rows).contiguous()
        if len(rows) < largest:
            padded = torch.cat([padded, padded.new_zeros(largest - len(rows), *rows.shape[1:])])
        there = [torch.empty_like(padded) for _ in range(self.size)]
        self._call_or_raise(lambda: dist.all_gather(there, padded, group=self._tensors))
        self.bytes_sent += padded.nbytes * (self.size - 1)
        return torch.cat([part[:count] for part, count in zip(there, counts, strict=True)])

    def add_up(self, values: Tensor) -> Tensor:
        """Sum a tensor over the ranks; every rank receives the same bits."""
        values = self._place(values).contiguous()
        self._call_or_raise(lambda: dist.all_reduce(values, group=self._tensors))
        self.bytes_sent += 2 * values.nbytes * (self.size - 1) // self.size
        return values

    def _place(self, tensor: Tensor) -> Tensor:
        """Move a tensor to where the group's backend reads it."""
        return tensor.cpu() if self._on_cpu else tensor


_channels: dict[tuple[int, ...], Ranks] = {}


def find_ranks(group: Group) -> Ranks | None:
    """Find the ranks that train together.

    Args:
        group: "auto" for all ranks of `torch.distributed` where it is initialized, a process group, or False.

    Returns:
        Their channel, the same for each call; None for one process.

    Raises:
        RanksError: A group was given without `torch.distributed`, or this rank is not in it.
    """
    if group is False:
        return None
    active = dist.is_available() and dist.is_initialized()
    if group == "auto":
        if not active or dist.get_world_size() == 1:
            return None
        group = dist.group.WORLD
    elif not active:
        raise RanksError(
            f"group={type(group).__name__}: torch.distributed is not initialized in this process; call "
            "torch.distributed.init_process_group (or start with torchrun), or leave `group` out"
        )
    elif not isinstance(group, dist.ProcessGroup):
        raise RanksError(
            f"group={group!r}: expected 'auto', False, or a torch.distributed process group that this rank "
            f"is in (this rank is {dist.get_rank()})"
        )
    if dist.get_world_size(group) == 1:
        return None
    members = tuple(dist.get_process_group_ranks(group))
    channel = _channels.get(members)
    if channel is None or channel.parent is not group:
        channel = _channels[members] = Ranks(group)
    return channel

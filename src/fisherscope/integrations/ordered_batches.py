"""Batches whose sizes a policy chooses, of samples in the order of a framework's own sampler."""

from collections.abc import Iterator, Mapping
from itertools import chain, repeat
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from fisherscope.guard import RefusedType, RefusedValue
from fisherscope.policy import Policy
from fisherscope.sampler import DynamicBatchSampler

OPTIONS = (
    "collate_fn",
    "num_workers",
    "pin_memory",
    "timeout",
    "worker_init_fn",
    "prefetch_factor",
    "persistent_workers",
    "multiprocessing_context",
    "generator",
    "in_order",
)
"""Options of a DataLoader that have nothing to do with its batches."""


class OrderedBatches:
    """Cut the order of a framework's sampler into batches of a policy's sizes.

    Order, and random numbers drawn for it, stay the framework's: with a size that never changes the batches
    are its own, and an order grouped by length is kept. Frameworks resume within an epoch by drawing it again
    and throwing away what was trained; what comes first then is empty.

    Args:
        sampler: The framework's sampler; its `sampler` attribute, which accelerate may replace.
        policy: The policy.
        lag: Batches that the framework draws ahead.
    """

    def __init__(self, sampler: Any, policy: Policy, lag: int) -> None:
        self.sampler = sampler
        self.sizes = DynamicBatchSampler(len(sampler), policy, lag=lag, order=self._draw)
        self.done = 0  # batches of the epoch that are stepped
        self.redraw = False  # whether the next iteration begins with what was trained
        self._order: tuple[int, list[int]] = (-1, [])  # of the latest epoch, to save
        self._saved: tuple[int, list[int]] = (-1, [])

    def _draw(self, epoch: int) -> list[int]:
        order = [int(index) for index in self.sampler]
        if self._saved[0] == epoch:
            order = self._saved[1]
        self._saved, self._order = (-1, []), (epoch, order)
        return order

    def __iter__(self) -> Iterator[list[int]]:
        skipped, self.redraw = self.done if self.redraw else 0, False
        self.sizes.forget_drawn()
        nothing: list[int] = []
        return chain(repeat(nothing, skipped), iter(self.sizes))

    def __len__(self) -> int:
        """Return the batches left in the epoch; a TypeError where measurements decide."""
        return len(self.sizes)

    def step(self, row: Mapping[str, Any] | None) -> None:
        """Finish a batch.

        Args:
            row: The monitor's row of its step; None if it was not measured.
        """
        self.sizes.step(row)
        self.done = 0 if self.sizes.current.start == 0 else self.done + 1

    def state_dict(self) -> dict[str, Any]:
        """Return the state: JSON values; the order of a shuffled epoch only if no seed and epoch give it."""
        follows = isinstance(self.sampler, SequentialSampler) or hasattr(self.sampler, "set_epoch")
        order = None if follows or self.done == 0 else list(self._order)
        return {"sizes": self.sizes.state_dict(), "done": self.done, "order": order}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume where `state_dict` was taken.

        Args:
            state: The state.

        Raises:
            ValueError: It is of other data or another policy.
        """
        self.sizes.load_state_dict(state["sizes"])
        self.done = int(state["done"])
        self._saved = tuple(state["order"]) if state["order"] else (-1, [])


def batches_of(loader: Any, doing: str) -> Any:
    """Return the sampler of a loader's samples, whose order is kept.

    Args:
        loader: A DataLoader that batches samples itself.
        doing: What is being done, for messages.

    Returns:
        Its sampler.

    Raises:
        TypeError: The data have no length.
        ValueError: The loader's batches are not cut from an order of samples, or it drops the last.
    """
    if isinstance(loader.dataset, IterableDataset):
        raise RefusedType(
            f"{doing}: {type(loader.dataset).__name__} is an IterableDataset, without a length or an order "
            "to cut into batches; give a map-style dataset (datasets.load_dataset(…, streaming=False))"
        )
    cut = loader.batch_sampler
    if type(cut) is not BatchSampler:
        raise RefusedValue(
            f"{doing}: the loader's batches come from a {type(cut).__name__}, which would be lost; use a "
            "sampler of samples (shuffled, in order, or grouped by length)"
        )
    if cut.drop_last:
        raise RefusedValue(
            f"{doing}: drop_last=True, and a policy's epochs hold every sample; set it to False"
        )
    return cut.sampler


def loader_with(loader: Any, batches: OrderedBatches) -> "DataLoader[Any]":
    """Build a DataLoader as another one, with other batches.

    Args:
        loader: The DataLoader, or accelerate's around it.
        batches: The batches.

    Returns:
        A DataLoader of torch.
    """
    options = {name: getattr(loader, name) for name in OPTIONS if hasattr(loader, name)}
    if not options["num_workers"]:
        options.pop("multiprocessing_context", None)
    return DataLoader(loader.dataset, batch_sampler=batches, **options)


def draws_ahead(loader: Any) -> int:
    """Return how many batches accelerate's loader draws before they are trained: one, and its workers'."""
    return 1 + int(loader.num_workers) * int(loader.prefetch_factor or 0)

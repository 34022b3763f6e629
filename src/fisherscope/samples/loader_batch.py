"""Samples by the batch that the loader gave, where the model's inputs don't show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fisherscope.samples.inputs import tensors


def of_batch(function: Callable[[Any], Any]) -> BatchSamples:
    """Make a function of the loader's batch a value for `sample_of` (or `batch`).

    The callbacks, `examine` and `advise` know the batch. In a loop of your own call the function yourself:
    `monitor.observe(sample_of=function(batch))`. transformers' Trainer passes the batch to the model by
    name, so that the function gets the mapping of the model's inputs.

    Args:
        function: Loader's batch → the sample of each row, as `record_gram` takes it.

    Returns:
        A value for `sample_of`.

    Raises:
        TypeError: It is no function.

    Example:
        ```python
        import torch
        import fisherscope as fs

        def loss(model, batch):  # a batch of three bags: their items, and how many each has
            return model(batch["items"]).square().sum() / 3

        rows = fs.samples.of_batch(lambda batch: fs.samples.of_lengths(batch["lengths"]))
        batch = {"items": torch.randn(6, 4), "lengths": torch.tensor([3, 1, 2])}
        result = fs.examine(torch.nn.Linear(4, 2), loss, batch, seconds=0, sample_of=rows)
        assert result.batch_size == 3
        ```
    """
    if not callable(function):
        raise TypeError(
            f"samples.of_batch: received {type(function).__name__}; expected a function of the batch"
        )
    return BatchSamples(function)


def copy_batch_functions(options: Mapping[str, Any]) -> tuple[dict[str, Any], list[BatchSamples]]:
    """Copy the functions of the loader's batch, for one loop that binds batches to them.

    Args:
        options: Arguments of `Monitor` or `record_gram`.

    Returns:
        The options with copies, and the copies.

    Example:
        ```python
        import fisherscope as fs

        given = {"sample_of": fs.samples.of_batch(len), "every": 2}
        options, functions = fs.samples.copy_batch_functions(given)
        assert options["sample_of"] is functions[0]
        ```
    """
    chosen = {key: v.copy() if isinstance(v, BatchSamples) else v for key, v in options.items()}
    return chosen, [value for value in chosen.values() if isinstance(value, BatchSamples)]


class BatchSamples:
    """A function of the loader's batch, called for each forward.

    Args:
        function: Batch → what `sample_of` or `batch` takes.

    Example:
        ```python
        import torch
        import fisherscope as fs

        rows = fs.samples.of_batch(lambda batch: batch["bag"])
        rows.bind({"bag": torch.tensor([0, 0, 1])})
        assert rows.count() == 2
        assert rows(torch.randn(3, 4)).tolist() == [0, 0, 1]  # whatever the model's inputs are
        assert rows.copy().count() is None  # no batch is known there
        ```
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self._batch: tuple[Any, ...] = ()

    def bind(self, batch: Any) -> None:
        """Set the batch that the next forwards are about.

        Args:
            batch: As the loader gave it.
        """
        self._batch = (batch,)

    def count(self) -> int | None:
        """Count the samples of the bound batch.

        Returns:
            Their number; None where no batch is bound or the function does not say.
        """
        try:
            first = next(tensors([self.function(*self._batch)]), None)
            return None if first is None else int(first.max()) + 1
        except Exception:  # noqa: BLE001  (the user's function; a measurement says what it raised)
            return None

    def copy(self) -> BatchSamples:
        """Copy the function without its batch, for one loop.

        Returns:
            A function of its own.
        """
        return BatchSamples(self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the samples of the bound batch; without one the model's inputs by name are the batch.

        Raises:
            ValueError: No batch is known.
        """
        if self._batch:
            return self.function(self._batch[0])
        if kwargs and not args:
            return self.function(kwargs)
        if len(args) == 1 and not kwargs:
            return self.function(args[0])
        raise ValueError(
            "samples.of_batch: the loader's batch is not known here; in a loop of your own pass what the "
            "function returns: monitor.observe(sample_of=…), or record_gram(model, sample_of=…)"
        )

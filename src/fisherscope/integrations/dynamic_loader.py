"""A DataLoader whose batch sizes change, as Lightning takes it."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader

from fisherscope.guard import repeat_once
from fisherscope.sampler import DynamicBatchSampler

MOST_ITERATIONS = 3
"""Times that a framework may iterate without a step: to check the loader, to draw ahead, and to train."""


class DynamicLoader:
    """Wrap a DataLoader with a `DynamicBatchSampler`, so that Lightning uses it unchanged.

    Lightning counts a DataLoader's batches once, and rebuilds it with a sampler of its own in several
    processes; neither is possible with a sampler whose epochs differ in length. Training resumes from any of
    Lightning's checkpoints at the batch that follows.

    Example:
        ```python
        import torch
        import fisherscope as fs

        data = torch.utils.data.TensorDataset(torch.randn(32, 8))
        sampler = fs.DynamicBatchSampler(data, fs.policy.parse("s4-to-16", lr=0.05, epochs=3), seed=0)
        loader = torch.utils.data.DataLoader(data, batch_sampler=sampler)
        train_loader = fs.integrations.DynamicLoader(loader)  # for trainer.fit(module, train_loader)
        ```

    Args:
        loader: `DataLoader(data, batch_sampler=DynamicBatchSampler(…))`. Lightning draws one batch ahead: a
            policy that reads measurements needs lag >= 1 + num_workers * prefetch_factor.

    Raises:
        TypeError: The loader has another batch sampler.
    """

    def __init__(self, loader: "DataLoader[Any]") -> None:
        sampler = getattr(loader, "batch_sampler", None)
        if not isinstance(sampler, DynamicBatchSampler):
            raise TypeError(
                f"building a DynamicLoader: received a {type(loader).__name__} with the batch sampler "
                f"{type(sampler).__name__}; expected DataLoader(data, batch_sampler=DynamicBatchSampler(…))"
            )
        self.loader, self.dataset, self.sampler = loader, loader.dataset, sampler
        self._iterations = (0, 0)  # since which step, and how many

    @repeat_once
    def __iter__(self) -> Iterator[Any]:
        """Iterate from the first batch that was not stepped; Lightning does so twice before it trains.

        Returns:
            Batches of the loader, to the end of the epoch.

        Raises:
            RuntimeError: Epochs pass and nothing steps the sampler.
        """
        step = self.sampler.current.step
        count = self._iterations[1] + 1 if self._iterations[0] == step else 1
        self._iterations = (step, count)
        if count > MOST_ITERATIONS:
            raise RuntimeError(
                "iterating over a DynamicLoader: its sampler is never stepped; give the Trainer a "
                "fs.integrations.LightningCallback, or call sampler.step() after each optimizer step"
            )
        self.sampler.forget_drawn()
        return iter(self.loader)

    @repeat_once
    def state_dict(self) -> dict[str, Any]:
        """Return the sampler's state, which Lightning stores with its loops."""
        return self.sampler.state_dict()

    @repeat_once
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Resume where `state_dict` was taken.

        Args:
            state_dict: The value of `state_dict`.

        Raises:
            ValueError: The state is of another sampler.
        """
        self.sampler.load_state_dict(state_dict)

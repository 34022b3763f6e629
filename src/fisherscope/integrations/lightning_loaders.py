"""The loaders of a Lightning training: which one a policy drives, and what contradicts it."""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from fisherscope.guard import RefusedState, RefusedValue
from fisherscope.integrations.dynamic_loader import DynamicLoader
from fisherscope.integrations.optional_import import import_framework
from fisherscope.sampler import DynamicBatchSampler

batch_sizes = import_framework("lightning.pytorch.utilities.data", "lightning")
callbacks = import_framework("lightning.pytorch.callbacks", "lightning")
exceptions = import_framework("lightning.fabric.utilities.exceptions", "lightning")


def loaders_of(loaders: Any) -> Iterator[Any]:
    """Iterate over the loaders in what `trainer.train_dataloader` returns, at any depth.

    Args:
        loaders: A loader, or lists and dicts of loaders.

    Yields:
        The loaders.
    """
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    if isinstance(loaders, list | tuple):
        for loader in loaders:
            yield from loaders_of(loader)
    elif loaders is not None:
        yield loaders


def dynamic_loader(trainer: Any) -> DynamicLoader | None:
    """Find the loader whose sampler the callback steps.

    Args:
        trainer: A Lightning Trainer whose loaders are set up.

    Returns:
        The loader; None if no batch size is to change.

    Raises:
        ValueError: A `DynamicBatchSampler` is used in a way that Lightning or its learning rate contradicts.
    """
    loaders = list(loaders_of(trainer.train_dataloader))
    if any(isinstance(getattr(loader, "batch_sampler", None), DynamicBatchSampler) for loader in loaders):
        raise RefusedValue(
            "measuring a Lightning training: Lightning counts a DataLoader's batches once, and a "
            "DynamicBatchSampler changes their number; pass it fs.integrations.DynamicLoader(loader)"
        )
    dynamic = [loader for loader in loaders if isinstance(loader, DynamicLoader)]
    if not dynamic:
        return None
    if len(dynamic) > 1:
        raise RefusedValue(
            f"measuring a Lightning training: it has {len(dynamic)} DynamicLoaders, each with a learning "
            "rate for the one optimizer; give one data set a DynamicLoader, and the others a DataLoader"
        )
    _refuse_contradictions(trainer)
    return dynamic[0]


def _refuse_contradictions(trainer: Any) -> None:
    if accumulates(trainer):
        raise RefusedValue(
            "measuring a Lightning training: a DynamicBatchSampler chooses the batch of each step, and "
            f"accumulate_grad_batches={trainer.accumulate_grad_batches} would join several of its batches; "
            "leave that at 1"
        )
    schedulers = [type(config.scheduler).__name__ for config in trainer.lr_scheduler_configs]
    if schedulers:
        raise RefusedValue(
            f"measuring a Lightning training: {', '.join(schedulers)} and the policy of the DynamicLoader "
            "would both set the learning rate; return the optimizer alone from configure_optimizers, and "
            "give the policy its schedule by name, such as s8-to-32+decay:at=0.5/0.75,by=0.1"
        )
    if trainer.limit_train_batches not in (1.0, None):
        warnings.warn(
            f"limit_train_batches={trainer.limit_train_batches} ends Lightning's epochs before the "
            "sampler's: the next epoch takes the samples that are left, and the policy counts whole epochs",
            RuntimeWarning,
            stacklevel=2,
        )


def refuse_overfitting(trainer: Any) -> None:
    """Refuse `overfit_batches` with a DynamicLoader, before Lightning fails to rebuild it.

    Args:
        trainer: A Lightning Trainer whose loaders are not set up yet.

    Raises:
        ValueError: It was given both.
    """
    given = getattr(getattr(trainer.fit_loop, "_data_source", None), "instance", None)
    if trainer.overfit_batches and any(isinstance(loader, DynamicLoader) for loader in loaders_of(given)):
        raise RefusedValue(
            f"measuring a Lightning training: overfit_batches={trainer.overfit_batches} repeats the same "
            "batches, and the sampler of a DynamicLoader draws each sample once per epoch; give it a "
            "torch.utils.data.Subset of the data instead, and leave overfit_batches at 0"
        )


def redraw(trainer: Any) -> None:
    """Draw again what Lightning drew ahead: it does so before callbacks can restore a sampler.

    Args:
        trainer: A Lightning Trainer that is about to train.

    Raises:
        RuntimeError: This version of Lightning holds its batches elsewhere.
    """
    fetcher = getattr(trainer.fit_loop, "_data_fetcher", None)
    if fetcher is None:
        raise RefusedState(
            "resuming a Lightning training with a DynamicLoader: this version of Lightning does not show the "
            "batches that it drew ahead, so the first batch would be a wrong one; use Lightning 2.4 to 2.6"
        )
    iter(fetcher)


def accumulates(trainer: Any) -> bool:
    """Return whether several batches make one step, now or later.

    Args:
        trainer: A Lightning Trainer.
    """
    scheduled = any(
        isinstance(callback, callbacks.GradientAccumulationScheduler) for callback in trainer.callbacks
    )
    return scheduled or trainer.accumulate_grad_batches > 1


def batch_size_of(trainer: Any) -> int | None:
    """Return the batch size that the loaders are set to, over accumulated batches and processes.

    Args:
        trainer: A Lightning Trainer whose loaders are set up.

    Returns:
        Samples a step; None if a loader does not say.
    """
    sizes = []
    for loader in loaders_of(trainer.train_dataloader):
        batched = getattr(loader, "batch_sampler", None)
        size = getattr(loader, "batch_size", None) or getattr(batched, "batch_size", None)
        if not isinstance(size, int):
            return None
        sizes.append(size)
    return sum(sizes) * trainer.accumulate_grad_batches * trainer.world_size if sizes else None


def count_samples(batch: Any, parts: int) -> int | None:
    """Count the samples of a batch, as Lightning counts them.

    Args:
        batch: What the loaders yield.
        parts: Number of loaders; a batch of several has a part from each.

    Returns:
        The number; None for a batch without tensors.
    """
    members = list(batch.values()) if isinstance(batch, Mapping) else batch
    if parts > 1 and isinstance(members, list | tuple) and len(members) == parts:
        counts = [count_samples(member, 1) for member in members if member is not None]
        return None if None in counts else sum(count for count in counts if count is not None)
    try:
        return int(batch_sizes.extract_batch_size(batch))
    except exceptions.MisconfigurationException:  # a batch without tensors
        return None

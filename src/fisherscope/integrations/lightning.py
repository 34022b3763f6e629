"""Lightning: the monitor as a callback of its Trainer."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from fisherscope.integrations.optional_import import required
from fisherscope.integrations.scalars import numbers
from fisherscope.integrations.step_hooks import Steps, samples_in
from fisherscope.monitor import Monitor
from fisherscope.sampler import DynamicBatchSampler

lightning = required("lightning.pytorch", "lightning")
batch_sizes = required("lightning.pytorch.utilities.data", "lightning")
Callback: Any = lightning.Callback
exceptions = required("lightning.fabric.utilities.exceptions", "lightning")


class LightningCallback(Callback):
    """Measures a Lightning training while it runs: `Trainer(callbacks=[LightningCallback(every=50)])`.

    A step opens before the first of its batches and closes before the optimizer steps, so that accumulated
    batches are one step and the loss scale of mixed precision is taken out. Rows go to the trainer's loggers
    too. What it has counted is in Lightning's checkpoints, and the state of a `DynamicBatchSampler`.

    Args:
        every: Steps an interval.
        run: A `fisherscope.runs` run; gets the rows, and each epoch with the metrics that were logged.
        log: Whether rows go to the trainer's loggers.
        monitor: The other arguments of `Monitor`.

    Raises:
        ValueError: When training starts: several optimizers, or a `DynamicBatchSampler` in a loader that
            Lightning would rebuild or count, or with accumulation.
    """

    def __init__(self, every: int = 50, *, run: Any = None, log: bool = True, **monitor: Any) -> None:
        self.options = {"every": every, "run": run, **monitor}
        self.log = log
        self.monitor: Monitor | None = None
        self.sampler: DynamicBatchSampler | None = None
        self._steps: Steps | None = None
        self._samples: int | None = 0  # of the open step; None once a batch does not say
        self._restored: dict[str, Any] = {}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Build the monitor: model, optimizer and data are known now."""
        loader = trainer.train_dataloader
        self.sampler = _sampler(loader, trainer)
        known = {
            "dataset_size": samples_in(loader),
            "grad_scaler": getattr(trainer.precision_plugin, "scaler", None),
            "accumulate": _accumulates(trainer),
        }
        self.monitor = Monitor(pl_module, _optimizer(trainer), **{**known, **self.options})
        self._steps = Steps(self.monitor)
        if self._restored:
            self.monitor.load_state_dict(self._restored["monitor"])
        if self.sampler is not None:
            self._drive(self.sampler, trainer.optimizers[0])

    def _drive(self, sampler: DynamicBatchSampler, optimizer: Any) -> None:
        if self._restored.get("sampler"):
            sampler.load_state_dict(self._restored["sampler"])
        sampler.attach(optimizer)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """The first batch of a step opens it."""
        if self._steps is None:
            return
        if not self._steps.open:
            self._samples = 0
        self._samples = _added(self._samples, batch)
        self._steps.begin()

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Every gradient of the step is there."""
        if self._steps is None or not self._steps.open:
            return
        self._steps.end(self._samples)
        row = self._steps.monitor.measurement
        if row is not None and self.log:
            for logger in trainer.loggers:
                logger.log_metrics(numbers(row), step=row["step"])

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The sampler goes on to the next batch and its rate."""
        if self.sampler is not None and self.monitor is not None:
            self.sampler.step(self.monitor.measurement)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """The epoch's row, with what was logged."""
        if self.monitor is None:
            return
        totals, run = self.monitor.epoch_end(), self.options["run"]
        if run is not None:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            run.log_epoch({**metrics, **totals})

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Batches that were accumulated for a step that did not come are dropped."""
        if self._steps is not None:
            self._steps.drop()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Nothing stays on the model."""
        if self._steps is not None:
            self._steps.drop(exception)

    def state_dict(self) -> dict[str, Any]:
        """What Lightning's checkpoint keeps."""
        return {
            "monitor": self.monitor.state_dict() if self.monitor is not None else None,
            "sampler": self.sampler.state_dict() if self.sampler is not None else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there, when training starts."""
        self._restored = state_dict if state_dict.get("monitor") else {}


class DynamicLoader:
    """A DataLoader over a `DynamicBatchSampler`, which Lightning takes as it is.

    Lightning counts a DataLoader's batches once and builds it again with a sampler of its own where there are
    several processes; neither fits a sampler whose epochs differ in length.

    Args:
        loader: `DataLoader(data, batch_sampler=DynamicBatchSampler(…))`. Lightning draws one batch ahead: a
            policy that reads measurements needs lag >= 1 + num_workers * prefetch_factor.

    Raises:
        TypeError: It is no such loader.
    """

    def __init__(self, loader: "DataLoader[Any]") -> None:
        sampler = getattr(loader, "batch_sampler", None)
        if not isinstance(sampler, DynamicBatchSampler):
            raise TypeError(
                f"building a DynamicLoader: received a {type(loader).__name__} with the batch sampler "
                f"{type(sampler).__name__}; expected DataLoader(data, batch_sampler=DynamicBatchSampler(…))"
            )
        self.loader, self.dataset, self.sampler = loader, loader.dataset, sampler

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)


def _optimizer(trainer: Any) -> Any:
    if len(trainer.optimizers) != 1:
        raise ValueError(
            f"measuring a Lightning training: it has {len(trainer.optimizers)} optimizers, and a measurement "
            "belongs to the step of one; build an fs.Monitor in the module and observe each by hand"
        )
    return trainer.optimizers[0]


def _sampler(loader: Any, trainer: Any) -> DynamicBatchSampler | None:
    """The sampler that the callback is to drive."""
    if isinstance(getattr(loader, "batch_sampler", None), DynamicBatchSampler):
        raise ValueError(
            "measuring a Lightning training: it counts a DataLoader's batches once, and a "
            "DynamicBatchSampler changes their number; give it fs.integrations.DynamicLoader(loader)"
        )
    if not isinstance(loader, DynamicLoader):
        return None
    if _accumulates(trainer):
        raise ValueError(
            "measuring a Lightning training: a DynamicBatchSampler chooses what one step holds, and "
            "accumulate_grad_batches would join several of its batches; leave that at 1"
        )
    return loader.sampler


def _accumulates(trainer: Any) -> bool:
    scheduled = any(
        isinstance(it, lightning.callbacks.GradientAccumulationScheduler) for it in trainer.callbacks
    )
    return scheduled or trainer.accumulate_grad_batches > 1


def _added(samples: int | None, batch: Any) -> int | None:
    """Samples so far, with those of one more batch, as Lightning counts them."""
    if samples is None:
        return None
    try:
        return samples + int(batch_sizes.extract_batch_size(batch))
    except exceptions.MisconfigurationException:  # a batch without tensors
        return None

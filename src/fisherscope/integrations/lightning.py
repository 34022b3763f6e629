"""Lightning: the monitor as a callback of its Trainer."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from fisherscope.integrations.optional_import import import_framework
from fisherscope.integrations.scalars import numbers
from fisherscope.integrations.step_hooks import Steps, dataset_size
from fisherscope.monitor import Monitor
from fisherscope.sampler import DynamicBatchSampler
from fisherscope.samples import BatchSamples, copy_batch_functions

lightning = import_framework("lightning.pytorch", "lightning")
batch_sizes = import_framework("lightning.pytorch.utilities.data", "lightning")
Callback: Any = lightning.Callback
exceptions = import_framework("lightning.fabric.utilities.exceptions", "lightning")


class LightningCallback(Callback):
    """Measure a Lightning training while it runs.

    A step opens before the first of its batches and closes before the optimizer steps, so accumulated batches
    are one step and the loss scale of mixed precision is taken out. Lightning's checkpoints contain the state
    of the monitor and of a `DynamicBatchSampler`.

    Example:
        ```python
        import warnings
        import lightning.pytorch as pl
        import torch
        from fisherscope.integrations import LightningCallback

        class Classifier(pl.LightningModule):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(8, 3)

            def training_step(self, batch, index):
                return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.1)

        data = torch.utils.data.TensorDataset(torch.randn(32, 8), torch.randint(0, 3, (32,)))
        callback = LightningCallback(every=2)
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = pl.Trainer(
                max_epochs=1, callbacks=[callback], logger=False, enable_checkpointing=False, **quiet
            )
            trainer.fit(Classifier(), torch.utils.data.DataLoader(data, batch_size=8))
        print(callback.monitor.summary())
        ```

    Args:
        every: Interval in steps; one step of each is measured.
        run: A `fisherscope.runs` run that records the rows, and each epoch with the logged metrics.
        log: Whether the trainer's loggers get the rows too.
        monitor: The other arguments of `Monitor`. With `sample_of=fs.samples.of_batch(function)` the function
            receives the loader's batch.

    Raises:
        ValueError: When training starts: several optimizers; a `DynamicBatchSampler` in a loader that
            Lightning would rebuild or count, or together with accumulation.
        MissingFrameworkError: Lightning is not installed.
    """

    def __init__(self, every: int = 50, *, run: Any = None, log: bool = True, **monitor: Any) -> None:
        self.options = {"every": every, "run": run, **monitor}
        self.log = log
        self.monitor: Monitor | None = None
        self.sampler: DynamicBatchSampler | None = None
        self._steps: Steps | None = None
        self._samples: int | None = 0  # of the open step; None once a batch does not say
        self._saved_state: dict[str, Any] = {}
        self._of_batch: list[BatchSamples] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Build the monitor, once model, optimizer and data are there.

        Raises:
            ValueError: As the class says.
        """
        loader = trainer.train_dataloader
        self.sampler = _sampler(loader, trainer)
        defaults = {
            "dataset_size": dataset_size(loader),
            "grad_scaler": getattr(trainer.precision_plugin, "scaler", None),
            "accumulate": _accumulates(trainer),
        }
        options, self._of_batch = copy_batch_functions({**defaults, **self.options})
        self.monitor = Monitor(pl_module, _optimizer(trainer), **options)
        self._steps = Steps(self.monitor)
        if self._saved_state:
            self.monitor.load_state_dict(self._saved_state["monitor"])
        if self.sampler is not None:
            self._attach(self.sampler, trainer.optimizers[0])

    def _attach(self, sampler: DynamicBatchSampler, optimizer: Any) -> None:
        if self._saved_state.get("sampler"):
            sampler.load_state_dict(self._saved_state["sampler"])
        sampler.attach(optimizer)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Open a step at its first batch."""
        if self._steps is None:
            return
        if not self._steps.open:
            self._samples = 0
        for function in self._of_batch:
            function.bind(batch)
        own = None if self.monitor is None else self.monitor.state.options.get("sample_of")
        if isinstance(own, BatchSamples):
            count = own.count()
            self._samples = None if count is None or self._samples is None else self._samples + count
        else:
            self._samples = _count_samples(self._samples, batch)
        alone = self.monitor is None or not self.monitor.state.options.get("accumulate")
        self._steps.begin(self._samples if alone else None)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Close the step: all its gradients are computed."""
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
        """Advance the sampler to the next batch and its learning rate."""
        if self.sampler is not None and self.monitor is not None:
            self.sampler.step(self.monitor.measurement)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the epoch's row, with the logged metrics."""
        if self.monitor is None:
            return
        totals, run = self.monitor.epoch_end(), self.options["run"]
        if run is not None:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            run.log_epoch({**metrics, **totals})

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Drop batches that were accumulated for a step that never came."""
        if self._steps is not None:
            self._steps.drop()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Remove every hook from the model."""
        if self._steps is not None:
            self._steps.drop(exception)

    def state_dict(self) -> dict[str, Any]:
        """Return what Lightning's checkpoint stores.

        Returns:
            States of `monitor` and `sampler`; None for those that are not there.
        """
        return {
            "monitor": self.monitor.state_dict() if self.monitor is not None else None,
            "sampler": self.sampler.state_dict() if self.sampler is not None else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint when training starts.

        Args:
            state_dict: The value of `state_dict`.
        """
        self._saved_state = state_dict if state_dict.get("monitor") else {}


class DynamicLoader:
    """Wrap a DataLoader with a `DynamicBatchSampler`, so that Lightning uses it unchanged.

    Lightning counts a DataLoader's batches once, and rebuilds it with a sampler of its own in several
    processes; neither is possible with a sampler whose epochs differ in length.

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

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)


def _optimizer(trainer: Any) -> Any:
    if len(trainer.optimizers) != 1:
        raise ValueError(
            f"measuring a Lightning training: it has {len(trainer.optimizers)} optimizers; expected one, "
            "because a measurement belongs to the step of one. Build one fs.Monitor per optimizer by hand"
        )
    return trainer.optimizers[0]


def _sampler(loader: Any, trainer: Any) -> DynamicBatchSampler | None:
    """Return the sampler that the callback advances, None if the loader has none."""
    if isinstance(getattr(loader, "batch_sampler", None), DynamicBatchSampler):
        raise ValueError(
            "measuring a Lightning training: Lightning counts a DataLoader's batches once, and a "
            "DynamicBatchSampler changes their number; pass it fs.integrations.DynamicLoader(loader)"
        )
    if not isinstance(loader, DynamicLoader):
        return None
    if _accumulates(trainer):
        raise ValueError(
            "measuring a Lightning training: a DynamicBatchSampler chooses the batch of each step, and "
            f"accumulate_grad_batches={trainer.accumulate_grad_batches} would join several of its batches; "
            "leave that at 1"
        )
    return loader.sampler


def _accumulates(trainer: Any) -> bool:
    scheduled = any(
        isinstance(callback, lightning.callbacks.GradientAccumulationScheduler)
        for callback in trainer.callbacks
    )
    return scheduled or trainer.accumulate_grad_batches > 1


def _count_samples(samples: int | None, batch: Any) -> int | None:
    """Add the samples of a batch, as Lightning counts them; None once a batch does not say."""
    if samples is None:
        return None
    try:
        return samples + int(batch_sizes.extract_batch_size(batch))
    except exceptions.MisconfigurationException:  # a batch without tensors
        return None

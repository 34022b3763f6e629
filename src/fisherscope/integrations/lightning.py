"""Lightning: the monitor as a callback of its Trainer."""

import os
from typing import Any

from fisherscope.guard import RefusedValue, contain_errors, repeat_once
from fisherscope.integrations.dynamic_loader import DynamicLoader
from fisherscope.integrations.guarded_callback import GuardedCallback
from fisherscope.integrations.lightning_loaders import (
    accumulates,
    batch_size_of,
    count_samples,
    dynamic_loader,
    loaders_of,
    redraw,
    refuse_overfitting,
)
from fisherscope.integrations.optional_import import import_framework
from fisherscope.integrations.scalars import numbers
from fisherscope.integrations.step_hooks import Steps, dataset_size, restore
from fisherscope.integrations.training_description import (
    compared_metric,
    ending_of,
    metrics_row,
    whole_epochs,
)
from fisherscope.integrations.training_record import TrainingRecord
from fisherscope.monitor import Monitor
from fisherscope.sampler import DynamicBatchSampler
from fisherscope.samples import BatchSamples, copy_batch_functions

__all__ = ["DynamicLoader", "LightningCallback"]

lightning = import_framework("lightning.pytorch", "lightning")
Callback: Any = lightning.Callback


class LightningCallback(GuardedCallback, Callback):
    """Measure a Lightning training while it runs.

    A step opens before the first of its batches and closes before the optimizer steps, so accumulated batches
    are one step, several optimizer steps on a batch are several, and the loss scale of mixed precision is
    taken out. Lightning's checkpoints contain the state of the monitor and of a `DynamicBatchSampler`.

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
        run: A `fisherscope.runs` run that records the rows, each epoch with the logged metrics, what is
            trained, and how the training ends: finished, interrupted (Ctrl-C, SIGTERM) or failed. It is
            closed then, unless a `with` block holds it.
        log: Whether the trainer's loggers get the rows too.
        monitor: The other arguments of `Monitor`. With `sample_of=fs.samples.of_batch(function)` the function
            receives the loader's batch.

    Raises:
        ValueError: When training starts: several optimizers; a `DynamicBatchSampler` in a loader that
            Lightning would rebuild or count, or together with accumulation, a learning-rate scheduler or
            `overfit_batches`.
        RunError: When training starts: the run has rows of an earlier training that this one does not resume.
        MissingFrameworkError: Lightning is not installed.
    """

    def __init__(self, every: int = 50, *, run: Any = None, log: bool = True, **monitor: Any) -> None:
        self.options = {"every": every, "run": run, **monitor}
        self.log = log
        self.monitor: Monitor | None = None
        self.sampler: DynamicBatchSampler | None = None
        self._steps: Steps | None = None
        self._record = TrainingRecord(run, notified=True)
        self._saved_state: dict[str, Any] = {}  # of a checkpoint, until training starts
        self._hook: Any = None  # after the optimizer's step
        self._parts = 1  # loaders
        self._manual = False  # whether the module steps the optimizer itself
        self._samples: int | None = 0  # of the open step; None once a batch does not say
        self._of_batch: list[BatchSamples] = []
        self._batch_samples: int | None = None
        self._reopened = False  # whether the open step began after another one of its batch
        self._is_sampling = False  # whether the sampler is attached for the training that begins
        self._advanced = False  # whether the sampler is past the current batch
        self._decided: dict[str, Any] = {}  # batch size and learning rate of the latest batch of the sampler

    # Training starts

    @contain_errors(GuardedCallback._report)
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Refuse what Lightning would fail at with an error of its own."""
        refuse_overfitting(trainer)

    def _recover_start(self, error: Exception, trainer: Any, pl_module: Any) -> None:
        """Train unmeasured; the sampler of a `DynamicLoader` is stepped all the same."""
        self._give_up(error, trainer.global_step)
        if not self._is_sampling:
            self._begin_sampling(trainer)

    @contain_errors(_recover_start)
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Build the monitor, once model, optimizer and data are there.

        Raises:
            RunError, ValueError: As the class says.
        """
        self._is_sampling = self._is_unmeasured = False
        self._begin_sampling(trainer)
        self._begin_measuring(trainer, pl_module)

    @repeat_once
    def _begin_sampling(self, trainer: Any) -> None:
        _optimizer(trainer)
        loader = dynamic_loader(trainer)
        if loader is not None:
            self._attach(loader, trainer, self._saved_state.get("sampler"))
        self.sampler = None if loader is None else loader.sampler
        self._decided = dict(self._saved_state.get("decided") or {})
        self._is_sampling = True

    def _begin_measuring(self, trainer: Any, pl_module: Any) -> None:
        optimizer, saved, self._saved_state = _optimizer(trainer), self._saved_state, {}
        self._parts = len(list(loaders_of(trainer.train_dataloader)))
        self._manual = not pl_module.automatic_optimization
        monitor = self._build_monitor(trainer, pl_module, optimizer)
        earlier = saved.get("monitor")
        if earlier is None and self.monitor is not None and self.monitor.progress[0] == trainer.global_step:
            earlier = self.monitor.state_dict()  # a fit that goes on with the one before
        if trainer.global_step:
            restore(monitor, earlier, trainer.global_step, trainer.current_epoch)
        description = _description(trainer, pl_module, self.sampler)
        monitor.run = self._training_record().begin(monitor.progress[0], description)
        self.monitor, self._steps = monitor, Steps(monitor)
        self._hook = optimizer.register_step_post_hook(self._after_optimizer_step)
        self._end_missed_epochs(trainer)

    def _build_monitor(self, trainer: Any, pl_module: Any, optimizer: Any) -> Monitor:
        defaults = {
            "dataset_size": dataset_size(trainer.train_dataloader),
            "grad_scaler": getattr(trainer.precision_plugin, "scaler", None),
            "accumulate": accumulates(trainer),
        }
        options, self._of_batch = copy_batch_functions({**defaults, **self.options, "run": None})
        return Monitor(pl_module, optimizer, **options)

    def _attach(self, loader: DynamicLoader, trainer: Any, state: dict[str, Any] | None) -> None:
        if state:
            loader.load_state_dict(state)
            redraw(trainer)
        loader.sampler.attach(trainer.optimizers[0])

    def _training_record(self) -> TrainingRecord:
        if self.options["run"] is not self._record.given:
            self._record = TrainingRecord(self.options["run"], notified=True)
        return self._record

    @contain_errors(GuardedCallback._report)
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """End an epoch that Lightning completed without calling `on_train_epoch_end`."""
        self._end_missed_epochs(trainer)

    def _end_missed_epochs(self, trainer: Any) -> None:
        """End the epoch of a checkpoint that was saved after its last batch and before its end."""
        if self.monitor is not None and self.monitor.progress[1] < trainer.current_epoch:
            self._end_epoch(trainer.current_epoch, {})

    # Steps

    def _recover_batch(self, error: Exception, *_: Any) -> None:
        """Count the step of a batch that could not be looked at."""
        self._samples, self._advanced = None, False
        self._report_in_step(error)

    @contain_errors(_recover_batch)
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Open a step at its first batch."""
        self._advanced = False
        if self._steps is None:
            return
        for function in self._of_batch:
            function.bind(batch)
        own = self._steps.monitor.state.options.get("sample_of")
        count = own.count() if isinstance(own, BatchSamples) else count_samples(batch, self._parts)
        self._batch_samples = count
        self._open_step(reopened=False)

    def _open_step(self, *, reopened: bool) -> None:
        if self._steps is None:
            return
        if not self._steps.open:
            self._samples, self._reopened = 0, reopened
        known = self._samples is not None and self._batch_samples is not None
        self._samples = (self._samples or 0) + (self._batch_samples or 0) if known else None
        options = self._steps.monitor.state.options
        comparable = not options.get("accumulate") and not self._manual and self._parts == 1
        self._steps.begin(self._samples if comparable else None)
        self._report_early_error()

    @contain_errors(GuardedCallback._report_at_step_end)
    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Close the step: all its gradients are computed."""
        if self._steps is None or not self._steps.open:
            return
        self._steps.end(self._samples, compared=not self._manual and self._parts == 1)
        row = self._steps.monitor.measurement
        if row is not None and self.log:
            for logger in trainer.loggers:
                logger.log_metrics(numbers(row), step=row["step"])

    @contain_errors(GuardedCallback._report)
    def _after_optimizer_step(self, optimizer: Any, *_: Any) -> None:
        """Move on: to the next batch, or to the next step that a manual optimization takes on this one."""
        if self._steps is None:
            return
        if not self._manual:
            self._advance()
        elif not self._steps.open:
            self._open_step(reopened=True)

    def _advance(self) -> None:
        if self.sampler is not None and not self._advanced:
            decision = self.sampler.current.decision
            self._decided = {"batch_size": decision.batch_size, "lr": decision.lr}
            self.sampler.step(None if self.monitor is None else self.monitor.measurement)
            self._advanced = True

    def _recover_batch_end(self, error: Exception, *_: Any) -> None:
        """Advance the sampler: without that, the next batch would be drawn again."""
        self._report(error)
        self._advance()

    @contain_errors(_recover_batch_end)
    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the sampler to the next batch and its learning rate, if no optimizer step did."""
        if self._steps is not None and self._reopened:
            self._steps.drop()  # nothing followed the batch's last optimizer step
        self._advance()

    # Epochs

    @contain_errors(GuardedCallback._report)
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the epoch's row, with the logged metrics."""
        if self.monitor is not None:
            self._end_epoch(trainer.current_epoch + 1, metrics_row(trainer.callback_metrics))

    def _end_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        if self.monitor is None:
            return
        totals = self.monitor.epoch_end(epoch)
        rate = float(self.monitor.optimizer.param_groups[0]["lr"])
        self._record.log_epoch(epoch, {"lr": rate, **metrics, **totals, **self._decided})

    # Training ends

    def _recover_end(self, error: Exception, *_: Any) -> None:
        """Leave nothing behind, and end the run."""
        self._report(error)
        self._release()
        self._training_record().end()

    @contain_errors(_recover_end)
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Drop batches that were accumulated for a step that never came, and finish the run."""
        self._release()
        status, reason = ending_of(pl_module)
        limit = trainer.max_epochs
        if trainer.should_stop and limit and 0 < trainer.current_epoch < limit:
            reason = reason or f"stopped early, after epoch {trainer.current_epoch} of {limit}"
        self._record.end(status, reason)

    @contain_errors(GuardedCallback._report)
    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Finish the run of a training that was complete when it was resumed."""
        self._training_record().conclude(trainer.global_step, *ending_of(pl_module))

    def _recover_exception(
        self, error: Exception, trainer: Any, pl_module: Any, exception: BaseException
    ) -> None:
        """Leave nothing behind; the training's own exception goes its way."""
        self._release()
        self._training_record().end_by(exception)

    @contain_errors(_recover_exception)
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Remove every hook from the model, and record how the run ended."""
        self._release(exception)
        self._training_record().end_by(exception)

    def _release(self, error: BaseException | None = None) -> None:
        if self._steps is not None:
            self._steps.drop(error)
        self._steps = None
        self._detach()

    def _detach(self) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._hook = None
        super()._detach()

    # Checkpoints

    def _recover_state(self, error: Exception) -> dict[str, Any]:
        """Return the state without the monitor's: a resumed training counts on from its step."""
        self._report(error)
        state = None if self.sampler is None else self.sampler.state_dict()
        return {"monitor": None, "sampler": state, "decided": self._decided}

    @contain_errors(_recover_state)
    def state_dict(self) -> dict[str, Any]:
        """Return what Lightning's checkpoint stores.

        Returns:
            States of `monitor` and `sampler`, None for those that are not there; what was decided last.
        """
        return {
            "monitor": self.monitor.state_dict() if self.monitor is not None else None,
            "sampler": self.sampler.state_dict() if self.sampler is not None else None,
            "decided": self._decided,
        }

    @repeat_once
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint when training starts.

        Args:
            state_dict: The value of `state_dict`.
        """
        self._saved_state = dict(state_dict)


def _optimizer(trainer: Any) -> Any:
    if len(trainer.optimizers) != 1:
        raise RefusedValue(
            f"measuring a Lightning training: it has {len(trainer.optimizers)} optimizers; expected one, "
            "because a measurement belongs to the step of one. Build one fs.Monitor per optimizer by hand"
        )
    return trainer.optimizers[0]


def _description(trainer: Any, pl_module: Any, sampler: DynamicBatchSampler | None) -> dict[str, Any]:
    """Describe the training: model, optimizer, sizes, rates, epochs and the metric it is judged by."""
    group, name = trainer.optimizers[0].param_groups[0], type(pl_module).__name__
    seed = os.environ.get("PL_GLOBAL_SEED")
    judges = [callback for callback in trainer.callbacks if getattr(callback, "monitor", None)]
    judge = next((c for c in judges if isinstance(c.monitor, str) and hasattr(c, "mode")), None)
    return {
        "framework": f"lightning {lightning.__version__}",
        "task": name,
        "model": name,
        "optimizer": type(trainer.optimizers[0]).__name__,
        "policy": None if sampler is None else sampler.policy.name,
        "batch_size": batch_size_of(trainer) if sampler is None else None,
        "lr": float(group.get("initial_lr", group["lr"])) if sampler is None else sampler.policy.rate.lr,
        "epochs": whole_epochs(trainer.max_epochs, trainer.max_steps, trainer.num_training_batches),
        "seed": None if seed is None else int(seed),
        **compared_metric(judge and judge.monitor, judge and judge.mode == "max"),
    }

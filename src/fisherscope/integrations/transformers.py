"""Hugging Face transformers: the monitor as a callback of its Trainer."""

import json
import math
import sys
import warnings
from pathlib import Path
from typing import Any

from fisherscope.guard import contain_errors
from fisherscope.integrations.guarded_callback import GuardedCallback
from fisherscope.integrations.optional_import import import_framework
from fisherscope.integrations.ordered_batches import OrderedBatches
from fisherscope.integrations.step_hooks import Steps, dataset_size, restore
from fisherscope.integrations.training_description import (
    compared_metric,
    ending_of,
    metrics_row,
    whole_epochs,
)
from fisherscope.integrations.training_record import TrainingRecord
from fisherscope.integrations.transformers_batch_size import DynamicBatchSize
from fisherscope.monitor import Monitor
from fisherscope.runs import replace_text

transformers = import_framework("transformers", "transformers")
TrainerCallback: Any = transformers.TrainerCallback

__all__ = ["DynamicBatchSize", "TransformersCallback"]

STATE = "fisherscope.json"
"""File in a checkpoint's folder with the monitor's state."""
WHOLE = 1e-6
"""Rounding of Trainer's epochs, which are fractions of steps."""


class TransformersCallback(GuardedCallback, TrainerCallback):
    """Measure a Hugging Face training: `Trainer(…, callbacks=[TransformersCallback()])`.

    A step opens before the first of its micro-batches and closes before the optimizer steps. A sample's
    column is its share of that step's gradient, so it does not matter whether Trainer divides the loss by
    micro-batches or by tokens. Trainer's checkpoints contain the state of the monitor.

    Example:
        ```python
        import tempfile
        import torch
        import transformers
        from fisherscope.integrations import TransformersCallback

        tiny = transformers.BertConfig(
            vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        )
        data = [{"input_ids": torch.randint(0, 40, (6,)), "labels": k % 2} for k in range(16)]
        callback = TransformersCallback(every=2)
        settings = transformers.TrainingArguments(
            tempfile.mkdtemp(), max_steps=4, use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="no"
        )
        model = transformers.BertForSequenceClassification(tiny)
        transformers.Trainer(model, settings, train_dataset=data, callbacks=[callback]).train()
        print(callback.monitor.summary())
        ```

    Args:
        every: Interval in steps; one step of each is measured.
        run: A `fisherscope.runs` run that records the rows, each epoch with its evaluation, what is trained,
            and how the training ends. It is closed then, unless a `with` block holds it. Trainer tells
            callbacks of no exception: a `with` block around `train()` records one at once, otherwise it is
            recorded when the process ends.
        monitor: The other arguments of `Monitor`. `sample_of` receives what the model does, by name:
            `fs.samples.packing()` after a flattening collator, say.

    Raises:
        RunError: When training starts: the run has rows of an earlier training that this one does not resume.
        MissingFrameworkError: transformers is not installed.
    """

    def __init__(self, every: int = 50, *, run: Any = None, **monitor: Any) -> None:
        self.options = {"every": every, "run": run, **monitor}
        self.monitor: Monitor | None = None
        self._steps: Steps | None = None
        self._steps_per_epoch = 0  # 0 where the loader has no length
        self._record = TrainingRecord(run, notified=False)
        self._epoch: dict[str, Any] | None = None  # row of an epoch that is not written
        self._metrics: dict[str, float] = {}  # of the latest evaluation that is in no row
        self._rate: float | None = None  # learning rate of the latest step

    # Training starts

    def _recover_begin(self, error: Exception, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Train unmeasured."""
        self._give_up(error, state.global_step)

    @contain_errors(_recover_begin)
    def on_train_begin(self, /, args: Any, state: Any, control: Any, **objects: Any) -> None:
        """Build the monitor, once model, optimizer and data are there.

        Raises:
            RunError: As the class says.
        """
        self._drop()
        self._is_unmeasured = False
        self._epoch, self._metrics, self._rate = None, {}, None
        optimizer = objects["optimizer"]
        defaults = {
            "dataset_size": dataset_size(objects["train_dataloader"]),
            "grad_scaler": getattr(optimizer, "scaler", None),
            "accumulate": args.gradient_accumulation_steps > 1,
        }
        self.monitor = Monitor(objects["model"], optimizer, **{**defaults, **self.options, "run": None})
        self._steps = Steps(self.monitor)
        self._steps_per_epoch = _steps_per_epoch(objects["train_dataloader"], args)
        epochs = math.floor((state.epoch or 0.0) + WHOLE)
        if state.global_step > 0:
            saved = _saved_state(args, state)
            restore(self.monitor, saved, state.global_step, epochs)
            kept = (saved or {}).get("epoch_row", {})
            self._rate, self._metrics = kept.get("rate"), dict(kept.get("metrics", {}))
        description = _description(args, state, objects)
        self.monitor.run = self._training_record().begin(self.monitor.progress[0], description)
        if self.monitor.progress[1] < epochs:  # a checkpoint between an epoch's last step and its end
            self._end_epoch(epochs, state)
            self._write_epoch()

    def _training_record(self) -> TrainingRecord:
        if self.options["run"] is not self._record.given:
            self._record = TrainingRecord(self.options["run"], notified=False)
        return self._record

    # Steps

    @contain_errors(GuardedCallback._report_in_step)
    def on_step_begin(self, /, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open a step before its first micro-batch."""
        self._write_epoch()  # no evaluation followed the epoch before
        if self._steps is not None:
            self._steps.drop()  # a step that an error ended: Trainer does not notify callbacks of exceptions
            self._steps.begin()
            self._report_early_error()

    def _loader_count(self, args: Any, state: Any) -> int | None:
        """Return the samples of the step that ends; None for an epoch's last, which may have fewer."""
        if not self._steps_per_epoch or (state.global_step + 1) % self._steps_per_epoch == 0:
            return None
        return int(args.train_batch_size * args.gradient_accumulation_steps)

    @contain_errors(GuardedCallback._report_at_step_end)
    def on_pre_optimizer_step(self, /, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the step: all its gradients are computed."""
        if self._steps is not None:
            self._rate = float(self._steps.monitor.optimizer.param_groups[0]["lr"])
            self._steps.end(loader_count=self._loader_count(args, state))

    # Epochs

    @contain_errors(GuardedCallback._report)
    def on_epoch_end(self, /, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take the epoch's totals; its row waits for an evaluation."""
        self._drop()
        self._write_epoch()
        self._end_epoch(math.ceil((state.epoch or 0.0) - WHOLE), state)

    @contain_errors(GuardedCallback._report)
    def on_evaluate(self, /, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        """Log the epoch's row with its evaluation, or keep that for the epoch's end."""
        self._drop()
        if state.global_step > 0:  # not of the model before it was trained
            self._metrics |= metrics_row(metrics or {})
        self._write_epoch()

    def _end_epoch(self, epoch: int, state: Any) -> None:
        if self.monitor is None:
            return
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        rate = {} if self._rate is None else {"lr": self._rate}
        train = {"train_loss": losses[-1]} if losses else {}
        self._epoch = {**rate, **train, **self.monitor.epoch_end(epoch), "epoch": epoch}

    def _write_epoch(self) -> None:
        row, self._epoch = self._epoch, None
        if row is not None:
            metrics, self._metrics = self._metrics, {}
            self._record.log_epoch(row["epoch"], {**metrics, **row})

    # Checkpoints

    @contain_errors(GuardedCallback._report)
    def on_save(self, /, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the monitor's state into the checkpoint's folder."""
        self._write_epoch()
        folder = _checkpoint(args, state)
        if self.monitor is not None and folder.is_dir() and state.is_world_process_zero:
            kept = {"rate": self._rate, "metrics": self._metrics}
            replace_text(folder / STATE, json.dumps({**self.monitor.state_dict(), "epoch_row": kept}))

    # Training ends

    def _recover_end(self, error: Exception, *_: Any, **__: Any) -> None:
        """Leave nothing behind, and end the run."""
        self._report(error)
        self._detach()
        self._training_record().end()

    @contain_errors(_recover_end)
    def on_train_end(self, /, args: Any, state: Any, control: Any, **objects: Any) -> None:
        """Log the last epoch's row, if no evaluation followed it, and finish the run."""
        self._drop()
        self._write_epoch()
        status, reason = ending_of(objects["model"])
        if control.should_training_stop and state.global_step < state.max_steps:
            reason = reason or f"stopped early, after step {state.global_step} of {state.max_steps}"
        self._record.end(status, reason)

    def _drop(self) -> None:
        if self._steps is not None:
            self._steps.drop()


def _steps_per_epoch(loader: Any, args: Any) -> int:
    if isinstance(getattr(loader, "batch_sampler", None), OrderedBatches):
        return 0  # a policy's epochs differ
    try:
        return -(-len(loader) // int(args.gradient_accumulation_steps))
    except TypeError:
        return 0


def _checkpoint(args: Any, state: Any) -> Path:
    """Path of the folder to which Trainer saves this step."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def _saved_state(args: Any, state: Any) -> dict[str, Any] | None:
    """Read the monitor's state from the checkpoint that is resumed; None, with a warning, if it has none."""
    folder = _resumed_checkpoint() or _checkpoint(args, state)
    if (folder / STATE).exists():
        saved: dict[str, Any] = json.loads((folder / STATE).read_text())
        return saved
    warnings.warn(
        f"resuming: {folder} has no {STATE}, so the running measures start over at this step", stacklevel=2
    )
    return None


def _resumed_checkpoint() -> Path | None:
    """Return the folder that `train(resume_from_checkpoint=…)` was given; callbacks are not told of it."""
    frame: Any = sys._getframe()
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), transformers.Trainer):
            folder = frame.f_locals.get("resume_from_checkpoint")
            if isinstance(folder, str | Path):
                return Path(folder)
        frame = frame.f_back
    return None


def _description(args: Any, state: Any, objects: dict[str, Any]) -> dict[str, Any]:
    """Describe the training: model, optimizer, sizes, rates, epochs and the metric it is judged by."""
    loader, name = objects["train_dataloader"], type(objects["model"]).__name__
    optimizer = getattr(objects["optimizer"], "optimizer", objects["optimizer"])
    parts = args.gradient_accumulation_steps
    batches = getattr(loader, "batch_sampler", None)
    policy = batches.sizes.policy if isinstance(batches, OrderedBatches) else None
    steps = math.ceil(len(loader) / parts) if hasattr(loader, "__len__") and policy is None else None
    size = (state.train_batch_size or args.train_batch_size) * parts * args.world_size
    return {
        "framework": f"transformers {transformers.__version__}",
        "task": name,
        "model": name,
        "optimizer": type(optimizer).__name__,
        "policy": None if policy is None else policy.name,
        "batch_size": size if policy is None else None,
        "lr": args.learning_rate,
        "lr_schedule": getattr(args.lr_scheduler_type, "value", str(args.lr_scheduler_type)),
        "epochs": whole_epochs(None if steps else args.num_train_epochs, state.max_steps, steps),
        "seed": args.seed,
        **compared_metric(args.metric_for_best_model, args.greater_is_better),
    }

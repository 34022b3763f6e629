"""Hugging Face transformers: the monitor as a callback of its Trainer."""

import json
import warnings
from pathlib import Path
from typing import Any

from fisherscope.integrations.optional_import import import_framework
from fisherscope.integrations.step_hooks import Steps, dataset_size
from fisherscope.monitor import Monitor

TrainerCallback: Any = import_framework("transformers", "transformers").TrainerCallback

STATE = "fisherscope.json"
"""File in a checkpoint's folder with the monitor's state."""


class TransformersCallback(TrainerCallback):
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
        run: A `fisherscope.runs` run that records the rows, and each epoch with its evaluation.
        monitor: The other arguments of `Monitor`. `sample_of` receives what the model does, by name:
            `fs.samples.packing()` after a flattening collator, say.

    Raises:
        MissingFrameworkError: transformers is not installed.
    """

    def __init__(self, every: int = 50, *, run: Any = None, **monitor: Any) -> None:
        self.options = {"every": every, "run": run, **monitor}
        self.monitor: Monitor | None = None
        self._steps: Steps | None = None
        self._steps_per_epoch = 0  # 0 where the loader has no length
        self._epoch: dict[str, Any] | None = None  # totals of an epoch whose row is not written

    def on_train_begin(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        """Build the monitor, once model, optimizer and data are there."""
        self._drop()
        optimizer = objects["optimizer"]
        defaults = {
            "dataset_size": dataset_size(objects["train_dataloader"]),
            "grad_scaler": getattr(optimizer, "scaler", None),
            "accumulate": args.gradient_accumulation_steps > 1,
        }
        self.monitor = Monitor(objects["model"], optimizer, **{**defaults, **self.options})
        self._steps, self._epoch = Steps(self.monitor), None
        self._steps_per_epoch = _steps_per_epoch(objects["train_dataloader"], args)
        if state.global_step > 0:
            self._restore(_checkpoint(args, state))

    def _restore(self, folder: Path) -> None:
        if not (folder / STATE).exists():
            warnings.warn(
                f"resuming: {folder} has no {STATE}, so the running measures start over at this step",
                stacklevel=2,
            )
        elif self.monitor is not None:
            self.monitor.load_state_dict(json.loads((folder / STATE).read_text()))

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open a step before its first micro-batch."""
        if self._steps is not None:
            self._steps.drop()  # a step that an error ended: Trainer does not notify callbacks of exceptions
            self._steps.begin()

    def _loader_count(self, args: Any, state: Any) -> int | None:
        """Return the samples of the step that ends; None for an epoch's last, which may have fewer."""
        if not self._steps_per_epoch or (state.global_step + 1) % self._steps_per_epoch == 0:
            return None
        return int(args.train_batch_size * args.gradient_accumulation_steps)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the step: all its gradients are computed."""
        if self._steps is not None:
            self._steps.end(loader_count=self._loader_count(args, state))

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take the epoch's totals; its row waits for an evaluation."""
        self._drop()
        self._write_epoch(state)
        if self.monitor is not None:
            self._epoch = self.monitor.epoch_end()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        """Log the epoch's row with the evaluation that follows it."""
        self._drop()
        values = {key.replace("eval_", "val_", 1): value for key, value in (metrics or {}).items()}
        self._write_epoch(
            state, {key: value for key, value in values.items() if isinstance(value, int | float)}
        )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the monitor's state into the checkpoint's folder."""
        folder = _checkpoint(args, state)
        if self.monitor is not None and folder.is_dir() and state.is_world_process_zero:
            (folder / STATE).write_text(json.dumps(self.monitor.state_dict()))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Log the last epoch's row, if no evaluation followed it."""
        self._drop()
        self._write_epoch(state)

    def _drop(self) -> None:
        if self._steps is not None:
            self._steps.drop()

    def _write_epoch(self, state: Any, metrics: dict[str, Any] | None = None) -> None:
        totals, self._epoch = self._epoch, None
        if totals is None or self.options["run"] is None:
            return
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        train = {"train_loss": losses[-1]} if losses else {}
        self.options["run"].log_epoch({**train, **(metrics or {}), **totals})


def _steps_per_epoch(loader: Any, args: Any) -> int:
    try:
        return -(-len(loader) // int(args.gradient_accumulation_steps))
    except TypeError:
        return 0


def _checkpoint(args: Any, state: Any) -> Path:
    """Path of the folder to which Trainer saves this step."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"

"""Hugging Face transformers: the monitor as a callback of its Trainer."""

import json
import warnings
from pathlib import Path
from typing import Any

from fisherscope.integrations.optional_import import required
from fisherscope.integrations.step_hooks import Steps, samples_in
from fisherscope.monitor import Monitor

TrainerCallback: Any = required("transformers", "transformers").TrainerCallback

STATE = "fisherscope.json"
"""File in a checkpoint's folder: what the monitor has counted."""


class TransformersCallback(TrainerCallback):
    """Measures a Hugging Face training: `Trainer(…, callbacks=[TransformersCallback(every=50)])`.

    A step opens before the first of its micro-batches and closes before the optimizer steps. A sample's
    column is its share of that step's gradient, so that it does not matter whether Trainer divides the loss
    by micro-batches or by tokens. What it has counted is in Trainer's checkpoints.

    Args:
        every: Steps an interval.
        run: A `fisherscope.runs` run; gets the rows, and each epoch with its evaluation.
        monitor: The other arguments of `Monitor`.
    """

    def __init__(self, every: int = 50, *, run: Any = None, **monitor: Any) -> None:
        self.options = {"every": every, "run": run, **monitor}
        self.monitor: Monitor | None = None
        self._steps: Steps | None = None
        self._epoch: dict[str, Any] | None = None  # totals of an epoch whose row is not written

    def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Build the monitor: model, optimizer and data are known now."""
        self._drop()
        optimizer = known["optimizer"]
        found = {
            "dataset_size": samples_in(known["train_dataloader"]),
            "grad_scaler": getattr(optimizer, "scaler", None),
            "accumulate": args.gradient_accumulation_steps > 1,
        }
        self.monitor = Monitor(known["model"], optimizer, **{**found, **self.options})
        self._steps, self._epoch = Steps(self.monitor), None
        if state.global_step > 0:
            self._restore(_checkpoint(args, state))

    def _restore(self, folder: Path) -> None:
        if not (folder / STATE).exists():
            warnings.warn(
                f"resuming: {folder} has no {STATE}, so the measures begin anew at this step", stacklevel=2
            )
        elif self.monitor is not None:
            self.monitor.load_state_dict(json.loads((folder / STATE).read_text()))

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before the step's first micro-batch."""
        if self._steps is not None:
            self._steps.drop()  # of a step that an error ended, for Trainer tells callbacks of none
            self._steps.begin()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Every gradient of the step is there."""
        if self._steps is not None:
            self._steps.end()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The epoch's totals; its row waits for an evaluation."""
        self._drop()
        self._write_epoch(state)
        if self.monitor is not None:
            self._epoch = self.monitor.epoch_end()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        """The evaluation after an epoch belongs in its row."""
        self._drop()
        named = {key.replace("eval_", "val_", 1): value for key, value in (metrics or {}).items()}
        self._write_epoch(
            state, {key: value for key, value in named.items() if isinstance(value, int | float)}
        )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """What was counted goes into the checkpoint's folder."""
        folder = _checkpoint(args, state)
        if self.monitor is not None and folder.is_dir() and state.is_world_process_zero:
            (folder / STATE).write_text(json.dumps(self.monitor.state_dict()))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The last epoch's row, where nothing was evaluated after it."""
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


def _checkpoint(args: Any, state: Any) -> Path:
    """The folder that Trainer saves this step to."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"

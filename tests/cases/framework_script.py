"""Trainings under a framework's callback that end, fail or are stopped by a signal, a process each.

python -m tests.cases.framework_script FOLDER: imports the frameworks once and forks a child for each
of them and of `ENDINGS`; a child leaves the script as any script would,
and its run in FOLDER/FRAMEWORK/ENDING.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from tests.cases.resumed_trainings import Sentences, draw, lightning_data, lightning_module
from torch.utils.data import DataLoader

import fisherscope as fs

ENDINGS = {"finish": None, "fail": None, "exit": None, "Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM}
"""What happens to a training, and the signal that does it."""


def act(how: str, step: int) -> None:
    """Do what is to happen in the third step."""
    sys.stdout.write("step\n")
    sys.stdout.flush()
    if step < 2:
        return
    if how == "fail":
        raise ZeroDivisionError("of the user's own")
    if how == "exit":
        sys.exit(3)
    if ENDINGS[how] is not None:
        time.sleep(0.1)


def train_lightning(how: str, run: Any) -> None:
    """Train with Lightning."""
    import lightning.pytorch as pl

    class Acts(pl.Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
            act(how, trainer.global_step)

    trainer = pl.Trainer(
        max_epochs=1 if ENDINGS[how] is None else 1000, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[fs.integrations.LightningCallback(2, run=run), Acts()],
    )  # fmt: skip
    trainer.fit(lightning_module(draw(0)), DataLoader(lightning_data(), batch_size=8))


def train_transformers(how: str, run: Any) -> None:
    """Train with Trainer."""
    import transformers

    class Acts(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            act(how, state.global_step)

    config = transformers.BertConfig(
        vocab_size=40, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    settings = transformers.TrainingArguments(
        tempfile.mkdtemp(), use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="no",
        num_train_epochs=1 if ENDINGS[how] is None else 1000, per_device_train_batch_size=8,
    )  # fmt: skip
    transformers.Trainer(
        transformers.BertForSequenceClassification(config), settings, train_dataset=Sentences(),
        callbacks=[fs.integrations.TransformersCallback(2, run=run), Acts()],
    ).train()  # fmt: skip


TRAININGS = {"lightning": train_lightning, "transformers": train_transformers}

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell leaves Ctrl-C ignored
    warnings.simplefilter("ignore")
    assert fs.integrations.LightningCallback
    assert fs.integrations.TransformersCallback
    framework = ending = ""
    for framework, ending in itertools.product(TRAININGS, ENDINGS):  # noqa: B007  (of the child that breaks)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(writer, 1)
            break
        os.close(writer)
        with os.fdopen(reader) as printed:
            if (number := ENDINGS[ending]) is not None:
                for _ in range(4):
                    printed.readline()
                os.kill(child, number)
            printed.read()
        os.waitpid(child, 0)
    else:
        sys.exit()
    TRAININGS[framework](ending, fs.open_run(Path(sys.argv[1]) / framework / ending, {"seed": 0}))

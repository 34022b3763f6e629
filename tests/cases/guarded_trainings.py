"""Small trainings by the frameworks, whose every float is to be that of a training without a callback."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from tests.cases.guarded_loops import Doubled, Dyadic, Outcome, assert_clean, loss_of, numbers_of
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fisherscope as fs

MODES = {"neutral": {}, "fused": {"fused": True}, "accumulate": {}, "sampler": {}}
"""Arguments of the callback; the last has a `DynamicLoader`, which Lightning alone takes."""
FRAMEWORKS = {"transformers": ("neutral", "fused", "accumulate"), "lightning": tuple(MODES)}
STEPS, SIZE = 2, 4
During = Callable[[], AbstractContextManager[Any]]


class Trained(Dyadic):
    """A model whose forward gives its loss, as Trainer wants it."""

    def forward(self, tokens: Tensor) -> Any:
        """Loss of tokens (B, 3) by name."""
        x = self.convolution(self.table(tokens).transpose(1, 2)).flatten(1)
        out = self.head(Doubled.apply(self.linear(x.relu()), self.scale))
        return {"loss": (out * (tokens[:, :2] - 1)).sum() / len(tokens)}


def data_of(mode: str) -> Tensor:
    """Tokens, (batches × batch size, 3)."""
    return torch.randint(0, 5, (STEPS * SIZE * (2 if mode == "accumulate" else 1), 3))


def train_lightning(mode: str, monitored: bool, folder: Path, during: During = nullcontext) -> Outcome:
    """Train by Lightning for an epoch of two steps, with a checkpoint after the second."""
    lightning = importlib.import_module("lightning.pytorch")
    torch.manual_seed(0)

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = Dyadic()

        def training_step(self, batch: Any, index: int) -> Tensor:
            return loss_of(self.model, batch[0])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.model.parameters(), lr=0.25)

    module, tokens = Module(), TensorDataset(data_of(mode))
    sampler: Any = None
    if mode == "sampler":
        policy = fs.policy.parse(f"s{SIZE}", lr=0.25, epochs=99)  # whose first epoch has one rate
        sampler = fs.DynamicBatchSampler(tokens, policy)
    batches = [list(range(k, k + SIZE)) for k in range(0, len(tokens), SIZE)]
    if sampler is not None and not monitored:
        batches, sampler = list(sampler), None
    plain: Any = DataLoader(tokens, batch_sampler=batches if sampler is None else sampler)
    loader = plain if sampler is None else fs.integrations.DynamicLoader(plain)
    run = fs.open_run(folder / "run", {"seed": 0}) if monitored else None
    callback = fs.integrations.LightningCallback(2, stride=True, run=run, **MODES[mode])
    checkpoints = lightning.callbacks.ModelCheckpoint(folder / "saved", every_n_train_steps=2)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, accumulate_grad_batches=2 if mode == "accumulate" else 1,
        callbacks=[checkpoints, *([callback] if monitored else [])],
    )  # fmt: skip
    warned = caught_in(lambda: trainer.fit(module, loader), during)
    return outcome(module.model, callback if monitored else None, run, warned)


def train_transformers(mode: str, monitored: bool, folder: Path, during: During = nullcontext) -> Outcome:
    """Train by Trainer for an epoch of two steps, with a checkpoint after the second."""
    hugging = importlib.import_module("transformers")
    torch.manual_seed(0)
    model = Trained()
    rows = [{"tokens": row} for row in data_of(mode)]
    settings = hugging.TrainingArguments(
        str(folder / "saved"), use_cpu=True, report_to=[], disable_tqdm=True, num_train_epochs=1,
        save_steps=2, per_device_train_batch_size=SIZE, remove_unused_columns=False, max_grad_norm=0.0,
        logging_steps=1,
        gradient_accumulation_steps=2 if mode == "accumulate" else 1, train_sampling_strategy="sequential",
        save_only_model=True,
    )  # fmt: skip
    run = fs.open_run(folder / "run", {"seed": 0}) if monitored else None
    callback = fs.integrations.TransformersCallback(2, stride=True, run=run, **MODES[mode])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    trainer = hugging.Trainer(
        model, settings, train_dataset=rows, callbacks=[callback] if monitored else [],
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)),
    )  # fmt: skip
    warned = caught_in(trainer.train, during)
    return outcome(model, callback if monitored else None, run, warned)


def caught_in(train: Callable[[], Any], during: During) -> list[str]:
    """Train; return our warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with during():
            train()
    return [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]


def outcome(model: nn.Module, callback: Any, run: Any, warned: list[str]) -> Outcome:
    """Collect what a training ended with, and close its run."""
    assert_clean(model)
    rows: list[dict[str, Any]] = []
    status = ""
    if callback is not None:
        if callback.monitor is not None:
            rows = callback.monitor.state.history.rows
        else:
            rows = list(fs.load_runs(run.path.parent).steps.iter_rows(named=True))
        status = run.status
        assert not run.is_open
    numbers = [number.clone() for number in numbers_of(model)[:-1]]  # but the random state: frameworks draw
    return Outcome(numbers, rows, warned, status)


TRAININGS = {"lightning": train_lightning, "transformers": train_transformers}

"""Trainings by Lightning and Trainer that are resumed from each of their checkpoints, drawn by seed.

A case says how the data are drawn. A whole training saves a checkpoint after every step and at every epoch's
end, and the run directory as it was then; a resumed one starts from there with new objects. The
oracle of a resumed training is the uninterrupted one.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

import fisherscope as fs

EPOCHS = 2
SAMPLES = 40
POLICIES = {
    "s4-to-16": 0,
    "s16-to-4": 0,
    "s8-to-32+constant": 0,
    "s7": 0,
    "s20": 0,
    "s40": 0,
    "s4-norm-test:theta=0.5+bounds:max=32": 1,
}
"""Names of policies, and whether they read measurements."""


@dataclass(frozen=True)
class Case:
    """How a training draws its batches, and what it does besides."""

    seed: int
    policy: str
    workers: int
    prefetch: int
    persistent: bool
    validated: bool
    every: int
    optimizer: str
    parts: int

    @property
    def lag(self) -> int:
        """As docs/how-to/lightning.md says."""
        return 1 + self.workers * self.prefetch if POLICIES[self.policy] else 0


def draw(seed: int) -> Case:
    """Draw a case; its seed names it."""
    chance = random.Random(seed)
    workers = chance.choice((0, 0, 1, 2))
    return Case(
        seed=seed,
        policy=chance.choice(list(POLICIES)),
        workers=workers,
        prefetch=chance.choice((1, 3)),
        persistent=workers > 0 and chance.random() < 0.5,
        validated=chance.random() < 0.4,
        every=chance.choice((1, 2, 3)),
        optimizer=chance.choice(("AdamW", "SGD")),
        parts=chance.choice((1, 2)),
    )


@dataclass
class Trained:
    """What a training left."""

    parameters: list[Tensor]
    seen: list[float]
    """First number of each batch that was trained, in order."""
    run: Path
    checkpoints: list[Path] = field(default_factory=list)


def rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a log, without times."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in lines]


def differences(resumed: Trained, whole: Trained, *, between: bool) -> list[str]:
    """Name what differs; `between`: the checkpoint lies between an epoch's last step and its evaluation."""
    count = len(resumed.seen)
    epochs = [rows(t.run / "epochs.jsonl") for t in (resumed, whole)]
    if between:  # neither framework evaluates that epoch again
        epochs = [[{k: v for k, v in row.items() if not k.startswith("val/")} for row in e] for e in epochs]
    equal = {
        "parameters": all(map(torch.equal, resumed.parameters, whole.parameters)),
        "order": resumed.seen == whole.seen[len(whole.seen) - count :],
        "steps": rows(resumed.run / "steps.jsonl") == rows(whole.run / "steps.jsonl"),
        "spectra": (resumed.run / "spectra.bin").read_bytes() == (whole.run / "spectra.bin").read_bytes(),
        "epochs": epochs[0] == epochs[1],
        "status": fs.runs.status(resumed.run) == fs.runs.status(whole.run) == "finished",
        "configuration": fs.runs.run_config(resumed.run) == fs.runs.run_config(whole.run),
    }
    return [name for name, same in equal.items() if not same]


def snapshot(run: Path, target: Path) -> None:
    """Copy a run as a killed process would leave it."""
    shutil.copytree(run, target, dirs_exist_ok=True)
    (target / "lock").unlink()


# Lightning ---------------------------------------------------------------------------------------


def lightning_data() -> TensorDataset:
    """Forty points of three classes."""
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(
        torch.randn(SAMPLES, 8, generator=generator), torch.randint(0, 3, (SAMPLES,), generator=generator)
    )


def lightning_module(case: Case) -> Any:
    """Build a small classifier that notes its batches."""
    import lightning.pytorch as pl

    class Classifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
            self.seen: list[float] = []

        def training_step(self, batch: Any, index: int) -> Tensor:
            self.seen.append(float(batch[0][0, 0]))
            return F.cross_entropy(self.layers(batch[0]), batch[1])

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", F.cross_entropy(self.layers(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            rates = {"lr": 0.05} if case.optimizer == "AdamW" else {"lr": 0.05, "momentum": 0.9}
            return getattr(torch.optim, case.optimizer)(self.parameters(), **rates)

    return Classifier()


def lightning_loader(case: Case) -> Any:
    """Build the DynamicLoader of a case, with a sampler of its own."""
    data = lightning_data()
    policy = fs.policy.parse(case.policy, lr=0.05, epochs=EPOCHS)
    sampler = fs.DynamicBatchSampler(data, policy, seed=case.seed, lag=case.lag)
    workers: dict[str, Any] = {"num_workers": case.workers}
    if case.workers:
        workers |= {
            "prefetch_factor": case.prefetch,
            "persistent_workers": case.persistent,
            "multiprocessing_context": "fork",
        }
    return fs.integrations.DynamicLoader(DataLoader(data, batch_sampler=sampler, **workers))


def train_lightning(case: Case, root: Path, run: Path, checkpoint: Path | None = None) -> Trained:
    """Train two epochs, from a checkpoint or, saving at every step and epoch, from the start."""
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Snapshots(ModelCheckpoint):
        def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
            super()._save_checkpoint(trainer, filepath)
            snapshot(run, root / "snapshots" / Path(filepath).stem)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    saved: dict[str, Any] = {"dirpath": root / "saved", "save_top_k": -1, "auto_insert_metric_name": False}
    every_step = Snapshots(filename="step{step}", every_n_train_steps=1, **saved)
    every_epoch = Snapshots(filename="epoch{step}", every_n_epochs=1, save_on_train_epoch_end=True, **saved)
    saving = [] if checkpoint else [every_step, every_epoch]
    module = lightning_module(case)
    callback = fs.integrations.LightningCallback(case.every, run=fs.open_run(run, {"case": case.seed}))
    validation = DataLoader(lightning_data(), batch_size=20) if case.validated else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        trainer = pl.Trainer(
            max_epochs=EPOCHS, accelerator="cpu", logger=False, callbacks=[callback, *saving],
            enable_checkpointing=not checkpoint, enable_progress_bar=False, enable_model_summary=False,
            num_sanity_val_steps=0, default_root_dir=root,
        )  # fmt: skip
        trainer.fit(
            module, lightning_loader(case), validation, ckpt_path=checkpoint,
            weights_only=False if checkpoint else None,
        )  # fmt: skip
    return Trained(
        [p.detach() for p in module.parameters()], module.seen, run, sorted((root / "saved").glob("*"))
    )


# Trainer -----------------------------------------------------------------------------------------


class Sentences(Dataset[dict[str, Any]]):
    """Twenty-one sentences: the last batch of an epoch is smaller."""

    def __init__(self) -> None:
        self.ids = torch.randint(3, 40, (21, 6), generator=torch.Generator().manual_seed(2))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.ids[index], "labels": index % 2}


def train_trainer(case: Case, root: Path, run: Path, checkpoint: Path | None = None) -> Trained:
    """Train two epochs, from a checkpoint or, saving at every step, from the start."""
    import transformers

    class Snapshots(transformers.TrainerCallback):  # type: ignore[misc]
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            snapshot(run, root / "snapshots" / f"checkpoint-{state.global_step}")

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        )
    )
    seen: list[float] = []

    class Noting(transformers.Trainer):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: Any, *others: Any) -> Any:
            seen.append(float(inputs["input_ids"].sum()))
            return super().training_step(model, inputs, *others)

    callback = fs.integrations.TransformersCallback(case.every, run=fs.open_run(run, {"case": case.seed}))
    settings = transformers.TrainingArguments(
        str(root / ("resumed" if checkpoint else "saved")), use_cpu=True, report_to=[], disable_tqdm=True,
        logging_steps=1, per_device_train_batch_size=4, num_train_epochs=EPOCHS, learning_rate=0.05,
        save_strategy="steps", save_steps=1, gradient_accumulation_steps=case.parts, seed=case.seed,
        dataloader_num_workers=min(case.workers, 1), save_total_limit=1 if checkpoint else None,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch|transformers|accelerate")
        Noting(
            model,
            settings,
            train_dataset=Sentences(),
            callbacks=[callback, *([] if checkpoint else [Snapshots()])],
        ).train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    saved = sorted((root / "saved").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    return Trained([p.detach() for p in model.parameters()], seen, run, saved)


TRAININGS = {"lightning": train_lightning, "transformers": train_trainer}


def resume_everywhere(
    framework: str, case: Case, root: Path, share: float = 1.0
) -> Iterator[tuple[str, list[str]]]:
    """Resume a training from each checkpoint, or a seeded share of them; yield its name and what differs."""
    train = TRAININGS[framework]
    whole = train(case, root, root / "run")
    last_steps = {row["step"] for row in rows(root / "run" / "epochs.jsonl")}
    chance = random.Random(case.seed)
    for checkpoint in whole.checkpoints:
        if chance.random() >= share:
            continue
        run = root / "again" / "run"
        shutil.copytree(root / "snapshots" / checkpoint.stem, run)
        resumed = train(case, root, run, checkpoint)
        step = int("".join(filter(str.isdigit, checkpoint.stem)))
        between = step in last_steps and not checkpoint.stem.startswith("epoch")
        yield checkpoint.stem, differences(resumed, whole, between=between)
        shutil.rmtree(root / "again")
        shutil.rmtree(root / "resumed", ignore_errors=True)

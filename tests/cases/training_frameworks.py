"""What the tests of Lightning and of Hugging Face share."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

import fisherscope as fs
from fisherscope import integrations

EPS32 = float(np.finfo(np.float32).eps)


class Spectra:
    """A run that keeps what the monitor hands it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.spectra: list[Any] = []
        self.epochs: list[dict[str, Any]] = []

    def log_step(self, row: dict[str, Any], eigenvalues: Any) -> None:
        self.rows.append(row)
        self.spectra.append(eigenvalues)

    def log_epoch(self, row: dict[str, Any]) -> None:
        self.epochs.append(row)


def assert_spectra_agree(seen: Any, expected: Any, roundings: float = 2048) -> None:
    """Eigenvalues in float32 arithmetic: an absolute error of some roundings of the largest."""
    seen, expected = np.sort(np.asarray(seen)), np.sort(np.asarray(expected))
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).max() <= roundings * EPS32 * expected.max()


Tracked = tuple[Any, Callable[[str], list[tuple[int, float]]]]
"""A tracker, and what its framework's own reader gives for a key: (step, value)."""


def tensorboard(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tracked:
    def read(key: str) -> list[tuple[int, float]]:
        events = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
        held = events.EventAccumulator(str(folder))
        held.Reload()
        return [(event.step, event.value) for event in held.Scalars(key)]

    return integrations.TensorBoardTracker(folder), read


def mlflow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tracked:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    flow = importlib.import_module("mlflow")
    flow.set_tracking_uri(folder.as_uri())
    client = flow.MlflowClient()
    run = client.create_run(client.create_experiment("measures")).info.run_id

    def read(key: str) -> list[tuple[int, float]]:
        return [(metric.step, metric.value) for metric in client.get_metric_history(run, key)]

    return integrations.MLflowTracker(run), read


def wandb(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tracked:
    for key in ("WANDB_SILENT", "WANDB_DISABLE_GIT", "WANDB_DISABLE_CODE"):
        monkeypatch.setenv(key, "true")
    folder.mkdir()
    bees = importlib.import_module("wandb")
    quiet = bees.Settings(x_disable_stats=True, x_disable_meta=True, console="off")
    run = bees.init(mode="offline", dir=str(folder), project="measures", settings=quiet)

    def read(key: str) -> list[tuple[int, float]]:
        run.finish()
        bees.teardown()  # the file is written by another process, which may still be at it
        return list(_wandb_file(next(folder.glob("wandb/offline-*/*.wandb")), key))

    return integrations.WandbTracker(run), read


def _wandb_file(path: Path, key: str) -> Any:
    """The history in an offline run's file: protocol buffers in a LevelDB log of a 7-byte header."""
    records = importlib.import_module("wandb.proto.wandb_internal_pb2")
    data, place, held = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:  # a block's rest is padding
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        held += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind not in (1, 4):  # neither whole nor the last part
            continue
        record = records.Record.FromString(held)
        held = b""
        named = {item.key or ".".join(item.nested_key): item for item in record.history.item}
        if key in named:
            yield int(named["step"].value_json), float(named[key].value_json)


def csv(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tracked:
    import polars

    path = folder / "measured.csv"

    def read(key: str) -> list[tuple[int, float]]:
        return list(polars.read_csv(path).select("step", key).iter_rows())

    return integrations.CsvTracker(path), read


def measured(tracker: Any, steps: int = 4) -> fs.Monitor:
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    monitor = fs.Monitor(model, optimizer, every=2, stride=True, strict=True, on_measure=[tracker])
    for _ in range(steps):
        optimizer.zero_grad()
        with monitor.observe():
            F.cross_entropy(model(torch.randn(6, 5)), torch.arange(6) % 3).backward()
        optimizer.step()
    return monitor


def lightning() -> Any:
    return importlib.import_module("lightning.pytorch")


class Sentences(Dataset[dict[str, Any]]):
    """Sentences of differing lengths: padded in batches."""

    def __init__(self, count: int, language: bool) -> None:
        self.draws, self.language = torch.Generator().manual_seed(2), language
        self.ids = [torch.randint(3, 40, (3 + k % 5,), generator=self.draws) for k in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"ids": self.ids[index], "label": index % 2}

    def padded(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        pad = nn.utils.rnn.pad_sequence
        inputs = pad([row["ids"] for row in rows], batch_first=True)
        mask = pad([torch.ones_like(row["ids"]) for row in rows], batch_first=True)
        labels = (
            pad([row["ids"] for row in rows], batch_first=True, padding_value=-100)
            if self.language
            else torch.tensor([row["label"] for row in rows])
        )
        return {"input_ids": inputs, "attention_mask": mask, "labels": labels}


def trainer(tmp_path: Path, model: Any, callbacks: list[Any], **args: Any) -> Any:
    hugging = importlib.import_module("transformers")
    data = Sentences(24, language=hasattr(model, "lm_head"))
    settings = hugging.TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=True, logging_steps=1,
        per_device_train_batch_size=4, remove_unused_columns=False, learning_rate=0.05,
        **{"max_steps": 3, "save_strategy": "no", **args},
    )  # fmt: skip
    return hugging.Trainer(model, settings, train_dataset=data, eval_dataset=data, data_collator=data.padded,
                           callbacks=callbacks)  # fmt: skip


def losses(done: Any) -> list[float]:
    return [entry["loss"] for entry in done.state.log_history if "loss" in entry]

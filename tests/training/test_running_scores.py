"""The running training error: what the authors' program records, against a loop that counts for itself."""

from __future__ import annotations

import gzip
import json
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.model_state import rng
from fisherscope.training import Configuration, TrainState, fill_from_paper, task_of, train

KEY = "train/error_running"


def write_mnist(folder: Path, samples: int = 90) -> Path:
    """Files as MNIST's, of random blobs whose place tells the class."""
    numbers = np.random.default_rng(0)
    (folder / "mnist").mkdir(parents=True)
    for part, count in (("train", samples), ("t10k", 40)):
        labels = numbers.integers(0, 10, count).astype(np.uint8)
        images = numbers.integers(0, 60, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 6, 4:20] += 150
        for name, array, head in (
            (f"{part}-images-idx3-ubyte", images, struct.pack(">IIII", 0x803, count, 28, 28)),
            (f"{part}-labels-idx1-ubyte", labels, struct.pack(">II", 0x801, count)),
        ):
            (folder / "mnist" / f"{name}.gz").write_bytes(gzip.compress(head + array.tobytes()))
    return folder


def counted(config: Configuration, task: fs.tasks.Task) -> list[float]:
    """Train by hand; count wrong answers of each batch as the model gave them, before its step."""
    rng.seed(config.seed)
    model = task.model()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=config.lr, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
    )
    sampler = fs.DynamicBatchSampler(len(task.train), config.policy_of(), seed=config.seed)
    sampler.attach(optimizer)
    errors = []
    for epoch in range(config.epochs):
        wrong = seen = 0
        for indices in sampler:
            x, y = task.train.batch(torch.tensor(indices), epoch, config.seed)
            output = model(x)
            wrong += sum(int(row.tolist().index(max(row.tolist())) != label)
                         for row, label in zip(output, y.tolist(), strict=True))  # fmt: skip
            seen += len(y)
            optimizer.zero_grad()
            F.cross_entropy(output, y).backward()
            optimizer.step()
            sampler.step(None)
        errors.append(wrong / seen)
    return errors


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "mnist/resnet8", "batch_size": 16},  # batch norm, augmentation, a last batch of 10
        {"task": "mnist/resnet8", "batch_size": 16, "measure": False},
        {"task": "digits/mlp", "policy": "s16-to-64", "lr": 0.05, "limit_train": 100},
        {"task": "digits/mlp", "batch_size": 32, "micro_batch": 8, "limit_train": 100},
    ],
)
def test_it_is_that_of_the_batches_as_trained(changes: dict[str, Any], tmp_path: Path) -> None:
    data = write_mnist(tmp_path / "data")
    values, _ = fill_from_paper({"lr": 0.1, "epochs": 3, "threads": 1, "every": 3, **changes})
    config = Configuration.of(values)
    path = train(config, tmp_path / "runs", data_dir=data).path
    rows = [json.loads(line) for line in (path / "epochs.jsonl").read_text().splitlines()]
    found, expected = [row[KEY] for row in rows], counted(config, task_of(config, data))
    if config.micro_batch is None:
        assert found == pytest.approx(expected, abs=1e-12)
    else:  # sums of parts are rounded otherwise
        assert found == pytest.approx(expected, abs=0.02)
    assert any(row[KEY] != row["train/error"] for row in rows)


def test_a_run_resumed_within_an_epoch_has_all_of_it() -> None:
    config = Configuration.of({"task": "digits/mlp", "batch_size": 32, "threads": 1})
    whole, half = (TrainState(config, task_of(config)) for _ in range(2))
    batches = list(whole.sampler)
    for place, indices in enumerate(batches):
        whole.step(indices)
        if place < 4:
            half.step(indices)
    resumed = TrainState(config, task_of(config))
    resumed.load_state_dict(half.state_dict())
    for indices in batches[4:]:
        resumed.step(indices)
    assert resumed.epoch_row()[KEY] == whole.epoch_row()[KEY]
    earlier = {key: value for key, value in half.state_dict().items() if key != "running"}
    resumed = TrainState(config, task_of(config))
    resumed.load_state_dict(earlier)  # of a version that counted nothing
    for indices in batches[4:]:
        resumed.step(indices)
    assert resumed.epoch_row().get(KEY) is None


def _task(scores: Any) -> fs.tasks.Task:
    digits = fs.tasks.get("digits/mlp")
    return fs.tasks.Task(
        "mine", digits.model, digits.train, digits.validation, digits.test, digits.loss, scores
    )


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (lambda model, batch: fs.tasks.task.classification(model, (batch[0] * 1, batch[1])), None),
        (lambda model, batch: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_scores_that_cannot_be_had_end_no_training(scores: Any, words: str | None) -> None:
    config = Configuration.of({"task": "digits/mlp", "batch_size": 32, "threads": 1})
    state = TrainState(config, _task(scores))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for indices in list(state.sampler)[:3]:
            state.step(indices)
    assert state.running.means(96) == {}
    assert [words in str(w.message) for w in caught] == ([True] if words else [])


def test_the_model_is_left_without_hooks() -> None:
    config = Configuration.of({"task": "digits/resnet8", "batch_size": 32, "threads": 1})
    state = TrainState(config, task_of(config))
    state.step(list(range(32)))
    assert not any(part._forward_hooks for part in state.model.modules() if isinstance(part, nn.Module))

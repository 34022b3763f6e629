"""Augmentation on the device, a function of seed, epoch and index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.cases.user_task import mnist_files

from fisherscope import tasks
from fisherscope.tasks import TaskError
from fisherscope.tasks.datasets.images import Images, draws


def test_augmentation_is_a_function_of_seed_epoch_and_index() -> None:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (40, 3, 32, 32), np.uint8))
    images = Images(pixels, torch.zeros(40, dtype=torch.int64), [125.0] * 3, [60.0] * 3, augment=True)
    whole = images.batch(torch.arange(40), epoch=2, seed=5)[0]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    parts = torch.cat([images.batch(torch.arange(k, k + 8), epoch=2, seed=5)[0] for k in range(0, 40, 8)])
    torch.set_num_threads(threads)
    assert torch.equal(whole, parts)
    for other in (
        images.batch(torch.arange(40), epoch=3, seed=5),
        images.batch(torch.arange(40), epoch=2, seed=6),
    ):
        assert not torch.equal(whole, other[0])
    plain = images.batch(torch.arange(40))[0]
    moved = [k for k in range(40) if any(torch.equal(whole[k], view) for view in views(plain[k]))]
    assert moved == list(range(40))


def test_digits_are_moved_and_never_mirrored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (30, 1, 32, 32), np.uint8))
    images = Images(pixels, torch.zeros(30, dtype=torch.int64), [33.0], [78.0], augment=True, mirror=False)
    whole, plain = images.batch(torch.arange(30), epoch=0)[0], images.batch(torch.arange(30))[0]
    assert all(any(torch.equal(whole[k], view) for view in views(plain[k])[:81]) for k in range(30))
    mnist_files(tmp_path)
    assert not tasks.get("mnist/mlp", tmp_path).train.whole.augment  # type: ignore[attr-defined]
    chosen = tasks.get("mnist/mlp", tmp_path, augment=True).train.whole  # type: ignore[attr-defined]
    assert (chosen.augment, chosen.mirror) == (True, False)
    with pytest.raises(TaskError, match="too small to be moved"):
        tasks.get("digits/mlp", augment=True)


def test_batches_are_made_on_the_device_that_holds_the_data() -> None:
    task = tasks.get("digits/mlp").to("meta")  # refuses to mix with tensors of another device
    images = Images(
        torch.zeros(9, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(9, dtype=torch.int64),
        [1.0] * 3,
        [1.0] * 3,
        True,
    )
    batch = images.to("meta").batch(torch.arange(4), epoch=1, seed=2)
    assert [part.device.type for part in batch] == ["meta", "meta"]
    assert batch[0].shape == (4, 3, 32, 32)
    assert task.limited(20).batch("train", [1, 2], device="meta")[0].device.type == "meta"


def views(image: torch.Tensor) -> list[torch.Tensor]:
    """All 81 crops of an image padded by 4, and their mirror images."""
    padded = torch.nn.functional.pad(image, (4, 4, 4, 4))
    crops = [padded[:, i : i + 32, j : j + 32] for i in range(9) for j in range(9)]
    return [*crops, *(crop.flip(2) for crop in crops)]


def test_draws_are_even() -> None:
    count = 81_000
    numbers = draws(torch.arange(count), epoch=3, seed=1) % 162
    found = torch.bincount(numbers, minlength=162)
    expected = count / 162
    chi = float(((found - expected) ** 2 / expected).sum())
    assert abs(chi - 161) < 5 * (2 * 161) ** 0.5  # five standard deviations of chi-squared

"""Readers of published files, on real and on tampered bytes."""

from __future__ import annotations

import gzip
import lzma
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from tests.cases.user_task import idx, mnist_files

from fisherscope import tasks
from fisherscope.tasks import DataError
from fisherscope.tasks.datasets.vision import cifar10, cifar100, mnist, svhn


def records(count: int, labels: int, seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 256, (count, labels + 3072), np.uint8)
    table[:, :labels] %= 10
    return table.tobytes()


def test_mnist_is_padded_and_normalised(tmp_path: Path) -> None:
    train, test, notes = mnist(mnist_files(tmp_path))
    assert notes == ("20 training and 10 test images; 60000 and 10000 are published",)
    assert train.pixels.shape == (20, 1, 32, 32)
    assert not train.pixels[:, :, :2].any()
    assert len(test) == 10
    images, labels = train.batch(torch.tensor([3, 5]))
    expected = (train.pixels[3].float() / 255 - 0.1307) / 0.3081
    torch.testing.assert_close(images[0], expected)
    assert labels.tolist() == train.labels[[3, 5]].tolist()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: gzip.compress(data)[:-20], "damaged or cut short"),
        (lambda data: gzip.compress(data[:-1]), "expected 15696"),
        (lambda data: gzip.compress(b"\x00\x00\x09\x03" + data[4:]), "begins with 00 00 08 03"),
        (lambda data: b"<html>not found</html>", "damaged or cut short"),
        (lambda data: b"", "0 bytes that begin with nothing"),
        (lambda data: gzip.compress(idx(np.zeros((20, 20, 20), np.uint8))), r"shape \(20, 20, 20\)"),
        (lambda data: gzip.compress(idx(np.zeros((19, 28, 28), np.uint8))), "20 labels; expected"),
        (lambda data: gzip.compress(idx(np.zeros(20, np.uint8))), "begins with 00 00 08 03"),
    ],
)
def test_tampered_mnist_is_told(spoil: Any, words: str, tmp_path: Path) -> None:
    path = mnist_files(tmp_path) / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(spoil(gzip.decompress(path.read_bytes())))
    with pytest.raises(DataError, match=words):
        mnist(tmp_path)


def test_cifar10_takes_the_files_that_are_there_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "data_batch_1.bin.xz").write_bytes(lzma.compress(records(7, 1)))
    (tmp_path / "cifar10" / "test_batch.bin").write_bytes(records(4, 1, seed=1))
    train, test, notes = cifar10(tmp_path)
    assert (len(train), len(test)) == (7, 4)
    assert "data_batch_5.bin" in notes[0]
    raw = np.frombuffer(records(7, 1), np.uint8).reshape(7, 3073)
    assert train.labels.tolist() == raw[:, 0].tolist()
    assert train.pixels[2, 1, 3, 4] == raw[2, 1 + 1024 + 3 * 32 + 4]


def test_cifar_archives_are_read_without_unpacking(tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    archive = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"):
            path = tmp_path / name
            path.write_bytes(records(3, 1))
            tar.add(path, f"cifar-10-batches-bin/../{name}")  # a path that would lead out, were it unpacked
            path.unlink()
    train, _, notes = cifar10(tmp_path)
    assert (len(train), notes) == (15, ())
    assert [path.name for path in (tmp_path / "cifar10").iterdir()] == [archive.name]


def test_cifar100_has_its_fine_labels(tmp_path: Path) -> None:
    (tmp_path / "cifar100").mkdir()
    for name, count in (("train.bin", 6), ("test.bin", 2)):
        (tmp_path / "cifar100" / name).write_bytes(records(count, 2))
    train, _, _ = cifar100(tmp_path)
    assert train.labels.tolist() == np.frombuffer(records(6, 2), np.uint8).reshape(6, 3074)[:, 1].tolist()
    (tmp_path / "cifar100" / "train.bin").write_bytes(records(6, 2)[:-5])
    with pytest.raises(DataError, match="no whole number of 3074-byte records"):
        cifar100(tmp_path)


def test_svhn_counts_zero_as_ten(tmp_path: Path) -> None:
    (tmp_path / "svhn").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), np.uint8)
    for name in ("train_32x32.mat", "test_32x32.mat"):
        scipy.io.savemat(tmp_path / "svhn" / name, {"X": pixels, "y": np.array([[10], [1], [2], [10]])})
    train, _, notes = svhn(tmp_path)
    assert train.labels.tolist() == [0, 1, 2, 0]
    assert train.pixels[1, 2, 3, 4] == pixels[3, 4, 2, 1]
    assert notes == ("without the extra set",)
    (tmp_path / "svhn" / "test_32x32.mat").write_bytes(b"no matlab")
    with pytest.raises(DataError, match="no SVHN file"):
        svhn(tmp_path)


@pytest.mark.parametrize(
    ("pixels", "labels", "words"),
    [
        (np.zeros((32, 32, 3, 4)), np.ones((4, 1)), "of float64"),
        (np.zeros((28, 32, 3, 4), np.uint8), np.ones((4, 1)), r"X \(28, 32, 3, 4\)"),
        (np.zeros((32, 32, 3, 4), np.uint8), np.ones((3, 1)), r"y \(3, 1\)"),
        (np.zeros((32, 32, 3, 4), np.uint8), np.ones((4, 2)), r"y \(4, 2\)"),
        (np.zeros((32, 32, 3, 4), np.uint8), np.full((4, 1), 30), "label 29; expected 0 to 9"),
        (np.zeros((32, 32, 3, 4), np.uint8), np.full((4, 1), -1), "label -2"),
    ],
)
def test_wrong_svhn_is_told(pixels: Any, labels: Any, words: str, tmp_path: Path) -> None:
    (tmp_path / "svhn").mkdir()
    for name in ("train_32x32.mat", "test_32x32.mat"):
        scipy.io.savemat(tmp_path / "svhn" / name, {"X": pixels, "y": labels})
    with pytest.raises(DataError, match=rf"train_32x32\.mat.*{words}"):
        svhn(tmp_path)


@pytest.mark.skipif("FISHERSCOPE_DATA" not in os.environ, reason="needs the published files")
def test_the_real_mnist_is_read_right() -> None:
    task = tasks.get("mnist/mlp", validation=False)
    counts = torch.bincount(task.train.labels).tolist()  # type: ignore[attr-defined]
    assert counts == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    pixels = task.train.pixels[:, :, 2:-2, 2:-2].float() / 255  # type: ignore[attr-defined]
    assert (round(float(pixels.mean()), 4), round(float(pixels.std()), 4)) == (0.1307, 0.3081)

"""Read MNIST, CIFAR-10, CIFAR-100 and SVHN from their published files."""

from __future__ import annotations

import math
import struct
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fisherscope.tasks.datasets.files import (
    Contents,
    Published,
    contents,
    fetch,
    is_file,
    member,
    unreadable,
)
from fisherscope.tasks.datasets.images import Images
from fisherscope.tasks.errors import DataError

MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
CIFAR = "https://www.cs.toronto.edu/~kriz"
SVHN = "http://ufldl.stanford.edu/housenumbers"
MNIST_FILES = {
    "train-images-idx3-ubyte": Published(
        "train-images-idx3-ubyte.gz", MNIST, "f68b3c2dcbeaaa9fbdd348bbdeb94873", 10
    ),
    "train-labels-idx1-ubyte": Published(
        "train-labels-idx1-ubyte.gz", MNIST, "d53e105ee54ea40749a09fcbcd1e9432", 1
    ),
    "t10k-images-idx3-ubyte": Published(
        "t10k-images-idx3-ubyte.gz", MNIST, "9fb629c4189551a2d022fa330f9573f3", 2
    ),
    "t10k-labels-idx1-ubyte": Published(
        "t10k-labels-idx1-ubyte.gz", MNIST, "ec29112dd5afa0611ce80d1b7f02629c", 1
    ),
}
CIFAR10 = Published("cifar-10-binary.tar.gz", CIFAR, "c32a1d4ab5d03f1284b67883e8d87530", 170)
CIFAR100 = Published("cifar-100-binary.tar.gz", CIFAR, "03b5dce01913d631647c71ecec9e9cb8", 169)
SVHN_FILES = {
    "train": Published("train_32x32.mat", SVHN, "e26dedcc434d2e4c54c9b2d4a06d8373", 182),
    "test": Published("test_32x32.mat", SVHN, "eb5a983be6a315427106f1b164d9cef3", 64),
    "extra": Published("extra_32x32.mat", SVHN, "a93ce644f1a588dc4d68dda5feec44a7", 1329),
}
PIXELS = 3 * 32 * 32


def mnist(folder: Path) -> tuple[Images, Images, tuple[str, ...]]:
    """Read (training, test, notes) of 1×32×32: 28×28 padded by 2 zeros, as in the paper."""
    folder = folder / "mnist"
    parts = []
    for prefix in ("train", "t10k"):
        pictures = _mnist_file(folder, f"{prefix}-images-idx3-ubyte")
        classes = _mnist_file(folder, f"{prefix}-labels-idx1-ubyte")
        images, labels = idx(pictures.data, pictures.place, 3), idx(classes.data, classes.place, 1).long()
        if images.shape[1:] != (28, 28) or len(images) != len(labels):
            raise DataError(
                f"reading {pictures.place}: shape {tuple(images.shape)}, and {classes.place} has "
                f"{len(labels)} labels; expected (n, 28, 28) and n; download both again"
            )
        _check_labels(labels, 10, classes.place)
        pixels = F.pad(images.unsqueeze(1), (2, 2, 2, 2))
        parts.append(Images(pixels, labels, [0.1307 * 255], [0.3081 * 255], mirror=False))
    counts = len(parts[0]), len(parts[1])
    notes = ("{} training and {} test images; 60000 and 10000 are published".format(*counts),)
    return parts[0], parts[1], () if counts == (60000, 10000) else notes


def _check_labels(labels: Tensor, classes: int, place: str) -> None:
    """Check that there are labels, each of an existing class."""
    if not len(labels):
        raise DataError(f"reading {place}: it holds no samples; download it again")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise DataError(
            f"reading {place}: label {int(wrong[0])}; expected 0 to {classes - 1}; download it again"
        )


def _mnist_file(folder: Path, name: str) -> Contents:
    file = contents(folder, name)
    if file is None:
        fetch(folder, MNIST_FILES[name])
        file = contents(folder, name)
    assert file is not None, "downloaded in the line before"
    return file


def idx(data: bytes, name: str, dimensions: int) -> Tensor:
    """Decode an IDX file of unsigned bytes.

    Returns:
        uint8, with `dimensions` dimensions.

    Raises:
        DataError: It has another format or type, or another length than its header says.
    """
    start = 4 + 4 * dimensions
    if len(data) < start or data[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(
            f"reading {name}: {len(data)} bytes that begin with {data[:4].hex(' ') or 'nothing'}; "
            f"an IDX file of bytes in {dimensions} dimensions begins with 00 00 08 {dimensions:02x}; "
            "download the file again"
        )
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    expected = start + math.prod(shape)
    if len(data) != expected:
        raise DataError(
            f"reading {name}: {len(data)} bytes for shape {shape}; expected {expected}; download it again"
        )
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy())


def cifar10(folder: Path) -> tuple[Images, Images, tuple[str, ...]]:
    """Read (training, test, notes) of 3×32×32; notes name training files that are missing."""
    names = [f"data_batch_{k}.bin" for k in range(1, 6)]
    folder = folder / "cifar10"
    batches = [contents(folder, name) for name in names]
    test = contents(folder, "test_batch.bin")
    if test is None or not any(batches):
        missing_name = "test_batch.bin" if test is None else names[0]
        archive = fetch(
            folder, CIFAR10, f", because {folder} has no {missing_name}" if folder.is_dir() else ""
        )
        batches, test = [member(archive, name) for name in names], member(archive, "test_batch.bin")
    parts = [records(file.data, file.place, 1) for file in batches if file is not None]
    missing = [name for file, name in zip(batches, names, strict=True) if file is None]
    notes = (f"without {', '.join(missing)}, which are not in {folder.name}",) if missing else ()
    train = torch.cat([pixels for pixels, _ in parts]), torch.cat([labels for _, labels in parts])
    return _cifar(*train, augment=True), _cifar(*records(test.data, test.place, 1), augment=False), notes


def cifar100(folder: Path) -> tuple[Images, Images, tuple[str, ...]]:
    """Read (training, test, notes) of 3×32×32 with the 100 fine labels."""
    folder = next(
        (f for f in (folder / "cifar100", folder / "cifar100-sample") if f.is_dir()), folder / "cifar100"
    )
    train, test = (contents(folder, name) for name in ("train.bin", "test.bin"))
    if train is None or test is None:
        archive = fetch(folder, CIFAR100)
        train, test = (member(archive, name) for name in ("train.bin", "test.bin"))
    (x, y), (u, v) = (records(file.data, file.place, 2) for file in (train, test))
    notes = (f"{len(x)} of the 50000 training images",) if len(x) < 50000 else ()
    return _cifar(x, y, augment=True), _cifar(u, v, augment=False), notes


def records(data: bytes, name: str, labels: int) -> tuple[Tensor, Tensor]:
    """Decode records of the binary version: label bytes (the last one counts), then pixels.

    Returns:
        Pixels (n, 3, 32, 32) uint8, and labels (n,) int64.

    Raises:
        DataError: The length is no whole number of records, or a label does not exist.
    """
    length = labels + PIXELS
    if not data or len(data) % length:
        raise DataError(
            f"reading {name}: {len(data)} bytes are no whole number of {length}-byte records; download it "
            "again"
        )
    table = np.frombuffer(data, np.uint8).reshape(-1, length)
    numbers = torch.from_numpy(table[:, labels - 1].astype(np.int64))
    _check_labels(numbers, 10 if labels == 1 else 100, name)
    return torch.from_numpy(table[:, labels:].reshape(-1, 3, 32, 32).copy()), numbers


def _cifar(pixels: Tensor, labels: Tensor, augment: bool) -> Images:
    return Images(pixels, labels, [125.3, 123.0, 113.9], [63.0, 62.1, 66.7], augment)


def svhn(folder: Path, extra: bool | None = None) -> tuple[Images, Images, tuple[str, ...]]:
    """Read (training, test, notes) of 3×32×32; `extra` adds the extra set, by default if its file exists."""
    folder = folder / "svhn"
    train, test = (_svhn_file(fetch(folder, SVHN_FILES[part])) for part in ("train", "test"))
    notes: tuple[str, ...] = ()
    if extra or (extra is None and is_file(folder / SVHN_FILES["extra"].name)):
        more = _svhn_file(fetch(folder, SVHN_FILES["extra"]))
        train = torch.cat([train[0], more[0]]), torch.cat([train[1], more[1]])
    else:
        notes = ("without the extra set",)
    statistics = [111.6, 113.2, 120.6], [50.5, 51.3, 50.2]
    images = partial(Images, mean=statistics[0], std=statistics[1], mirror=False)
    return images(*train), images(*test), notes


def _svhn_file(path: Path) -> tuple[Tensor, Tensor]:
    """Read pixels and labels of an SVHN file, which labels 0 as 10.

    Returns:
        Pixels (n, 3, 32, 32) uint8, and labels (n,) int64.

    Raises:
        DataError: The file has another structure.
    """
    from scipy.io import loadmat

    try:
        with path.open("rb") as file:
            arrays = loadmat(file, variable_names=["X", "y"])
        pixels, labels = arrays["X"], arrays["y"]
    except PermissionError as error:
        raise unreadable(path, error) from error
    except Exception as error:
        raise DataError(
            f"reading {path}: no SVHN file in MATLAB 5 format ({type(error).__name__}: {error}; "
            f"{path.stat().st_size} bytes); delete it and download it again"
        ) from error
    expected = (32, 32, 3, labels.size), np.uint8, (labels.size, 1)
    if (pixels.shape, pixels.dtype, labels.shape) != expected or labels.dtype.kind not in "uif":
        raise DataError(
            f"reading {path}: X {pixels.shape} of {pixels.dtype}, y {labels.shape} of "
            f"{labels.dtype}; expected (32, 32, 3, n) of uint8 and n numbers (n, 1); delete it and "
            "download it again"
        )
    numbers = torch.from_numpy(labels.reshape(-1).astype(np.int64))
    _check_labels(numbers - 1, 10, f"{path}, less 1")
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(3, 2, 0, 1))), numbers % 10

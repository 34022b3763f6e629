"""MNIST, CIFAR-10, CIFAR-100 and SVHN from their published files."""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fisherscope.tasks.errors import DataError
from fisherscope.tasks.images import Images
from fisherscope.tasks.storage import Published, contents, fetched, member

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


def mnist(folder: Path) -> tuple[Images, Images]:
    """(training, test) of 1×32×32: 28×28 padded by 2 zeros, as every model of the paper takes it."""
    folder = folder / "mnist"
    parts = []
    for prefix in ("train", "t10k"):
        images = idx(_mnist_file(folder, f"{prefix}-images-idx3-ubyte"), f"{prefix}-images", 3)
        labels = idx(_mnist_file(folder, f"{prefix}-labels-idx1-ubyte"), f"{prefix}-labels", 1)
        if len(images) != len(labels):
            raise DataError(
                f"reading MNIST in {folder}: {len(images)} {prefix} images and {len(labels)} labels"
            )
        pixels = F.pad(images.unsqueeze(1), (2, 2, 2, 2))
        parts.append(Images(pixels, labels.long(), [0.1307 * 255], [0.3081 * 255], mirror=False))
    return parts[0], parts[1]


def _mnist_file(folder: Path, name: str) -> bytes:
    found = contents(folder, name)
    if found is None:
        fetched(folder, MNIST_FILES[name])
        found = contents(folder, name)
    assert found is not None, "fetched in the line before"
    return found


def idx(data: bytes, name: str, dimensions: int) -> Tensor:
    """The array of an IDX file of unsigned bytes.

    Raises:
        DataError: Another format, or not as long as its header says.
    """
    start = 4 + 4 * dimensions
    if len(data) < start or data[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(
            f"reading {name}: the file begins with {data[:4].hex(' ')}; an IDX file of bytes in "
            f"{dimensions} dimensions "
            f"begins with 00 00 08 {dimensions:02x}"
        )
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    expected = start + int(np.prod(shape))
    if len(data) != expected:
        raise DataError(
            f"reading {name}: {len(data)} bytes for shape {shape}; expected {expected}; get the file again"
        )
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy())


def cifar10(folder: Path) -> tuple[Images, Images, tuple[str, ...]]:
    """(training, test, notes) of 3×32×32; the training files that are there, said where some are not."""
    names = [f"data_batch_{k}.bin" for k in range(1, 6)]
    folder = folder / "cifar10"
    found = [contents(folder, name) for name in names]
    test = contents(folder, "test_batch.bin")
    if test is None or not any(found):
        archive = fetched(folder, CIFAR10)
        found, test = [member(archive, name) for name in names], member(archive, "test_batch.bin")
    parts = [records(data, name, 1) for data, name in zip(found, names, strict=True) if data is not None]
    missing = [name for data, name in zip(found, names, strict=True) if data is None]
    notes = (f"without {', '.join(missing)}, which are not in {folder.name}",) if missing else ()
    train = torch.cat([pixels for pixels, _ in parts]), torch.cat([labels for _, labels in parts])
    return _cifar(*train, augment=True), _cifar(*records(test, "test_batch.bin", 1), augment=False), notes


def cifar100(folder: Path) -> tuple[Images, Images, tuple[str, ...]]:
    """(training, test, notes) of 3×32×32 with the 100 fine labels."""
    folder = next(
        (f for f in (folder / "cifar100", folder / "cifar100-sample") if f.is_dir()), folder / "cifar100"
    )
    found = {name: contents(folder, name) for name in ("train.bin", "test.bin")}
    if None in found.values():
        archive = fetched(folder, CIFAR100)
        found = {name: member(archive, name) for name in found}
    (x, y), (u, v) = (records(data or b"", name, 2) for name, data in found.items())
    notes = (f"{len(x)} of the 50000 training images",) if len(x) < 50000 else ()
    return _cifar(x, y, augment=True), _cifar(u, v, augment=False), notes


def records(data: bytes, name: str, labels: int) -> tuple[Tensor, Tensor]:
    """(pixels (n, 3, 32, 32) uint8, labels (n,)) of the binary version: labels (the last counts), pixels.

    Raises:
        DataError: Not a whole number of records, or a label that does not exist.
    """
    length = labels + PIXELS
    if not data or len(data) % length:
        raise DataError(
            f"reading {name}: {len(data)} bytes are no whole number of {length}-byte records; get it again"
        )
    table = np.frombuffer(data, np.uint8).reshape(-1, length)
    classes = 10 if labels == 1 else 100
    if int(table[:, labels - 1].max()) >= classes:
        raise DataError(
            f"reading {name}: label {int(table[:, labels - 1].max())}; expected 0 to {classes - 1}"
        )
    pixels = torch.from_numpy(table[:, labels:].reshape(-1, 3, 32, 32).copy())
    return pixels, torch.from_numpy(table[:, labels - 1].astype(np.int64))


def _cifar(pixels: Tensor, labels: Tensor, augment: bool) -> Images:
    return Images(pixels, labels, [125.3, 123.0, 113.9], [63.0, 62.1, 66.7], augment)


def svhn(folder: Path) -> tuple[Images, Images, tuple[str, ...]]:
    """(training with the extra set where that is there, test, notes) of 3×32×32."""
    folder = folder / "svhn"
    train, test = (_svhn_file(fetched(folder, SVHN_FILES[part])) for part in ("train", "test"))
    extra = folder / SVHN_FILES["extra"].name
    notes: tuple[str, ...] = ()
    if extra.is_file():
        more = _svhn_file(extra)
        train = torch.cat([train[0], more[0]]), torch.cat([train[1], more[1]])
    else:
        notes = ("without the extra set",)
    statistics = [111.6, 113.2, 120.6], [50.5, 51.3, 50.2]
    images = partial(Images, mean=statistics[0], std=statistics[1], mirror=False)
    return images(*train), images(*test), notes


def _svhn_file(path: Path) -> tuple[Tensor, Tensor]:
    """(pixels (n, 3, 32, 32), labels (n,)); the files count 0 as 10.

    Raises:
        DataError: Not a file of that structure.
    """
    from scipy.io import loadmat

    try:
        held = loadmat(path, variable_names=["X", "y"])
        pixels, labels = held["X"], held["y"]
    except Exception as error:
        raise DataError(
            f"reading {path}: no SVHN file in MATLAB 5 format ({type(error).__name__}: {error})"
        ) from error
    if pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3) or len(labels) != pixels.shape[3]:
        raise DataError(
            f"reading {path}: X {pixels.shape}, y {labels.shape}; expected (32, 32, 3, n) and (n, 1)"
        )
    moved = torch.from_numpy(np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)))
    return moved, torch.from_numpy(labels.reshape(-1).astype(np.int64) % 10)

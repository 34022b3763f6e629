"""Tasks: the paper's networks, readers of published files on real and on tampered bytes, a user's own."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import random
import re
import struct
import sys
import tarfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch

import fisherscope as fs
from fisherscope import tasks
from fisherscope.tasks import DataError, TaskError, factory, models, user_data
from fisherscope.tasks.datasets.files import Published, fetch
from fisherscope.tasks.datasets.images import Images, draws
from fisherscope.tasks.datasets.vision import cifar10, cifar100, mnist, svhn


@pytest.mark.parametrize(
    ("name", "channels", "count"),
    [
        ("resnet110", 3, 1_728_090),
        ("resnet8", 1, 75_130),
        ("densenet110", 3, 1_724_890),
        ("densenet8", 1, 10_322),
        ("mlp", 1, 768_010),
    ],
)
def test_networks_have_the_paper_s_parameter_counts(name: str, channels: int, count: int) -> None:
    model = models.build(name, channels, 10, 32)
    assert sum(p.numel() for p in model.parameters()) == count
    assert model(torch.zeros(2, channels, 32, 32)).shape == (2, 10)


def test_initialisation_is_he_s_by_fan_out() -> None:
    torch.manual_seed(0)
    model = models.build("resnet110", 3, 10, 32)
    weights = [m.weight for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.out_channels == 64]
    pooled = torch.cat([w.flatten() for w in weights])
    deviation = (2 / (9 * 64)) ** 0.5
    # the deviation of n normal numbers is off by about 1/sqrt(2n) of itself
    assert abs(float(pooled.detach().std()) / deviation - 1) < 5 / (2 * len(pooled)) ** 0.5


def test_a_residual_unit_ends_with_the_addition() -> None:
    unit = models.ResidualUnit(16, 16, 1)
    assert float(unit(-torch.ones(2, 16, 4, 4)).min()) < 0  # a ReLU after it would leave nothing below 0


def test_digits_are_split_the_same_every_time() -> None:
    one, other = tasks.get("digits/mlp"), tasks.get("digits/resnet8")
    assert (len(one.train), len(one.validation), len(one.test)) == (300, 500, 997)
    for split in ("train", "validation", "test"):
        indices = torch.arange(50)
        assert torch.equal(one.batch(split, indices)[0], other.batch(split, indices)[0])
    seen = torch.cat(
        [one.batch(s, range(len(one.split(s))))[0].flatten(1) for s in ("train", "validation", "test")]
    )
    assert len(torch.unique(seen, dim=0)) > 1790  # a few of the 1797 images are alike


# Published files


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist_files(folder: Path, train: int = 20, test: int = 10) -> Path:
    rng = np.random.default_rng(0)
    (folder / "mnist").mkdir(parents=True)
    for prefix, count in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = rng.integers(0, 10, count, np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            (folder / "mnist" / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    return folder


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


def test_a_file_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    labels = mnist_files(tmp_path) / "mnist" / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx(np.full(20, 77, np.uint8))))
    with pytest.raises(DataError, match=re.escape(f"reading {labels}: label 77; expected 0 to 9")):
        mnist(tmp_path)
    labels.unlink()
    labels.mkdir()
    with pytest.raises(DataError, match=re.escape(f"reading {labels}: it is a directory")):
        mnist(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is a file; expected a directory"):
        cifar10(tmp_path / "file")


def test_a_file_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, *_: object) -> Any:
        raise PermissionError(13, "Permission denied", str(self))

    mnist_files(tmp_path)
    monkeypatch.setattr(Path, "read_bytes", refused)  # a superuser may read everything
    with pytest.raises(DataError, match=r"ubyte\.gz: Permission denied; check its permissions"):
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


def test_what_cannot_be_downloaded_says_file_size_and_place(tmp_path: Path) -> None:
    nowhere = Published("data.bin", "http://127.0.0.1:9", "0" * 32, 7)
    with pytest.raises(DataError, match=r"data\.bin \(7 MB\) from http://127\.0\.0\.1:9.*put the file into"):
        fetch(tmp_path, nowhere)
    assert not list(tmp_path.iterdir())


# Augmentation


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


def test_a_data_set_s_own_randomness_follows_from_seed_epoch_and_index() -> None:
    class Noisy(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.tensor([index, torch.rand(()).item(), np.random.rand(), random.random()])  # noqa: NPY002

    data = user_data.as_split(Noisy(), "noisy")
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    whole = data.batch(torch.arange(20), epoch=1, seed=3)
    parts = torch.cat([data.batch(torch.arange(k, k + 5), epoch=1, seed=3) for k in range(0, 20, 5)])
    assert torch.equal(whole, parts)
    assert not torch.equal(whole, data.batch(torch.arange(20), epoch=2, seed=3))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002


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


# A user's own

OWN = """
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, default_collate
def made():
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    return {{"model": lambda: torch.nn.Linear(5, 2), "train": (x, (x[:, 0] > 0).long()){more}}}
def nonsense():
    return 3
def no_data():
    return {{"model": lambda: torch.nn.Linear(5, 2)}}
def misspelt():
    return {{"model": lambda: torch.nn.Linear(5, 2), "train": (torch.zeros(4, 5),), "tset": 1}}
def advised():
    data = [{{"x": torch.randn(5), "y": k % 2}} for k in range(40)]
    loss = lambda model, batch: F.cross_entropy(model(batch["x"]), batch["y"])
    return {{"model": torch.nn.Linear(5, 2), "loss": loss, "data": DataLoader(data, 4, collate_fn=lists)}}
def compared():
    def scores(model, batch):
        output = model(batch["x"])
        loss = F.cross_entropy(output, batch["y"], reduction="none")
        return {{"loss": loss, "error": (output.argmax(1) != batch["y"]).float()}}
    return {{**advised(), "scores": scores}}
def lists(samples):
    batch = default_collate(samples)
    return {{**batch, "collated": True}}
def torch_s():
    data = torch.zeros(4, 5), torch.ones(4).long()
    return {{"model": torch.nn.Linear(5, 2), "loss": F.cross_entropy, "data": data}}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_task_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(OWN.format(more=""))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_a_user_s_task_trains_like_ours(own: str, tmp_path: Path) -> None:
    from fisherscope.training import train

    task = fs.tasks.get(f"{own}:made")
    assert "no test data" in task.notes[0]
    assert (len(task.train), len(task.validation)) == (36, 4)
    result = train({"task": f"{own}:made", "batch_size": 6, "lr": 0.1, "epochs": 2}, tmp_path / "runs")
    assert result.status == "finished"


def test_one_factory_is_advised_on_and_trained(own: str, tmp_path: Path) -> None:
    from fisherscope.training import train

    name = f"{own}:compared"
    assert tasks.subject(name).dataset_size == 40
    task = fs.tasks.get(name)
    assert (len(task.train), len(task.validation)) == (36, 4)
    assert task.batch("train", [0, 1])["collated"]  # as its loader does
    torch.manual_seed(0)
    first, second = task.model(), task.model()  # made anew, though the factory hands over one
    assert not torch.equal(next(first.parameters()), next(second.parameters()))
    result = train({"task": name, "batch_size": 6, "lr": 0.1, "epochs": 1}, tmp_path / "runs")
    assert result.status == "finished"


def test_a_loss_of_torch_is_called_with_the_model_s_output(own: str) -> None:
    task = fs.tasks.get(f"{own}:torch_s")
    loss = task.loss(task.model(), task.batch("train", [0, 1, 2]))
    assert loss.shape == ()
    weighted = factory.batch_loss(torch.nn.CrossEntropyLoss(label_smoothing=0.1))
    assert weighted(torch.nn.Identity(), (torch.zeros(3, 2), torch.zeros(3).long())) > 0


def test_a_model_made_already_and_not_to_be_made_again_is_refused() -> None:
    with pytest.raises(TaskError, match="makes a new model"):
        factory.as_task("mine", {"model": torch.nn.Linear(5, 2), "train": (torch.zeros(4, 5),)})


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("nonsense", "returned int"),
        ("no_data", "no 'train'"),
        ("misspelt", "did you mean 'test'"),
        ("advised", r"(?s)has its own loss and no 'scores'.*def scores\(model, batch\)"),
        ("mad", "did you mean made"),
    ],
)
def test_a_factory_s_nonsense_is_told(own: str, function: str, words: str) -> None:
    with pytest.raises(TaskError, match=words):
        tasks.get(f"{own}:{function}")


NONSENSE = """
import torch
from torch import nn
from torch.nn import functional as F

x, y = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
only = nn.Linear(5, 2)
backbone = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
each = lambda m, b: {"loss": F.cross_entropy(m(b[0]), b[1], reduction="none"), "error": b[1].float()}
mean = lambda m, b: F.cross_entropy(m(b[0]), b[1])

def frozen():
    return nn.Linear(5, 2).requires_grad_(False)

def normed():
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(zip(x, y))

some = torch.utils.data.SubsetRandomSampler(range(30))

class Holed(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        if index == 39:
            raise KeyError("no such sample")
        return x[index], y[index]

CASES = {
    "ends": SystemExit(3),
    "needs": {"model": lambda width: nn.Linear(width, 2)},
    "none": {"model": lambda: None},
    "frozen": {"model": frozen},
    "shared": {"model": lambda: only},
    "part": {"model": lambda: nn.Sequential(backbone, nn.Linear(4, 2))},
    "sampled": {"train": torch.utils.data.DataLoader(Holed(), 4, sampler=some)},
    "sum": {"reduction": "sum"},
    "stream": {"train": torch.utils.data.DataLoader(Stream(), 4)},
    "narrow": {"model": lambda: nn.Linear(6, 2)},
    "lengths": {"train": (x, y[:-1])},
    "arrays": {"train": (x.numpy(), y.numpy())},
    "mixed": {"train": {"x": x, "y": 3}},
    "vector": {"loss": lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="none")},
    "one": {"loss": lambda m, b: mean(m, b)[None]},
    "number": {"loss": lambda m, b: mean(m, b).item()},
    "detached": {"loss": lambda m, b: mean(m, b).detach()},
    "raises": {"loss": lambda m, b: 1 / 0},
    "text": {"loss": "cross_entropy"},
    "nothing": {"scores": lambda m, b: None},
    "lossless": {"scores": lambda m, b: {"error": b[1].float()}},
    "means": {"scores": lambda m, b: {"loss": mean(m, b), "error": b[1].float()}},
    "metric": {"metric": "accuracy"},
    "direction": {"direction": "up"},
    "five": {5: 6},
    "holed": {"train": Holed(), "validation": (x, y)},
    "alone": {"model": normed, "train": (x[:37], y[:37]), "validation": (x, y)},
}

def made(case):
    def factory():
        if isinstance(CASES[case], BaseException):
            raise CASES[case]
        good = {"model": lambda: nn.Linear(5, 2), "train": (x, y), "loss": mean, "scores": each}
        return {**good, **CASES[case]}
    return factory

for case in CASES:
    globals()[case] = made(case)
ready = 3
"""


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("ends", "raised SystemExit: 3 (nonsense.py:"),
        ("needs", "missing 1 required positional argument: 'width'"),
        ("none", "'model' returned NoneType; expected a torch.nn.Module"),
        ("frozen", "none of its parameters is to be trained"),
        ("shared", "returned the same model twice"),
        ("part", "returned the same model twice, or a part of it"),
        ("sampled", "draws by its own SubsetRandomSampler"),
        ("sum", "returned reduction='sum'; training takes the loss as a batch's mean"),
        ("stream", "received a loader of a stream"),
        ("narrow", "raised RuntimeError: mat1 and mat2 shapes"),
        ("lengths", "its tensors have 40, 39 samples"),
        ("arrays", "torch.from_numpy"),
        ("mixed", "received a dict of 'x': Tensor, 'y': int"),
        ("vector", "has shape (8,); expected one number"),
        ("one", "has shape (1,); expected one number"),
        ("number", "is float; expected a tensor"),
        ("detached", "does not depend on the model's parameters"),
        ("raises", "raised ZeroDivisionError: division by zero (nonsense.py:"),
        ("text", "'loss' is str; expected a function"),
        ("nothing", "are NoneType; expected {'loss'"),
        ("lossless", "have no 'loss' among error"),
        ("means", "'loss' is of shape (); expected a tensor of shape (2,)"),
        ("metric", "have no 'accuracy' among loss, error"),
        ("direction", "expected 'min' or 'max'"),
        ("five", "returned the key '5'"),
        ("holed", "raised KeyError: 'no such sample' (nonsense.py:"),
        ("alone", "choose another batch size"),
        ("ready", "ready is int; expected a function"),
    ],
)
def test_a_factory_s_mistake_is_told_with_its_line(
    case: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but one before anything is written; the sample that is not there shows when it is drawn."""
    from fisherscope.training import train

    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "nonsense", raising=False)
    (tmp_path / "nonsense.py").write_text(NONSENSE)
    config = {"task": "nonsense.py:" + case, "batch_size": 4 if case == "alone" else 8, "epochs": 1}
    with pytest.raises(TaskError) as told:
        train(config, tmp_path / "runs")
    assert words in str(told.value).replace(f"{tmp_path}/", "")
    assert (tmp_path / "runs").exists() == (case == "holed")


def test_a_task_that_is_tried_trains_as_one_that_is_not(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial leaves no trace in the generators, the model or the data."""
    from fisherscope.training import Configuration, TrainState

    config = Configuration.of({"task": f"{own}:made", "batch_size": 6})
    tried = TrainState(config, fs.tasks.get(config.task))
    monkeypatch.setattr(TrainState, "_check_task", lambda *_: None)
    plain = TrainState(config, fs.tasks.get(config.task))
    for indices, same in zip(tried.sampler, plain.sampler, strict=True):
        assert indices == same
        assert torch.equal(tried.step(indices), plain.step(same))


@pytest.mark.skipif("FISHERSCOPE_DATA" not in os.environ, reason="needs the published files")
def test_the_real_mnist_is_read_right() -> None:
    task = tasks.get("mnist/mlp", validation=False)
    counts = torch.bincount(task.train.labels).tolist()  # type: ignore[attr-defined]
    assert counts == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    pixels = task.train.pixels[:, :, 2:-2, 2:-2].float() / 255  # type: ignore[attr-defined]
    assert (round(float(pixels.mean()), 4), round(float(pixels.std()), 4)) == (0.1307, 0.3081)


class Cutting(BaseHTTPRequestHandler):
    """Serves one file by ranges; the first answer breaks off after some of it."""

    data = bytes(range(256)) * 2000
    asked: list[str | None]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(self.data) - start))
        self.end_headers()
        end = 300_000 if len(self.asked) == 1 else len(self.data)
        self.wfile.write(self.data[start:end])

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def test_a_download_that_broke_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    handler = type("Handler", (Cutting,), {"asked": []})
    file = Published("file.bin", "", hashlib.md5(Cutting.data).hexdigest(), 1)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        file = replace(file, address=f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(DataError, match=r"downloading file\.bin"):
            fetch(tmp_path, file)
        held = (tmp_path / "file.bin.part").stat().st_size
        assert fetch(tmp_path, file).read_bytes() == Cutting.data
        server.shutdown()
    assert handler.asked == [None, f"bytes={held}-"]
    assert held > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.bin"]


def test_a_part_that_is_not_the_files_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"something else")
    handler = type("Handler", (Cutting,), {"asked": [None]})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        file = Published("file.bin", address, hashlib.md5(Cutting.data).hexdigest(), 1)
        with pytest.raises(DataError, match="does not match"):
            fetch(tmp_path, file)
        assert fetch(tmp_path, file).read_bytes() == Cutting.data  # started over
        server.shutdown()


def test_a_factory_of_advise_is_a_task_too() -> None:
    x, y = torch.zeros(20, 5), torch.arange(20) % 2
    made = {"name": "mine", "record": {"batch": 0}, "model": lambda: torch.nn.Linear(5, 2), "data": (x, y)}
    assert len(factory.as_task("mine", made).train) == 18


def test_a_list_is_samples_one_by_one() -> None:
    found = user_data.as_split([np.full(5, k, np.float32) for k in range(6)], "train")
    assert len(found) == 6
    assert found.batch(torch.tensor([2, 4])).tolist() == [[2.0] * 5, [4.0] * 5]

"""Data files that are absent, unreadable or wrong."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cases.user_task import idx, mnist_files

from fisherscope.tasks import DataError
from fisherscope.tasks.datasets.files import Published, fetch
from fisherscope.tasks.datasets.vision import cifar10, mnist


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


def test_what_cannot_be_downloaded_says_file_size_and_place(tmp_path: Path) -> None:
    nowhere = Published("data.bin", "http://127.0.0.1:9", "0" * 32, 7)
    with pytest.raises(DataError, match=r"data\.bin \(7 MB\) from http://127\.0\.0\.1:9.*put the file into"):
        fetch(tmp_path, nowhere)
    assert not list(tmp_path.iterdir())

"""Finding a published data file: in a directory given, else fetched from its official address and checked."""

from __future__ import annotations

import gzip
import lzma
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from fisherscope.tasks.errors import DataError

PACKINGS = ("", ".gz", ".xz")


@dataclass(frozen=True)
class Published:
    """A file as its authors publish it.

    Args:
        name: File name at the address.
        address: Directory it lies in.
        md5: Of the file there.
        megabytes: Its size, for messages.
    """

    name: str
    address: str
    md5: str
    megabytes: int


def data_dir(given: str | os.PathLike[str] | None = None) -> Path:
    """Where data lie: the directory given, else FISHERSCOPE_DATA, else ~/.cache/fisherscope."""
    chosen = given or os.environ.get("FISHERSCOPE_DATA") or Path.home() / ".cache" / "fisherscope"
    return Path(chosen)


def contents(folder: Path, name: str) -> bytes | None:
    """The unpacked bytes of `name` in `folder` or a folder below it, packed by gzip or xz or not at all.

    None where there is no such file.

    Raises:
        DataError: It is damaged.
    """
    for packing in PACKINGS:
        path = next(
            (p for p in (folder / (name + packing), *folder.glob(f"*/{name}{packing}")) if p.is_file()), None
        )
        if path is not None:
            return _unpacked(path, packing)
    return None


def _unpacked(path: Path, packing: str) -> bytes:
    try:
        if packing == ".gz":
            return gzip.decompress(path.read_bytes())
        if packing == ".xz":
            return lzma.decompress(path.read_bytes())
        return path.read_bytes()
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(
            f"reading {path}: damaged or cut short ({error}; {path.stat().st_size} bytes); delete it "
            "and get it again"
        ) from error


def fetched(folder: Path, file: Published) -> Path:
    """The published file in `folder`, downloaded there where it is not; checked, and whole or not at all.

    Raises:
        DataError: It can't be downloaded, or is not what was published.
    """
    import pooch

    path = folder / file.name
    if path.is_file():
        return path
    try:
        pooch.retrieve(
            f"{file.address}/{file.name}", known_hash=f"md5:{file.md5}", fname=file.name, path=folder
        )
    except Exception as error:
        raise DataError(
            f"getting {file.name} ({file.megabytes} MB) from {file.address}: {type(error).__name__}: "
            f"{error}. "
            f"Without a network put the file into {folder}, or name the directory that has it: "
            "--data-dir, or "
            "FISHERSCOPE_DATA"
        ) from error
    return path


def member(archive: Path, name: str) -> bytes:
    """The bytes of one file of a tar archive, by its last name; nothing is written.

    Raises:
        DataError: The archive is damaged, or has no such file.
    """
    try:
        with tarfile.open(archive) as tar:
            for entry in tar:
                if entry.isfile() and Path(entry.name).name == name:
                    file = tar.extractfile(entry)
                    assert file is not None, "a regular file has contents"
                    return file.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(
            f"reading {archive}: damaged or cut short ({error}); delete it and get it again"
        ) from error
    raise DataError(f"reading {archive}: it has no file {name!r}; expected the published archive")

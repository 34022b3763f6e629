"""Finding a published data file: in a directory given, else fetched from its official address and checked."""

from __future__ import annotations

import gzip
import lzma
import os
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from fisherscope.tasks.datasets.download import resuming
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


@dataclass(frozen=True)
class Contents:
    """A file's unpacked bytes, and where they are from, for messages."""

    place: str
    data: bytes


def contents(folder: Path, name: str) -> Contents | None:
    """The unpacked bytes of `name` in `folder` or a folder below it, packed by gzip or xz or not at all.

    None where there is no such file.

    Raises:
        DataError: It is damaged, or may not be read.
    """
    for packing in PACKINGS:
        for path in (folder / (name + packing), *sorted(folder.glob(f"*/{name}{packing}"))):
            if is_file(path):
                return Contents(str(path), _unpacked(path, packing))
    return None


def is_file(path: Path) -> bool:
    """Whether there is such a file.

    Raises:
        DataError: A directory has its name, or one above it may not be looked into.
    """
    try:
        if path.is_dir():
            raise DataError(f"reading {path}: it is a directory; expected the file itself")
        return path.is_file()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """What to tell of a file that is there and cannot be read."""
    return DataError(f"reading {path}: {error.strerror or error}; see that it may be read")


def _unpacked(path: Path, packing: str) -> bytes:
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        if packing == ".gz":
            return gzip.decompress(packed)
        return lzma.decompress(packed) if packing == ".xz" else packed
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(
            f"reading {path}: damaged or cut short ({error}; {len(packed)} bytes); delete it and get it again"
        ) from error


def fetched(folder: Path, file: Published, lacking: str = "") -> Path:
    """The published file in `folder`, downloaded there where it is not; checked, and whole or not at all.

    A download that was interrupted goes on where it stopped (NAME.part).

    Args:
        folder: Where.
        file: Which.
        lacking: What it is needed for, where a part of it is there already.

    Raises:
        DataError: It can't be downloaded, or is not what was published.
    """
    import pooch

    path = folder / file.name
    if is_file(path):
        return path
    above = next(p for p in (folder, *folder.parents) if p.exists())
    if not above.is_dir():
        raise DataError(f"looking for {file.name} in {folder}: {above} is a file; expected a directory")
    try:
        pooch.retrieve(
            f"{file.address}/{file.name}",
            known_hash=f"md5:{file.md5}",
            fname=file.name,
            path=folder,
            downloader=resuming,
        )
    except Exception as error:
        raise DataError(
            f"getting {file.name} ({file.megabytes} MB) from {file.address}{lacking}: "
            f"{type(error).__name__}: {error}. Without a network put the file into {folder}, or name the "
            "directory that has it: --data-dir, or FISHERSCOPE_DATA"
        ) from error
    return path


def member(archive: Path, name: str) -> Contents:
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
                    return Contents(f"{name} of {archive}", file.read())
    except PermissionError as error:
        raise unreadable(archive, error) from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError) as error:
        raise DataError(
            f"reading {archive}: damaged or cut short ({str(error).splitlines()[0]}; "
            f"{archive.stat().st_size} bytes); delete it and get it again"
        ) from error
    raise DataError(f"reading {archive}: it has no file {name!r}; expected the published archive")

"""Find published data files, or download and verify them."""

from __future__ import annotations

import gzip
import lzma
import os
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from fisherscope.tasks.datasets.download import resume_download
from fisherscope.tasks.errors import DataError

PACKINGS = ("", ".gz", ".xz")


@dataclass(frozen=True)
class Published:
    """Describe a file as its authors publish it.

    Args:
        name: File name at the address.
        address: URL of its directory.
        md5: Checksum.
        megabytes: Size, for messages.
    """

    name: str
    address: str
    md5: str
    megabytes: int


def data_dir(directory: str | os.PathLike[str] | None = None) -> Path:
    """Return `directory`, else FISHERSCOPE_DATA, else ~/.cache/fisherscope."""
    return Path(directory or os.environ.get("FISHERSCOPE_DATA") or Path.home() / ".cache" / "fisherscope")


@dataclass(frozen=True)
class Contents:
    """Hold a file's unpacked bytes, and its place for messages."""

    place: str
    data: bytes


def contents(folder: Path, name: str) -> Contents | None:
    """Read the file `name`, plain or compressed (gzip, xz), in `folder` or one below it.

    Returns:
        Its contents; None if there is no such file.

    Raises:
        DataError: The file is damaged, or its permissions forbid reading.
    """
    for packing in PACKINGS:
        for path in (folder / (name + packing), *sorted(folder.glob(f"*/{name}{packing}"))):
            if is_file(path):
                return Contents(str(path), _unpack(path, packing))
    return None


def is_file(path: Path) -> bool:
    """Return whether the file exists.

    Raises:
        DataError: It is a directory, or permissions forbid looking.
    """
    try:
        if path.is_dir():
            raise DataError(f"reading {path}: it is a directory; expected the file itself")
        return path.is_file()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """Make the error of a file that exists and cannot be read."""
    return DataError(f"reading {path}: {error.strerror or error}; check its permissions")


def _unpack(path: Path, packing: str) -> bytes:
    """Read a file and decompress it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        if packing == ".gz":
            return gzip.decompress(data)
        return lzma.decompress(data) if packing == ".xz" else data
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(
            f"reading {path}: damaged or cut short ({error}; {len(data)} bytes); delete it and download it "
            "again"
        ) from error


def fetch(folder: Path, file: Published, reason: str = "") -> Path:
    """Return the published file in `folder`, downloading and verifying it if it is missing.

    An interrupted download resumes where it stopped (NAME.part).

    Args:
        folder: Directory of the file.
        file: The file.
        reason: Why it is needed although part of the data is there, for messages.

    Raises:
        DataError: It cannot be downloaded, or differs from the published one.
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
            downloader=resume_download,
        )
    except Exception as error:
        raise DataError(
            f"downloading {file.name} ({file.megabytes} MB) from {file.address}{reason}: "
            f"{type(error).__name__}: {error}. Without a network put the file into {folder}, or name the "
            "directory that has it by --data-dir or FISHERSCOPE_DATA"
        ) from error
    return path


def member(archive: Path, name: str) -> Contents:
    """Read one file of a tar archive, by its name without directories; write nothing.

    Returns:
        Its contents.

    Raises:
        DataError: The archive is damaged, or holds no such file.
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
            f"{archive.stat().st_size} bytes); delete it and download it again"
        ) from error
    raise DataError(f"reading {archive}: it holds no file {name!r}; expected the published archive")

"""Final per-example outcomes: arrays in one file, booleans a bit each."""

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fisherscope.bounded_reading import open_regular
from fisherscope.runs.errors import DamagedRunError

LARGEST = 1 << 28
"""Bytes that a file may unpack to (256 MiB: the losses of 60 million samples)."""
BITS, SHAPE = ".bits", ".shape"


def pack(arrays: Mapping[str, Any]) -> dict[str, "np.ndarray[Any, Any]"]:
    """Convert arrays to the form in which the file holds them.

    Returns:
        The arrays by name; booleans as bits and a shape.

    Raises:
        TypeError: An array holds neither numbers nor booleans.
    """
    stored: dict[str, np.ndarray[Any, Any]] = {}
    for name, values in arrays.items():
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise TypeError(
                f"storing the outcome {name!r}: received dtype {array.dtype}; expected numbers or booleans"
            )
        if array.dtype == bool:
            stored[name + BITS], stored[name + SHAPE] = np.packbits(array), np.array(array.shape, np.int64)
        else:
            stored[name] = array
    return stored


def read(path: Path) -> dict[str, "np.ndarray[Any, Any]"]:
    """Read the arrays as they were logged.

    Returns:
        The arrays by name; none if there is no such file.

    Raises:
        DamagedRunError: The file is damaged.
    """
    try:
        _check_size(path)
        with np.load(path, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
        return {name.removesuffix(BITS): _unpack(stored, name) for name in stored if not name.endswith(SHAPE)}
    except FileNotFoundError:
        return {}
    except DamagedRunError:
        raise
    except Exception as error:  # whatever the bytes make numpy and zlib raise
        raise DamagedRunError(
            f"reading {path}: damaged ({type(error).__name__}: {error}); restore it from a copy"
        ) from error


def _check_size(path: Path) -> None:
    """Check that the file is an ordinary one, and what it says it unpacks to.

    Raises:
        DamagedRunError: It is another kind of file, or too large.
    """
    with open(open_regular(path), "rb") as file, zipfile.ZipFile(file) as members:
        size = sum(member.file_size for member in members.infolist())
    if size > LARGEST:
        raise DamagedRunError(
            f"reading {path}: it unpacks to {size} bytes, expected at most {LARGEST}; restore it from a copy"
        )


def _unpack(stored: Mapping[str, "np.ndarray[Any, Any]"], name: str) -> "np.ndarray[Any, Any]":
    if not name.endswith(BITS):
        return stored[name]
    shape = tuple(int(n) for n in stored[name.removesuffix(BITS) + SHAPE])
    if not 0 <= (count := math.prod(shape)) <= 8 * stored[name].size:
        raise ValueError(f"{name} declares shape {shape}, but holds {8 * stored[name].size} values")
    return np.unpackbits(stored[name], count=count).reshape(shape).astype(bool)

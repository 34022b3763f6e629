"""Final per-example outcomes: arrays in one file, booleans a bit each."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fisherscope.runs.errors import DamagedRunError

BITS, SHAPE = ".bits", ".shape"


def packed(arrays: Mapping[str, Any]) -> dict[str, "np.ndarray[Any, Any]"]:
    """As they lie in the file."""
    held: dict[str, np.ndarray[Any, Any]] = {}
    for name, values in arrays.items():
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise TypeError(
                f"storing the outcome {name!r}: received dtype {array.dtype}; expected numbers or booleans"
            )
        if array.dtype == bool:
            held[name + BITS], held[name + SHAPE] = np.packbits(array), np.array(array.shape, np.int64)
        else:
            held[name] = array
    return held


def read(path: Path) -> dict[str, "np.ndarray[Any, Any]"]:
    """The arrays as they were given; none if the file is not there.

    Raises:
        DamagedRunError: The file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
        return {name.removesuffix(BITS): _unpacked(held, name) for name in held if not name.endswith(SHAPE)}
    except FileNotFoundError:
        return {}
    except Exception as error:  # whatever the bytes make numpy and zlib raise
        raise DamagedRunError(
            f"reading {path}: damaged ({type(error).__name__}: {error}); restore it from a copy"
        ) from error


def _unpacked(held: Mapping[str, "np.ndarray[Any, Any]"], name: str) -> "np.ndarray[Any, Any]":
    if not name.endswith(BITS):
        return held[name]
    shape = tuple(int(n) for n in held[name.removesuffix(BITS) + SHAPE])
    return np.unpackbits(held[name], count=math.prod(shape)).reshape(shape).astype(bool)

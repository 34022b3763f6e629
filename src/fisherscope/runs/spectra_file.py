"""Read the eigenvalues that the rows of measured steps refer to."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fisherscope.bounded_reading import open_regular
from fisherscope.runs.errors import DamagedRunError
from fisherscope.runs.jsonl import SPECTRUM_BYTES
from fisherscope.runs.paths import STEPS

Spectra = list["np.ndarray[Any, Any] | None"]
LARGEST = 1 << 27
"""Values that are read of one run (1 GiB)."""


def read_spectra(path: Path, extents: Sequence[tuple[int | None, int | None]]) -> Spectra:
    """Read the spectra of a run, and no more of the file than they take.

    Args:
        path: spectra.bin.
        extents: Offset and length of each, in values; None for a row without a spectrum.

    Returns:
        An array of shape (length,), float64, or None, for each.

    Raises:
        DamagedRunError: The file ends before one of them, or they are more than fit into memory.
    """
    total = sum(length or 0 for _, length in extents)
    if total > LARGEST:
        raise DamagedRunError(
            f"reading {path}: the rows of {STEPS} refer to {total} values, expected at most {LARGEST}; "
            "restore both from a copy"
        )
    try:
        file = open_regular(path)
        try:
            return [_read(file, path, begin, length or 0) for begin, length in extents]
        finally:
            os.close(file)
    except OSError as error:
        raise DamagedRunError(f"reading {path}: {error.strerror or error}; restore it from a copy") from error


def _read(file: int, path: Path, begin: int | None, length: int) -> "np.ndarray[Any, Any] | None":
    if begin is None:
        return None
    size = os.fstat(file).st_size // SPECTRUM_BYTES
    if begin + length > size:
        raise DamagedRunError(
            f"reading {path}: it ends ({size} values) before the last spectrum "
            f"of {STEPS}; load the runs again if this one was being resumed, else restore it from a copy"
        )
    os.lseek(file, begin * SPECTRUM_BYTES, os.SEEK_SET)
    values: np.ndarray[Any, Any] = np.frombuffer(os.read(file, length * SPECTRUM_BYTES), dtype="<f8").copy()
    return values

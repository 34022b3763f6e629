"""The logs of a run: steps, spectra and epochs, which grow and are truncated together."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fisherscope.bounded_reading import parse_json
from fisherscope.runs.atomic_io import Log
from fisherscope.runs.errors import DamagedRunError, RunError
from fisherscope.runs.jsonl import SPECTRUM_BYTES, encode_row, last_number, leading_bytes
from fisherscope.runs.paths import EPOCHS, SPECTRA, STEPS
from fisherscope.runs.row_types import check_row, row_problem

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Logs:
    """Write the three logs of a run; a spectrum is written before the row that refers to it."""

    def __init__(self, path: Path) -> None:
        self.id = path.resolve().name
        self._files = {name: Log(path / name) for name in (STEPS, SPECTRA, EPOCHS)}
        self._last_step = self.last_epoch = -1

    def __bool__(self) -> bool:
        """Return whether any of them has content."""
        return any(file.size for file in self._files.values())

    def add_step(self, row: dict[str, Any], eigenvalues: "ArrayLike | None") -> None:
        """Add a measured step, given as JSON values, and its spectrum.

        Raises:
            RunError: The log has that step or a later one already, or the disk is full or read-only.
            TypeError: A known numeric column holds something else.
            ValueError: The spectrum is not one-dimensional, or a count is out of range.
        """
        check_row(row, STEPS)
        step = row.get("step", self._last_step + 1)
        if step <= self._last_step:
            raise RunError(
                f"logging step {step} of {self.id}: step {self._last_step} is already there; "
                f"call rewind(step={step}) to drop it and all later rows"
            )
        if eigenvalues is not None:
            row = row | self._spectrum(eigenvalues)
        self._files[STEPS].append(encode_row(row))
        self._last_step = step

    def add_epoch(self, row: dict[str, Any]) -> None:
        """Add an epoch, given as JSON values; a missing `epoch` is counted on from the last one.

        Raises:
            RunError: The log has that epoch or a later one already, or the disk is full or read-only.
            TypeError: A known numeric column holds something else.
            ValueError: The epoch is no whole number, or out of range.
        """
        row = {"epoch": max(self.last_epoch, 0) + 1} | row
        check_row(row, EPOCHS)
        if row["epoch"] <= self.last_epoch:
            raise RunError(
                f"logging epoch {row['epoch']} of {self.id}: epoch {self.last_epoch} is already there; "
                "call rewind(step=…) first"
            )
        self._files[EPOCHS].append(encode_row(row))
        self.last_epoch = row["epoch"]

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each file: where to truncate to return to this moment."""
        return {name: file.size for name, file in self._files.items()}

    def checksums(self) -> dict[str, int]:
        """Return the CRC-32 of each file."""
        return {name: file.checksum() for name, file in self._files.items()}

    def verify(self, sizes: Mapping[str, int], checksums: Mapping[str, int]) -> None:
        """Check that the bytes which belong to a checkpoint are those that were written.

        A power cut or a copy can leave zeros where rows were, at the right length.

        Args:
            sizes: Bytes of each file that belong to it.
            checksums: Their CRC-32; without it, only the last row is looked at.

        Raises:
            DamagedRunError: A file is shorter, or holds other bytes.
        """
        for name, file in self._files.items():
            size = sizes.get(name, 0)
            if name in checksums and file.checksum(size) != checksums[name]:
                raise DamagedRunError(
                    f"resuming: the first {size} bytes of {file.path} are not those of the checkpoint (their "
                    "checksum differs); restore the file from a copy, or delete the run's directory to start "
                    "over"
                )
            if name not in checksums and name != SPECTRA and size:
                _check_end(file, size)

    def sizes_at(self, step: int) -> dict[str, int]:
        """Return the bytes of each file after `step` completed steps.

        Raises:
            DamagedRunError: A row cannot be read, or has no step.
        """
        steps, spectra = leading_bytes(self._files[STEPS], lambda row: row["step"] < step)
        epochs, _ = leading_bytes(self._files[EPOCHS], lambda row: row["step"] <= step)
        return {STEPS: steps, SPECTRA: spectra, EPOCHS: epochs}

    def truncate(self, sizes: Mapping[str, int]) -> None:
        """Truncate each file to its size in `sizes` (0 if absent), rows before spectra.

        Raises:
            DamagedRunError: A file is shorter than that.
        """
        for name in (STEPS, EPOCHS, SPECTRA):
            self._files[name].truncate(sizes.get(name, 0))
        self._last_step = last_number(self._files[STEPS].path, "step")
        self.last_epoch = last_number(self._files[EPOCHS].path, "epoch")

    def sync(self) -> None:
        """Make the content survive a power cut."""
        for file in self._files.values():
            file.sync()

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _spectrum(self, eigenvalues: "ArrayLike") -> dict[str, int]:
        import numpy as np

        values = np.ascontiguousarray(eigenvalues, dtype="<f8")
        if values.ndim != 1:
            raise ValueError(f"logging a spectrum: received shape {values.shape}; expected one dimension")
        offset = self._files[SPECTRA].size // SPECTRUM_BYTES
        self._files[SPECTRA].append(values.tobytes())
        return {"spectrum_offset": offset, "spectrum_length": len(values)}


def _check_end(file: Log, size: int) -> None:
    """Check that a complete row ends at byte `size`, for a checkpoint without checksums.

    Raises:
        DamagedRunError: The file is shorter, or no row ends there.
    """
    tail = file.tail(size)
    try:
        problem = (
            row_problem(parse_json(tail.splitlines()[-1]), file.path.name) if tail.endswith(b"\n") else ""
        )
    except (ValueError, IndexError):
        problem = ""
    if problem is not None:
        raise DamagedRunError(
            f"resuming: no complete row of {file.path} ends at byte {size}, where the checkpoint says one "
            "does; restore the file from a copy, or delete the run's directory to start over"
        )

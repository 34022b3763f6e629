"""The logs of a run: measured steps, their spectra, and epochs, which grow and are cut back together."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fisherscope.runs.atomic_io import Log
from fisherscope.runs.errors import RunError
from fisherscope.runs.jsonl import SPECTRUM_BYTES, encoded, kept, number_of_last
from fisherscope.runs.paths import EPOCHS, SPECTRA, STEPS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Logs:
    """The three of one run directory; a spectrum is written before the row that points at it."""

    def __init__(self, path: Path) -> None:
        self.id = path.resolve().name
        self._files = {name: Log(path / name) for name in (STEPS, SPECTRA, EPOCHS)}
        self._last_step = self._last_epoch = -1

    def __bool__(self) -> bool:
        """Whether anything is in them."""
        return any(file.size for file in self._files.values())

    def add_step(self, row: dict[str, Any], eigenvalues: "ArrayLike | None") -> None:
        """Add a measured step, as JSON has it, and its spectrum.

        Raises:
            RunError: A step of that number or a later one is there, or the disk refuses.
            ValueError: The spectrum is not one-dimensional.
        """
        step = row.get("step", self._last_step + 1)
        if step <= self._last_step:
            raise RunError(
                f"logging step {step} of {self.id}: step {self._last_step} is already there; "
                f"call rewind(step={step}) to drop it and what follows"
            )
        if eigenvalues is not None:
            row = row | self._spectrum(eigenvalues)
        self._files[STEPS].append(encoded(row))
        self._last_step = step

    def add_epoch(self, row: dict[str, Any]) -> None:
        """Add an epoch, as JSON has it; `epoch` is counted where it is not given.

        Raises:
            RunError: An epoch of that number or a later one is there, or the disk refuses.
        """
        row = {"epoch": max(self._last_epoch, 0) + 1} | row
        if row["epoch"] <= self._last_epoch:
            raise RunError(
                f"logging epoch {row['epoch']} of {self.id}: epoch {self._last_epoch} is already there; "
                "call rewind(step=…) first"
            )
        self._files[EPOCHS].append(encoded(row))
        self._last_epoch = row["epoch"]

    def sizes(self) -> dict[str, int]:
        """Bytes of each: where to cut to come back to now."""
        return {name: file.size for name, file in self._files.items()}

    def sizes_at(self, step: int) -> dict[str, int]:
        """Bytes of each as of `step` completed steps.

        Raises:
            DamagedRunError: A row cannot be read, or does not say its step.
        """
        steps, spectra = kept(self._files[STEPS], lambda row: row["step"] < step)
        epochs, _ = kept(self._files[EPOCHS], lambda row: row["step"] <= step)
        return {STEPS: steps, SPECTRA: spectra, EPOCHS: epochs}

    def truncate(self, sizes: Mapping[str, int]) -> None:
        """Cut to so many bytes each (0 where not said), rows before what they point at.

        Raises:
            DamagedRunError: One is shorter than that.
        """
        for name in (STEPS, EPOCHS, SPECTRA):
            self._files[name].truncate(sizes.get(name, 0))
        self._last_step = number_of_last(self._files[STEPS].path, "step")
        self._last_epoch = number_of_last(self._files[EPOCHS].path, "epoch")

    def sync(self) -> None:
        """Make them last through a power cut."""
        for file in self._files.values():
            file.sync()

    def close(self) -> None:
        """Give the files back."""
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

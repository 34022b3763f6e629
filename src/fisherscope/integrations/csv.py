"""CSV: a file with a line a measured step, for whatever reads one."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class CsvTracker:
    """`Monitor(on_measure=[CsvTracker("measured.csv")])`; every line is on disk before the next step.

    The first row's keys are the columns. A file that is there is added to, where its columns are the same.

    Args:
        path: The file.

    Raises:
        ValueError: At a row that has other columns than the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._columns: list[str] | None = None

    def __call__(self, row: Mapping[str, Any]) -> None:
        if self._columns is None:
            self._columns = self._begin(list(row))
        if set(row) != set(self._columns):
            differing = ", ".join(sorted(set(row) ^ set(self._columns)))
            raise ValueError(
                f"writing {self.path}: its columns and the row's differ in {differing}; give another file"
            )
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _begin(self, keys: list[str]) -> list[str]:
        if self.path.exists() and self.path.stat().st_size:
            with self.path.open(newline="") as file:
                return next(csv.reader(file))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", newline="") as file:
            csv.DictWriter(file, keys).writeheader()
        return keys

    def close(self) -> None:
        """Nothing to do: every line is written when it comes."""

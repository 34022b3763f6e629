"""CSV: a file with one line per measured step."""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fisherscope.runs import replace_text


class CsvTracker:
    """Write each row to a CSV file; every line is on disk before the next step.

    The keys of the first row are the columns. An existing file with the same columns is appended to;
    a resumed training drops the lines of steps that it takes again.

    Example:
        ```python
        import os, tempfile
        import torch
        import fisherscope as fs

        path = os.path.join(tempfile.mkdtemp(), "measured.csv")
        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        tracker = fs.integrations.CsvTracker(path)
        monitor = fs.Monitor(model, optimizer, on_measure=[tracker])
        with monitor.observe():
            model(torch.randn(8, 4)).square().mean().backward()
        assert len(open(path).readlines()) == 2
        tracker.close()
        ```

    Args:
        path: The file; its directory is created.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._columns: list[str] | None = None

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Append a line.

        Args:
            row: Values by column.

        Raises:
            ValueError: The row has other columns than the file.
        """
        if self._columns is None:
            self._columns = self._open(list(row))
        if set(row) != set(self._columns):
            difference = ", ".join(sorted(set(row) ^ set(self._columns)))
            raise ValueError(
                f"writing {self.path}: its columns and the row's differ in {difference}; use another file"
            )
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _open(self, keys: list[str]) -> list[str]:
        if self.path.exists() and self.path.stat().st_size:
            with self.path.open(newline="") as file:
                return next(csv.reader(file))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        header = io.StringIO(newline="")
        csv.DictWriter(header, keys).writeheader()
        replace_text(self.path, header.getvalue())
        return keys

    def rewind(self, step: int) -> None:
        """Drop the lines of steps from `step` on, which a resumed training writes again.

        Args:
            step: Optimizer steps completed.

        Example:
            ```python
            from pathlib import Path

            tracker = fs.integrations.CsvTracker("steps.csv")
            tracker({"step": 0, "fisher/trace": 1.0})
            tracker({"step": 1, "fisher/trace": 2.0})
            tracker.rewind(1)
            assert len(Path("steps.csv").read_text().splitlines()) == 2  # the header, and step 0
            ```
        """
        if not self.path.exists():
            return
        with self.path.open(newline="") as file:
            lines = list(csv.DictReader(file))
        kept = [line for line in lines if int(line.get("step") or 0) < step]
        if len(kept) == len(lines):
            return
        replacement = self.path.with_name(f".{self.path.name}.{os.getpid()}.rewinding")
        with replacement.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(kept)
        replacement.replace(self.path)

    def close(self) -> None:
        """Do nothing: every line is written when it comes."""

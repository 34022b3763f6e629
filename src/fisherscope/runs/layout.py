"""What is where in a run directory, and the head that says what it is."""

from pathlib import Path
from typing import Any

from fisherscope.runs.errors import DamagedRunError, RunError
from fisherscope.runs.files import read_json

FORMAT = 1
"""Of run.json and what lies beside it; raised when an older reader would misread it."""

RUN, STEPS, SPECTRA, EPOCHS = "run.json", "steps.jsonl", "spectra.bin", "epochs.jsonl"
OUTCOMES, CHECKPOINT, TEXT, LOCK = "outcomes.npz", "checkpoint.pt", "log.txt", "lock"

STATUSES = ("running", "finished", "diverged", "interrupted", "failed")
ENDED = ("finished", "diverged")
"""Statuses after which there is nothing to go on with."""

GONE = {"status": "interrupted", "reason": "its process ended without a word"}
"""Of a run that is left as running, when nobody holds its lock."""

TEXTS = ("id", "status", "reason", "created", "updated")


def read_run(path: Path) -> dict[str, Any]:
    """The head of a run.

    Raises:
        DamagedRunError: Its run.json is not one.
        RunError: It is of another format.
    """
    head = read_json(path / RUN)
    if head.get("format") != FORMAT:
        raise RunError(
            f"reading {path / RUN}: it has format {head.get('format')!r}, this version of fisherscope "
            f"reads {FORMAT}; use the version that wrote it"
        )
    wrong = [name for name in TEXTS if not isinstance(head.get(name), str)]
    wrong += [name for name in ("config", "environment") if not isinstance(head.get(name), dict)]
    if wrong or head["status"] not in STATUSES:
        raise DamagedRunError(
            f"reading {path / RUN}: damaged, {', '.join(wrong) or 'status'} missing or not as written; "
            "restore it from a copy"
        )
    return head

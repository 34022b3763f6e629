"""What is where in a run directory, and the words that its head may hold."""

FORMAT = 1
"""Of run.json and what lies beside it; raised when an older reader would misread it."""

RUN, STEPS, SPECTRA, EPOCHS = "run.json", "steps.jsonl", "spectra.bin", "epochs.jsonl"
OUTCOMES, CHECKPOINT, TEXT, LOCK = "outcomes.npz", "checkpoint.pt", "log.txt", "lock"

STATUSES = ("running", "finished", "diverged", "interrupted", "failed")
ENDED = ("finished", "diverged")
"""Statuses after which there is nothing to go on with."""

GONE = {"status": "interrupted", "reason": "its process ended without a word"}
"""Of a run that is left as running, when nobody holds its lock."""

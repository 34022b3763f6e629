"""File names of a run directory, and the statuses that its run.json may hold."""

FORMAT = 1
"""Format of run.json and the files beside it; raised when an older reader would misread them."""

RUN, STEPS, SPECTRA, EPOCHS = "run.json", "steps.jsonl", "spectra.bin", "epochs.jsonl"
OUTCOMES, CHECKPOINT, TEXT, LOCK = "outcomes.npz", "checkpoint.pt", "log.txt", "lock"
SPIKES = "spikes.jsonl"

EARLIER = ".earlier"
"""Directory beside runs for those of earlier code, which a sweep trained anew."""

STATUSES = ("running", "finished", "diverged", "interrupted", "failed")
FINAL_STATUSES = ("finished", "diverged")
"""Statuses of a run that has nothing left to train."""

WRITER_GONE = {"status": "interrupted", "reason": "the process exited without closing the run"}
"""What readers report for a run that says it is running although no process holds its lock."""

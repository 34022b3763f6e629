"""The run directory: one writer, any number of readers, nothing lost (docs/runs.md)."""

from importlib import import_module
from typing import Any

from fisherscope.runs.atomic_io import replace_text
from fisherscope.runs.config_values import run_id
from fisherscope.runs.dead_network import DEAD, dead_reason
from fisherscope.runs.errors import ChangedRunError, DamagedRunError, RunError, RunLockedError
from fisherscope.runs.queries import (
    epoch_rows,
    has_ended,
    is_run,
    run_config,
    run_head,
    set_aside,
    spikes,
    status,
)
from fisherscope.runs.run import Run, open_run
from fisherscope.runs.run_listing import fingerprint, run_directories
from fisherscope.runs.saved_state import checkpoint_state

__all__ = [
    "DEAD",
    "ChangedRunError",
    "DamagedRunError",
    "Run",
    "RunError",
    "RunLockedError",
    "Runs",
    "checkpoint_state",
    "dead_reason",
    "epoch_rows",
    "fingerprint",
    "has_ended",
    "is_run",
    "load_runs",
    "open_run",
    "replace_text",
    "run_config",
    "run_directories",
    "run_head",
    "run_id",
    "set_aside",
    "spikes",
    "status",
]


def __getattr__(name: str) -> Any:
    if name in ("Runs", "load_runs"):  # polars, which a writer does not need
        return getattr(import_module("fisherscope.runs.reader"), name)
    raise AttributeError(f"module 'fisherscope.runs' has no attribute {name!r}; it has {', '.join(__all__)}")

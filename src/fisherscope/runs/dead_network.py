"""Recognise a run whose network died: it ended, and learned nothing any more, from its epochs alone.

Its outputs no longer depend on the inputs (dead units), or no gradient is left. The run is finished all the
same, and counts with the error that it has; screens call it dead.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

DEAD = "dead"
"""What screens call a finished run whose network died."""
DEAD_COLUMNS = (
    "train/loss", "train/error", "val/error", "test/error", "fisher/energy_sum", "lr_sum",
)  # fmt: skip
"""Columns of the epochs that `dead_reason` reads."""
TAIL = 1 / 3
"""Share of the epochs, the last ones, over which nothing may change."""
FEWEST = 3
"""Epochs below which nothing is said."""
STILL, NO_PROGRESS = 0.01, 0.9
"""Relative spread of a constant loss; final loss over that of the first epoch."""
CHANCE, GUESSED = 0.1, 0.5
"""Error below which a constant one is that of a network that has learned; above which all are guesses."""
NO_GROWTH = 1e-9
"""Relative growth of L over these epochs at which no gradient is left."""


def dead_reason(epochs: Sequence[Mapping[str, Any]]) -> str:
    """Say why the network of a run is dead.

    In the last third of its epochs the training loss moved by at most 1 %, and either no error rate changed
    at all, or L did not grow although the learning rate was above 0. Constant errors are above 10 %. A loss
    that fell below 90 % of the first epoch's is one that was learned, unless all error rates are above 50 %.

    Args:
        epochs: Rows of its epochs, in order: `train/loss`, error rates, `fisher/energy_sum`, `lr_sum`.

    Returns:
        A sentence; empty if the network lives, or if the rows do not say.

    Example:
        ```python
        row = {"train/loss": 2.3, "val/error": 0.9}
        assert "an error of 90 %" in fs.runs.dead_reason([row] * 6)
        assert not fs.runs.dead_reason([row | {"train/loss": 2.3 / k} for k in (1, 2, 3, 4)])
        ```
    """
    losses = _numbers(epochs, "train/loss")
    if len(epochs) < FEWEST or losses is None:
        return ""
    count = max(2, math.ceil(TAIL * len(epochs)))
    ends, tail = epochs[-count:], losses[-count:]
    columns = [_numbers(ends, f"{part}/error") for part in ("train", "val", "test")]
    errors = [values for values in columns if values is not None]
    learned = losses[-1] < NO_PROGRESS * losses[0] and not _all_above(errors, GUESSED)
    if max(tail) - min(tail) > STILL * max(tail) or learned:
        return ""
    text = f"the training loss stood at {losses[-1]:.4g} for the last {count} epochs"
    if _all_above(errors, CHANCE) and all(max(values) == min(values) for values in errors):
        return f"{text}, at an error of {100 * errors[-1][-1]:.3g} %"
    energy, rates = _numbers(ends, "fisher/energy_sum"), _numbers(ends, "lr_sum")
    if energy and rates and rates[-1] > rates[0] and max(energy) - min(energy) <= NO_GROWTH * max(energy):
        return f"{text}, and L did not grow: no gradient is left"
    return ""


def dead_reasons(epochs: pl.DataFrame) -> dict[str, str]:
    """Say which runs have a dead network, and why (`dead_reason`).

    Args:
        epochs: Rows of epochs, such as `Runs.epochs`; the last row of a run is the one it has reached.

    Returns:
        The sentence of each run whose network is dead, by run id.

    Example:
        ```python
        rows = [{"run_id": "a", "epoch": k, "train/loss": 2.3, "val/error": 0.9} for k in (1, 2, 3)]
        assert "an error of 90 %" in fs.runs.dead_network.dead_reasons(pl.DataFrame(rows))["a"]
        ```
    """
    if not len(epochs):
        return {}
    rows = epochs.sort("run_id", "epoch")
    rows = rows.select(name for name in ("run_id", *DEAD_COLUMNS) if name in rows.columns)
    parts = rows.partition_by("run_id", as_dict=True, include_key=False)
    reasons = {str(run_id): dead_reason(part.to_dicts()) for (run_id,), part in parts.items()}
    return {run_id: reason for run_id, reason in reasons.items() if reason}


def _all_above(errors: list[list[float]], level: float) -> bool:
    return bool(errors) and all(min(values) > level for values in errors)


def _numbers(epochs: Sequence[Mapping[str, Any]], key: str) -> list[float] | None:
    """Return the values of a key; None unless all epochs have a finite one."""
    values = [row.get(key) for row in epochs]
    if any(isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v) for v in values):
        return None
    return [float(v) for v in values if v is not None]

"""Weights & Biases: each measured value under its own key, drawn over the optimizer step."""

from collections.abc import Mapping
from typing import Any

from fisherscope.integrations.optional_import import required
from fisherscope.integrations.scalars import numbers


class WandbTracker:
    """`Monitor(on_measure=[WandbTracker()])`, after `wandb.init(…)`.

    Args:
        run: What `wandb.init` returned; by default the run that is active.

    Raises:
        RuntimeError: There is none.
    """

    def __init__(self, run: Any = None) -> None:
        run = run or required("wandb", "wandb").run
        if run is None:
            raise RuntimeError(
                "building a WandbTracker: no run is active; call wandb.init(…) before, or give its result: "
                "WandbTracker(wandb.init(…))"
            )
        self.run = run
        self._defined: set[str] = set()

    def __call__(self, row: Mapping[str, Any]) -> None:
        values = numbers(row)
        for key in values.keys() - self._defined - {"step"}:
            self.run.define_metric(key, step_metric="step")  # its own counter counts calls of log
        self._defined |= values.keys()
        self.run.log({**values, "step": row["step"]})

    def close(self) -> None:
        """Nothing to do: the run is the loop's to finish."""

"""Weights & Biases: each number of a row under its own key, drawn over the optimizer step."""

from collections.abc import Mapping
from typing import Any

from fisherscope.integrations.optional_import import import_framework
from fisherscope.integrations.scalars import numbers


class WandbTracker:
    """Log each row to a Weights & Biases run: `fs.Monitor(…, on_measure=[WandbTracker()])`.

    Needs the framework; see docs/how-to/trackers.md for a loop that uses it.

    Args:
        run: The result of `wandb.init`; by default the active run.

    Raises:
        RuntimeError: No run is active.
        MissingFrameworkError: wandb is not installed.
    """

    def __init__(self, run: Any = None) -> None:
        run = run or import_framework("wandb", "wandb").run
        if run is None:
            raise RuntimeError(
                "building a WandbTracker: no run is active; call wandb.init(…) first, or pass its result: "
                "WandbTracker(wandb.init(…))"
            )
        self.run = run
        self._defined: set[str] = set()
        self._logged_up_to = -1  # last step that the run has from before a resumed training

    def rewind(self, step: int) -> None:
        """Skip the rows that a run resumed by `wandb.init(id=…, resume="must")` has already.

        Args:
            step: Optimizer steps completed.

        `Monitor.load_state_dict` calls it (see `Monitor`).
        """
        last = self.run.summary.get("step")
        self._logged_up_to = -1 if last is None else int(last)

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Log the numbers of a row under their own keys.

        Args:
            row: A row of a monitor; its `step` is the horizontal axis.
        """
        if row["step"] <= self._logged_up_to:
            return
        values = numbers(row)
        for key in values.keys() - self._defined - {"step"}:
            self.run.define_metric(key, step_metric="step")  # its own counter counts calls of log
        self._defined |= values.keys()
        self.run.log({**values, "step": row["step"]})

    def close(self) -> None:
        """Do nothing: the loop finishes the run; see docs/how-to/trackers.md."""

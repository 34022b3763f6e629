"""MLflow: each number of a row as a metric of an MLflow run."""

from collections.abc import Mapping
from typing import Any

from fisherscope.integrations.optional_import import import_framework
from fisherscope.integrations.scalars import numbers


class MLflowTracker:
    """Log each row to an MLflow run: `fs.Monitor(…, on_measure=[MLflowTracker()])`.

    Needs the framework; see docs/how-to/trackers.md for a loop that uses it.

    Args:
        run_id: Id of the run to log to; by default the run that is active when a row comes (MLflow starts
            one if none is).

    Raises:
        MissingFrameworkError: MLflow is not installed.
    """

    def __init__(self, run_id: str | None = None) -> None:
        self._mlflow = import_framework("mlflow", "mlflow")
        self.run_id = run_id
        self._logged_up_to = -1  # last step that the run has from before a resumed training

    def rewind(self, step: int) -> None:
        """Skip the rows that the run has already: MLflow keeps every value it is given.

        Args:
            step: Optimizer steps completed.

        `Monitor.load_state_dict` calls it (see `Monitor`).
        """
        run_id = self.run_id or getattr(getattr(self._mlflow.active_run(), "info", None), "run_id", None)
        if run_id is not None:
            history = self._mlflow.MlflowClient().get_metric_history(run_id, "step")
            self._logged_up_to = max((metric.step for metric in history), default=-1)

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Log the numbers of a row under their own keys.

        Args:
            row: A row of a monitor; its `step` is the metric's step.
        """
        if row["step"] > self._logged_up_to:
            self._mlflow.log_metrics(numbers(row), step=row["step"], run_id=self.run_id)

    def close(self) -> None:
        """Do nothing: MLflow has each row, and the loop ends the run; see docs/how-to/trackers.md."""

"""MLflow: each measured value as a metric of a run."""

from collections.abc import Mapping
from typing import Any

from fisherscope.integrations.optional_import import required
from fisherscope.integrations.scalars import numbers


class MLflowTracker:
    """`Monitor(on_measure=[MLflowTracker()])`, in or before `mlflow.start_run()`.

    Args:
        run_id: Of the run to log to; by default the one that is active when a row comes (MLflow starts one
            where none is).
    """

    def __init__(self, run_id: str | None = None) -> None:
        self._mlflow = required("mlflow", "mlflow")
        self.run_id = run_id

    def __call__(self, row: Mapping[str, Any]) -> None:
        self._mlflow.log_metrics(numbers(row), step=row["step"], run_id=self.run_id)

    def close(self) -> None:
        """Nothing to do: MLflow has each row, and the run is the loop's to end."""

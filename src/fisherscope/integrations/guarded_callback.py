"""The border of a framework's callback: an error of ours is a row and a warning, and the training goes on."""

import warnings
from typing import Any

from fisherscope.guard import describe
from fisherscope.integrations.step_hooks import Steps
from fisherscope.integrations.training_record import TrainingRecord
from fisherscope.monitor import Monitor
from fisherscope.runs import Run, RunError


class GuardedCallback:
    """Hold what the callbacks of all frameworks share, and say what becomes of an error of ours.

    Each method that a framework calls is decorated with `contain_errors` and one of the recoveries here.
    """

    options: dict[str, Any]
    monitor: Monitor | None
    _steps: Steps | None
    _record: TrainingRecord
    _early_error: Exception | None = None  # until there is a step whose row can say it
    _is_unmeasured = False  # whether the monitor could not be built

    def _report(self, error: Exception, *_: Any, **__: Any) -> None:
        """Make an error the status of the latest step's row, or of the first step's before that.

        Raises:
            Exception: `error`, if `strict`.
        """
        if self.options.get("strict"):
            raise error
        if not self._is_unmeasured and (self.monitor is None or self.monitor.progress[0] == 0):
            self._early_error = self._early_error or error
            return
        try:
            if self.monitor is None:
                raise error
            state = self.monitor.state
            if isinstance(state.run, Run) and not state.run.is_open:
                state.run = None
            state.report(error)
        except Exception:  # noqa: BLE001  (without a monitor that works, this warning is all that is left)
            text = f"{type(self).__name__}: {describe(error)}; the training goes on"
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    def _report_early_error(self) -> None:
        """Make an error from before the first step the status of the step that is open."""
        error, self._early_error = self._early_error, None
        if error is not None and self._steps is not None:
            self._steps.fail(error)

    def _report_in_step(self, error: Exception, *_: Any, **__: Any) -> None:
        """Let the step that begins, or is open, be counted with the error as its status."""
        if self._steps is None or self.options.get("strict"):
            self._report(error)
            return
        try:
            self._steps.fail(error)
        except Exception:  # noqa: BLE001  (the hooks are the only thing that counts now)
            self._detach()
            self._report(error)

    def _report_at_step_end(self, error: Exception, *_: Any, **__: Any) -> None:
        """Close the open step with the error as its status; of a closed one, report it."""
        if self._steps is None or not self._steps.open:
            self._report(error)
            return
        self._report_in_step(error)
        if self._steps is not None:
            self._steps.end()

    def _give_up(self, error: Exception, step: int) -> None:
        """Let the training go on unmeasured: its monitor could not be built.

        Args:
            error: What was raised.
            step: Optimizer steps that the training has completed.

        Raises:
            Exception: `error`, if it says what the user is to change, or if `strict`.
        """
        is_meant = isinstance(error, RunError) and not isinstance(error.__cause__, OSError)
        if is_meant or self.options.get("strict"):
            raise error
        self._detach()
        self.monitor, self._is_unmeasured, status = None, True, describe(error)
        self._record.begin_unmeasured(step, status)
        warnings.warn(
            f"{type(self).__name__}: the training is not measured: {status}", RuntimeWarning, stacklevel=2
        )

    def _detach(self) -> None:
        """Leave the model as it was found: nothing of ours is called in its steps from now on."""
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.drop()

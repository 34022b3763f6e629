"""The optimizer steps of a monitor, where a framework's hooks stand in for one `with` block."""

from collections.abc import Sized
from typing import Any

from fisherscope.monitor import Monitor, Step


class Steps:
    """Opens and closes `monitor.observe()` at two hooks of a loop that is not ours.

    Args:
        monitor: Of the model and the optimizer that the loop trains.
    """

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self._step: Step | None = None

    @property
    def open(self) -> bool:
        """Whether a step has begun and not ended: between the micro-batches of one, say."""
        return self._step is not None

    def begin(self) -> None:
        """Before a step's first forward; nothing where a step is open already."""
        if self._step is None:
            step = self.monitor.observe()
            step.__enter__()
            self._step = step

    def end(self, batch_size: int | None = None) -> None:
        """After a step's last backward, before the optimizer; nothing where no step is open.

        Args:
            batch_size: Samples of the step as the framework counts them; a measured step knows better.
        """
        step, self._step = self._step, None
        if step is None:
            return
        if not step.measured:
            step.batch_size = batch_size
        step.__exit__(None, None, None)

    def drop(self, error: BaseException | None = None) -> None:
        """The open step did not come to its end: nothing is counted, nothing stays on the model."""
        step, self._step = self._step, None
        if step is not None:
            error = error or RuntimeError("the loop ended within a step")
            step.__exit__(type(error), error, error.__traceback__)


def samples_in(loader: Any) -> int | None:
    """Samples of a loader's dataset, None where it does not say."""
    data = getattr(loader, "dataset", None)
    try:
        return len(data) if isinstance(data, Sized) else None
    except TypeError:
        return None

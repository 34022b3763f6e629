"""The steps of a monitor in a loop with hooks, which can't have one `with` block per step."""

from collections.abc import Sized
from typing import Any

from fisherscope.monitor import Monitor, Step


class Steps:
    """Open and close `monitor.observe()` from two hooks of a framework's loop.

    Args:
        monitor: The monitor of the model and the optimizer that the loop trains.
    """

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self._step: Step | None = None
        self._ratio = 1.0  # samples that were measured, over those that the framework counted

    @property
    def open(self) -> bool:
        """Whether a step has begun and not ended, as between its micro-batches."""
        return self._step is not None

    def begin(self, loader_count: int | None = None) -> None:
        """Open a step before its first forward, unless one is open.

        Args:
            loader_count: Samples of the step, as the framework counts them; None where it is not known yet.
        """
        if self._step is None:
            step = self.monitor.observe()
            step.loader_count = loader_count
            step.__enter__()
            self._step = step

    def end(
        self, batch_size: int | None = None, loader_count: int | None = None, *, compared: bool = True
    ) -> None:
        """Close the step after its last backward and before the optimizer, if one is open.

        Args:
            batch_size: Samples of the step as the framework counts them. A measured step counts its samples
                itself; what it finds corrects the count of the steps after it.
            loader_count: The same where it is to be compared only.
            compared: Whether `batch_size` is to be what a measured step counts.
        """
        step = self._step
        if step is None:
            return
        if not step.measured and batch_size is not None:
            step.batch_size = round(batch_size * self._ratio)
        own = batch_size if compared else None
        step.loader_count = own if loader_count is None else loader_count
        step.__exit__(None, None, None)
        self._step = None
        row = self.monitor.measurement
        if batch_size and row is not None and row.get("fisher/trace") is not None:
            self._ratio = row["batch_size"] / batch_size

    def fail(self, error: Exception) -> None:
        """Measure the open step no further, or open one that is not measured: its row will say why.

        Args:
            error: What was raised.
        """
        self.begin()
        if self._step is not None:
            self._step.fail(error)

    def drop(self, error: BaseException | None = None) -> None:
        """Close an unfinished step without counting it, and remove every hook from the model.

        Args:
            error: What ended the step; None for the end of the loop.
        """
        step = self._step
        if step is not None:
            error = error or RuntimeError("the loop ended within a step")
            step.__exit__(type(error), error, error.__traceback__)
            self._step = None


def dataset_size(loader: Any) -> int | None:
    """Count the samples of a loader's data set.

    Args:
        loader: A DataLoader, or another iterable.

    Returns:
        The number; None for a data set without a length.
    """
    data = getattr(loader, "dataset", None)
    try:
        return len(data) if isinstance(data, Sized) else None
    except TypeError:
        return None


def restore(monitor: Monitor, state: dict[str, Any] | None, step: int, epoch: int) -> None:
    """Bring a new monitor to where its training stands.

    Args:
        monitor: The monitor.
        state: The `state_dict` of the one before it; None if there is none.
        step: Optimizer steps that the framework has completed.
        epoch: Epochs that the framework has completed.

    Raises:
        ValueError: The state is that of a monitor that measures differently.
    """
    if state is not None:
        monitor.load_state_dict(state)
    elif step:
        monitor.skip_to(step, epoch)

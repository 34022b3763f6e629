"""A scheduler that a sampler advances by samples, where a framework steps it once a batch."""

from typing import Any


class SchedulerBySamples:
    """Stand for a scheduler in a framework's loop, whose calls of `step` do nothing.

    Args:
        scheduler: The torch scheduler, which a `DynamicBatchSampler` advances.
        optimizer: Its optimizer.
    """

    def __init__(self, scheduler: Any, optimizer: Any) -> None:
        self.scheduler, self._optimizer = scheduler, optimizer

    def step(self, *_: Any) -> None:
        """Do nothing: `DynamicBatchSampler.step` advances the scheduler."""

    def get_last_lr(self) -> list[float]:
        """Return the rates of the optimizer's step: what its groups hold, times the size's factor."""
        optimizer = getattr(self._optimizer, "optimizer", self._optimizer)
        gain = getattr(optimizer, "fisherscope_gain", 1.0)
        return [group["lr"] if gain == 1.0 else float(group["lr"]) * gain for group in optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the scheduler's state."""
        state: dict[str, Any] = self.scheduler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the scheduler.

        Args:
            state: Its state.
        """
        self.scheduler.load_state_dict(state)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.scheduler, name)

"""A torch scheduler that counts in steps, advanced by samples."""

from typing import TYPE_CHECKING

from fisherscope.guard import RefusedState, RefusedType
from fisherscope.sampler.planned_batch import PlannedBatch

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LRScheduler


class SampleSchedule:
    """Advance a torch learning-rate scheduler one step for each `batch_size` samples.

    A warm-up of 100 steps or a cosine of 5 000 means another number of samples once batches grow. Here it
    keeps the meaning that it has at `batch_size`: an epoch of n samples is ⌈n / batch_size⌉ of the
    scheduler's steps whatever the batches are, and a batch that begins at sample s of an epoch has the rate
    of the epoch's step ⌊s / batch_size⌋. With batches of that size it is stepped once a batch, as by hand.

    Args:
        scheduler: Scheduler that would be stepped after each batch.
        batch_size: Samples that one of its steps stands for.
        epoch_samples: Samples in an epoch.

    Raises:
        TypeError: The scheduler is stepped with a metric, so it does not count batches.

    Cost: what the scheduler's steps cost; their number does not grow with the batch size.
    """

    def __init__(self, scheduler: "LRScheduler", batch_size: int, epoch_samples: int) -> None:
        from torch.optim.lr_scheduler import ReduceLROnPlateau

        if isinstance(scheduler, ReduceLROnPlateau) or not hasattr(scheduler, "step"):
            raise RefusedType(
                f"attaching a scheduler: {type(scheduler).__name__} does not count batches; step it yourself "
                'where its metric is known, and write attach(optimizer, lr="couple") without scheduler='
            )
        self.scheduler, self.batch_size = scheduler, batch_size
        self._epoch_samples, self._epoch_steps = epoch_samples, -(-epoch_samples // batch_size)

    def steps_before(self, batch: PlannedBatch) -> int:
        """Return how many of the scheduler's steps lie before a batch.

        Args:
            batch: The batch.

        Returns:
            Steps since the run's beginning.
        """
        return batch.epoch * self._epoch_steps + batch.start // self.batch_size

    def advance(self, done: PlannedBatch, coming: PlannedBatch) -> None:
        """Step the scheduler from one batch to the next.

        Args:
            done: The batch that was trained.
            coming: The one that follows.

        Raises:
            RuntimeError: The scheduler is not where the samples so far put it.
        """
        expected, target = self.steps_before(done), self.steps_before(coming)
        made = getattr(self.scheduler, "last_epoch", expected)
        if made != expected:
            raise RefusedState(
                f"advancing {type(self.scheduler).__name__} by samples: it has made {made} steps, and "
                f"the samples so far stand for {expected} of {self.batch_size}; leave scheduler.step() out "
                "of the loop, and when resuming load the scheduler's state_dict as well"
            )
        for _ in range(target - expected):
            self.scheduler.step()

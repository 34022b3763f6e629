"""A planned batch: its position in the run, and what was decided for it."""

from dataclasses import dataclass

from fisherscope.policy import Decision


@dataclass(frozen=True)
class PlannedBatch:
    """Hold a planned batch: its position in the run, and its decision.

    Args:
        step: Number of the batch in the run, from 0.
        epoch: Epoch, from 0.
        start: Samples of the epoch before it.
        size: Samples in it over all ranks: `decision.batch_size`, except at the end of an epoch.
        decision: The policy's decision.

    Example:
        ```python
        sampler = fs.DynamicBatchSampler(100, fs.policy.parse("s32", lr=0.1, epochs=2))
        assert (sampler.current.step, sampler.current.size) == (0, 32)
        ```
    """

    step: int
    epoch: int
    start: int
    size: int
    decision: Decision

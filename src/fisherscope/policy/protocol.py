"""The contract that every policy meets."""

from typing import Protocol, runtime_checkable

from fisherscope.policy.decision import Decision, Observation, State
from fisherscope.policy.lr_schedule import Rate


@runtime_checkable
class Policy(Protocol):
    """Choose the batch size and the learning rate of each batch; a frozen value with a name.

    `update` is called exactly once for each batch, in order, before its samples are drawn. It is a function
    of its arguments, without clock, files or random numbers. `name` and `parse` are inverse to each other.

    Attributes:
        name: The policy's name, as `parse` reads it.
        rate: Its learning-rate schedule.
        closed_loop: Whether it reads measurements.

    Example:
        ```python
        policy = fs.policy.parse("s32-to-128", lr=0.1, epochs=10)
        assert isinstance(policy, fs.policy.Policy)
        state = policy.init()
        state, decision = policy.update(state, fs.policy.Observation(0, 0, 1000))
        assert (decision.batch_size, decision.lr) == (32, 0.1)
        ```
    """

    @property
    def name(self) -> str:
        """The name that `parse` turns into this policy again, given its learning rate and epochs."""

    @property
    def rate(self) -> Rate:
        """The learning rate before any scaling by the batch size, and the length of the run."""

    @property
    def closed_loop(self) -> bool:
        """Whether the policy reads measurements, and so must receive every measured row."""

    def init(self) -> State:
        """Return the state before the first batch.

        Returns:
            JSON values only.

        Example:
            ```python
            assert fs.policy.parse("s32", lr=0.1, epochs=10).init() == {"level": 0}
            ```
        """

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        """Return the next state and the decision for the next batch.

        Args:
            state: The state that `init` or the previous `update` returned; it is not changed.
            observation: Where the batch starts, and the newest measurement that may be used.

        Returns:
            The new state, and the batch size (samples over all ranks) and learning rate of the batch.

        Raises:
            ValueError: A measurement lacks a key that the policy reads.

        Cost: microseconds; nothing is copied to or from a device.

        Example:
            ```python
            policy = fs.policy.parse("s32", lr=0.1, epochs=10)
            state, decision = policy.update(policy.init(), fs.policy.Observation(5, 0, 1000))
            assert decision == fs.policy.Decision(32, 0.01, "learning-rate level 2")
            ```
        """

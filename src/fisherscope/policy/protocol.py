"""The contract that every policy meets."""

from typing import Protocol, runtime_checkable

from fisherscope.policy.decision import Decision, Observation, State
from fisherscope.policy.lr_schedule import Rate


@runtime_checkable
class Policy(Protocol):
    """A frozen value that chooses the batch size and learning rate of each batch from what it is told.

    `update` is called exactly once for each batch, in order, before its samples are drawn: a function of its
    arguments, without clock, files or random numbers. `name` and `parse` are inverse to each other.
    """

    @property
    def name(self) -> str:
        """The name that `parse` turns into this policy again, given its learning rate and epochs."""

    @property
    def rate(self) -> Rate:
        """The learning rate before any coupling; `rate.epochs` is the length it was made for."""

    @property
    def closed_loop(self) -> bool:
        """Whether it reads measurements, so that it must be told of every step."""

    def init(self) -> State:
        """The state before the first batch."""

    def update(self, state: State, observation: Observation) -> tuple[State, Decision]:
        """The next state and the decision for the batch at `observation`."""

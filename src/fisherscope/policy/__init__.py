"""Policies: the batch size and learning rate of the next batch, as pure values. Standard library only."""

from fisherscope.policy.decision import Decision, Observation, Policy, Rate, State
from fisherscope.policy.fixed import Fixed
from fisherscope.policy.names import parse
from fisherscope.policy.staged import Staged, stage_sizes

__all__ = ["Decision", "Fixed", "Observation", "Policy", "Rate", "Staged", "State", "parse", "stage_sizes"]

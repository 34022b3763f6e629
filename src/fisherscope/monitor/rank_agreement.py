"""What the monitors of several ranks tell each other, so that their rows and sizes are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fisherscope.gram.ranks.process_group import Ranks, RanksError, find_ranks
from fisherscope.monitor.measurement import Row
from fisherscope.monitor.running_totals import Counters
from fisherscope.monitor.schedule import SCHEDULE_SETTINGS, WARM_STEP, Budget, Schedule


@dataclass
class PendingStep:
    """A step since the last exchange, counted with a batch size that is not known to be exact yet.

    Args:
        local: Samples of this rank.
        counted: Samples that were counted for all ranks.
        rates: Learning rate of each parameter group.
        epoch: Epochs that had ended.
    """

    local: int
    counted: int
    rates: list[float]
    epoch: int


@dataclass
class RankAgreement:
    """This rank's part in a monitor of several ranks.

    Between two exchanges every rank counts the same sizes: those of the last measured step. An exchange
    replaces them by the sums of what the ranks had.

    Args:
        ranks: The channel.
        batch_size: Samples of all ranks in the last measured step; 0 before the first.
        pending: Steps since then.
    """

    ranks: Ranks
    batch_size: int = 0
    pending: list[PendingStep] = field(default_factory=list)

    @classmethod
    def open(cls, group: Any) -> RankAgreement | None:
        """Find the ranks.

        Returns:
            What they agree by; None for one process.

        Raises:
            RanksError: The group is not one, or the other ranks did not answer.
        """
        ranks = find_ranks(group)
        return None if ranks is None else cls(ranks)

    @property
    def writes(self) -> bool:
        """Whether this rank writes the run and calls the trackers."""
        return self.ranks.rank == 0

    def agree_on_settings(self, settings: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Take from rank 0 which steps are measured.

        Args:
            settings: Of this rank's monitor.

        Returns:
            Rank 0's settings of the schedule, and a sentence for each that differs on any rank.

        Raises:
            RanksError: The other ranks did not answer: they have no monitor.
        """
        there = self.ranks.gather({key: settings[key] for key in SCHEDULE_SETTINGS})
        notes = []
        for key, value in there[0].items():
            others = [(number, other[key]) for number, other in enumerate(there) if other[key] != value]
            if others:
                notes.append(
                    f"{key}={value!r} on rank 0 and {others[0][1]!r} on rank {others[0][0]}: that of "
                    "rank 0 holds"
                )
        return there[0], notes

    def share_interval(self, schedule: Schedule, step: int) -> None:
        """Take rank 0's interval at the step at which each rank has found its own.

        Args:
            schedule: This rank's.
            step: Steps before this one in the run.

        Raises:
            RanksError: An exchange failed.
        """
        if isinstance(schedule, Budget) and step == WARM_STEP + 1:
            schedule.load_state_dict(self.ranks.gather(schedule.state_dict())[0])

    def count(self, counters: Counters, local: int, rates: Sequence[float]) -> None:
        """Count a step of all ranks.

        Args:
            counters: Of the monitor.
            local: Samples of this rank.
            rates: Learning rate of each parameter group.
        """
        size = self.batch_size or local * self.ranks.size
        counters.add(size, rates)
        self.pending.append(PendingStep(local, size, list(rates), counters.epoch))

    def exchange(
        self, counters: Counters, ids: Sequence[Any] | None, problem: str | None
    ) -> tuple[list[Any] | None, str | None]:
        """Replace the sizes counted since the last exchange by those that the ranks had.

        Args:
            counters: Of the monitor; the step that was counted last is the measured one.
            ids: Of this rank's samples in batch order, or None.
            problem: Why this rank's batch is not the one that was meant, or None.

        Returns:
            Ids of all ranks' samples in rank order, None where a rank gave none; and the first problem.

        Raises:
            RanksError: An exchange failed.
        """
        mine = {
            "sizes": [step.local for step in self.pending],
            "ids": None if ids is None else list(ids),
            "problem": problem,
        }
        pending, self.pending = self.pending, []
        there = self.ranks.gather(mine)
        if len({len(other["sizes"]) for other in there}) > 1:
            raise RanksError(
                f"measuring over {self.ranks.size} ranks: they counted "
                f"{[len(other['sizes']) for other in there]} steps since the last measured one; every rank "
                "has to observe each step"
            )
        for step, *sizes in zip(pending, *(other["sizes"] for other in there), strict=True):
            counters.correct(step.counted, sum(sizes), step.rates, step.epoch)
            self.batch_size = counters.batch_size = sum(sizes)
        problems = [
            f"{other['problem']} (rank {number})" for number, other in enumerate(there) if other["problem"]
        ]
        every = [other["ids"] for other in there]
        whole = None if any(part is None for part in every) else [sample for part in every for sample in part]
        return whole, problems[0] if problems else None

    def share_row(self, row: Row, schedule: Schedule) -> Row:
        """Return rank 0's row on every rank, and bring the schedules to its state.

        A policy that decides by rows then decides the same on every rank.

        Args:
            row: This rank's.
            schedule: This rank's.

        Raises:
            RanksError: An exchange failed.
        """
        mine = (row, schedule.state_dict()) if self.ranks.rank == 0 else None
        there, state = self.ranks.gather(mine)[0]
        if self.ranks.rank:
            schedule.load_state_dict(state)
        return dict(there)

"""One measurement of all ranks' batches: agree first, then exchange, and never leave a rank waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.accumulation.accumulator import ParameterStats
from fisherscope.gram.ranks.global_gram import RankColumns, add_up, bytes_to_send, exchange_columns, plans
from fisherscope.gram.ranks.process_group import Ranks, RanksError
from fisherscope.gram.ranks.summed_gradient import gradient_reduction


class Standing(IntEnum):
    """How a rank stands when its block ends."""

    READY = 0
    EMPTY = 1  # nothing was measured; the rank takes part and says why
    FAILED = 2  # an error of measuring; the rank does not take part
    LEFT = 3  # the user's own exception ended the block


@dataclass(frozen=True)
class RankReport:
    """What a rank tells the others before numbers are exchanged: plain data, pickled.

    Args:
        samples: Of this rank.
        options: What must be alike on all ranks.
        empty: Why nothing was measured; None where something was.
        problems: Why parameters are left out, by name.
        layouts: Of the stored columns, by name; None where they were multiplied already.
        names: Of the parameters that were measured on this rank.
        loss: Mean loss of this rank's batch.
        entries: A few numbers of the gradient that arrived, and of `.grad` at the block's end.
        grouping: How sure this rank is of whose its rows are.
        moved: Why its samples' gradients are not at one set of weights, or None.
    """

    samples: int
    options: dict[str, Any]
    empty: str | None
    problems: dict[str, str]
    layouts: dict[str, Any] | None
    names: list[str]
    loss: float | None
    entries: dict[str, tuple[Tensor, Tensor]]
    grouping: str
    moved: str | None = None


@dataclass
class JointMeasurement:
    """What the ranks measured together: the same on each of them.

    Args:
        counts: Samples of each rank.
        mode: "global", "rank" (each has its own part's Gram) or "off".
        gram: F̃ of all samples (N, N), not scaled; of this rank's alone where `mode` is "rank".
        entry_error: Absolute errors of its diagonal.
        statistics: Each parameter's scalars over all ranks.
        problems: Why parameters are left out, on any rank.
        loss: Mean of the ranks' losses.
        bytes_sent: By this rank.
        status: What is wrong, or None.
        notes: One sentence each.
        groupings: How sure each rank is of whose its rows are.
    """

    counts: list[int]
    mode: str
    gram: Tensor | None = None
    entry_error: Tensor | None = None
    statistics: dict[str, ParameterStats] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    loss: float | None = None
    bytes_sent: int = 0
    status: str | None = None
    notes: list[str] = field(default_factory=list)
    groupings: list[str] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """Samples of all ranks."""
        return sum(self.counts)


def measure_jointly(
    ranks: Ranks,
    report: RankReport,
    columns: RankColumns | None,
    local: Callable[[], tuple[Tensor | None, Tensor | None]],
    statistics: Mapping[str, ParameterStats],
    squares: Callable[[list[str], str], dict[str, Tensor]],
    spectrum: str,
    max_bytes: int,
) -> JointMeasurement:
    """Measure all ranks' batches as one. Every rank calls it when its block ends.

    Args:
        ranks: The channel.
        report: How this rank stands.
        columns: What this rank stored; None where it multiplied its columns already.
        local: Gives this rank's own Gram and absolute errors of its diagonal; called where they are needed.
        statistics: This rank's scalars by parameter.
        squares: Gives |Σ columns|² of parameters over all ranks, from the gradients at the block's end; a
            collective, called with names and what `gradient_reduction` found.
        spectrum: "global", "rank" or "off".
        max_bytes: Above these the global Gram is not formed.

    Returns:
        The measurement, the same on each rank but for `gram` where `mode` is "rank".

    Raises:
        RanksError: Another rank failed, left, or did not answer in time.
    """
    sent = ranks.bytes_sent
    standings = ranks.agree(Standing.READY if report.empty is None else Standing.EMPTY)
    _check_standings(standings)
    reports: list[RankReport] = ranks.gather(report)
    _check_options(reports)
    joint = JointMeasurement([r.samples for r in reports], spectrum)
    joint.groupings = [r.grouping for r in reports]
    empty = [(k, r.empty) for k, r in enumerate(reports) if r.empty is not None]
    if empty:
        joint.status = f"{empty[0][1]} (rank {empty[0][0]} of {ranks.size})"
        return joint
    losses = [r.loss for r in reports]
    joint.loss = None if None in losses else sum(losses) / len(losses)  # type: ignore[arg-type]
    for number, other in enumerate(reports):
        for name, text in other.problems.items():
            joint.problems.setdefault(name, f"{text} (rank {number})")
    reduction, joint.status = gradient_reduction([r.entries for r in reports])
    joint.status = next((r.moved for r in reports if r.moved), joint.status)
    layouts = [r.layouts for r in reports if r.layouts is not None]
    if spectrum == "global" and columns is not None and len(layouts) == ranks.size:
        kept = [{n: lay for n, lay in lays.items() if n not in joint.problems} for lays in layouts]
        exchanges, problems = plans(kept, joint.counts)
        joint.problems.update(problems)
        cost = bytes_to_send(exchanges, joint.counts)
        if cost <= max_bytes:
            partial = exchange_columns(ranks, columns, exchanges, joint.counts)
            joint.statistics = add_up(ranks, partial, statistics)
            joint.gram, joint.entry_error = partial.gram, partial.entry_error
            joint.bytes_sent = ranks.bytes_sent - sent
            return joint
        joint.notes.append(
            f"the Gram of all {joint.samples} samples would send {cost:,} bytes a measured step, "
            f"above max_bytes={max_bytes:,}: its spectrum is each rank's own part (trace, energy and "
            "noise scale are of all samples)"
        )
    elif spectrum == "global":
        joint.notes.append(
            "the columns of a step did not fit the memory budget: the spectrum is each rank's own part "
            "(trace, energy and noise scale are of all samples)"
        )
    joint.mode = "off" if spectrum == "off" else "rank"
    joint.gram, joint.entry_error = local()
    names = sorted({name for r in reports for name in r.names if name not in joint.problems})
    joint.statistics = _scalars(ranks, names, statistics, squares(names, reduction))
    joint.bytes_sent = ranks.bytes_sent - sent
    return joint


def _scalars(
    ranks: Ranks,
    names: list[str],
    local: Mapping[str, ParameterStats],
    squares: Mapping[str, Tensor],
) -> dict[str, ParameterStats]:
    """Form each parameter's trace and squared sum over all ranks without any cross term."""
    table = torch.zeros(len(names), 4, dtype=torch.float64)
    for row, name in enumerate(names):
        stats = local.get(name)
        if stats is None:
            continue
        size = stats.sizes if stats.sizes is not None else stats.mean_square.double().clamp_min(0).sqrt()
        values = (stats.trace, stats.sum_error, stats.rounding_scale, size)
        table[row] = torch.stack([value.double().cpu() for value in values])
    table = ranks.add_up(table).cpu()
    return {
        name: ParameterStats(row[0], squares[name], row[1], row[2], sizes=row[3])
        for name, row in zip(names, table, strict=True)
    }


def _check_standings(standings: list[int]) -> None:
    reasons = {
        Standing.FAILED: "an error of measuring there",
        Standing.LEFT: "an exception ended its block",
    }
    for number, code in enumerate(standings):
        if code in reasons:
            raise RanksError(
                f"measuring over {len(standings)} ranks: rank {number} took no part: "
                f"{reasons[Standing(code)]}"
            )


def _check_options(reports: list[RankReport]) -> None:
    first = reports[0].options
    for number, report in enumerate(reports[1:], start=1):
        for name, value in report.options.items():
            if first.get(name) != value:
                raise RanksError(
                    f"measuring over {len(reports)} ranks: {name}={first.get(name)!r} on rank 0 and "
                    f"{value!r} on rank {number}; give every rank the same arguments"
                )

"""The candidate schedules that `BeaconPolicy` compares: a size for each remaining part."""

from collections.abc import Iterator

Schedule = tuple[int, ...]
"""Index of a batch size for each remaining part of the run."""


def schedules(sizes: int, current: int | None, parts_left: int, next_milestone: int) -> list[Schedule]:
    """Return the candidates: keep the size, change it now, at the milestone, or in stages.

    Args:
        sizes: Number of batch sizes, which are in increasing order.
        current: Index of the size in use; None if the first one is still to be chosen.
        parts_left: Remaining parts of the run.
        next_milestone: Parts until the next milestone; 0 if there is none.
    """
    starts = range(sizes) if current is None else (current,)
    candidates: dict[Schedule, None] = {}
    for start in starts:
        for target in range(sizes):
            candidates |= dict.fromkeys(_paths(start, target, parts_left, next_milestone))
            if current is not None:
                candidates[(target,) * parts_left] = None
    return list(candidates)


def _paths(start: int, target: int, parts_left: int, next_milestone: int) -> Iterator[Schedule]:
    """Yield the paths from one size to another: in equal stages, or at the milestone."""
    stages = abs(target - start) + 1
    direction = 1 if target > start else -1
    yield tuple(start + direction * (part * stages // parts_left) for part in range(parts_left))
    if 0 < next_milestone < parts_left:
        yield (start,) * next_milestone + (target,) * (parts_left - next_milestone)


def format_schedule(sizes: tuple[int, ...], schedule: Schedule) -> str:
    """Format a schedule as `16×4 32×6`: each size with its number of parts."""
    runs: list[list[int]] = []
    for index in schedule:
        if runs and runs[-1][0] == sizes[index]:
            runs[-1][1] += 1
        else:
            runs.append([sizes[index], 1])
    return " ".join(f"{size}×{count}" for size, count in runs)

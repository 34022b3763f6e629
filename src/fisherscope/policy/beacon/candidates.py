"""The family of schedules that `BeaconPolicy` looks at: a size for each part of the run to come."""

from collections.abc import Iterator

Schedule = tuple[int, ...]
"""A size's number for each part of the run to come."""


def schedules(sizes: int, current: int | None, left: int, turn: int) -> list[Schedule]:
    """Stay, another size from now on, the same from the next milestone on, or staged to it over the rest.

    Args:
        sizes: How many sizes there are, in increasing order.
        current: Number of the size in use; None where the first one is still to be chosen.
        left: Parts of the run to come.
        turn: Parts until the next milestone; 0 where there is none.
    """
    starts = range(sizes) if current is None else (current,)
    found: dict[Schedule, None] = {}
    for start in starts:
        for target in range(sizes):
            found |= dict.fromkeys(_between(start, target, left, turn))
            if current is not None:
                found[(target,) * left] = None
    return list(found)


def _between(start: int, target: int, left: int, turn: int) -> Iterator[Schedule]:
    """Ways from one size to another: staged in equal lengths, or a step at the milestone."""
    stages = abs(target - start) + 1
    direction = 1 if target > start else -1
    yield tuple(start + direction * (part * stages // left) for part in range(left))
    if 0 < turn < left:
        yield (start,) * turn + (target,) * (left - turn)


def spelt(sizes: tuple[int, ...], schedule: Schedule) -> str:
    """`16×4 32×6`: each size with its number of parts."""
    runs: list[list[int]] = []
    for number in schedule:
        if runs and runs[-1][0] == sizes[number]:
            runs[-1][1] += 1
        else:
            runs.append([sizes[number], 1])
    return " ".join(f"{size}×{count}" for size, count in runs)

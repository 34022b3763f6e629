"""Place the nodes of a layered graph so that few arrows cross and none runs behind a box."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

Point = tuple[float, float]
Edge = tuple[str, str]
BOX, GAP = 1.0, 0.32
"""Width that a box takes, and width that a passing arrow takes between two boxes."""


class Layered:
    """The places of boxes and the ways of arrows, in boxes across and floors up.

    Args:
        floors: Floor of each box.
        edges: Arrows, from the upper box to the lower.
        rounds: Moves that are tried to untangle the arrows.
        seed: Of these moves: the same graph gives the same picture.
    """

    def __init__(
        self, floors: Mapping[str, int], edges: Sequence[Edge], rounds: int = 30_000, seed: int = 3
    ) -> None:
        self._floors = floors
        self._ways = {edge: self._way(edge) for edge in edges}
        self._segments = [pair for way in self._ways.values() for pair in pairwise(way)]
        rows: dict[int, list[str]] = defaultdict(list)
        for name, floor in floors.items():
            rows[floor].append(name)
        for way in self._ways.values():
            for name in way[1:-1]:
                rows[int(name.rpartition("@")[2])].append(name)
        self._rows = dict(rows)
        self._width = max(sum(map(_width, row)) for row in self._rows.values())
        self._untangle(rounds, random.Random(seed))
        self.places: dict[str, Point] = {
            name: (x, floors[name]) for name, x in self._across().items() if name in floors
        }

    def way(self, edge: Edge) -> list[Point]:
        """Return the points that an arrow passes, its ends included."""
        across = self._across()
        return [(across[name], self._floor(name)) for name in self._ways[edge]]

    def _way(self, edge: Edge) -> list[str]:
        upper, lower = edge
        between = range(self._floors[upper] - 1, self._floors[lower], -1)
        return [upper, *(f"{upper}>{lower}@{floor}" for floor in between), lower]

    def _floor(self, name: str) -> int:
        return self._floors[name] if name in self._floors else int(name.rpartition("@")[2])

    def _across(self) -> dict[str, float]:
        """Return the middle of each name on its row; rows are centred and spread over the whole width."""
        across = {}
        for row in self._rows.values():
            free = (self._width - sum(map(_width, row))) / (len(row) + 1)
            x = free
            for name in row:
                across[name] = x + _width(name) / 2
                x += _width(name) + free
        return across

    def _cost(self) -> float:
        """Return the crossings, and for a small part how far arrows run aside."""
        across = self._across()
        by_floor: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for upper, lower in self._segments:
            by_floor[self._floor(upper)].append((across[upper], across[lower]))
        crossings = sum(
            (a[0] - b[0]) * (a[1] - b[1]) < 0
            for lines in by_floor.values()
            for k, a in enumerate(lines)
            for b in lines[:k]
        )
        return crossings + 0.3 * sum((a - b) ** 2 for lines in by_floor.values() for a, b in lines)

    def _untangle(self, rounds: int, draw: random.Random) -> None:
        """Exchange two names of a row again and again, worse ones less and less often (annealing)."""
        cost = self._cost()
        best, least = {floor: list(row) for floor, row in self._rows.items()}, cost
        crowded = [row for row in self._rows.values() if len(row) > 1]
        for k in range(rounds):
            row = draw.choice(crowded)
            a, b = draw.sample(range(len(row)), 2)
            row[a], row[b] = row[b], row[a]
            changed = self._cost()
            if changed <= cost or draw.random() < math.exp(
                (cost - changed) / (3.0 * (1 - k / rounds) + 1e-9)
            ):
                cost = changed
                if cost < least:
                    best, least = {floor: list(names) for floor, names in self._rows.items()}, cost
            else:
                row[a], row[b] = row[b], row[a]
        self._rows = best


def _width(name: str) -> float:
    return GAP if "@" in name else BOX

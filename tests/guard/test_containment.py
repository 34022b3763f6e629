"""What is called once more after an error, and what passes."""

from __future__ import annotations

import warnings
from collections import deque

import pytest

from fisherscope.guard import repeat_once


class Queue:
    """A queue whose `take` fails a number of times, half way through."""

    def __init__(self, failures: int) -> None:
        self.places, self.taken, self.failures = deque([3, 4]), 0, [None] * failures

    @repeat_once
    def take(self, seen: list[int]) -> int:
        place = self.places.popleft()
        self.taken += 1
        seen.append(place)
        if len(seen) <= len(self.failures):
            raise KeyError(place)
        return place


def test_a_second_call_finds_the_object_as_it_was_and_is_warned_of() -> None:
    queue, seen = Queue(1), []
    with pytest.warns(RuntimeWarning, match=r"Queue.take failed and was called again.*error: KeyError: 3"):
        assert queue.take(seen) == 3
    assert (seen, queue.taken, list(queue.places)) == ([3, 3], 1, [4])


def test_what_fails_twice_passes_with_its_type_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyError, match="3"):
            Queue(2).take([])
        seen: list[int] = []
        assert Queue(0).take(seen) == 3
    assert seen == [3]

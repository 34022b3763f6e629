"""The file of beacons, and contradictions in it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from tests.cases.beacon_runs import FILE, planted

from fisherscope.policy import (
    Beacon,
    Beacons,
    Place,
    parse,
    read_beacons,
)


def test_the_file_is_the_value() -> None:
    beacons = read_beacons(FILE)
    policy = parse(f"beacon:{FILE}", lr=0.03, epochs=40)
    assert policy.name == f"beacon:{FILE}@{beacons.digest}"
    assert parse(policy.name, lr=0.03, epochs=40) == policy
    assert replace(beacons, chance=0.6).digest != beacons.digest
    assert asdict(Beacons(**vars_of(beacons))) == asdict(beacons)


def vars_of(beacons: Beacons) -> dict[str, Any]:
    return {name: getattr(beacons, name) for name in asdict(beacons)}


@pytest.mark.parametrize(
    ("name", "lr", "epochs", "words"),
    [
        ("beacon:absent.json", 0.03, 40, "fisherscope beacons RUNS"),
        ("beacon", 0.03, 40, "no file"),
        (f"beacon:{__file__}", 0.03, 40, "not JSON"),
        (f"beacon:{FILE}@0123456789ab", 0.03, 40, "has changed"),
        (f"beacon:{FILE}", 0.03, 80, "region is that of one budget"),
        (f"beacon:{FILE}+constant", 0.03, 40, "region is that of one budget"),
        (f"beacon:{FILE}", 5.0, 40, "batch sizes have beacons at that learning rate"),
        (f"beacon:{FILE}+bounds:max=64", 0.03, 40, "plans with sizes 128.*--sizes"),
        ("becon:x", 0.03, 40, r"did you mean beacon:FILE\.json\?"),
    ],
)
def test_wrong_names_are_told(name: str, lr: float, epochs: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(name, lr=lr, epochs=epochs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"axis": "cond"}, "expected a mean such as cond_geomean"),
        ({"sizes": (8,)}, "at least 2, increasing"),
        ({"samples": 16}, "expected 2 to 16 samples"),
        ({"seconds": (1.0, 0.0, 1.0)}, "one positive number"),
        ({"region": (Place("s8", 1.0, 1.0, False),)}, "no setting inside"),
        ({"beacons": (Beacon(8, 0.1, (), ()), Beacon(16, 0.1, (), ()))}, "growth must be positive numbers"),
        ({"beacons": ()}, "give beacons, or at least two sizes"),
        ({"beacons": (), "tour": (8,)}, "at least two sizes"),
        ({"chance": 1.0}, "must be in"),
    ],
)
def test_contradictory_beacons_are_told(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        planted(**change)

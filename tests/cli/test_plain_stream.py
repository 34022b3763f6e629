"""Names, reasons and tasks of a foreign run are printed as text, by every verb and in every warning."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from experiments.fuzz.sample_runs import write_runs
from experiments.fuzz.verb_calls import call

import fisherscope as fs
from fisherscope.cli.plain_stream import PlainStream

ATTACK = "\x1b]0;owned\x07\x1b[2J[/data/x] [red]x[bold] \x9b2J \u202egnp.exe"
ACTIVE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
VERBS = (
    ["runs"], ["runs", "--json"], ["select"], ["select", "--json"], ["claims"], ["claims", "--json"],
    ["table"], ["export"], ["figure", "1b"], ["report"], ["beacons", "--seconds", "seconds.json"],
)  # fmt: skip


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep whose names, tasks, reasons and files say everything that a terminal would act on."""
    root = tmp_path_factory.mktemp("attacked")
    for path in write_runs(root / "runs"):
        head = json.loads((path / "run.json").read_text())
        head |= {"reason": ATTACK, "config": head["config"] | {"task": ATTACK, "policy": None}}
        (path / "run.json").write_text(json.dumps(head))
        path.rename(path.with_name(f"\x1b[31m[x]{path.name}"))
    broken = root / "runs" / f"{ATTACK.replace('/', '')}"
    broken.mkdir()
    (broken / "run.json").write_text(json.dumps({"format": ATTACK}))  # named in a warning
    (root / "seconds.json").write_text('{"8": 0.1, "32": 0.2}')
    return root


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_nothing_that_a_terminal_acts_on_is_printed(attacked: Path, verb: list[str]) -> None:
    name, *options = verb
    place = [*options, "runs"] if name == "figure" else ["runs", *options]
    outcome = call([name, *place, *(["out.zip"] if name == "export" else [])], attacked)
    assert outcome.problem is None
    assert not ACTIVE.search(outcome.out + outcome.err)
    assert "\\u001b" in outcome.err, "the warning names the broken run"


def test_a_reason_with_markup_is_shown_whole(tmp_path: Path) -> None:
    reasons = ["FileNotFoundError: [/data/x.pt] is not there", "expected [batch, channels] got [red]"]
    for k, reason in enumerate(reasons):
        with fs.open_run(tmp_path / "m" / f"r{k}", {"task": "t"}) as run:
            run.log_epoch(epoch=1, val_error=0.1)
            run.finish("failed", reason)
    outcome = call(["runs", "m"], tmp_path)
    assert all(reason in outcome.out for reason in reasons)


def test_json_stays_json_and_says_the_same(attacked: Path) -> None:
    rows = json.loads(call(["runs", "runs", "--json"], attacked).out)
    assert {row["reason"] for row in rows} == {ATTACK}


def test_a_terminal_without_a_letter_still_shows_the_rest(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as file:
        PlainStream(file).write("C̄ = 1")
    assert (tmp_path / "out").read_text() == "C\\u0304 = 1"

"""Give mutated inputs to the real verbs and count what happens; `cases` draws them, `run_case` judges one."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from experiments.fuzz.command_lines import draw_command_line
from experiments.fuzz.exports import mutate_export
from experiments.fuzz.mutations import (
    RUN_MUTATIONS,
    mutate_bytes,
    mutate_value,
    nasty_value,
    replace_by_odd_file,
)
from experiments.fuzz.sample_runs import write_runs
from experiments.fuzz.verb_calls import Outcome, call

import fisherscope as fs
from fisherscope.report.live_server import WatchedDirectory
from fisherscope.training import Configuration

FAMILIES = ("runs", "runs", "runs", "runs", "exports", "exports", "configs", "beacons")
"""Drawn with these weights."""
LIGHT = (
    ["runs", "runs"],
    ["select", "runs"],
    ["claims", "runs"],
    ["table", "runs"],
    ["diagnose", "runs"],
    ["export", "runs", "out.zip"],
    ["beacons", "runs", "--seconds", "seconds.json", "--out", "out.json"],
)
HEAVY = (
    ["report", "runs", "-o", "out.html"],
    *(
        ["figure", number, "runs", "-o", "out.svg"]
        for number in ("1a", "1b", "1c", "1d", "2", "3", "4", "6", "7")
    ),
)
HEAVY_SHARE = 0.04
SWEEP_SHARE = 0.03
"""Grids among the configurations: their plan is timed by training some steps."""
ALWAYS = ("select", "claims", "table", "export", "report")
"""Verbs that one bad run may not keep from showing the others."""
LEGITIMATE = ("of several tasks",)
"""Refusals that follow from what a valid run says."""
SECONDS_FILE = '{"8": 0.1, "16": 0.15, "32": 0.2}'


@dataclass
class Tally:
    """Count cases and problems.

    Args:
        cases: Number by kind.
        problems: A text for each case that went wrong.
        calls: Number of calls of a verb.
        longest: Seconds of the slowest call.
        slowest: That call.
        growth: MiB that the call that used the most added to the process.
        largest: That call.
        peak: MiB of the process at most.
    """

    cases: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    calls: int = 0
    longest: float = 0.0
    slowest: str = ""
    growth: int = 0
    largest: str = ""
    peak: int = 0

    def judge(self, kind: str, case: str, outcome: Outcome) -> Outcome:
        """Count a call, and note what is wrong with it."""
        self.calls += 1
        text = f"{case} {kind}: {' '.join(outcome.arguments)[:150]}"
        if outcome.seconds > self.longest:
            self.longest, self.slowest = outcome.seconds, text
        if outcome.growth > self.growth:
            self.growth, self.largest = outcome.growth, text
        self.peak = max(self.peak, outcome.peak)
        if outcome.problem is not None:
            self.problems.append(f"{text}: {outcome.problem}")
        return outcome


class Workplace:
    """Hold the valid inputs, and a directory in which copies are mutated."""

    def __init__(self, root: Path) -> None:
        """Write the valid inputs."""
        self.valid, self.work = root / "valid", root / "work"
        write_runs(self.valid / "runs")
        (self.valid / "seconds.json").write_text(SECONDS_FILE)
        fs.export_runs(self.valid / "runs", self.valid / "e.zip")
        made = call(["beacons", "runs", "--seconds", "seconds.json"], self.valid)
        assert made.code == 0, made.err
        self.names = {path.name for path in (self.valid / "runs").iterdir()}
        self.config = Configuration.of({"task": "digits/mlp", "batch_size": 8, "lr": 0.1}).identity()

    def fresh(self, touched: Iterable[str] | None = None) -> Path:
        """Make the copies valid again.

        Args:
            touched: Names of what was changed since, the files and the run directories; by default all.

        Returns:
            The directory of the copies.
        """
        if touched is None or not self.work.exists():
            _remove(self.work)
            shutil.copytree(self.valid, self.work)
            return self.work
        for name in touched:
            _remove(self.work / name)
            (shutil.copytree if (self.valid / name).is_dir() else shutil.copy)(
                self.valid / name, self.work / name
            )
        for path in (self.work / "runs").iterdir():
            if path.name not in self.names:
                _remove(path)
        _remove(self.work / "elsewhere")
        return self.work


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(os.fsencode(path))
    else:
        path.unlink(missing_ok=True)


def run_inputs(place: Workplace, seed: int, numbers: Iterable[int], tally: Tally) -> None:
    """Mutate the inputs of these numbers, drawn by seed, and read each by several verbs."""
    for k in numbers:
        draw = random.Random(f"{seed}-{k}")
        family = draw.choice(FAMILIES)
        getattr(_Cases, family)(place, draw, f"input {seed}-{k}", tally)


def run_command_lines(place: Workplace, seed: int, numbers: Iterable[int], tally: Tally) -> None:
    """Draw the command lines of these numbers by seed, and call each."""
    place.fresh()
    for k in numbers:
        arguments = draw_command_line(random.Random(f"line-{seed}-{k}"))
        if k % 50 == 49:
            place.fresh()
        tally.cases["command line"] += 1
        tally.judge("command line", f"line {seed}-{k}", call(arguments, place.work))


class _Cases:
    """Run one mutated input of each family."""

    @staticmethod
    def runs(place: Workplace, draw: random.Random, case: str, tally: Tally) -> None:
        name = draw.choice(sorted(place.names))
        work, others = place.fresh(()), place.names - {name}
        victim, kind = work / "runs" / name, draw.choice(list(RUN_MUTATIONS))
        RUN_MUTATIONS[kind](victim, draw)
        tally.cases[f"run: {kind}"] += 1
        _listed(work, others, f"run: {kind}", case, tally)
        verb = draw.choice(HEAVY) if draw.random() < HEAVY_SHARE else draw.choice(LIGHT)
        outcome = tally.judge(f"run: {kind}", case, call(verb, work))
        if outcome.code == 2 and verb[0] in ALWAYS and not any(text in outcome.err for text in LEGITIMATE):
            tally.problems.append(f"{case} run: {kind}: {verb[0]} hides the others: {outcome.err[:300]}")
        place.fresh([f"runs/{name}"])

    @staticmethod
    def exports(place: Workplace, draw: random.Random, case: str, tally: Tally) -> None:
        work = place.fresh(["e.zip"])
        kind = f"export: {mutate_export(work / 'e.zip', draw)}"
        tally.cases[kind] += 1
        listing = tally.judge(kind, case, call(["runs", "e.zip", "--json"], work))
        if listing.code == 0 and kind in ("export: value of a run", "export: name of a run"):
            found = {row["run_id"] for row in json.loads(listing.out)}
            if len(place.names & found) < len(place.names) - 1:
                tally.problems.append(f"{case} {kind}: other runs are not listed")
        verb = draw.choice(HEAVY) if draw.random() < HEAVY_SHARE else draw.choice(LIGHT)
        tally.judge(
            kind,
            case,
            call([word.replace("runs", "e.zip") if k else word for k, word in enumerate(verb)], work),
        )

    @staticmethod
    def configs(place: Workplace, draw: random.Random, case: str, tally: Tally) -> None:
        work = place.fresh(())
        path = work / "config.yaml"
        _remove(path)
        values = {
            key: value for key, value in place.config.items() if value is not None or draw.random() < 0.3
        }
        verb = ["train", "--config", "config.yaml", "--print-config"]
        if draw.random() < SWEEP_SHARE:
            values = {"task": "digits/mlp", "batch_sizes": [8], "lrs": [0.05], "seeds": [0], "epochs": 3}
            verb = ["sweep", "--config", "config.yaml", "--dry-run", "--jobs", "1"]
        kind = draw.choice(("value", "value", "bytes", "alias bomb", "odd file", "deep"))
        text = yaml.safe_dump(values)
        if kind == "value":
            text = yaml.safe_dump(_plain(mutate_value(values, draw)))
        elif kind == "alias bomb":
            key, levels = draw.choice(list(values)), draw.choice((3, 6, 9))
            text += _bomb(key, levels)
        elif kind == "deep":
            text = draw.choice(("task: " + "[" * 1500 + "]" * 1500, "task: " + "{a: " * 1000, "- " * 1000))
        path.write_text(text)
        if kind == "bytes":
            mutate_bytes(path, draw)
        elif kind == "odd file":
            replace_by_odd_file(path, draw)
        tally.cases[f"config: {kind}"] += 1
        outcome = tally.judge(f"config: {kind}", case, call(verb, work))
        if len(outcome.err) > 5000:
            tally.problems.append(f"{case} config: {kind}: a message of {len(outcome.err)} characters")

    @staticmethod
    def beacons(place: Workplace, draw: random.Random, case: str, tally: Tally) -> None:
        work = place.fresh(["beacons.json", "seconds.json"])
        name = draw.choice(("beacons.json", "beacons.json", "seconds.json"))
        path, kind = work / name, draw.choice(("value", "value", "bytes", "odd file"))
        if kind == "value":
            path.write_text(_raw(mutate_value(json.loads(path.read_text()), draw)))
        elif kind == "bytes":
            mutate_bytes(path, draw)
        else:
            replace_by_odd_file(path, draw)
        tally.cases[f"{name}: {kind}"] += 1
        read = [
            "train",
            "digits/mlp",
            "--lr",
            "0.1",
            "--epochs",
            "3",
            "--policy",
            "beacon:beacons.json",
            "--print-config",
        ]
        verb = (
            read
            if name == "beacons.json"
            else ["beacons", "runs", "--seconds", "seconds.json", "--out", "x.json"]
        )
        tally.judge(f"{name}: {kind}", case, call(verb, work))


def _raw(value: object) -> str:
    from experiments.fuzz.mutations import write_json

    return write_json(value)


def _plain(value: object) -> object:
    """Leave out what YAML does not write."""
    return json.loads(json.dumps(value, default=str).replace("\\ud800", "?"))


def _bomb(key: str, levels: int) -> str:
    lines = ["x0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"x{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, levels)]
    return "\n".join([*lines, f"{key}: *a{levels - 1}"]) + "\n"


def _listed(work: Path, others: set[str], kind: str, case: str, tally: Tally) -> None:
    """Check that the other runs are listed by `runs` and on the live page."""
    listing = tally.judge(kind, case, call(["runs", "runs", "--json"], work))
    try:
        found = {row["run_id"] for row in json.loads(listing.out)}
        missing = others - found
    except (ValueError, TypeError, KeyError) as error:
        missing = {f"no JSON: {error!r}"}
    if missing:
        tally.problems.append(f"{case} {kind}: not listed by runs: {sorted(missing)} ({listing.err[:200]})")
    try:
        data = WatchedDirectory(work / "runs").newer("")
        shown = {row["run"] for row in json.loads(data or b"{}").get("rows", [])}
        missing = others - shown
    except Exception as error:  # noqa: BLE001  (what would leave the page without an answer)
        missing = {f"{type(error).__name__}: {error} {_place(error)}"}
    if missing:
        tally.problems.append(f"{case} {kind}: not on the live page: {sorted(missing)}")


def _place(error: BaseException) -> str:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    return " ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames[-3:])


__all__ = ["Tally", "Workplace", "nasty_value", "run_command_lines", "run_inputs"]

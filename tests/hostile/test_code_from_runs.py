"""No verb that reads runs ever runs code that a run or an export names; the user can name it instead."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from experiments.fuzz.sample_runs import write_runs
from experiments.fuzz.verb_calls import call

import fisherscope as fs
from fisherscope.report.live_server import WatchedDirectory

CODE = "from pathlib import Path\nPath(__file__).with_name('PWNED').touch()\n"
FACTORY = CODE + "def run():\n    from fisherscope.tasks import get\n    return get('digits/mlp')\n"
PLANTED = (
    "evil.py:run",
    "evil:run",
    "evil",
    "evil.py",
    "__import__('evil')",
    "!!python/object/apply:evil.run []",
)
SHADOWS = (
    "sitecustomize.py",
    "conftest.py",
    "torch.py",
    "json.py",
    "polars.py",
    "digits.py",
    "fisherscope.py",
)
READERS = (
    ["runs"], ["select"], ["select", "--run-next"], ["claims"], ["table"], ["beacons"],
    ["beacons", "--seconds", "seconds.json"], ["export", "out.zip"],
)  # fmt: skip
SLOW_READERS = (
    ["report"],
    *(["figure", name] for name in ("1a", "1b", "1c", "1d", "2", "3", "4", "5", "6", "7")),
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A stranger's directory: runs, an export, and code beside them under names that might be imported."""
    write_runs(tmp_path / "runs", "evil.py:run")
    (tmp_path / "seconds.json").write_text('{"8": 0.1, "32": 0.2}')
    for folder in (tmp_path, tmp_path / "runs", *(tmp_path / "runs").iterdir()):
        (folder / "evil.py").write_text(FACTORY)
        for name in SHADOWS:
            (folder / name).write_text(CODE)
    fs.export_runs(tmp_path / "runs", tmp_path / "e.zip")
    yield tmp_path
    sys.modules.pop("evil", None)


def was_run(place: Path) -> bool:
    return any(place.rglob("PWNED"))


def arguments(verb: list[str], source: str) -> list[str]:
    name, *rest = verb
    return [name, *rest, source] if name == "figure" else [name, source, *rest]


def read(place: Path, verbs: tuple[list[str], ...], source: str = "runs") -> None:
    for verb in verbs:
        outcome = call(arguments(verb, source), place)
        assert outcome.problem is None, outcome
        assert not was_run(place), f"{' '.join(outcome.arguments)} ran code that the runs name"


def test_beacons_and_run_next_name_the_task_and_what_to_say(place: Path) -> None:
    for verb in (["beacons", "runs"], ["select", "runs", "--run-next"], ["beacons", "e.zip"]):
        outcome = call(verb, place)
        assert outcome.code == 2, outcome
        assert "'evil.py:run', code outside fisherscope" in outcome.err
        assert "--task evil.py:run" in outcome.err
    assert not was_run(place)


def test_a_task_that_the_user_names_is_run(place: Path) -> None:
    """The probe sees code that runs, and the remedy works."""
    outcome = call(["beacons", "runs", "--task", "evil.py:run"], place)
    assert outcome.code == 0, outcome
    assert was_run(place)


def test_another_name_than_the_runs_is_no_permission(place: Path) -> None:
    call(["select", "runs", "--run-next", "--task", "digits/mlp"], place)
    assert not was_run(place)


@pytest.mark.parametrize("source", ["runs", "e.zip"])
def test_every_reading_verb(place: Path, source: str) -> None:
    read(place, (*READERS, *(SLOW_READERS if source == "runs" else SLOW_READERS[:2])), source)
    if source == "runs":
        assert WatchedDirectory(place / "runs").newer("")
        runs = fs.load_runs(place / "runs")
        assert [runs.spectra(name) and runs.outcomes(name) is not None for name in runs.paths]
        assert not was_run(place)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, part in value.items():
        yield (*path, key)
        if isinstance(part, dict):
            yield from leaves(part, (*path, key))


def planted(value: dict[str, Any], path: tuple[Any, ...], text: str) -> dict[str, Any]:
    key, *rest = path
    return value | {key: planted(value[key], tuple(rest), text) if rest else text}


def test_in_every_field_of_every_json_file(place: Path) -> None:
    """Of all runs at once, since several tasks are refused before anything else is read."""
    paths = sorted(path.parent for path in place.glob("runs/*/run.json"))
    saved = {path: (path / "run.json").read_text() for path in paths}
    for k, field in enumerate(leaves(json.loads(saved[paths[0]]))):
        for path, text in saved.items():
            changed = planted(json.loads(text), field, PLANTED[k % len(PLANTED)])
            (path / "run.json").write_text(json.dumps(changed))
        read(place, (["runs"], ["beacons"], ["select", "--run-next"]))
    for path, text in saved.items():
        (path / "run.json").write_text(text)
    for name in ("epochs.jsonl", "steps.jsonl"):
        keys = list(json.loads((paths[0] / name).read_text().splitlines()[0]))
        for k, key in enumerate(keys):
            for path in paths:
                rows = [json.loads(line) for line in (path / name).read_text().splitlines()]
                rows[-1][key] = PLANTED[k % len(PLANTED)]
                (path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
            read(place, (["runs"], ["select"]))


class Malicious:
    """Unpickled, it would run code."""

    def __reduce__(self) -> Any:
        return exec, (CODE.replace("__file__", "'evil.py'"),)


def test_in_every_binary_file(place: Path) -> None:
    code = pickle.dumps(Malicious())
    for path in place.glob("runs/*/run.json"):
        run = path.parent
        np.savez(run / "outcomes.npz", val_loss=np.array([Malicious()], dtype=object))
        for name in ("spectra.bin", "lock", "log.txt"):
            (run / name).write_bytes(code)
        with zipfile.ZipFile(run / "checkpoint.pt", "w") as file:
            for name in ("archive/data.pkl", "archive/version", "archive/byteorder"):
                file.writestr(name, code if name.endswith("pkl") else "3" if name.endswith("n") else "little")
    read(place, (*READERS, ["report"]))
    runs = fs.load_runs(place / "runs")
    for name, path in runs.paths.items():
        with pytest.raises(fs.runs.DamagedRunError):
            runs.outcomes(name)
        with fs.open_run(path) as run, pytest.raises(fs.runs.DamagedRunError):
            run.load_checkpoint()
    assert not was_run(place)


def test_in_every_field_of_an_export(place: Path) -> None:
    with zipfile.ZipFile(place / "e.zip") as file:
        members = {name: file.read(name) for name in file.namelist()}
    contents = json.loads(members["runs.json"])
    for k, field in enumerate(leaves(next(iter(contents["runs"].values())))):
        text = PLANTED[k % len(PLANTED)]
        runs = {f"{name}": planted(head, field, text) for name, head in contents["runs"].items()}
        write_zip(place / "e.zip", members | {"runs.json": json.dumps(contents | {"runs": runs}).encode()})
        read(place, (["runs"], ["beacons"]), "e.zip")
    for name in ("epochs", "steps", "measures"):
        frame = pl.read_parquet(io.BytesIO(members[f"{name}.parquet"]))
        for column in frame.columns:
            buffer = io.BytesIO()
            frame.with_columns(pl.lit(PLANTED[0]).alias(column)).write_parquet(buffer)
            write_zip(place / "e.zip", members | {f"{name}.parquet": buffer.getvalue()})
            read(place, (["runs"],), "e.zip")
    write_zip(place / "e.zip", {**members, "evil.py": FACTORY.encode(), "__main__.py": CODE.encode()})
    read(place, (*READERS,), "e.zip")


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)


def test_in_every_field_of_a_beacons_file(place: Path) -> None:
    for run in (place / "runs").iterdir():
        if run.is_dir() and (run / "run.json").exists():
            head = json.loads((run / "run.json").read_text())
            head["config"]["task"] = "digits/mlp"
            (run / "run.json").write_text(json.dumps(head))
    assert call(["beacons", "runs", "--seconds", "seconds.json", "--out", "b.json"], place).code == 0
    contents = json.loads((place / "b.json").read_text())
    for k, field in enumerate(leaves(contents)):
        (place / "b.json").write_text(json.dumps(planted(contents, field, PLANTED[k % len(PLANTED)])))
        train = [
            "train",
            "digits/mlp",
            "--policy",
            "beacon:b.json",
            "--lr",
            "0.1",
            "--epochs",
            "3",
            "--print-config",
        ]
        assert call(train, place).problem is None
        assert not was_run(place)


def test_settings_are_data(place: Path) -> None:
    (place / "c.yaml").write_text("task: !!python/object/apply:evil.run []\n")
    for verb in (["train", "--config", "c.yaml"], ["train", "--set", "task=!!python/name:evil.run"]):
        assert call([*verb, "--print-config"], place).code == 2
    assert not was_run(place)


def test_a_run_by_name_that_the_user_trusts_goes_on_in_python(place: Path) -> None:
    from fisherscope.search import finish_run

    (unfinished,) = (n for n, s in fs.load_runs(place / "runs").runs.select("run_id", "status").rows()
                     if s == "interrupted")  # fmt: skip
    with pytest.raises(fs.tasks.TaskError, match="code outside fisherscope"):
        finish_run(unfinished, [place / "runs"])
    assert not was_run(place)
    shutil.rmtree(place / "runs")

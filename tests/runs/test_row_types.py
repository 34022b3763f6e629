"""Known columns hold what they should: refused when written; when read, left out and named."""

from __future__ import annotations

import json
import math
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from experiments.fuzz.mutations import NUMBERS, OTHERS, TEXTS
from experiments.fuzz.sample_runs import write_runs

import fisherscope as fs
from fisherscope.report.live_server import WatchedDirectory
from fisherscope.runs.row_types import LARGEST_EPOCH, NUMERIC_COLUMNS


def is_number(value: Any) -> bool:
    """The oracle: what JSON calls a number, and Python does not call a truth."""
    return type(value) in (int, float)


def is_epoch(value: Any) -> bool:
    return is_number(value) and math.isfinite(value) and value in range(LARGEST_EPOCH + 1)


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("typed") / "runs"
    write_runs(root)
    return root


def drawn() -> Iterator[tuple[str, str, Any]]:
    """Columns and values: every known column of a row with some value of each kind."""
    draw = random.Random(0)
    for name in ("epochs.jsonl", "steps.jsonl"):
        for column in sorted(NUMERIC_COLUMNS):
            for values in (TEXTS[:8], NUMBERS, OTHERS[:-1]):
                yield name, column, draw.choice(values)


def test_writing_refuses_exactly_what_is_no_number(tmp_path: Path) -> None:
    refused = accepted = 0
    with fs.open_run(tmp_path / "a", {"seed": 0}) as run:
        for name, column, value in drawn():
            if column in ("step", "epoch", "spectrum_offset", "spectrum_length"):
                continue
            log = run.log_epoch if name == "epochs.jsonl" else run.log_step
            if value is None or is_number(value):
                log({column: value})
                accepted += 1
            else:
                with pytest.raises(TypeError, match=rf"{column!r} is .*expected a number"):
                    log({column: value})
                refused += 1
        for value in (0.5, -1, 10**9):
            with pytest.raises(ValueError, match=r"'epoch' is .*expected a whole number"):
                run.log_epoch(epoch=value)
        for value in (None, "1", True, [1]):
            with pytest.raises(TypeError, match="'epoch' is"):
                run.log_epoch(epoch=value)
    assert min(refused, accepted) > 30


def test_reading_names_the_line_and_shows_the_others(valid: Path, tmp_path: Path) -> None:
    runs = sorted(valid.iterdir())
    for number, (name, column, value) in enumerate(drawn()):
        if number % 3:
            continue  # a third of the columns; the campaign has all
        path = runs[number % len(runs)] / name
        saved = path.read_text()
        rows = [json.loads(line) for line in saved.splitlines()]
        rows[-1][column] = value
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                loaded = fs.load_runs(valid)
                frame = loaded.epochs if name == "epochs.jsonl" else loaded.steps
            others = {path.name for path in runs} - {path.parent.name}
            assert others <= set(frame["run_id"].unique()), (name, column, value)
            if not (value is None or is_number(value)):
                (reason,) = loaded.damaged.values()
                assert f"line {len(rows)} is damaged" in reason
                assert repr(column) in reason
            if column == "epoch" and name == "epochs.jsonl":
                assert (path in loaded.damaged) == (not is_epoch(value))
            page = json.loads(WatchedDirectory(valid).newer("") or b"")
            assert {row["run"] for row in page["rows"]} == {run.name for run in runs}
        finally:
            path.write_text(saved)


def test_a_setting_that_is_no_number_is_absent_and_kept_as_text(tmp_path: Path) -> None:
    for k, value in enumerate((8, "16", "many", [8, 16], True, None, 10**400)):
        fs.open_run(tmp_path / f"r{k}", {"batch_size": value, "lr": 0.1}).close()
    frame = fs.load_runs(tmp_path).runs.sort("run_id")
    assert frame["batch_size"].to_list() == [8, 16, None, None, None, None, None]
    assert frame["config.batch_size"].to_list()[2:4] == ["'many'", "'[8, 16]'"]


def test_a_declared_length_that_no_run_has_costs_nothing(valid: Path) -> None:
    """10**9 epochs were an array of 89 GiB."""
    path = sorted(valid.iterdir())[0] / "run.json"
    saved = path.read_text()
    head = json.loads(saved)
    head["config"]["epochs"] = 10**9
    path.write_text(json.dumps(head))
    try:
        selection = fs.analysis.select(valid)
        assert len(selection.candidates) == 4
    finally:
        path.write_text(saved)

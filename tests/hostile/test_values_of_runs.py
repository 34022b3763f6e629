"""Values that are valid JSON and no use: names without end, numbers without limit, columns with holes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from experiments.fuzz.mutations import OTHERS, TEXTS

import fisherscope as fs
from fisherscope import analysis
from fisherscope.analysis.claim_tests.position import common_iteration
from fisherscope.report.html_text import finite
from fisherscope.report.live_server import WatchedDirectory

INFINITE = (float("inf"), float("-inf"), float("nan"))


def write(root: Path, name: str, task: Any, seed: int, **epoch: Any) -> None:
    config = {"task": task, "batch_size": 8, "lr": 0.1, "seed": seed, "epochs": 1}
    with fs.open_run(root / name, config) as run:
        run.log_epoch(epoch=1, val_error=0.1 + seed / 100, step=3, **epoch)


@pytest.mark.parametrize("seed", range(6))
def test_tasks_of_any_name_are_told_apart_and_cut(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    names = [
        "plain",
        "x" * draw.choice((81, 5000)),
        draw.choice(TEXTS),
        draw.choice(OTHERS),
        ["a", seed],
        None,
    ]
    for number, name in enumerate(names):
        for run in range(2):
            write(tmp_path, f"r{number}-{run}", name, run)
    text = str(analysis.table(tmp_path))
    assert "plain" in text
    assert max(map(len, text.splitlines())) < 1500
    with pytest.raises(analysis.AnalysisError, match="several tasks") as raised:
        fs.select(tmp_path)
    assert len(str(raised.value)) < 1500


@pytest.mark.parametrize("policy", ["é" * 50_000, "s8-to-" + "9" * 3000, "x\n" * 2000])
def test_settings_of_any_name_are_cut(policy: str, tmp_path: Path) -> None:
    for seed in range(2):
        write(tmp_path, f"plain-{seed}", "t", seed)
        with fs.open_run(tmp_path / f"odd-{seed}", {"task": "t", "policy": policy, "lr": 0.1}) as run:
            run.log_epoch(epoch=1, val_error=0.2, step=3)
    for form in ("text", "markdown", "latex"):
        assert len(analysis.table(tmp_path).render(form)) < 5000


def nested(draw: random.Random, depth: int) -> Any:
    """A value of JSON with numbers that JSON has no word for."""
    if depth and draw.random() < 0.7:
        parts = [nested(draw, depth - 1) for _ in range(3)]
        return parts if draw.random() < 0.5 else dict(zip("abc", parts, strict=True))
    return draw.choice((*INFINITE, 1, 2.5, None, "inf", True))


@pytest.mark.parametrize("seed", range(10))
def test_numbers_without_a_word_in_json_are_left_empty(seed: int) -> None:
    value = nested(random.Random(seed), 4)
    text = json.dumps(finite(value), allow_nan=False)
    assert json.loads(text) == json.loads(
        json.dumps(value).replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null")
    )


def test_the_live_page_shows_the_others_beside_an_infinite_value(tmp_path: Path) -> None:
    write(tmp_path, "good", "mine", 0)
    write(tmp_path, "odd", "mine", 1)
    path = tmp_path / "odd" / "epochs.jsonl"
    row = json.loads(path.read_text())
    path.write_text(json.dumps(row).replace(str(row["val/error"]), "1e999") + "\n")
    page = WatchedDirectory(tmp_path).newer("")
    assert page is not None
    assert "cannot be read" not in json.loads(page)["summary"]
    assert b'"good"' in page


def test_steps_without_a_rate_do_not_end_an_analysis(tmp_path: Path) -> None:
    for seed in range(2):
        config = {"task": "mine", "batch_size": 8, "lr": 0.1, "seed": seed, "epochs": 1}
        with fs.open_run(tmp_path / f"r{seed}", config) as run:
            for step in range(4):
                run.log_step({"step": step, "lr": None if step == 2 * seed else 0.1}, None)
            run.log_epoch(epoch=1, val_error=0.1, step=4)
    assert common_iteration(analysis.settings_of(tmp_path)) == 4


@pytest.mark.parametrize("key", ["lr", "batch_size"])
@pytest.mark.parametrize("value", ["0.1", None, [1], {"a": 1}, -1.0, 0])
def test_beacons_of_no_number_are_refused(key: str, value: Any, tmp_path: Path) -> None:
    growth = {"cond": (4.0,) * 20, "density": (1.0,) * 20}
    made = fs.policy.Beacons(
        task="mine", meant_for="mine", samples=320, epochs=40, milestones=(0.5, 0.75), factor=0.1,
        axis="effective_rank_mean", sizes=(8, 32), seconds=(0.01, 0.02),
        beacons=tuple(fs.policy.Beacon(size, 0.1, **growth) for size in (8, 32)), tour=(),
        region=(fs.policy.Place("s8-lr0.1", 4.0, 40.0, True),),
        cond_spread=fs.policy.Spread(0.1, 0.1), energy_spread=fs.policy.Spread(0.1, 0.1),
    )  # fmt: skip
    contents = json.loads(made.to_json())
    contents["beacons"][1][key] = value
    (tmp_path / "beacons.json").write_text(json.dumps(contents))
    with pytest.raises(ValueError, match="reading the beacons"):
        fs.policy.read_beacons(tmp_path / "beacons.json")


@pytest.mark.parametrize("content", [b"root:x:0:0\nbin,x\n", b"\xff\xfe\x00", b"", b'"a\n'])
def test_means_that_are_no_table_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "means.csv").write_bytes(content)
    with pytest.raises(analysis.AnalysisError, match="making a table of means"):
        analysis.table_of_means(tmp_path / "means.csv")

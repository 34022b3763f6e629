"""What the page of a run draws, against the rows that it was drawn from."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

import fisherscope as fs
from fisherscope.measures import NoiseWindow
from fisherscope.report.run_data import BINS, COLUMNS, LEVEL, POINTS, run_data


def _recorded(
    path: Path, draw: random.Random, steps: int, epochs: int
) -> tuple[list[dict], list[list[float]]]:
    """Write a run with drawn rows; return them and their spectra."""
    rows, spectra, every = [], [], max(1, steps // max(epochs, 1))
    with fs.open_run(path, {"seed": 0}) as run:
        for k in range(steps):
            row = {
                "step": 3 * k, "epoch": 0.1 * k, "samples": 24 * k, "batch_size": draw.choice([8, 16, 32]),
                "lr": 0.1, "train/loss": draw.choice([draw.uniform(0.1, 3), None]), "status": "ok",
                "noise/variance": draw.uniform(10, 20), "noise/signal": draw.uniform(-0.2, 2),
            }  # fmt: skip
            spectra.append(sorted((draw.uniform(1e-6, 9) for _ in range(8)), reverse=True))
            run.log_step(row, spectra[-1])
            rows.append(row)
            if k % every == every - 1:
                said = f"step {3 * k}: 16 at 0.1: noise-scale: 8 to 16"
                values = {"val_loss": 1.0 / (k + 1), "val_error": 0.25, "policy/decisions": said}
                run.log_epoch(epoch=k // every + 1, step=3 * k, samples=24 * k, **values)
    return rows, spectra


@pytest.mark.parametrize("seed", range(4))
def test_lines_hold_the_values_of_their_rows(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    rows, _ = _recorded(tmp_path / "one", draw, draw.randint(1, 60), draw.randint(1, 4))
    data = run_data(fs.load_runs(tmp_path), "one")
    charts = {chart["title"]: {line["label"]: line for line in chart["lines"]} for chart in data["charts"]}
    assert set(data["x"]) == {"step", "epoch", "samples"}
    assert all(list(along) == sorted(along) for along in data["x"].values())
    sizes = charts["Batch size and learning rate"]["batch size"]["values"]
    at = dict(zip(data["x"]["step"], sizes, strict=True))
    assert {row["step"]: row["batch_size"] for row in rows}.items() <= {
        step: size for step, size in zip(data["x"]["step"], sizes, strict=True) if size is not None
    }.items()
    assert len(at) >= len(rows)
    errors = [v for v in charts["Error"]["validation error (%)"]["values"] if v is not None]
    assert set(errors) == {25}
    assert all(one["text"] == "16 at 0.1: noise-scale: 8 to 16" for one in data["decisions"])
    assert {one["at"]["samples"] / one["at"]["step"] for one in data["decisions"] if one["at"]["step"]} <= {
        8.0
    }
    if len(rows) >= 12:
        window = NoiseWindow()
        for row in rows:
            window.add(row["noise/variance"], row["noise/signal"])
        scale = next(v for v in reversed(charts["Noise scale"]["noise scale"]["values"]) if v is not None)
        low = [v for v in charts["Noise scale"][f"{LEVEL:.0%} interval, low"]["values"] if v is not None][-1]
        assert scale == pytest.approx(window.scale, rel=1e-3)
        assert low == pytest.approx(window.interval(LEVEL)[0], rel=1e-3)


def test_the_spectrum_counts_every_singular_value(tmp_path: Path) -> None:
    _, spectra = _recorded(tmp_path / "one", random.Random(9), 20, 2)
    spectrum = run_data(fs.load_runs(tmp_path), "one")["spectrum"]
    edges = np.array(spectrum["edges"])
    assert len(edges) == BINS + 1
    for values, shares in zip(spectra, spectrum["shares"], strict=True):
        counts = np.histogram(np.sqrt(values), edges * (1 + 1e-9 * np.linspace(-1, 1, BINS + 1)))[0]
        assert np.allclose(counts / len(values), shares, atol=0.2)  # a value on an edge may go either way
        assert sum(shares) == pytest.approx(1, abs=0.01)


def test_a_long_run_is_thinned_and_an_empty_one_is_said(tmp_path: Path) -> None:
    _recorded(tmp_path / "long", random.Random(1), 3 * POINTS, 3)
    data = run_data(fs.load_runs(tmp_path), "long")
    assert POINTS <= len(data["x"]["step"]) <= POINTS + 3
    assert len(data["spectrum"]["shares"]) <= COLUMNS
    fs.open_run(tmp_path / "empty", {"seed": 0}).close()
    assert run_data(fs.load_runs(tmp_path), "empty")["charts"] == []


def test_rows_of_an_own_loop_need_no_step(tmp_path: Path) -> None:
    with fs.open_run(tmp_path / "own", {"seed": 0}) as run:
        for epoch in (1, 2, 3):
            run.log_epoch(epoch=epoch, val_loss=1 / epoch)
    data = run_data(fs.load_runs(tmp_path), "own")
    assert data["x"] == {"epoch": [1.0, 2.0, 3.0]}
    assert [chart["title"] for chart in data["charts"]] == ["Loss"]

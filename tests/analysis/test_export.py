"""One small file in place of run directories: what is analysed comes out the same."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.cases.planted_sweep import Truth, write

import fisherscope as fs
from fisherscope import analysis, figures
from fisherscope.analysis.data import run_measures
from fisherscope.runs import RunError

RULED = "cond_geomean@relative:1e-2"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gone = {"unfinished": {"s8-lr0.1": 2}, "diverged": ("s64-lr0.2",)}
    truth = Truth(seeds=2, epochs=4, spectra=True, images=1000, batch_sizes=(8, 16, 64), **gone)
    return write(tmp_path_factory.mktemp("sweep"), truth)


@pytest.fixture(scope="module")
def file(root: Path) -> Path:
    out = root.parent / f"{root.name}.zip"
    analysis.export_runs(root, out)
    return out


def test_every_analysis_says_the_same(root: Path, file: Path) -> None:
    for ask in (
        analysis.select,
        analysis.table,
        analysis.landscape,
        lambda runs: analysis.landscape(runs, x=RULED, epoch=2),
        lambda runs: analysis.backtest(runs, budgets=(0.8,)),
    ):
        assert str(ask(file)) == str(ask(root))


def test_claims_are_the_same(root: Path, file: Path) -> None:
    """Figures to 32 bits; a p-value of seeds that agree to the last bit is rounding in both."""
    one, other = analysis.claims(file), analysis.claims(root)
    assert one.frame["verdict"].equals(other.frame["verdict"])
    assert one.frame["reason"].equals(other.frame["reason"])
    for column in ("estimate", "low", "high", "p"):
        pair = [found.parts[column].fill_null(-9.0).to_list() for found in (one, other)]
        assert pair[0] == pytest.approx(pair[1], rel=1e-4, abs=1e-6)


def test_measures_are_kept_to_32_bits_and_errors_whole(root: Path, file: Path) -> None:
    kept, runs = fs.load_runs(file), fs.load_runs(root)
    assert kept.epochs["val/error"].equals(runs.epochs["val/error"])
    for name in (RULED, "cond_mean@exact", "cond_m8_geomean"):
        one, other = (run_measures.measure_of_runs(r, name)["value"].to_list() for r in (kept, runs))
        assert one == pytest.approx(other, rel=6e-8)
        assert len(one) == len(runs.epochs)
    with pytest.raises(analysis.AnalysisError, match="this export keeps cond_mean@relative:1e-3"):
        analysis.landscape(file, x="cond_mean@relative:0.5")


def test_it_is_small_repeatable_and_tells_no_command_line(root: Path, file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.zip"
    told = analysis.export_runs(root, again)
    assert again.read_bytes() == file.read_bytes()
    assert "effective_rank_mean" in told.missing  # not recorded in this sweep, and said
    head = json.loads(zipfile.ZipFile(file).read("runs.json"))["runs"]["s8-lr0.1-seed0"]
    assert head["config"]["lr"] == 0.1
    assert not {"command", "platform"} & set(head["environment"])


def test_files_and_directories_join(root: Path, file: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "more", Truth(seeds=1, epochs=4, batch_sizes=(128,), lrs=(0.1,)))
    runs = fs.load_runs([file, other])
    assert len(runs) == len(fs.load_runs(root)) + 1
    assert set(runs.epochs["run_id"]) == set(runs.paths)
    part = runs.filter(pl.col("batch_size") > 32)
    assert set(part.epochs["run_id"]) == set(part.paths)
    assert len(run_measures.measure_of_runs(runs, "cond_mean")) == len(runs.epochs)
    assert runs.outcomes("s8-lr0.1-seed0") == {}


@pytest.mark.parametrize("damage", [b"no zip at all", b""])
def test_a_damaged_file_is_refused(file: Path, tmp_path: Path, damage: bytes) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(damage)
    with pytest.raises(RunError, match="neither a directory nor a complete export"):
        fs.load_runs(bad)
    bad.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(RunError, match="neither a directory nor a complete export"):
        fs.load_runs(bad)


def test_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(analysis.AnalysisError, match="there is no run"):
        analysis.export_runs(tmp_path, tmp_path / "x.zip")
    with pytest.raises(ValueError, match="choosing a non-zero rule"):
        analysis.export_runs(
            write(tmp_path / "a", Truth(seeds=1, epochs=1)), tmp_path / "x.zip", measures=["cond_mean@x"]
        )
    assert not (tmp_path / "x.zip").exists()


def test_a_run_lost_in_its_first_epoch_does_not_hide_the_others_measures(root: Path, tmp_path: Path) -> None:
    with fs.open_run(
        tmp_path / "lost" / "run", {"batch_size": 8, "lr": 9.0, "seed": 0, "task": "planted"}
    ) as run:
        run.finish("diverged", "at step 3")
    analysis.export_runs([root, tmp_path / "lost"], tmp_path / "both.zip")
    whole = run_measures.measure_of_runs(fs.load_runs(root), RULED)
    assert len(run_measures.measure_of_runs(fs.load_runs(tmp_path / "both.zip"), RULED)) == len(whole)


def test_the_figure_of_single_measurements_is_the_same(root: Path, file: Path) -> None:
    one, other = (figures.figure_2(runs, lr=0.1).axes[0].lines for runs in (file, root))
    assert len(one) == len(other) > 0
    for line, same in zip(one, other, strict=True):
        np.testing.assert_allclose(line.get_xydata(), same.get_xydata(), rtol=1e-6)

"""`fs.diagnose`: from the files of real runs to sentences, HTML and JSON."""

import json
import warnings
from pathlib import Path

import pytest

import fisherscope as fs
from fisherscope.training import Configuration, train


def test_a_run_that_diverged_is_diagnosed(tmp_path: Path) -> None:
    run = train(
        Configuration.of({"task": "digits/mlp", "batch_size": 8, "lr": 1e4, "epochs": 2, "every": 2}),
        tmp_path,
    )
    diagnosis = fs.diagnose(tmp_path)
    assert run.status == diagnosis.status == "diverged"
    assert diagnosis.findings[0].name == "diverged"
    assert diagnosis.findings[0].remedy
    assert str(diagnosis).startswith(f"{diagnosis.run_id} (diverged): ")
    assert json.loads(json.dumps(diagnosis.to_dict()))["findings"][0]["severity"] == "error"
    assert diagnosis.findings[0].text in diagnosis._repr_html_()


def test_an_exported_run_is_diagnosed_as_its_directory_is(tmp_path: Path) -> None:
    settings = Configuration.of(
        {"task": "digits/mlp", "batch_size": 128, "lr": 0.01, "epochs": 3, "every": 2}
    )
    train(settings, tmp_path / "runs")
    fs.export_runs(tmp_path / "runs", tmp_path / "runs.zip")
    directory, exported = fs.diagnose(tmp_path / "runs"), fs.diagnose(tmp_path / "runs.zip")
    known = {f.name for f in exported.findings}  # an export has the epochs, not the statistics of a step
    assert known <= {f.name for f in directory.findings}
    assert "costly-measuring" in known


def test_several_runs_and_none_are_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds 0 runs; expected one"):
        fs.diagnose(tmp_path)
    for name in ("a", "b"):
        fs.open_run(tmp_path / name, {"seed": 0}).close()
    with pytest.raises(ValueError, match="holds 2 runs: a, b; expected one"):
        fs.diagnose(tmp_path)


def test_a_page_in_a_notebook_is_text(tmp_path: Path) -> None:
    with fs.open_run(tmp_path / "one", {"seed": 0}) as run:
        run.finish("diverged", "<script>alert(1)</script>")
    assert "<script>" not in fs.diagnose(tmp_path / "one")._repr_html_()


@pytest.mark.parametrize("name", ["steps.jsonl", "epochs.jsonl", "spikes.jsonl"])
def test_damaged_rows_are_a_finding_with_the_file(name: str, tmp_path: Path) -> None:
    with fs.open_run(tmp_path / "one", {"seed": 0}) as run:
        run.log_step({"step": 0})
        run.log_epoch(epoch=1, val_loss=0.5)
        run.log_spike({"step": 0})
    path = tmp_path / "one" / name
    path.write_bytes(b"{]\n" + path.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reader's own
        found = fs.diagnose(tmp_path / "one").findings
    assert found[0].name == "damaged"
    assert name in found[0].text

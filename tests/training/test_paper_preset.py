"""The paper's preset: every switch, which one wins, and old runs beside the new keys."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import yaml
from tests.training.test_running_scores import write_mnist

import fisherscope as fs
from fisherscope.cli import main
from fisherscope.sweep import Grid
from fisherscope.tasks import DataError
from fisherscope.training import Configuration, ConfigurationError, fill_from_paper, paper_grid, train


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> tuple[str, str, int]:
        monkeypatch.setattr(sys, "argv", ["fisherscope", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        return (*capsys.readouterr(), code)

    return call


@pytest.mark.parametrize(
    ("task", "epochs", "augment", "extra"),
    [
        ("cifar10/resnet110", 320, True, None), ("cifar100/densenet110", 320, True, None),
        ("svhn/resnet110", 40, True, True), ("mnist/resnet8", 40, True, None),
        ("mnist/mlp", 40, True, None), ("digits/mlp", 40, None, None), ("mine.py:factory", 40, None, None),
    ],
)  # fmt: skip
def test_every_switch(task: str, epochs: int, augment: bool | None, extra: bool | None, run) -> None:  # type: ignore[no-untyped-def]
    out, err, code = run("train", task, "--paper", "--print-config")
    found = yaml.safe_load(out)
    assert code == 0
    expected = {
        "epochs": epochs, "augment": augment, "extra": extra, "every": 50, "stride": True, "rule": "paper",
        "validation": False, "optimizer": "SGD", "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4,
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert ("is none of the paper's data sets" in err) == (augment is None)


def test_what_is_given_wins_and_is_named(run) -> None:  # type: ignore[no-untyped-def]
    words = ("--epochs", 3, "--set", "augment=false", "--set", "rule=relative:1e-2")
    out, err, _ = run("train", "mnist/mlp", "--paper", "--print-config", *words)
    found = yaml.safe_load(out)
    assert (found["epochs"], found["augment"], found["rule"]) == (3, False, "relative:1e-2")
    assert err.splitlines() == [
        "--paper: rule = relative:1e-2, as given, wins over the paper's paper",
        "--paper: epochs = 3, as given, wins over the paper's 40",
        "--paper: augment = False, as given, wins over the paper's True",
    ]
    out, err, _ = run("train", "mnist/mlp", "--paper", "--print-config", "--set", "per_epoch=4")
    assert yaml.safe_load(out)["stride"] is False
    assert "per_epoch = 4, as given, wins" in err


def test_a_sweep_takes_grid_and_seeds(run) -> None:  # type: ignore[no-untyped-def]
    values, notes = fill_from_paper({"task": "cifar10/densenet110"}, sweep=True)
    assert (values["batch_sizes"], values["lrs"]) == (
        [8, 16, 32, 64, 128, 256],
        [0.025, 0.05, 0.1, 0.2, 0.4],
    )
    assert (values["seeds"], notes) == ([0, 1, 2, 3, 4], [])
    assert len(paper_grid("mnist/mlp")["batch_sizes"]) * len(paper_grid("mnist/mlp")["lrs"]) == 88
    dynamic, _ = fill_from_paper({"task": "mnist/mlp", "policies": ["s16-to-64"]}, sweep=True)
    assert "batch_sizes" not in dynamic
    given = {"task": "digits/mlp", "batch_sizes": [64], "seeds": [3], "measure_precision": "float64"}
    filled, _ = fill_from_paper(given, sweep=True)
    (config,) = Grid.of(filled).configurations()
    assert (config.rule, config.stride, config.measure_precision) == ("paper", True, "float64")
    _, err, code = run("sweep", "digits/mlp", "--paper", "--seeds", 3, "--set", "momentum=0.5", "--jobs", 0)
    assert code == 2
    assert "seeds = 3, as given, wins over the paper's 0,1,2,3,4" in err
    assert "momentum = 0.5, as given, wins over the paper's 0.9" in err


def test_each_switch_reaches_the_monitor(tmp_path: Path) -> None:
    small = {"task": "digits/mlp", "batch_size": 32, "epochs": 1, "threads": 1, "every": 4}
    paths = {}
    for name, value in {"rule": "paper", "measure_precision": "float64", "fused": True}.items():
        paths[name] = train({**small, name: value}, tmp_path / name).path
    plain = train(small, tmp_path / "plain").path
    state = {
        k: torch.load(p / "checkpoint.pt", weights_only=True)["state"]["model"] for k, p in paths.items()
    }
    state["plain"] = torch.load(plain / "checkpoint.pt", weights_only=True)["state"]["model"]
    for name, tensor in state["plain"].items():
        assert torch.equal(tensor, state["rule"][name])
        assert torch.equal(tensor, state["measure_precision"][name])
        assert torch.allclose(tensor, state["fused"][name], atol=1e-4)
    spectra = {k: fs.load_runs(p.parent).spectra(p.name) for k, p in {**paths, "plain": plain}.items()}
    assert all(float(np.float32(v)) == v for one in spectra["rule"] for v in one)  # a float32 solver's
    assert not all(float(np.float32(v)) == v for one in spectra["plain"] for v in one)
    assert any(
        not np.array_equal(a, b) for a, b in zip(spectra["measure_precision"], spectra["plain"], strict=True)
    )
    with pytest.raises(
        ConfigurationError, match=r"rule: .* received 'papr'; expected one of floor.* or paper"
    ):
        Configuration.of({"task": "digits/mlp", "rule": "papr"})


def test_each_switch_of_the_protocol_alone(tmp_path: Path) -> None:
    """Compare stride, validation and augment, one at a time, with a run that has none."""
    data = write_mnist(tmp_path / "data", samples=90)
    small = {"task": "mnist/mlp", "batch_size": 8, "epochs": 2, "threads": 1, "every": 4, "lr": 0.01}
    switches = {
        "none": {},
        "stride": {"stride": True},
        "validation": {"validation": False},
        "augment": {"augment": True},
    }
    steps, rows = {}, {}
    for name, switch in switches.items():
        path = train({**small, **switch}, tmp_path / name, data_dir=data).path
        steps[name] = [json.loads(line)["step"] for line in (path / "steps.jsonl").read_text().splitlines()]
        rows[name] = [json.loads(line) for line in (path / "epochs.jsonl").read_text().splitlines()]
    an_epoch = rows["none"][0]["step"]
    first = [0, *range(4, an_epoch, 4)]
    assert steps["stride"] == [*first, *(an_epoch + step for step in first)]
    assert steps["none"] != steps["stride"]
    assert steps["augment"] == steps["none"]
    same = [row["val/error"] == row["test/error"] for row in rows["validation"]]
    assert all(same)
    assert rows["validation"][0]["samples"] > rows["none"][0]["samples"]  # what was held out is trained on
    assert rows["stride"][-1]["test/loss"] == rows["none"][-1]["test/loss"]  # measuring changes nothing
    assert rows["augment"][-1]["test/loss"] != rows["none"][-1]["test/loss"]


def test_a_run_recorded_before_the_keys_existed_resumes(tmp_path: Path) -> None:
    small = {"task": "digits/mlp", "batch_size": 32, "epochs": 3, "threads": 1, "every": 4}
    path = train(small, tmp_path, until=1).path
    new = ("rule", "measure_precision", "fused", "extra")
    head = json.loads((path / "run.json").read_text())
    head["config"] = {k: v for k, v in head["config"].items() if k not in new}
    (path / "run.json").write_text(json.dumps(head))
    saved = torch.load(path / "checkpoint.pt", weights_only=True)
    config = json.loads(saved["config"]) if isinstance(saved["config"], str) else saved["config"]
    config = {k: v for k, v in config.items() if k not in new}
    saved["config"] = json.dumps(config) if isinstance(saved["config"], str) else config
    del saved["state"]["running"]
    torch.save(saved, path / "checkpoint.pt")
    result = train(small, tmp_path)
    assert (result.path, result.status) == (path, "finished")


def test_the_extra_set_is_part_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "svhn").mkdir()
    numbers = np.random.default_rng(0)

    def write(part: str, samples: int) -> None:
        pixels = numbers.integers(0, 255, (32, 32, 3, samples)).astype(np.uint8)
        labels = numbers.integers(1, 11, (samples, 1))
        scipy.io.savemat(tmp_path / "svhn" / f"{part}_32x32.mat", {"X": pixels, "y": labels})

    write("train", 12)
    write("test", 6)
    (tmp_path / "svhn" / "extra_32x32.mat.part").mkdir()  # so that no download can begin
    with pytest.raises(DataError, match=r"extra_32x32\.mat"):
        fs.tasks.get("svhn/resnet110", tmp_path, validation=False, extra=True)
    write("extra", 20)
    counts = {
        extra: len(fs.tasks.get("svhn/resnet110", tmp_path, validation=False, extra=extra).train)
        for extra in (None, True, False)
    }
    assert counts == {None: 32, True: 32, False: 12}
    with pytest.raises(fs.tasks.TaskError, match="only SVHN has an extra set"):
        fs.tasks.get("mnist/mlp", tmp_path, extra=True)

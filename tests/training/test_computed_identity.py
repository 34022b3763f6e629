"""Another loss, model or data under the same name: refused inside a run, trained anew in a sweep."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import torch

import fisherscope as fs
from fisherscope.sweep import Grid, pending
from fisherscope.training import Configuration, make_state, train
from fisherscope.training.computed_identity import computed_identity

TASK = '''
import torch
from torch import nn
from torch.nn import functional as F
SCALE, SEED, WIDTH = {scale}, {seed}, {width}  # {comment}
def factory():
    """{comment}"""
    g = torch.Generator().manual_seed(SEED)
    x = torch.randn(64, 5, generator=g)
    y = (x[:, 0] > 0).long()
    data = torch.utils.data.TensorDataset(x, y)
    layers = lambda: [nn.Linear(5, WIDTH), nn.BatchNorm1d(WIDTH), nn.Dropout(0.1), nn.Linear(WIDTH, 2)]
    model = lambda: nn.Sequential(*layers())
    loss = lambda m, b: SCALE * F.cross_entropy(m(b[0]), b[1])
    def scores(m, b):
        out = m(b[0])
        loss = F.cross_entropy(out, b[1], reduction="none")
        return {{"loss": loss, "error": (out.argmax(1) != b[1]).float()}}
    return {{"model": model, "train": data, "validation": data, "loss": loss, "scores": scores}}
'''
SAME = {"scale": "1.0", "seed": 0, "width": 4, "comment": "first"}
CHANGES = {"loss": {"scale": "-1.0"}, "data": {"seed": 7}, "model": {"width": 6}}


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    write()
    return "mine_identity.py:factory"


def write(**changes: object) -> None:
    Path("mine_identity.py").write_text(TASK.format(**{**SAME, **changes}))
    sys.modules.pop("mine_identity", None)
    shutil.rmtree("__pycache__", ignore_errors=True)


def values(name: str, **more: object) -> dict[str, object]:
    return {"task": name, "batch_size": 8, "lr": 0.05, "epochs": 3, **more}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_refused_inside_a_run_and_leaves_it_as_it_is(name: str, what: str) -> None:
    path = train(values(name), "runs", until=1).path
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.name != "lock"}
    write(**CHANGES[what])
    with pytest.raises(fs.runs.ChangedRunError, match="has changed since it began") as error:
        train(values(name), "runs")
    assert "the task's file" in str(error.value)
    assert {"loss": "its first loss", "data": "its first batch", "model": "its initial weights"}[what] in str(
        error.value
    )
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.name != "lock"} == before
    write()
    assert train(values(name), "runs").status == "finished"


def test_comments_docstrings_and_layout_change_nothing(name: str) -> None:
    train(values(name), "runs", until=1)
    write(comment="another")
    text = Path("mine_identity.py").read_text()
    Path("mine_identity.py").write_text(text.replace("import torch\n", "import torch\n\n\n", 1))
    assert train(values(name), "runs").status == "finished"


def test_a_change_outside_the_file_is_seen_too(name: str) -> None:
    Path("outside.py").write_text("SCALE = 1.0\n")
    text = Path("mine_identity.py").read_text()
    Path("mine_identity.py").write_text(
        text.replace("SCALE, SEED, WIDTH = 1.0, 0, 4", "from outside import SCALE\nSEED, WIDTH = 0, 4")
    )
    train(values(name), "runs", until=1)
    Path("outside.py").write_text("SCALE = -1.0\n")
    for module in ("mine_identity", "outside"):
        sys.modules.pop(module, None)
    shutil.rmtree("__pycache__", ignore_errors=True)
    with pytest.raises(fs.runs.ChangedRunError, match=r"its first loss: 0.*, now -0"):
        train(values(name), "runs")


@pytest.mark.parametrize("finished", [True, False])
def test_a_sweep_says_it_in_one_line_and_trains_anew(name: str, finished: bool) -> None:
    grid = {"task": name, "batch_sizes": [8], "lrs": [0.05, 0.1], "epochs": 2}
    assert fs.run_sweep(grid, "runs", jobs=1, until=None if finished else 1).left == (0 if finished else 2)
    old = {path.parent.name: path.read_bytes() for path in Path("runs").glob("*/epochs.jsonl")}
    write(scale="-1.0")
    assert len(pending(Grid.of(grid).configurations(), Path("runs"))) == 2
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert fs.run_sweep(grid, "runs", jobs=1).complete
    (line,) = [str(one.message) for one in caught if "has changed" in str(one.message)]
    assert "2 runs of runs" in line
    assert "trained anew" in line
    kept = {
        path.parent.name.partition("~")[0]: path.read_bytes()
        for path in Path("runs/.earlier").glob("*/epochs.jsonl")
    }
    assert kept == old, "nothing is lost"
    loaded = fs.load_runs("runs")
    assert len(loaded) == 2
    assert loaded.epochs["epoch"].to_list() == [1, 2, 1, 2]
    assert not pending(Grid.of(grid).configurations(), Path("runs"))


def test_a_finished_run_asked_for_again_says_that_the_code_changed(name: str) -> None:
    assert train(values(name), "runs").status == "finished"
    write(scale="-1.0")
    with pytest.warns(UserWarning, match="has changed since .* was trained"):
        assert train(values(name), "runs").status == "finished"


def test_a_run_of_version_0_1_resumes_as_before(name: str) -> None:
    path = train(values(name), "runs", until=1).path
    head = json.loads((path / "run.json").read_text())
    del head["computes"]
    (path / "run.json").write_text(json.dumps(head))
    assert train(values(name), "runs").status == "finished"
    assert "computes" not in fs.runs.run_head(path)


def test_identifying_leaves_the_state_bit_for_bit(name: str) -> None:
    """BatchNorm's statistics, dropout's random numbers and the sampler's order are as if it had not been."""
    for task in (name, "digits/resnet8"):
        config = Configuration.of(values(task))
        plain, identified = make_state(config), make_state(config)
        first = computed_identity(identified)
        assert first == computed_identity(identified)
        for (key, mine), theirs in zip(
            plain.model.state_dict().items(), identified.model.state_dict().values(), strict=True
        ):
            assert torch.equal(mine, theirs), key
        assert torch.equal(torch.get_rng_state(), _state_after(config))


def _state_after(config: Configuration) -> torch.Tensor:
    make_state(config)
    return torch.get_rng_state()


def test_rounding_of_another_machine_is_no_change() -> None:
    with fs.open_run("runs/rounding", {"seed": 0}, restart=True) as run:
        run.identify({"weights": {"digest": "a", "sums": [10.0, 1e-9]}, "loss": 0.7})
        run.identify({"weights": {"digest": "a", "sums": [10.0 + 1e-6, -1e-9]}, "loss": 0.7000001})
        for other in (
            {"loss": 0.71},
            {"weights": {"digest": "b", "sums": [10.0, 0.0]}},
            {"weights": {"digest": "a", "sums": [10.0, 0.1]}},
        ):
            with pytest.raises(fs.runs.ChangedRunError):
                run.identify(other)

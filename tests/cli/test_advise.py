"""`fisherscope advise` from a user's file to the picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

MINE = """
import torch
from torch import nn
from torch.nn import functional as F
x = torch.randn(80, 3)
def factory():
    return {"model": nn.Linear(3, 2), "loss": F.cross_entropy, "data": (x, (x[:, 0] > 0).long())}
"""


def test_the_command_from_file_to_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fisherscope.cli import main

    (tmp_path / "own_advised.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    call = "fisherscope advise own_advised.py:factory --warmup 20 --sizes 4,8 --json -o it.png"
    monkeypatch.setattr(sys, "argv", call.split())
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told["recommended"] in (4, 8)
    assert (tmp_path / "it.png").stat().st_size > 5000


def test_the_seed_is_also_that_of_a_model_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fisherscope.cli import main

    drawn = MINE.replace("def factory():", "def factory():\n    print(torch.rand(()).item())")
    (tmp_path / "own_seeded.py").write_text(drawn)
    monkeypatch.chdir(tmp_path)
    first = []
    for seed in ("0", "0", "1"):
        monkeypatch.delitem(sys.modules, "own_seeded", raising=False)
        words = f"fisherscope advise own_seeded.py:factory --warmup 1 --sizes 4 --json --seed {seed}"
        monkeypatch.setattr(sys, "argv", words.split())
        with pytest.raises(SystemExit):
            main()
        first.append(capsys.readouterr().out.splitlines()[0])
    assert first[0] == first[1] != first[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "def factory():"),
        (["digits/mlp", "--sizes", "a"], "expected whole numbers"),
        (["digits/mlp", "--optimizer", "sdg"], "did you mean SGD"),
        (["digits/mlp", "--seconds", "0"], "seconds > 0"),
    ],
)
def test_what_the_command_says_to_mistakes(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fisherscope.cli import main

    monkeypatch.setattr(sys, "argv", ["fisherscope", "advise", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_the_template_is_python() -> None:
    from fisherscope.tasks import TEMPLATE

    compile(TEMPLATE, "template", "exec")
    factory = TEMPLATE[TEMPLATE.index("def factory") :]
    assert len(factory.splitlines()) <= 5


def test_the_template_runs_with_a_project_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fisherscope.tasks import TEMPLATE, subject

    project = """
class MyModel(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)
my_dataset = (x, (x[:, 0] > 0).long())
"""
    (tmp_path / "my_project.py").write_text(MINE + project)
    (tmp_path / "templated.py").write_text(TEMPLATE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = subject("templated.py:factory")
    assert found.loss(found.make(), found.batch(4)).shape == ()

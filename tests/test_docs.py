"""What README and docs show runs as it is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def snippets(name: str) -> list[str]:
    """Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


def test_the_readme_s_batch_runs_as_it_is() -> None:
    code = next(text for text in snippets("README.md") if "record_gram" in text)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch.Size([32, 32])" in done.stdout
    assert "affine" in done.stdout


def test_the_readme_s_two_lines_fit_a_loop() -> None:
    loop = next(text for text in snippets("README.md") if "Monitor" in text)
    before = (
        "import torch, fisherscope as fs\nfrom torch.nn import functional as F\n"
        "torch.manual_seed(0)\nmodel = torch.nn.Linear(20, 10)\noptimizer = "
        "torch.optim.SGD(model.parameters(), 0.1)\n"
        "data = [(torch.randn(20), k % 10) for k in range(640)]\n"
        "loader = torch.utils.data.DataLoader(data, batch_size=32)\n"
    )
    done = subprocess.run([sys.executable, "-c", before + loop], capture_output=True, text=True, check=True)
    assert "Self-check: per-sample gradients add up" in done.stdout


def test_the_task_of_the_docs_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fisherscope.training import train

    code = next(text for text in snippets("docs/tasks.md") if "spirals" in text)
    (tmp_path / "own_spirals.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = {"task": "own_spirals:spirals", "batch_size": 32, "lr": 0.1, "epochs": 2}
    assert train(settings, tmp_path / "runs").status == "finished"


def test_the_loop_of_the_run_page_gives_runs_that_every_verb_reads(tmp_path: Path) -> None:
    code = next(text for text in snippets("docs/runs.md") if "open_run" in text)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    for verb in ("runs", "select", "report"):
        command = [sys.executable, "-m", "fisherscope", verb, "runs/mine"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", verb
        assert verb == "report" or "s8-lr0.05" in done.stdout

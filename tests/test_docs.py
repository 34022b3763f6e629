"""What README and docs show runs as printed: Python in order, page by page; commands by their options."""

from __future__ import annotations

import html
import json
import re
import shlex
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from tests.cases.planted_sweep import Truth, write
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import fisherscope as fs
from fisherscope.cli import verbs

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
NEEDS_SWEEP = '"runs/sweep"'
"""Text of a page whose code reads a sweep that has been trained."""


SWEEP = Truth(batch_sizes=(8, 16, 32), lrs=(0.05, 0.1, 0.2), seeds=2, epochs=6)


def blocks(page: str, language: str) -> list[str]:
    """Blocks of a page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def stage() -> dict[str, Any]:
    """What the reader has: a model, data, a loader, a batch, an optimizer."""
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(96, 20), torch.arange(96) % 10)
    model = torch.nn.Sequential(torch.nn.Linear(20, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
    loader = DataLoader(data, batch_size=16)
    x, y = next(iter(loader))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    own = {"model": model, "optimizer": optimizer, "data": data, "loader": loader, "x": x, "y": y}
    return {"__name__": "page", "torch": torch, "F": F, "DataLoader": DataLoader, "fs": fs, **own}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_the_code_of_a_page_runs_from_top_to_bottom(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = blocks(page, "python")
    if NEEDS_SWEEP in "".join(code):
        write(tmp_path / "runs" / "sweep", SWEEP)
    space = stage()
    monkeypatch.setitem(sys.modules, "page", type(sys)("page"))  # dataclasses look their module up
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning|transformers|torch")
        for number, text in enumerate(code):
            exec(compile(text, f"{page}, block {number}", "exec"), space)


DISTRIBUTED = dict(
    re.findall(
        r"```python title=\"(\S+)\"\n(.*?)```", (ROOT / "docs/how-to/distributed.md").read_text(), re.DOTALL
    )
)
"""Scripts of the page on several processes, by file name."""


@pytest.mark.parametrize("name", DISTRIBUTED)
def test_the_scripts_for_several_processes_run_under_torchrun(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(DISTRIBUTED[name])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launcher, name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def commands(page: str) -> list[str]:
    """Lines of the shell blocks of a page, comments cut off."""
    lines = "\n".join(blocks(page, "sh")).splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_the_commands_of_a_page_exist_with_their_options(page: str) -> None:
    for line in commands(page):
        program, *rest = shlex.split(line)
        if program == "fisherscope":
            assert {option for option in rest[1:] if option.startswith("--")} <= options(rest[0]), line
        elif program == "make":
            assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
        else:
            assert program == "pip" or line.startswith("python3 -m venv "), line
            assert set(re.findall(r"\[(.*?)\]", line)) <= extras(), line


def options(verb: str) -> set[str]:
    """What `fisherscope VERB --help` knows."""
    assert verb in verbs()
    app = typer.Typer(add_completion=False)
    app.command(name=verb)(getattr(import_module(f"fisherscope.cli.{verb}"), verb))
    return {name for parameter in typer.main.get_command(app).params for name in parameter.opts}


def extras() -> set[str]:
    """Extras that can be installed."""
    section = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    return set(re.findall(r"^(\w+) = \[", section.partition("[project.scripts]")[0], re.MULTILINE))


def test_an_option_that_is_not_there_is_seen() -> None:
    assert "--budget" in options("choose")
    assert "--bugdet" not in options("choose")


def test_every_page_is_in_the_navigation() -> None:
    """A decision, in the table of decisions; no page stands in the navigation twice."""
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    pages = re.findall(r"([\w/-]+\.md)", navigation)
    assert len(pages) == len(set(pages))
    table = (ROOT / "docs/decisions/index.md").read_text()
    decisions = {f"decisions/{name}" for name in re.findall(r"\((\d{3}-[\w-]+\.md)\)", table)}
    assert decisions
    linked = {*pages, *decisions}
    assert linked == {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}


def test_the_readme_s_batch_shows_what_it_says() -> None:
    code = next(text for text in blocks("README.md", "python") if "record_gram" in text)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch.Size([32, 32])" in done.stdout
    assert "affine" in done.stdout


def test_the_task_of_the_docs_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fisherscope.training import train

    code = next(text for text in blocks("docs/tasks.md", "python") if "spirals" in text)
    (tmp_path / "own_spirals.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = {"task": "own_spirals:spirals", "batch_size": 32, "lr": 0.1, "epochs": 2}
    assert train(settings, tmp_path / "runs").status == "finished"


def test_every_key_of_a_row_is_documented() -> None:
    """And the pages' table names no key that no row has."""
    import torch
    from torch import nn

    import fisherscope as fs

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.2}]
    monitor = fs.Monitor(model, torch.optim.SGD(groups, 0.1), every=1, max_samples=4, metric="optimizer")
    for _ in range(2):
        with monitor.observe():
            model(torch.randn(6, 4)).square().mean().backward()
    keys = set(monitor.history.columns)
    cells = re.findall(r"^\| (`[^|]+`[^|]*)\|", (ROOT / "docs/measures.md").read_text(), re.MULTILINE)
    named = {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}
    assert keys <= named, f"not in docs/measures.md: {sorted(keys - named)}"
    rules = {name for name in named if name.partition(":")[0] in {*fs.measures.RULES, "paper"}}
    assert named - rules <= keys, f"in docs/measures.md alone: {sorted(named - rules - keys)}"


def test_the_loop_of_the_run_page_gives_runs_that_every_verb_reads(tmp_path: Path) -> None:
    code = next(text for text in blocks("docs/runs.md", "python") if "open_run" in text)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    for verb in ("runs", "select", "report"):
        command = [sys.executable, "-m", "fisherscope", verb, "runs/mine"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", verb
        assert verb == "report" or "-lr0." in done.stdout
    assert "-lr0." in (tmp_path / "report.html").read_text()


def test_the_pictures_of_the_architecture_are_those_of_the_sources() -> None:
    """Rooms, floors and arrows in the committed pictures: `python -m experiments.pictures.architecture`."""
    from experiments.pictures import architecture

    drawn, now = _description(architecture.ROOMS), json.loads(architecture.description())
    assert drawn == now, "rooms or imports have changed: run python -m experiments.pictures.architecture"
    assert _description(architecture.ENGINE) == json.loads(json.dumps(architecture.STAGES))
    assert set(architecture.CAPTIONS) == set(architecture.COLOURS) == set(architecture.rooms())
    assert all((architecture.PACKAGE / place).exists() for _, _, place in architecture.STAGES)


def test_the_picture_s_floors_are_those_of_the_import_contract() -> None:
    from experiments.pictures import architecture

    heights = architecture.floors()
    assert all(heights[room] > heights[other] for room in heights for other in architecture.imports()[room])
    assert "gram" in architecture.imports()["monitor"]
    assert "runs" in architecture.imports()["training"]  # through the front door, `fs.open_run`


def _description(picture: Path) -> Any:
    """What a picture says that it shows."""
    text = re.search(r"<dc:description>(.*?)</dc:description>", picture.read_text(), re.DOTALL)
    assert text is not None
    return json.loads(html.unescape(text[1]))


def test_the_table_of_rooms_has_every_room_and_names_files_that_are_there() -> None:
    from experiments.pictures import architecture

    page = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| \*\*(\w+)\*\* \| (?:.*?) \| (?:.*?) \| (.*?) \|$", page, re.MULTILINE)
    assert {room for room, _ in rows} == set(architecture.rooms())
    named = {name for _, files in rows for name in re.findall(r"`([\w/]+\.py)`", files)}
    named |= set(re.findall(r"`((?:monitor|gram|runs|measures|model_state)/[\w/]+\.py)`", page))
    assert not [name for name in named if not (architecture.PACKAGE / name).exists()]


def test_every_part_of_the_paper_stands_on_a_test_or_a_result() -> None:
    """Of the table in docs/paper.md: 32 rows, and every file and test that they name is there."""
    section = (ROOT / "docs/paper.md").read_text().partition("{ #held }")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| (.+) \| (.+) \|$", section, flags=re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, 33))
    for number, part, names in rows:
        held = re.findall(r"`([^`]+)`", names)
        assert held, f"{number}: {part}"
        for name in held:
            path, _, test = name.partition("::")
            assert (ROOT / path).is_file(), f"{number}: {path} is not there"
            assert not test or f"\ndef {test}(" in (ROOT / path).read_text(), (
                f"{number}: {path} has no {test}"
            )

"""The house rules that a machine can hold: one-way doors, quick imports, names that do not collide."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import fisherscope

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "fisherscope"
MODULES = ["fisherscope", *(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "fisherscope."))]
HEAVY = {
    "torch",
    "numpy",
    "scipy",
    "sklearn",
    "polars",
    "matplotlib",
    "contourpy",
    "pandas",
    "transformers",
    "lightning",
}
FOREIGN_RIGHTS = ("integrations", "training")
WHOLE_ROOM = {
    "cli": {"main"},
    "figures": {"figures"},
    "gram": {"deep_networks", "exact", "hugging_face", "memory", "row_identity"},
    "integrations": {"trackers", "lightning_samples", "transformers_samples"},
    "monitor": {"step_samples"},
    "runs": {"recorded_runs"},
    "samples": {"samples"},
    "sweep": {"page"},
}
"""Suites of a whole room: laws and contracts that no single module answers for."""
PARTICIPLE = re.compile(
    "[a-z]+ed|made|kept|told|known|given|seen|taken|done|drawn|held|said|shown|found|chosen"
)
PUBLIC_PARTICIPLES = {"censored", "fixed", "kept", "limited", "measured", "planned", "recommended", "scaled"}
"""Attributes and methods of results, named so since they are public."""
VAGUE = {"utils", "util", "helpers", "misc", "common", "core", "base"}


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after `statement`, whatever its exit."""
    code = (
        "import sys\n"
        f"try:\n    exec({statement!r})\nexcept SystemExit:\n    pass\n"
        "import json\n"
        "print('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(json.loads(out.stdout.splitlines()[-1]))


def test_rooms_import_one_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=str(tmp_path)) == 0


def test_every_room_has_its_place_in_the_contract() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    placed = {name for contract in contracts if contract["type"] == "layers" for name in contract["layers"]}
    assert {name for name in MODULES if name.count(".") == 1} == placed


def test_import_brings_nothing_heavy() -> None:
    """Nor a warning: they are errors there."""
    assert not modules_after("import fisherscope, fisherscope.integrations") & HEAVY


def test_help_brings_nothing_heavy() -> None:
    loaded = modules_after(
        "import sys; sys.argv = ['fisherscope', '--help']; from fisherscope.cli import main; main()"
    )
    assert "fisherscope" in loaded
    assert not loaded & HEAVY


def test_the_probe_of_heavy_modules_sees_them() -> None:
    assert "numpy" in modules_after("import numpy; raise SystemExit(0)")


def test_no_module_has_the_name_of_a_public_function() -> None:
    """`package.name` must not mean a function before and a module after someone imports that module."""
    clashes = []
    for name in fisherscope.__all__:
        home = inspect.getattr_static(fisherscope, "_HOMES").get(name)
        if home and {f"fisherscope.{name}", f"{home}.{name}"} & set(MODULES):
            clashes.append(name)
    for name in MODULES:
        module = importlib.import_module(name)
        clashes += [
            f"{name}.{public}"
            for public in getattr(module, "__all__", ())
            if f"{name}.{public}" in MODULES and not inspect.ismodule(getattr(module, public))
        ]
    assert not clashes


def test_every_public_name_has_a_home() -> None:
    homes = inspect.getattr_static(fisherscope, "_HOMES")
    built = {name for name, home in homes.items() if hasattr(importlib.import_module(home), "__all__")}
    assert "record_gram" in built
    assert all(getattr(fisherscope, name) is not None for name in built)


def definitions(kind: type[ast.AST]) -> list[tuple[str, str]]:
    """Return name and module of every class or function of the package, methods and inner ones too."""
    return [
        (node.name, str(path.relative_to(PACKAGE)))
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, kind) and isinstance(node, ast.ClassDef | ast.FunctionDef)
    ]


def test_no_class_name_means_two_things() -> None:
    homes: dict[str, list[str]] = {}
    for name, module in definitions(ast.ClassDef):
        homes.setdefault(name, []).append(module)
    assert not {name: modules for name, modules in homes.items() if len(modules) > 1}


def test_functions_are_named_by_more_than_a_participle() -> None:
    """`told` or `_checked` says neither what is done nor what is returned; eight public attributes stay."""
    found = {
        (name, module)
        for name, module in definitions(ast.FunctionDef)
        if PARTICIPLE.fullmatch(name.strip("_"))
        and name not in {*PUBLIC_PARTICIPLES, "seed", "_need"}  # verbs
    }
    assert not found


def test_no_vague_module_names() -> None:
    assert not [name for name in MODULES if name.rpartition(".")[2] in VAGUE]


def files_without_a_module(tests: Path) -> list[str]:
    """Return the files `ROOM/test_NAME.py` where the room has no module or folder NAME."""
    absent = []
    for path in sorted(tests.glob("*/test_*.py")):
        room, name = path.parent.name, path.stem.removeprefix("test_")
        modules = {p.stem for p in (PACKAGE / room).rglob("*") if p.is_dir() or p.suffix == ".py"}
        if (PACKAGE / room).is_dir() and name not in modules | WHOLE_ROOM.get(room, set()):
            absent.append(f"{room}/{path.name}")
    return absent


def test_tests_mirror_the_rooms() -> None:
    tests = ROOT / "tests"
    assert not files_without_a_module(tests)
    assert not [
        f"{room}/{name}"
        for room, names in WHOLE_ROOM.items()
        for name in names
        if not (tests / room / f"test_{name}.py").exists()
    ]


def test_a_test_of_no_module_is_seen(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    for name in ("test_parser.py", "test_policies.py"):
        (tmp_path / "policy" / name).touch()
    assert files_without_a_module(tmp_path) == ["policy/test_policies.py"]


@pytest.mark.parametrize("room", FOREIGN_RIGHTS)
def test_the_loop_and_the_integrations_use_public_names_only(room: str) -> None:
    """A foreign trainer has the rights of the built-in one: front doors of rooms, no private names."""
    trespasses = []
    for path in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("fisherscope"):
                continue
            _, *inside = (node.module or "").split(".")
            if inside[:1] == [room]:
                continue
            private = [
                alias.name
                for alias in node.names
                if alias.name.startswith("_") and alias.name != "__version__"
            ]
            if len(inside) > 1 or private:
                trespasses.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert not trespasses


TEXTS = [
    path
    for pattern in ("*.md", "*.toml", "*.yml", "*.py", "*/**/*.md", "*/**/*.py")
    for path in sorted(ROOT.glob(pattern))
    if not {".venv", "build", "site", "node_modules"} & set(path.relative_to(ROOT).parts)
]
WRITTEN_BY_TESTS = {"page.md"}
COMMAND = re.compile(r"python -m (experiments(?:\.\w+)+)")
NAMED = re.compile(
    r"(?<![\w/.:*-])((?:src|docs|tests|experiments|benchmarks)/[\w./*-]*\.(?:py|md|json|zip|png|yaml|toml))\b"
)
NAMED_ALONE = re.compile(r"(?<![\w/.:*{}-])([A-Za-z][\w-]*\.md)\b")


def names_without_a_file(text: str, folder: Path = ROOT) -> list[str]:
    """Return the files of this repository that a text names and that are not there.

    Paths from the root are looked up as they stand, `TASK`, `NAME` and `FILE` in them being anything; pages
    without a folder in `docs`, beside the text and at the root.
    """
    paths = [re.sub(r"TASK|NAME|FILE", "*", name) for name in NAMED.findall(text)]
    pages = [name for name in NAMED_ALONE.findall(text) if name not in WRITTEN_BY_TESTS]
    absent = [name for name in paths if not any(ROOT.glob(name))]
    for module in COMMAND.findall(text):
        place = ROOT / module.replace(".", "/")
        absent += [] if place.with_suffix(".py").exists() or (place / "__main__.py").exists() else [module]
    return absent + [
        name for name in pages if not any((place / name).exists() for place in (folder, ROOT, ROOT / "docs"))
    ]


def test_no_text_names_a_file_that_is_not_there() -> None:
    found = {
        str(path.relative_to(ROOT)): absent
        for path in TEXTS
        if (absent := names_without_a_file(path.read_text(encoding="utf-8"), path.parent))
    }
    assert not found


def test_a_name_without_a_file_is_seen() -> None:
    assert names_without_a_file("Source: " + "PAPER" + ".md 4") == ["PAPER" + ".md"]
    assert names_without_a_file("see tests/" + "absent.py") == ["tests/" + "absent.py"]
    assert names_without_a_file("python -m " + "experiments.absent") == ["experiments.absent"]
    assert not names_without_a_file("see docs/paper.md, README.md and experiments/results/dynamic-TASK.json")


def test_continuous_integration_runs_on_every_python_that_is_claimed() -> None:
    import yaml

    job = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["test"]
    project = (ROOT / "pyproject.toml").read_text()
    claimed = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    oldest = re.findall(r'"torch>=([\d.]+)",', project)[
        0
    ]  # no upper bound: pip would take a newer torch away
    pinned = re.findall(r"^torch==(\d+\.\d+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
    assert job["strategy"]["matrix"]["python"] == claimed
    assert f'requires-python = ">={claimed[0]}"' in project
    tried = job["strategy"]["matrix"]["torch"]
    assert tried[0] == oldest
    assert pinned in tried
    assert float(tried[-1]) > float(pinned)
    assert job["steps"][-1] == {"run": ".ci/run"}


def test_the_makefile_explains_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):", text, re.MULTILINE)
    shown = subprocess.run(
        ["make", "-s", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[0] for line in shown.splitlines()] == targets
    assert all(len(line.split()) > 2 for line in shown.splitlines())

"""Measures of a source tree: sizes, docstrings of public functions, names, and import cycles."""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from tests.cases.public_callables import NOTHING, SHAPE, SOURCE, SOURCED, UNPUBLISHED
from tests.test_structure import PARTICIPLE

Function = ast.FunctionDef | ast.AsyncFunctionDef
VERBS = {"seed", "_need"}
UNSPEAKING = {"found", "told", "made", "kept"}
LONG = 300
ARRAY = re.compile("Tensor|NDArray|ndarray|FloatArray")


@dataclass(frozen=True)
class Module:
    """A parsed file.

    Args:
        name: Dotted name.
        lines: Number of lines.
        tree: Its syntax tree.
        package: Whether it is the `__init__.py` of a folder.
    """

    name: str
    lines: int
    tree: ast.Module
    package: bool


def modules_of(root: Path) -> list[Module]:
    """Parse the Python files of a package."""
    modules = []
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        parts = path.relative_to(root.parent).with_suffix("").parts
        package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if package else parts)
        modules.append(Module(name, len(text.splitlines()), ast.parse(text), package))
    return modules


def measure_source(root: Path) -> dict[str, Any]:
    """Measure a package.

    Args:
        root: Folder of the package.

    Returns:
        Counts and, of public functions (those that an `__all__` names), the shares whose docstring has each
        part.
    """
    modules = modules_of(root)
    nodes = [node for module in modules for node in ast.walk(module.tree)]
    functions = [node for node in nodes if isinstance(node, Function)]
    lengths = sorted((node.end_lineno or 0) - node.lineno + 1 for node in functions)
    sizes = sorted(module.lines for module in modules)
    class_names = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))
    local_names = [
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    participles = [
        f.name for f in functions if PARTICIPLE.fullmatch(f.name.strip("_")) and f.name not in VERBS
    ]
    return {
        "files": len(modules),
        "lines": sum(sizes),
        "lines of a file: median, p90, largest": [median(sizes), _p90(sizes), sizes[-1]],
        f"files above {LONG} lines": sum(size > LONG for size in sizes),
        "lines of a function: median, p90, largest": [median(lengths), _p90(lengths), lengths[-1]],
        "names of functions that are a participle": len(set(participles)),
        "assignments to found, told, made, kept": sum(name in UNSPEAKING for name in local_names),
        "class names of several classes": sum(count > 1 for count in class_names.values()),
        "import cycles": _cycles(modules),
        **_docstring_shares(modules),
    }


def _docstring_shares(modules: list[Module]) -> dict[str, Any]:
    functions, homes = _exported_functions(modules)
    texts = {f: ast.get_docstring(f) or "" for f in functions}
    taking = [f for f in functions if f.args.args or f.args.kwonlyargs or f.args.posonlyargs]
    giving = [f for f in functions if f.returns is not None and ast.unparse(f.returns) not in NOTHING]
    arrays = [f for f in functions if ARRAY.search(ast.unparse(f.args) + ast.unparse(f.returns or f.args))]
    published = [f for f in functions if _is_published(f"{homes[f].partition('.')[2]}.{f.name}")]
    return {
        "public functions": len(functions),
        "with Args, of those that take arguments": _share(taking, lambda f: "Args:" in texts[f]),
        "with Returns, of those that return": _share(giving, lambda f: re.search("Returns|Yields", texts[f])),
        "with shapes, of those with arrays": _share(arrays, lambda f: SHAPE.search(texts[f])),
        "with a source, of published methods": _share(published, lambda f: SOURCE.search(texts[f])),
    }


def _exported_functions(modules: list[Module]) -> tuple[list[Any], dict[Any, str]]:
    """Return the functions that a module's `__all__` names, and the module that defines each."""
    exported: dict[Any, str] = {}
    for module in modules:
        names = set(_all_of(module))
        for other in modules if names else ():
            if other.name == module.name or other.name.startswith(f"{module.name}."):
                exported |= {
                    node: other.name
                    for node in other.tree.body
                    if isinstance(node, Function) and node.name in names
                }
    return list(exported), exported


def _is_published(name: str) -> bool:
    return name.startswith(SOURCED) and not name.startswith(UNPUBLISHED)


def _all_of(module: Module) -> list[str]:
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            elements = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else []
            return [e.value for e in elements if isinstance(e, ast.Constant) and isinstance(e.value, str)]
    return []


def _share(functions: list[Any], has: Any) -> float:
    return round(sum(bool(has(function)) for function in functions) / max(len(functions), 1), 3)


def _p90(values: list[int]) -> int:
    return values[min(len(values) - 1, int(0.9 * len(values)))]


def _cycles(modules: list[Module]) -> int:
    """Return how many groups of modules import each other as they are loaded."""
    index = {module.name: k for k, module in enumerate(modules)}
    rows, columns = [], []
    for module in modules:
        for node in module.tree.body:
            for name in _imported(node, module, index):
                if name != module.name and not module.name.startswith(f"{name}."):
                    rows.append(index[module.name])
                    columns.append(index[name])
    graph = csr_array(([1] * len(rows), (rows, columns)), shape=(len(modules), len(modules)))
    _, labels = connected_components(graph, connection="strong")
    return sum(count > 1 for count in Counter(labels.tolist()).values())


def _imported(node: ast.stmt, module: Module, index: dict[str, int]) -> list[str]:
    """Return the package's modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name in index]
    if not isinstance(node, ast.ImportFrom):
        return []
    home = module.name.split(".")[: None if module.package else -1]
    base = node.module or ""
    if node.level:
        base = ".".join([*home[: len(home) - node.level + 1], *([base] if base else [])])
    names = [f"{base}.{alias.name}" for alias in node.names]
    return [name if name in index else base for name in names if name in index or base in index]

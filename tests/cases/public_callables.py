"""Every public function, class and method of the package, and what its docstring leaves out."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import fisherscope

LONGEST_FIRST_LINE = 88
SHAPE = re.compile(r"\((?:[A-Za-z0-9_·×*+ ]+,\s?)+[A-Za-z0-9_…·, *×+-]*\)|\bshapes?\b|\([a-z]\)")
DTYPE = re.compile(
    r"dtype|float|double|integers?|bool|complex|precision|numbers?|same|eigenvalues|seconds", re.I
)
SOURCED = ("measures.", "eigenvalues.", "analysis.claim_tests", "policy.")
"""Modules of published methods: their public classes and functions cite where those are from."""
UNPUBLISHED = (
    "measures.nonzero_rules.censored",
    "measures.nonzero_rules.parse_rule",
    "measures.running_means.weighted_median",
    "policy.decision.",
    "policy.parser.",
    "policy.protocol.",
    "policy.wrappers.",
)
"""The package's own among them."""
SOURCE = re.compile(r"et al|\beq\. ?\d|\b(?:19|20)\d\d\b|docs/paper\.md|arXiv|doi\.org|[Ss]ource:")
REFERRING = re.compile(r"[;:(] ?see [`A-Za-z]|\b[Ss]ee `|>>>|docs/[\w/-]+\.md")
"""Text of a docstring whose example is another one's."""
NOTHING = (None, "None", "Iterator[None]", Iterator[None])
"""Return annotations of what gives no value; the last is that of a context manager."""
CONTRACTS = ("fisherscope.policy.protocol.Policy", "fisherscope.tasks.split.Split")
"""Protocols that classes fulfil without inheriting."""


def public_callables() -> dict[str, Any]:
    """Functions, classes, and methods and properties of public classes, by their dotted names."""
    modules = ["fisherscope", *(m.name for m in pkgutil.walk_packages(fisherscope.__path__, "fisherscope."))]
    values: dict[str, Any] = {}
    for module_name in modules:
        module = importlib.import_module(module_name)
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            home = getattr(value, "__module__", "") or ""
            if callable(value) and home.startswith("fisherscope"):
                values[f"{home.removeprefix('fisherscope.')}.{name}"] = value
    for name, value in list(values.items()):
        for method, function in vars(value).items() if inspect.isclass(value) else ():
            function = getattr(function, "__func__", function)
            if not method.startswith("_") and isinstance(function, property) | inspect.isfunction(function):
                values[f"{name}.{method}"] = function
    return values


def examples_of(value: Any) -> list[str]:
    """Code blocks of a docstring."""
    return re.findall(r"```python\n(.*?)```", inspect.getdoc(value) or "", re.DOTALL)


def missing_parts(name: str, value: Any, values: dict[str, Any]) -> list[str]:
    """Return what the docstring of a public callable should have and has not.

    A method that fulfils a documented contract (of a base class or protocol) says what differs only. An
    example of a class is also that of the methods which it calls; exceptions need none.
    """
    function = value.fget if isinstance(value, property) else value
    text = inspect.getdoc(value) or ""
    if not text:
        return ["docstring"]
    missing = []
    if len(text.splitlines()[0]) > LONGEST_FIRST_LINE:
        missing.append("short first line")
    exception = inspect.isclass(value) and issubclass(value, Exception)
    if exception or fulfils_contract(name, value, values):
        return missing
    signature = inspect.signature(function)
    annotations = " ".join(
        str(a) for a in (*(p.annotation for p in signature.parameters.values()), signature.return_annotation)
    )
    protocol = inspect.isclass(value) and getattr(value, "_is_protocol", False)
    if (
        not protocol
        and set(signature.parameters) - {"self", "cls"}
        and not re.search("^(Args|Attributes):", text, re.M)
    ):
        missing.append("Args")
    gives = not inspect.isclass(value) and signature.return_annotation not in NOTHING
    if gives and not isinstance(value, property) and not re.search("^(Returns|Yields):", text, re.M):
        missing.append("Returns")
    if re.search("Tensor|NDArray|ndarray", annotations):
        missing += [] if SHAPE.search(text) else ["shape"]
        missing += [] if DTYPE.search(text) else ["dtype"]
    if inspect.isfunction(value) and raises_an_error(value) and "Raises:" not in text:
        missing.append("Raises")
    published = name.startswith(SOURCED) and not name.startswith(UNPUBLISHED)
    if published and name.count(".") == 2 and not SOURCE.search(text):
        missing.append("source")
    if not isinstance(value, property) and not has_example(name, text, values):
        missing.append("example")
    return missing


def raises_an_error(function: FunctionType) -> bool:
    """Tell whether a function's own code raises a named error other than `NotImplementedError`."""
    code = ast.parse(textwrap.dedent(inspect.getsource(function)))
    raised = [node.exc for node in ast.walk(code) if isinstance(node, ast.Raise)]
    names = [ast.unparse(error.func if isinstance(error, ast.Call) else error) for error in raised if error]
    return any(name[0].isupper() and name != "NotImplementedError" for name in names)


def fulfils_contract(name: str, value: Any, values: dict[str, Any]) -> bool:
    """Tell whether a base class or protocol documents this method in full."""
    owner, _, method = name.rpartition(".")
    home = values.get(owner)
    if not inspect.isclass(home):
        return False
    protocols = []
    for contract in CONTRACTS:
        module, _, protocol = contract.rpartition(".")
        protocols.append(getattr(importlib.import_module(module), protocol))
    bases = [*home.__mro__[1:], *(p for p in protocols if p is not home and _has_all(home, p))]
    for base in bases:
        declared = vars(base).get(method)
        if declared is None or base is object:
            continue
        if not base.__module__.startswith("fisherscope"):
            return True  # a framework's hook, documented there
        base_name = f"{base.__module__.removeprefix('fisherscope.')}.{base.__name__}"
        if set(missing_parts(f"{base_name}.{method}", declared, {**values, base_name: base})) <= {"example"}:
            return True
    return False


def _has_all(home: type, protocol: type) -> bool:
    return all(
        hasattr(home, name) for name, f in vars(protocol).items() if inspect.isfunction(f) and name[0] != "_"
    )


def has_example(name: str, text: str, values: dict[str, Any]) -> bool:
    """Tell whether a docstring has an example, refers to one, or its class's example calls the method."""
    owner, _, method = name.rpartition(".")
    if "```python" in text or REFERRING.search(text):
        return True
    if owner not in values:
        return any(examples_of(maker) for maker in makers_of(text, values))
    of_class = [values[owner], *makers_of(inspect.getdoc(values[owner]) or "", values)]
    return any(
        re.search(rf"\.{method}\b|def {method}\b", example)
        for value in of_class
        for example in examples_of(value)
    )


def makers_of(text: str, values: dict[str, Any]) -> list[Any]:
    """Return the public functions that a class's docstring says it is made by."""
    names = re.findall(r"made by `(?:fs\.)?(\w+)`", text)
    return [value for name, value in values.items() if name.rpartition(".")[2] in names]

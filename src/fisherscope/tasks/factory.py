"""Load a user's own task from a function that returns a `Task` or a mapping."""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from fisherscope.bounded_reading import read_bytes
from fisherscope.tasks.errors import TaskError
from fisherscope.tasks.split import Split, hold_out
from fisherscope.tasks.task import SPLITS, Task, classification, cross_entropy
from fisherscope.tasks.user_code import reraise_with_location
from fisherscope.tasks.user_data import as_split

MEASURING_KEYS = ("name", "record")
"""Keys that only `advise` and `doctor` read."""
NO_TEST = (
    "The task has no test data: what is called test is its validation data, which settings were chosen by."
)
KEYS = ("model", "train", "validation", "test", "loss", "scores", "metric", "direction")
VALIDATION_SHARE = 0.1
SCORES = """\
    def scores(model, batch):  # a number a sample; "metric" names the one to go by, "error" by default
        output, label = model(batch[0]), batch[1]
        loss = F.cross_entropy(output, label, reduction="none")
        return {"loss": loss, "error": (output.argmax(1) != label).float()}
"""
"""What a factory with its own loss adds, so that runs can be compared."""


def load_task(name: str) -> Task:
    """Load the task of a factory; modules of the working directory are importable.

    Args:
        name: `module:function` or `file.py:function`.

    Returns:
        The task.

    Raises:
        TaskError: There is no such module or function, or it returned something other than a task.
    """
    return as_task(name, call_factory(name), lambda: call_factory(name))


def call_factory(name: str) -> Any:
    """Import and call the factory `module:function` or `file.py:function`.

    Returns:
        What it returns.

    Raises:
        TaskError: There is no such module or function, or importing or calling it failed at the line named.
    """
    module_name, _, function_name = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    with reraise_with_location(f"task {name!r}: importing {module_name!r}", _import_remedy(module_name)):
        module = _import(module_name)
    factory = getattr(module, function_name, None)
    if factory is not None and not callable(factory):
        raise TaskError(
            f"task {name!r}: {function_name} is {type(factory).__name__}; expected a function "
            "without arguments"
        )
    if factory is None:
        near = difflib.get_close_matches(function_name, dir(module), 3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise TaskError(f"task {name!r}: {module_name} has no function {function_name!r}{hint}")
    with reraise_with_location(
        f"task {name!r}: calling {function_name}()", "fix it, or give a function that needs no arguments"
    ):
        return factory()


def file_digest(name: str) -> str | None:
    r"""Return a digest of the file that a task's factory is in, without running it.

    Comments, docstrings and layout do not change it.

    Args:
        name: As for `fs.tasks.get`.

    Returns:
        16 hexadecimal digits; None for a built-in task, and where the file cannot be found or read.

    Example:
        ```python
        from pathlib import Path

        Path("mine.py").write_text("def factory(): return 1  # one")
        before = fs.tasks.file_digest("mine.py:factory")
        Path("mine.py").write_text("def factory():\n    return 1")
        assert fs.tasks.file_digest("mine.py:factory") == before
        ```
    """
    module, colon, _ = name.partition(":")
    if not colon:
        return None
    try:
        source = read_bytes(_source_file(module), LARGEST_SOURCE)
        return hashlib.sha256(_normal_form(source)).hexdigest()[:16]
    except (OSError, ImportError, ValueError, AttributeError):
        return None


def _source_file(module: str) -> Path:
    """Find the file of a module, importing at most the packages above it.

    Returns:
        Its path, which need not exist.

    Raises:
        ImportError: There is none.
    """
    if module.endswith(".py"):
        return Path(module)
    local = Path(*module.split(".")).with_suffix(".py")
    if local.is_file():
        return local
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ImportError(f"there is no module {module}")
    return Path(spec.origin)


def _normal_form(source: bytes) -> bytes:
    """Return a program without comments, docstrings and layout; as it is if it cannot be parsed."""
    try:
        tree = ast.parse(source)
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
                value = body[0].value
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    body[0] = ast.Pass()
        return ast.unparse(ast.fix_missing_locations(tree)).encode()
    except (SyntaxError, ValueError, RecursionError):
        return source


LARGEST_SOURCE = 1 << 24
"""Bytes of a program."""


def _import_remedy(name: str) -> str:
    if "/" in name and not name.endswith(".py"):
        return f"to name a file, write its suffix: {name}.py"
    return "run from a directory where the module can be imported"


def _import(name: str) -> ModuleType:
    """Import a module by its name, or by the path of its file."""
    if not name.endswith(".py"):
        return importlib.import_module(name)
    path = Path(name)
    if not path.is_file():
        raise TaskError(f"reading {name!r}: there is no such file in {Path.cwd()}")
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        return importlib.import_module(path.stem)
    finally:
        sys.path.pop(0)


def as_task(name: str, value: Any, remake: Callable[[], Any] | None = None) -> Task:
    """Convert what a factory returned to a task.

    Args:
        name: The factory's name, for messages.
        value: A `Task`, or a mapping with `model`, `train` (or `data`) and optionally more of `KEYS`.
        remake: Calls the factory again; makes a new model if the mapping holds one instead of a function.

    Returns:
        The task.

    Raises:
        TaskError: It is neither, or something in it has a wrong type; the text says what to return.
    """
    if isinstance(value, Task):
        train, validation, test = (as_split(getattr(value, key), f"task {name!r}: {key}") for key in SPLITS)
        task = replace(value, name=value.name or name, train=train, validation=validation, test=test)
        return _check_types(task)
    if not isinstance(value, Mapping):
        raise TaskError(
            f"task {name!r}: its factory returned {type(value).__name__}; expected a fisherscope.tasks.Task, "
            f"or a mapping with model, train and optionally {', '.join(KEYS[2:])}"
        )
    parts = dict(value)
    if "data" in parts and "train" not in parts:  # the key that advise and doctor use
        parts["train"] = parts.pop("data")
    if isinstance(parts.get("model"), nn.Module) and remake is not None:
        parts["model"] = lambda: remake()["model"]
    _check_keys(name, parts)
    train, validation, test = _splits(name, parts)
    if parts.get("loss") is F.cross_entropy:  # the default loss, whose scores are known
        del parts["loss"]
    if "loss" in parts and "scores" not in parts:
        raise TaskError(
            f"task {name!r}: it has its own loss and no 'scores'; runs are compared by each sample's "
            f'loss and metric. Write in the factory\n\n{SCORES}\nand return  "scores": scores  too'
        )
    return _check_types(Task(
        name, parts["model"], train, validation, test,
        batch_loss(parts.get("loss", cross_entropy)), parts.get("scores", classification),
        parts.get("metric", "error"), parts.get("direction", "min"),
        () if parts.get("test") is not None else (NO_TEST,),
    ))  # fmt: skip


def _check_keys(name: str, parts: Mapping[Any, Any]) -> None:
    """Check a mapping's reduction and its keys.

    Raises:
        TaskError: The loss is a sum, a key is unknown, or a required one is missing.
    """
    if parts.get("reduction") not in (None, "mean"):
        raise TaskError(
            f"task {name!r}: its factory returned reduction={parts['reduction']!r}; training takes the loss "
            "as a batch's mean, so that batch sizes can be compared: return the mean"
        )
    unknown = sorted(str(key) for key in set(parts) - {*KEYS, *MEASURING_KEYS, "reduction"})
    if unknown:
        near = difflib.get_close_matches(unknown[0], KEYS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected some of {', '.join(KEYS)}"
        raise TaskError(f"task {name!r}: its factory returned the key {unknown[0]!r}; {hint}")
    for key in ("model", "train"):
        if key not in parts:
            raise TaskError(
                f"task {name!r}: its factory returned no {key!r}; a task needs a model and training data"
            )


def _splits(name: str, parts: Mapping[Any, Any]) -> tuple[Split, Split, Split]:
    """Return the three splits of a mapping; hold out or share the missing ones."""
    train = as_split(parts["train"], f"task {name!r}: train")
    if parts.get("validation") is None:
        if len(train) < 2:
            raise TaskError(
                f"task {name!r}: train has 1 sample, and validation data are held out from it; give 2 or more"
            )
        train, validation = hold_out(train, max(1, round(VALIDATION_SHARE * len(train))))
    else:
        validation = as_split(parts["validation"], f"task {name!r}: validation")
    if parts.get("test") is None:
        return train, validation, validation
    return train, validation, as_split(parts["test"], f"task {name!r}: test")


def _check_types(task: Task) -> Task:
    """Return the task after checking what can be checked without calling anything.

    Raises:
        TaskError: Model, loss or scores are not functions, or the direction is unknown.
    """
    if isinstance(task.model, nn.Module):
        raise TaskError(
            f"task {task.name!r}: 'model' must be a function that makes a new model; received a model"
        )
    for key in ("model", "loss", "scores"):
        value = getattr(task, key)
        if not callable(value):
            raise TaskError(f"task {task.name!r}: {key!r} is {type(value).__name__}; expected a function")
    if task.direction not in ("min", "max"):
        raise TaskError(f"task {task.name!r}: 'direction' is {task.direction!r}; expected 'min' or 'max'")
    return task


def batch_loss(loss: Callable[..., Tensor]) -> Callable[[nn.Module, Any], Tensor]:
    """Convert a loss to (model, batch) → scalar; torch's own get model(batch[0]) and batch[1]."""
    if isinstance(loss, nn.modules.loss._Loss) or getattr(loss, "__module__", "") == "torch.nn.functional":
        return lambda model, batch: loss(model(batch[0]), batch[1])
    return loss

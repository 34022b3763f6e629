"""The checkpoint of a run: a state of tensors and plain values, and how long the logs were when it was taken.

torch is imported here, and only when a checkpoint is written or read.
"""

import os
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from fisherscope.runs.atomic_io import replace
from fisherscope.runs.config_values import differences
from fisherscope.runs.errors import DamagedRunError, RunError

FORMAT = 1
SCALARS = {type(None), bool, int, float, str, bytes}


def write(path: Path, state: Any, config: Mapping[str, Any], marks: Mapping[str, int]) -> None:
    """Replace the checkpoint.

    Raises:
        TypeError: The state holds what could not be read back.
        RunError: The disk refuses; the checkpoint before is still there.
    """
    check(state)
    held = {"format": FORMAT, "config": dict(config), "marks": dict(marks), "state": state}
    replace(path, lambda file: _save(held, file))


def read(path: Path, config: Mapping[str, Any]) -> tuple[Any, dict[str, int]]:
    """The state and the marks of the checkpoint.

    Raises:
        DamagedRunError: The file is not a whole checkpoint.
        RunError: It is of another version or of another configuration.
    """
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            if (wrong := archive.testzip()) is not None:  # torch.load does not look
                raise zipfile.BadZipFile(f"checksum of {wrong}")
        held = torch.load(path, map_location="cpu", weights_only=True)
        version, theirs = held["format"], held["config"]
        state, marks = held["state"], {str(name): int(size) for name, size in held["marks"].items()}
    except OSError as error:
        raise RunError(f"reading {path}: {error.strerror or error}; see that it may be read") from error
    except Exception as error:  # whatever the bytes make torch raise
        raise DamagedRunError(
            f"reading {path}: damaged or not a fisherscope checkpoint ({_first_sentence(error)}, "
            f"{os.stat(path).st_size} bytes); restore it from a copy, or delete the run's "
            "directory to begin it anew"
        ) from error
    if version != FORMAT:
        raise RunError(
            f"reading {path}: it has checkpoint format {version!r}, this version of fisherscope reads "
            f"{FORMAT}; use the version that wrote it, or delete the run's directory to begin it anew"
        )
    if differing := differences(config, theirs):
        raise RunError(
            f"reading {path}: it is of another configuration: {', '.join(differing)}; "
            "go on with that one, or give another directory"
        )
    return state, marks


def _first_sentence(error: Exception) -> str:
    """Without the rest, which with torch is advice to load what strangers may have put there."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]


def check(state: Any, place: str = "state") -> None:
    """Refuse what `torch.load(weights_only=True)` would not give back.

    Raises:
        TypeError: Names the place and the type.
    """
    import torch

    if type(state) in SCALARS or isinstance(state, torch.Tensor):
        return
    if type(state) in (list, tuple):
        if set(map(type, state)) <= SCALARS:
            return  # long columns of numbers
        for k, part in enumerate(state):
            check(part, f"{place}[{k}]")
        return
    if type(state) in (dict, OrderedDict):
        for key, part in state.items():
            if type(key) not in SCALARS:
                raise TypeError(
                    f"saving a checkpoint: {place} has a key of {type(key).__name__}; use text or numbers"
                )
            check(part, f"{place}[{key!r}]")
        return
    raise TypeError(
        f"saving a checkpoint: {place} is of {type(state).__qualname__}; expected tensors, "
        "numbers, text, None, and dicts, lists and tuples of these (convert arrays by torch.from_numpy)"
    )


def _save(held: dict[str, Any], file: BinaryIO) -> None:
    """`torch.save`, which hides the disk's error behind one of its own."""
    import torch

    try:
        torch.save(held, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise

"""The checkpoint of a run: a state, and the lengths of the logs at that moment.

torch is imported here, and only when a checkpoint is written or read.
"""

import os
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from fisherscope.bounded_reading import open_regular
from fisherscope.runs.atomic_io import replace
from fisherscope.runs.config_values import differences
from fisherscope.runs.errors import DamagedRunError, RunError

FORMAT = 1
SCALARS = {type(None), bool, int, float, str, bytes}


def write(
    path: Path,
    state: Any,
    config: Mapping[str, Any],
    marks: Mapping[str, int],
    checksums: Mapping[str, int] | None = None,
) -> None:
    """Replace the checkpoint.

    Args:
        path: The file.
        state: The state to save.
        config: The run's configuration.
        marks: Length in bytes of each log when the checkpoint was written.
        checksums: CRC-32 of each log's bytes up to that length.

    Raises:
        TypeError: The state holds a type that could not be read back.
        RunError: The disk is full or read-only; the previous checkpoint is still there.
    """
    check(state)
    contents = {"format": FORMAT, "config": dict(config), "marks": dict(marks), "state": state}
    contents |= {} if checksums is None else {"checksums": dict(checksums)}
    replace(path, lambda file: _save(contents, file))


def read(path: Path, config: Mapping[str, Any]) -> tuple[Any, dict[str, int], dict[str, int]]:
    """Read the checkpoint.

    Returns:
        Its state, the length in bytes of each log when it was written, and the CRC-32 of those bytes (empty
        in checkpoints of version 0.1).

    Raises:
        DamagedRunError: The file is not a complete checkpoint.
        RunError: The checkpoint is of another format or another configuration, or cannot be read.
    """
    import torch

    try:
        with open(open_regular(path), "rb") as file, zipfile.ZipFile(file) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise zipfile.BadZipFile("a member is compressed, which torch.save does not do")
            if (member := archive.testzip()) is not None:  # torch.load does not
                raise zipfile.BadZipFile(f"checksum of {member}")
        contents = torch.load(path, map_location="cpu", weights_only=True)
        version, saved_config = contents["format"], contents["config"]
        state, marks = contents["state"], {str(name): int(size) for name, size in contents["marks"].items()}
        checksums = {str(name): int(value) for name, value in contents.get("checksums", {}).items()}
    except OSError as error:
        raise RunError(f"reading {path}: {error.strerror or error}; check its permissions") from error
    except Exception as error:  # damaged bytes make torch raise anything
        raise DamagedRunError(
            f"reading {path}: damaged or not a fisherscope checkpoint ({_first_sentence(error)}, "
            f"{os.stat(path).st_size} bytes); restore it from a copy, or delete the run's "
            "directory to start over"
        ) from error
    if version != FORMAT:
        raise RunError(
            f"reading {path}: it has checkpoint format {version!r}, this version of fisherscope reads "
            f"{FORMAT}; use the version that wrote it, or delete the run's directory to start over"
        )
    if differing := differences(config, saved_config):
        raise RunError(
            f"reading {path}: it belongs to another configuration: {', '.join(differing)}; "
            "resume with that configuration, or give another directory"
        )
    return state, marks, checksums


def _first_sentence(error: Exception) -> str:
    """Return the first sentence of an error; torch's next ones advise unsafe loading."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]


def check(state: Any, position: str = "state") -> None:
    """Raise an error for a type that `torch.load(weights_only=True)` would not read back.

    Raises:
        TypeError: Names the position and the type.
    """
    import torch

    if type(state) in SCALARS or isinstance(state, torch.Tensor):
        return
    if type(state) in (list, tuple):
        if set(map(type, state)) <= SCALARS:
            return  # a long column of numbers
        for k, part in enumerate(state):
            check(part, f"{position}[{k}]")
        return
    if type(state) in (dict, OrderedDict):
        for key, part in state.items():
            if type(key) not in SCALARS:
                raise TypeError(
                    f"saving a checkpoint: {position} has a key of {type(key).__name__}; use text or numbers"
                )
            check(part, f"{position}[{key!r}]")
        return
    raise TypeError(
        f"saving a checkpoint: {position} is of {type(state).__qualname__}; expected tensors, "
        "numbers, text, None, and dicts, lists and tuples of these (convert arrays by torch.from_numpy)"
    )


def _save(contents: dict[str, Any], file: BinaryIO) -> None:
    """Save by torch, and raise the disk's own error, which `torch.save` hides behind another."""
    import torch

    try:
        torch.save(contents, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise

"""Which runs are under a directory: their directories, links to them, names, and whether any changed."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from fisherscope.runs.paths import EPOCHS, LOCK, RUN, STEPS
from fisherscope.runs.queries import is_run

SHOWN_FILES = (RUN, STEPS, EPOCHS, LOCK)
"""Files whose change can change what a reader of tables and statuses sees."""


def run_directories(root: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the run directories at or under a directory, at any depth.

    Args:
        root: A directory; hidden directories in it are skipped, and links are not followed.

    Returns:
        The run directories, in the order of their names; none if there is no such directory.

    Example:
        ```python
        fs.open_run("runs/mine/sixth", {"seed": 0}).close()
        assert "sixth" in [path.name for path in fs.runs.run_directories("runs")]
        ```
    """
    for path, directories, files in os.walk(root, followlinks=False):
        if RUN in files:
            directories.clear()
            yield Path(path)
        directories[:] = sorted(name for name in directories if not name.startswith("."))


def fingerprint(root: str | os.PathLike[str]) -> str:
    """Return a text that changes whenever a run under a directory changes.

    Args:
        root: A directory of runs, or of directories of runs.

    Returns:
        16 hexadecimal digits: a hash of the names, sizes and times of the files that readers show.

    Cost: one `stat` of each of these files; nothing is read.

    Example:
        ```python
        with fs.open_run("runs/mine/seventh", {"seed": 0}, restart=True) as run:
            before = fs.runs.fingerprint("runs/mine")
            run.log_epoch(val_error=0.25)
            assert fs.runs.fingerprint("runs/mine") != before
        ```
    """
    digest = hashlib.sha256()
    for directory, _, files in os.walk(root):
        for name in sorted(set(files) & set(SHOWN_FILES)):
            try:
                state = os.stat(os.path.join(directory, name))
            except OSError:  # removed meanwhile
                continue
            digest.update(os.fsencode(f"{directory}/{name} {state.st_size} {state.st_mtime_ns}\n"))
    return digest.hexdigest()[:16]


def distinct_names(paths: Iterable[Path]) -> dict[str, Path]:
    """Map names to directories, with as much of each path as distinguishes equal names.

    Returns:
        Directories by name; bytes of a name that are no text are written as text.
    """
    depth: dict[Path, int] = dict.fromkeys(paths, 1)
    resolved = {path: path.resolve() for path in depth}
    while True:
        names: dict[str, list[Path]] = {}
        for path in depth:
            names.setdefault(_text("/".join(resolved[path].parts[-depth[path] :])), []).append(path)
        shared = [path for same in names.values() if len(same) > 1 for path in same]
        if not shared:
            return {name: same[0] for name, same in names.items()}
        for path in shared:
            depth[path] += 1


def _text(name: str) -> str:
    """Write the bytes of a file's name that are no text as text."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def linked_runs(root: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the links under a directory that lead to a run, which readers do not follow.

    A directory that another made could otherwise have runs of this machine read and exported.
    """
    for path, directories, files in os.walk(root, followlinks=False):
        if RUN in files:
            directories.clear()
            continue
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in directories:
            link = Path(path) / name
            if link.is_symlink() and is_run(link):
                yield link

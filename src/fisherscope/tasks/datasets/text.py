"""Read texts as windows of bytes: the one in the package, TinyStories and WikiText."""

from __future__ import annotations

import hashlib
import lzma
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fisherscope.tasks.datasets.files import PACKINGS, contents, is_file
from fisherscope.tasks.errors import DataError
from fisherscope.tasks.split import seeded_order

TOPICS = "pydoc-topics-3.11.txt.xz"
TOPICS_SHA256 = "7e88678dc7eceb97c20e8fa08a2f750069a8f4e46125e64804f6052662c09fc5"
"""Digest of the unpacked text: the help topics of Python 3.11, sorted by name, joined by NUL."""
PASSAGE = 4096
"""Bytes of a passage; a passage belongs to one split as a whole."""
HELD_OUT = 0.1
"""Share of the passages in the validation split, and in the test split."""
SHORTEST_REPEAT = 40
"""Characters of a paragraph from which its second occurrence is left out."""


@dataclass(frozen=True)
class Windows:
    """Cut a text into samples: consecutive windows without overlap, and the byte after each position.

    Args:
        tokens: (t,) uint8, the text.
        context: Positions of a window.
    """

    tokens: Tensor
    context: int

    def __len__(self) -> int:
        return max(0, (len(self.tokens) - 1) // self.context)

    def to(self, device: torch.device | str) -> Windows:
        """Copy the text to `device`."""
        return Windows(self.tokens.to(device), self.context)

    def batch(self, indices: Tensor, epoch: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Return bytes and the bytes that follow them, int64 (n, context) each; see `Split.batch`."""
        starts = indices.to(self.tokens.device)[:, None] * self.context
        window = self.tokens[starts + torch.arange(self.context + 1, device=starts.device)].long()
        return window[:, :-1], window[:, 1:]


def topics(context: int) -> tuple[Windows, Windows, Windows]:
    """Return (training, validation, test) of the help topics of Python 3.11.

    A paragraph that occurred before is left out, so that no split repeats another; passages of 4096 bytes
    are then dealt to the splits in a seeded order, 8 : 1 : 1.

    Args:
        context: Positions of a sample.

    Raises:
        DataError: The file in the package is damaged.
    """
    file = files("fisherscope.tasks.datasets") / "texts" / TOPICS
    try:
        text = lzma.decompress(file.read_bytes())
    except (OSError, lzma.LZMAError) as error:
        raise DataError(f"reading {file}: {error}; install fisherscope again") from error
    if hashlib.sha256(text).hexdigest() != TOPICS_SHA256:
        raise DataError(f"reading {file}: it is not the text that belongs here; install fisherscope again")
    passages = tokens_of(_without_repeats(text.decode()).encode()).split(PASSAGE)
    held_out = round(HELD_OUT * len(passages))
    order = seeded_order(len(passages))
    parts = order.split([len(passages) - 2 * held_out, held_out, held_out])
    train, validation, test = (
        Windows(torch.cat([passages[k] for k in part.sort().values]), context) for part in parts
    )
    return train, validation, test


def _without_repeats(text: str) -> str:
    seen: set[str] = set()
    sentences = []
    for paragraph in re.split(r"\n\s*\n|\0", text):
        if len(paragraph) < SHORTEST_REPEAT or paragraph not in seen:
            sentences.append(paragraph)
        seen.add(paragraph)
    return "\n\n".join(sentences)


def tokens_of(text: bytes) -> Tensor:
    """Return the bytes of a text, (t,) uint8."""
    return torch.from_numpy(np.frombuffer(text, dtype=np.uint8).copy())


def tinystories(folder: Path, context: int) -> tuple[Windows, Windows, Windows]:
    """Read TinyStories (Eldan and Li 2023) from its published files in `folder`/tinystories.

    Returns:
        The training file, and the two halves of the published validation file.

    Raises:
        DataError: A file is missing, damaged or too short.
    """
    folder = folder / "tinystories"
    names = [("TinyStoriesV2-GPT4-train.txt", "TinyStories-train.txt"),
             ("TinyStoriesV2-GPT4-valid.txt", "TinyStories-valid.txt")]  # fmt: skip
    train, valid = (_windows(folder, alternatives, context) for alternatives in names)
    middle = len(valid) // 2 * context
    halves = (Windows(part, context) for part in (valid.tokens[: middle + 1], valid.tokens[middle:]))
    validation, test = (_long_enough(part, f"half of the validation file in {folder}") for part in halves)
    return train, validation, test


def wikitext(name: str, folder: Path, context: int) -> tuple[Windows, Windows, Windows]:
    """Read WikiText (Merity et al. 2016), raw or in tokens, from its published files in `folder`/`name`.

    Returns:
        Its training, validation and test file.

    Raises:
        DataError: A file is missing, damaged or too short.
    """
    folder = folder / name
    train, validation, test = (
        _windows(folder, (f"wiki.{split}.raw", f"wiki.{split}.tokens"), context)
        for split in ("train", "valid", "test")
    )
    return train, validation, test


def _windows(folder: Path, names: tuple[str, ...], context: int) -> Windows:
    """Read the first of the files that is there; a plain one is mapped, not loaded."""
    for name in names:
        for path in (folder / name, *sorted(folder.glob(f"*/{name}"))):
            if is_file(path) and path.stat().st_size > 0:
                mapped = np.memmap(path, dtype=np.uint8, mode="c")  # nothing is written to the file
                return _long_enough(Windows(torch.from_numpy(mapped), context), str(path))
        packed = contents(folder, name)
        if packed is not None:
            return _long_enough(Windows(tokens_of(packed.data), context), packed.place)
    raise DataError(
        f"looking for {' or '.join(names)} (or with {', '.join(PACKINGS[1:])}) in {folder}: there is none; "
        "it is not downloaded: put the published file there, or name the directory above it by --data-dir or "
        "FISHERSCOPE_DATA"
    )


def _long_enough(windows: Windows, place: str) -> Windows:
    if len(windows) < 1:
        raise DataError(
            f"reading {place}: {len(windows.tokens)} bytes; expected at least {windows.context + 1}, a "
            "window and the byte after it; download it again"
        )
    return windows

"""Texts: the one in the package, published files, and damaged ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch

from fisherscope import tasks
from fisherscope.tasks import DataError
from fisherscope.tasks.datasets import text


def passages(windows: text.Windows) -> set[bytes]:
    data = bytes(windows.tokens.tolist())
    return {data[k : k + 200] for k in range(0, len(data) - 200, 50)}


def test_the_package_s_text_is_split_the_same_every_time_and_no_part_repeats_another() -> None:
    parts = text.topics(64)
    assert [len(part) for part in parts] == [4821, 575, 575]
    again = text.topics(32)
    for part, other in zip(parts, again, strict=True):
        assert torch.equal(part.tokens, other.tokens)
    train, validation, test = (passages(part) for part in parts)
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_a_sample_is_a_window_and_what_follows_each_of_its_bytes() -> None:
    windows = text.Windows(text.tokens_of(bytes(range(20))), 4)
    assert len(windows) == 4
    inputs, targets = windows.batch(torch.tensor([3, 0]))
    assert inputs.tolist() == [[12, 13, 14, 15], [0, 1, 2, 3]]
    assert targets.tolist() == [[13, 14, 15, 16], [1, 2, 3, 4]]
    assert inputs.dtype == torch.int64


def test_published_files_are_read_plain_and_packed(tmp_path: Path) -> None:
    (tmp_path / "tinystories").mkdir()
    (tmp_path / "tinystories" / "TinyStories-train.txt").write_bytes(b"once upon a time " * 100)
    packed = gzip.compress(b"the end <|endoftext|> " * 100)
    (tmp_path / "tinystories" / "TinyStoriesV2-GPT4-valid.txt.gz").write_bytes(packed)
    task = tasks.get("tinystories/gpt-mini", tmp_path)
    assert (len(task.train), len(task.validation), len(task.test)) == (26, 17, 17)
    assert bytes(task.batch("train", [0])[0][0, :16].tolist()) == b"once upon a time"
    raw = tmp_path / "wikitext2" / "wikitext-2-raw"
    raw.mkdir(parents=True)
    for name in ("train", "valid", "test"):
        (raw / f"wiki.{name}.raw").write_bytes(name.encode() * 200)
    task = tasks.get("wikitext2/gpt-mini", tmp_path, validation=False)
    assert bytes(task.batch("validation", [0])[0][0, :4].tolist()) == b"test"


def test_a_missing_short_or_damaged_text_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"looking for wiki\.train\.raw or wiki\.train\.tokens.*--data-dir"):
        tasks.get("wikitext103/gpt-mini", tmp_path)
    (tmp_path / "wikitext2").mkdir()
    (tmp_path / "wikitext2" / "wiki.train.raw").write_bytes(b"short")
    with pytest.raises(DataError, match="5 bytes; expected at least 65"):
        tasks.get("wikitext2/gpt-mini", tmp_path)
    with pytest.raises(tasks.TaskError, match="augment=True applies to images"):
        tasks.get("text/gpt-mini", augment=True)
    monkeypatch.setattr(text, "TOPICS_SHA256", "0" * 64)
    with pytest.raises(DataError, match="not the text that belongs here"):
        tasks.get("text/gpt-mini")

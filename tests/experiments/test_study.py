"""The study's page has the numbers of its committed results, in tables and in sentences."""

import json
import re
from pathlib import Path

import pytest
from experiments.study.sentences import renewed
from experiments.study.tables import BLOCKS, headline, rewrite

ROOT = Path(__file__).parents[2]
FOUND = json.loads((ROOT / "experiments/results/study.json").read_text())
PAGE = (ROOT / "docs/study.md").read_text()


def test_its_sentences_are_those_of_the_results() -> None:
    assert renewed(PAGE, FOUND) == PAGE


def test_a_number_that_is_not_of_the_results_is_put_right() -> None:
    wrong = re.sub(r"by a factor\s+of \d+ at most", "by a factor of 7000 at most", PAGE)
    assert "7000" in wrong
    assert renewed(wrong, FOUND).split() == PAGE.split()


def test_a_sentence_that_was_reworded_is_not_left_with_its_old_numbers() -> None:
    with pytest.raises(ValueError, match=r"expected once: '\*\*Claim 5 is contradicted"):
        renewed(PAGE.replace("Claim 5 is contradicted", "Claim 5 is refuted"), FOUND)


def test_words_that_no_longer_hold_stop_it() -> None:
    helped = [row | {"low": 0.1} for row in FOUND["backtest"]["gains"]]
    with pytest.raises(AssertionError, match="digits-resnet8"):
        renewed(PAGE, FOUND | {"backtest": FOUND["backtest"] | {"gains": helped}})


def test_its_tables_are_those_of_the_results(tmp_path: Path) -> None:
    for name, blocks in (
        ("docs/study.md", {name: block(FOUND) for name, block in BLOCKS.items()}),
        ("README.md", {"headline": headline(FOUND)}),
    ):
        copy = tmp_path / "page.md"
        copy.write_text((ROOT / name).read_text())
        rewrite(copy, blocks)
        assert copy.read_text() == (ROOT / name).read_text()

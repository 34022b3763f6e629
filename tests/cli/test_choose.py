"""`fisherscope choose` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cases.small_search import WORDS, ran

from fisherscope.cli.choose import choose, parse_share


def test_the_default_rates_are_sgd_s_alone() -> None:
    with pytest.raises(ValueError, match=r"choosing with adamw: --lrs is not given"):
        raise ran(choose, "digits/mlp", "--optimizer", "adamw").exception or AssertionError("it went on")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--budget", "10%"), "takes 11; give a budget of at least 31%"),
        (("--budget", "lots"), "such as 20%"),
        (("--lrs", "0.1,x"), "reading the list '0.1,x'"),
        (("--lrs", ""), "is empty; give at least one of each"),
    ],
)
def test_what_cannot_be_chosen_is_told(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    assert told in str(ran(choose, *WORDS, *words, "--out", tmp_path / "runs").exception)
    assert not (tmp_path / "runs").exists()


def test_shares() -> None:
    assert parse_share("20%") == parse_share("0.2")

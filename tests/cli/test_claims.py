"""`fisherscope claims`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cases.planted_runs import ran

from fisherscope.cli.claims import claims


def test_claims(root: Path) -> None:
    assert "NOT TESTABLE" in ran(claims, root).output
    answer = json.loads(ran(claims, root, "--json").output)
    assert [row["number"] for row in answer["claims"]] == list(range(1, 14))

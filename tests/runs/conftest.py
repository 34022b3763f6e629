"""Fixtures of run directories."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.cases.toy_run import WRITER


@pytest.fixture
def writer(tmp_path):
    """A second process that writes the run `busy` for as long as the test lasts."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "busy")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "open\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()

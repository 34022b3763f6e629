"""CUDA generators without a device."""

from __future__ import annotations

import pytest
from tests.cases.state_guards import Cuda


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    return Cuda(monkeypatch)

"""A missing framework is named with the extra that installs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fisherscope import integrations

FRAMEWORKS = {"lightning": "lightning", "transformers": "transformers", "tensorboard": "tensorboard",
              "mlflow": "mlflow", "wandb": "wandb"}  # fmt: skip


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_missing_framework_is_named_with_the_extra_that_installs_it(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = next(name for name, module in integrations.HOMES.items() if module == framework)
    for loaded in [m for m in sys.modules if m.partition(".")[0] == framework]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, framework, None)
    monkeypatch.delitem(sys.modules, f"fisherscope.integrations.{framework}", raising=False)
    with pytest.raises(
        integrations.MissingFrameworkError, match=rf"pip install 'fisherscope\[{framework}\]'"
    ):
        getattr(integrations, name)("somewhere" if framework == "tensorboard" else None)
    sys.modules.pop(f"fisherscope.integrations.{framework}", None)


def test_every_framework_has_its_extra() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(integrations.HOMES.values()) - {"csv"} <= set(project["optional-dependencies"])


def test_an_unknown_integration_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(AttributeError, match="LightningCallback"):
        _ = integrations.KerasCallback

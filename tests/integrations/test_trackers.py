"""Every tracker has every number, read back by its framework's own reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cases.training_frameworks import (
    csv,
    measured,
    mlflow,
    tensorboard,
    wandb,
)

from fisherscope import integrations

TRACKERS = {
    "TensorBoardTracker": tensorboard,
    "MLflowTracker": mlflow,
    "WandbTracker": wandb,
    "CsvTracker": csv,
}


def test_every_integration_is_under_contract() -> None:
    assert {*TRACKERS, "LightningCallback", "DynamicLoader", "TransformersCallback"} == set(
        integrations.HOMES
    )


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_has_every_number_under_its_own_key(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, read = TRACKERS[name](tmp_path / "there", monkeypatch)
    history = measured(tracker).history
    tracker.close()
    for key in ("fisher/cond_mean", "fisher/energy_sum", "lr"):
        seen = read(key)
        assert [step for step, _ in seen] == history["step"].to_list() == [0, 2]
        assert [value for _, value in seen] == pytest.approx(
            history[key].to_list(), rel=1e-6
        )  # float32 events
        if name == "WandbTracker":
            break  # its file is read once

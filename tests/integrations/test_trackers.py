"""Every tracker has every number, read back by its framework's own reader."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cases.training_frameworks import (
    csv,
    measured,
    mlflow,
    tensorboard,
    wandb,
)
from torch import nn

import fisherscope as fs
from fisherscope import integrations

TRACKERS = {
    "TensorBoardTracker": tensorboard,
    "MLflowTracker": mlflow,
    "WandbTracker": wandb,
    "CsvTracker": csv,
}


def test_every_integration_is_under_contract() -> None:
    frameworks = {"LightningCallback", "DynamicLoader", "TransformersCallback", "DynamicBatchSize"}
    assert {*TRACKERS, *frameworks} == set(integrations.HOMES)


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


# Resuming ----------------------------------------------------------------------------------------

STEPS = 12


def train(monitor: fs.Monitor, steps: range, at: Callable[[int], None] = lambda step: None) -> None:
    """Train the monitor's linear model; `at` is called after each step."""
    for step in steps:
        monitor.optimizer.zero_grad()
        with monitor.observe():
            x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
            monitor.model(x).square().mean().backward()
        monitor.optimizer.step()
        at(step)


def monitor_of(trackers: list[Any]) -> fs.Monitor:
    """A monitor of two rows in three steps."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return fs.Monitor(model, optimizer, every=2, stride=True, strict=True, on_measure=trackers)


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.parametrize("seed", range(3))
def test_a_resumed_training_s_rows_come_once(
    name: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed some steps after a checkpoint, resumed from there with a new tracker of the same place."""
    chance = random.Random(seed)
    saved_after, killed_after = sorted(chance.sample(range(1, STEPS), 2))
    first, read = TRACKERS[name](tmp_path / "there", monkeypatch)
    monitor, states = monitor_of([first]), {}

    def save(step: int) -> None:
        if step + 1 == saved_after:
            states["monitor"], states["model"] = monitor.state_dict(), monitor.model.state_dict()
            states["model"] = {key: value.clone() for key, value in states["model"].items()}

    train(monitor, range(killed_after), save)
    if name == "TensorBoardTracker":
        first.writer.flush()
    again = type(first)(_place(name, first, tmp_path / "there"))
    resumed = monitor_of([again])
    resumed.load_state_dict(states["monitor"])
    resumed.model.load_state_dict(states["model"])
    train(resumed, range(saved_after, STEPS))
    again.close()
    whole = monitor_of([])
    train(whole, range(STEPS))
    expected = whole.history.select("step", "fisher/trace").rows()
    assert read("fisher/trace") == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]


def _place(name: str, tracker: Any, folder: Path) -> Any:
    """What a new tracker of the same place is given."""
    places = {"CsvTracker": folder / "measured.csv", "TensorBoardTracker": folder}
    return places.get(name) or (tracker.run_id if name == "MLflowTracker" else tracker.run)


def test_a_tracker_that_cannot_rewind_is_named_once_and_training_goes_on() -> None:
    class Broken:
        def __call__(self, row: Any) -> None: ...

        def rewind(self, step: int) -> None:
            raise OSError("no such place")

    monitor = monitor_of([Broken()])
    monitor.state.strict = False
    with pytest.warns(RuntimeWarning, match="no such place"):
        monitor.load_state_dict(monitor_of([]).state_dict())

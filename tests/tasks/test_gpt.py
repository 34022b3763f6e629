"""The GPT of the text tasks."""

from __future__ import annotations

import math

import torch

import fisherscope as fs
from fisherscope.tasks.gpt import GPT, SHAPES


def test_no_position_sees_a_later_one_and_the_head_is_tied() -> None:
    torch.manual_seed(0)
    model = GPT(SHAPES["gpt-mini-tiny"])
    tokens = torch.randint(256, (2, 32))
    changed = tokens.clone()
    changed[:, 20:] = (changed[:, 20:] + 1) % 256
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.equal(before[:, 20:], after[:, 20:])
    assert model.head.weight is model.tokens.weight


def test_a_new_model_knows_nothing_and_scores_average_to_the_loss() -> None:
    task = fs.tasks.get("text/gpt-mini")
    torch.manual_seed(0)
    model, batch = task.model(), task.batch("train", range(6))
    loss = task.loss(model, batch)
    assert abs(loss.item() - math.log(256)) < 0.2
    torch.testing.assert_close(task.scores(model, batch)["loss"].mean(), loss)


def test_a_short_run_learns_and_is_measured(tmp_path) -> None:
    from fisherscope.training import train

    config = {"task": "text/gpt-mini-tiny", "epochs": 1, "limit_train": 1600, "limit_test": 200, "every": 50}
    result = train(config, tmp_path)
    rows = fs.load_runs(tmp_path)
    assert result.status == "finished"
    assert rows.epochs["val/loss"].to_list()[-1] < 4.0
    assert rows.steps["fisher/grouping"].to_list() == ["verified"] * 3
    assert rows.steps["fisher/residual"].max() < 1e-4

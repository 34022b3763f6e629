"""Configurations and mistakes in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.cases.trained_runs import SMALL, rows

from fisherscope.training import Configuration, ConfigurationError, train


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batchsize": 3}, "did you mean 'batch_size'"),
        ({"lr": 0}, "greater than 0, received 0"),
        ({"batch_size": 301}, "301 from 300 samples"),
        ({"optimizer": "sdg"}, "did you mean 'SGD'"),
        ({"optimizer": "lbfgs"}, "expected one of torch.optim"),
        ({"augment": True}, "too small to be moved"),
        ({"policy": "s8-too-32"}, "unknown"),
        ({"device": "cuda:99"}, "cuda"),
        ({"limit_train": 301}, "has 300"),
        ({"task": "digits/resnet9"}, "digits/resnet8"),
        ({"lr": True}, "lr: expected a number, received True"),
        ({"batch_size": True}, "batch_size: expected a number"),
        ({"seed": 2**63}, "less than 9223372036854775808"),
        ({"threads": 100_000}, "less than or equal to 4096"),
        ({"policy": ""}, "expected a form such as s32"),
        ({"policy": "s8"}, "batch_size 32 and the policy s8, which begins with 8, contradict each other"),
        ({"batch-size": 8}, "did you mean 'batch_size'"),
        ({"schedule": "cosin"}, "did you mean cosine"),
        ({"policy": "s32+wsd", "schedule": "cosine"}, "it has one, +wsd"),
        ({"warmup": 1.0}, "warmup: input should be less than 1"),
        ({"grad_clip": 0}, "grad_clip: input should be greater than 0"),
        ({"grad_clip": True}, "grad_clip: expected a number"),
        ({"device": "meta"}, "expected cpu, or cuda"),
    ],
)
def test_mistakes_are_told_and_write_nothing(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        train(SMALL | given, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_configuration_is_one_whatever_way_it_is_said() -> None:
    said = Configuration.of({"task": "digits/mlp", "batch_size": 32, "lr": 0.1})
    named = Configuration.of({"task": "digits/mlp", "policy": "s32", "lr": 0.1})
    assert said == named
    assert said.id == named.id
    with pytest.raises(ConfigurationError, match="task"):
        Configuration.of({"lr": 0.1})
    with pytest.raises(ConfigurationError, match="received str; expected a mapping"):
        Configuration.of("digits/mlp")  # type: ignore[arg-type]


def test_more_measurements_than_samples_is_every_step(tmp_path: Path) -> None:
    path = train(SMALL | {"per_epoch": 10**9, "epochs": 1}, tmp_path).path
    assert len(rows(path, "steps.jsonl")) == 10


def test_a_schedule_becomes_part_of_the_policy_and_is_read_back() -> None:
    config = Configuration.of({"task": "digits/mlp", "policy": "s8-to-32", "schedule": "wsd", "warmup": 0.1})
    assert config.policy == "s8-to-32+wsd:warmup=0.1"
    assert Configuration.of(config.identity()) == config
    assert "schedule" not in config.identity()


def test_a_text_s_network_has_settings_of_its_own_and_given_ones_win() -> None:
    own = Configuration.of({"task": "text/gpt-mini-tiny"})
    assert (own.optimizer, own.policy, own.grad_clip) == ("AdamW", "s16+cosine:warmup=0.05", 1.0)
    assert Configuration.of(own.identity()) == own
    given = Configuration.of({"task": "text/gpt-mini-tiny", "policy": "s8-lr0.01", "optimizer": "SGD"})
    assert (given.policy, given.lr, given.optimizer, given.batch_size) == ("s8", 0.01, "SGD", 8)
    levels = Configuration.of({"task": "text/gpt-mini-tiny", "schedule": "levels", "warmup": 0})
    assert levels.policy == "s16"
    assert Configuration.of({"task": "digits/mlp"}).policy == "s128"


def test_only_the_type_of_a_device_is_part_of_a_runs_identity() -> None:
    one, other, plain, cpu = (
        Configuration.of(SMALL | {"device": device}) for device in ("cuda:0", "cuda:1", "cuda", "cpu")
    )
    assert one.id == other.id == plain.id != cpu.id
    assert one.identity() == other.identity() == plain.identity()
    assert one.device == "cuda:0"  # trained there all the same

"""Recipes against the paper's facts, and the share that a smaller one is."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from fisherscope.reproduce import describe_scale, paper_results, recipe, recipe_names
from fisherscope.training import ConfigurationError

PAPER = (Path(__file__).parents[2] / "docs" / "paper.md").read_text(encoding="utf-8")
COLUMNS = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "SVHN": "svhn", "MNIST": "mnist"}


def test_all_that_the_paper_ran_has_a_recipe() -> None:
    deep = {f"{data}-{net}110" for data in ("cifar10", "cifar100", "svhn") for net in ("resnet", "densenet")}
    expected = {"mnist-mlp", "mnist-resnet8", "mnist-densenet8"} | deep
    assert set(recipe_names()) == expected
    for name in expected:
        full = recipe(name)
        ids = [config.id for config in full.configurations()]
        grid = 11 * 8 if name.startswith("mnist") else 6 * 5 if "densenet" in name else 7 * 5
        schedules = 8 if "densenet110" in name else 14
        assert len(set(ids)) == len(ids) == 5 * (grid + schedules), name
        assert all(c.rule == "paper" and c.stride and not c.validation for c in full.configurations())
        assert {c.epochs for c in full.configurations()} == {320 if "cifar" in name else 40}
        assert {figure[0] for figure in full.figures} == set("124567" if "mlp" in name else "123456")


def test_published_results_are_those_of_the_facts() -> None:
    """The tables of docs/paper.md, read again."""
    lines = [line for line in PAPER.splitlines() if re.match(r"\| (ResNet|DenseNet) (s#|-∅|-MS)", line)]
    assert len(lines) == 6
    seen = 0
    for line in lines:
        head, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        network, kind = head.split()
        for data, cell in zip(COLUMNS.values(), cells, strict=True):
            depth = "8" if data == "mnist" else "110"
            one = next(p for p in paper_results(f"{data}/{network.lower()}{depth}") if p.what == kind)
            name = one.setting.removesuffix("-lr0.1").removesuffix("-MS")
            assert cell == f"{name} {one.error:.2f} ± {one.std:.2f}, {_hours(one.hours)} h"
            assert ("-MS" in one.setting) == (kind == "-MS")
            seen += 1
    assert seen == 24
    text = " ".join(PAPER[PAPER.index("Best settings as published") :].split())
    for data, task in COLUMNS.items():
        for network in ("ResNet", "DenseNet"):
            depth = "8" if task == "mnist" else "110"
            best = paper_results(f"{task}/{network.lower()}{depth}")[0]
            part = text[text.index(data) :]
            label = f"{network}-8" if task == "mnist" else network
            assert f"{label} {best.setting} {best.error:.2f} ± {best.std:.2f}" in part[:120], (data, network)
    assert paper_results("mnist/mlp") == []


def _hours(hours: float | None) -> str:
    assert hours is not None
    return f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"


def test_a_smaller_one_is_the_share_it_says() -> None:
    numbers = random.Random(16)
    for _ in range(60):
        name = numbers.choice(recipe_names())
        full = recipe(name)
        scale = 10 ** numbers.uniform(-2.5, 0)
        small = recipe(name, scale=scale)
        runs = small.configurations()
        passes = sum(config.epochs * (config.limit_train or 0) for config in runs)
        if scale < 0.9:
            assert small.scale == pytest.approx(passes / full.passes(), rel=1e-9)
        assert 0.6 * scale < small.scale < 1.3 * scale, (name, scale)
        sentence = describe_scale(small)
        for changed in (f"{small.seeds} of 5 seeds", f"{runs[0].limit_train} of", f"{runs[0].epochs} of"):
            assert changed in sentence
        assert all(4 * size <= (runs[0].limit_train or 0) for size in small.batch_sizes)


def test_a_small_one_keeps_a_schedule_while_epochs_are_left() -> None:
    for scale, epochs in ((1e-4, 15), (3.2e-5, 10), (2e-5, 6), (1.28e-5, 4)):
        small = recipe("cifar10-resnet110", scale=scale)
        assert {"s16-to-64", "s16-to-64-MS"} <= set(small.schedules), scale
        assert small.settings["epochs"] == epochs
        assert small.scale == pytest.approx(small.passes() / recipe("cifar10-resnet110").passes())
        assert small.settings["limit_train"] * epochs == pytest.approx(scale * 5 * 320 * 50_000, rel=0.05)
    assert recipe("cifar10-resnet110", scale=8e-6).schedules == ()  # fewer than four epochs would be left


def test_fewer_images_than_published_are_named() -> None:
    here = recipe("cifar10-resnet110", images=20_000)
    assert here.settings["limit_train"] == 20_000
    assert here.scale == pytest.approx(0.4)
    assert "only 20000 training images are here" in describe_scale(here)
    assert describe_scale(recipe("mnist-mlp")) == "The paper's experiment at full length."


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ConfigurationError, match="did you mean cifar10-resnet110"):
        recipe("cifar10/resnet")
    for scale in (0, -1, 1.5, float("nan")):
        with pytest.raises(ConfigurationError, match="above 0, at most 1"):
            recipe("mnist-mlp", scale=scale)

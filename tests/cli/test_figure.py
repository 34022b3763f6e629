"""`fisherscope figure`: under --paper, every number is that of the authors' formulas."""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.contour import QuadContourSet
from tests.cases.planted_runs import ran
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.cli import main
from fisherscope.cli.figure import _draw, _paper_options, figure
from fisherscope.model_state import rng
from fisherscope.sweep import Grid
from fisherscope.training import Configuration, fill_from_paper, task_of, train

SIZES, RATES, EVERY, EPOCHS = (6, 12, 25), (0.01, 0.03), 4, 2


class Authors:
    """The authors' program, written again: one run, its C̄, L, running and test error."""

    def __init__(self, task: fs.tasks.Task, config: Configuration) -> None:
        rng.seed(config.seed)
        model = task.model()
        optimizer = torch.optim.SGD(
            model.parameters(), lr=config.lr, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
        )
        sampler = fs.DynamicBatchSampler(len(task.train), config.policy_of(), seed=config.seed)
        sampler.attach(optimizer)
        conds, energies = [], []
        for epoch in range(EPOCHS):
            wrong = sampled = 0
            for step, indices in enumerate(sampler):
                x, y = task.train.batch(torch.tensor(indices), epoch, config.seed)
                if step % EVERY == 0:  # from an epoch's first iteration
                    rate = optimizer.param_groups[0]["lr"]
                    cond, trace = _eigenvalues(model, x, y)
                    conds.append(cond)
                    energies.append(rate / len(y) * math.sqrt(trace))
                    sampled += 1
                output = model(x)
                wrong += int((output.argmax(1) != y).sum())
                optimizer.zero_grad()
                F.cross_entropy(output, y).backward()
                optimizer.step()
                sampler.step(None)
            share = sampled / (step + 1)  # of the last epoch
        self.cond, self.energy = sum(conds) / len(conds), sum(energies) / share
        self.running = wrong / len(task.train)
        model.eval()
        x, y = task.test.batch(torch.arange(len(task.test)))
        self.test = float((model(x).argmax(1) != y).double().mean())


def _eigenvalues(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """c_k by a float32 solver, clamped at 0, of what is not exactly 0; and the trace."""
    columns = []
    for one, label in zip(x, y, strict=True):
        loss = F.cross_entropy(model(one[None]), label[None])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        columns.append(torch.cat([g.flatten() for g in gradients]))
    matrix = torch.stack(columns)
    values = torch.linalg.eigvalsh((matrix @ matrix.T).float()).clamp(min=0)
    values = values[values != 0].sqrt()
    return float(values.max() / values.min()), float(matrix.double().square().sum())


def authors_map(x: list[float], y: list[float], values: list[float]) -> np.ndarray:
    """The authors' contour map: 51 × 51, five nearest settings, weights (1/d + 1)/(1 + Σ 1/d)."""
    a, b = np.log(x), np.log(y)
    a, b = (a - a.min()) / (a.max() - a.min()), (b - b.min()) / (b.max() - b.min())
    grid = np.empty((51, 51))
    for row in range(51):
        for column in range(51):
            far = sorted((math.hypot(column / 50 - p, row / 50 - q), v)
                         for p, q, v in zip(a, b, values, strict=True))[:5]  # fmt: skip
            if far[0][0] == 0:
                grid[row, column] = math.nan
                continue
            total = 1 + sum(1 / d for d, _ in far)
            grid[row, column] = sum((1 / d + 1) / total * v for d, v in far)
    return grid


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[int, float], Authors]]:
    root = tmp_path_factory.mktemp("swept")
    given = {
        "task": "digits/mlp", "batch_sizes": SIZES, "lrs": RATES, "seeds": [3],
        "epochs": EPOCHS, "every": EVERY,
    }  # fmt: skip
    values, notes = fill_from_paper(given, sweep=True)
    assert len(notes) == 4, notes  # seeds, epochs, every; and the data set
    found = {}
    for config in Grid.of(values).configurations():
        train(config, root)
        found[config.batch_size, config.lr] = Authors(task_of(config), config)
    assert len(found) == len(SIZES) * len(RATES)
    return root, found


@pytest.mark.parametrize("number", ["1b", "3"])
def test_under_paper_a_figure_is_the_authors_(number: str, swept, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    root, found = swept
    figure = _draw(number, root, _paper_options(number))
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    metrics = ["test"] if number == "1b" else ["running", "test"]
    assert len(panels) == len(metrics)
    settings = sorted(found)
    at: dict[tuple[int, float], tuple[float, float]] = {}
    for axes, metric in zip(panels, metrics, strict=True):
        drawn = {container.get_label(): container.lines[0].get_xydata() for container in axes.containers}
        for lr in RATES:
            points = [(found[size, lr].cond, found[size, lr].energy) for size in SIZES]
            place = drawn[rf"$\alpha$ = {lr:g}"]
            # a c of 1e3 is at float32's rounding: κ²·eps = 0.1 of its eigenvalue, here in a mean of 20
            assert np.allclose(place, points, rtol=[5e-3, 1e-5]), metric
            at |= {(size, lr): tuple(where) for size, where in zip(SIZES, place, strict=True)}
        x, y = zip(*(at[k] for k in settings), strict=True)
        values = [100 * getattr(found[k], metric) for k in settings]
        contours = next(c for c in axes.collections if isinstance(c, QuadContourSet) and not c.filled)
        _, own = plt.subplots()
        sides = (np.exp(np.linspace(math.log(min(v)), math.log(max(v)), 51)) for v in (x, y))
        expected = own.contour(*sides, authors_map(x, y, values), levels=contours.levels)
        for ours, theirs in zip(contours.get_paths(), expected.get_paths(), strict=True):
            assert len(ours.vertices) == len(theirs.vertices)
            assert np.allclose(ours.vertices, theirs.vertices, rtol=1e-6)
        assert sum(len(path.vertices) for path in expected.get_paths()) > 50
    plt.close("all")


def test_its_options_are_those_of_the_figure(swept, monkeypatch, capsys, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    def said(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["fisherscope", "figure", *map(str, words)])
        with suppress(SystemExit):
            main()
        told = capsys.readouterr()
        return told.out + told.err

    root, _ = swept
    for words in (
        ("1b", "--method", "nearest"),
        ("4", "--sizes", "6,25"),
        ("3", "--paper"),
        ("2", "--paper"),
    ):
        out = tmp_path / f"{'-'.join(words)}.png"
        said(words[0], root, *words[1:], "-o", out)
        assert out.read_bytes().startswith(b"\x89PNG"), words
    assert "it takes no --sizes; it takes --x, --y, --metric, --method" in said("1b", root, "--sizes", "6")
    assert "expected numbers" in said("4", root, "--sizes", "six")


@pytest.mark.parametrize("rate", ["nan", "0", "-0.1"])
def test_a_figure_of_an_impossible_rate_is_refused(root: Path, rate: str) -> None:
    with pytest.raises(ValueError, match="expected a learning rate of the runs"):
        raise ran(figure, "1d", root, "--lr", rate).exception or AssertionError("it drew")

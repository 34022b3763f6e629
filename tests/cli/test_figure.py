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
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from tests.cases.planted_runs import ran
from tests.oracles import paper_figures
from torch.nn import functional as F

import fisherscope as fs
from fisherscope import figures
from fisherscope.cli import main
from fisherscope.cli.figure import figure
from fisherscope.model_state import rng
from fisherscope.sweep import Grid
from fisherscope.training import Configuration, fill_from_paper, task_of, train

SIZES, RATES, EVERY, EPOCHS = (6, 12, 25), (0.005, 0.01), 4, 2


SCHEDULE = "s6-to-12"


class Authors:
    """The authors' program, written again: one run, its C̄ and L by epoch, running and test error."""

    def __init__(self, task: fs.tasks.Task, config: Configuration) -> None:
        rng.seed(config.seed)
        model = task.model()
        optimizer = torch.optim.SGD(
            model.parameters(), lr=config.lr, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
        )
        sampler = fs.DynamicBatchSampler(len(task.train), config.policy_of(), seed=config.seed)
        sampler.attach(optimizer)
        conds, energies, steps = [], [], []
        for epoch in range(EPOCHS):
            wrong = 0
            conds.append([])
            energies.append([])
            for step, indices in enumerate(sampler):
                x, y = task.train.batch(torch.tensor(indices), epoch, config.seed)
                if step % EVERY == 0:  # from an epoch's first iteration
                    jacobian = _jacobian(model, x, y)
                    conds[-1].append(paper_figures.cond(jacobian))
                    energies[-1].append(paper_figures.energy(jacobian, optimizer.param_groups[0]["lr"]))
                output = model(x)
                wrong += int((output.argmax(1) != y).sum())
                optimizer.zero_grad()
                F.cross_entropy(output, y).backward()
                optimizer.step()
                sampler.step(None)
            steps.append(step + 1)
        self.ends, self.steps = paper_figures.ends_of_epochs(conds, energies, steps), np.cumsum(steps)
        self.running = wrong / len(task.train)
        model.eval()
        x, y = task.test.batch(torch.arange(len(task.test)))
        self.test = float((model(x).argmax(1) != y).double().mean())


def _jacobian(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    rows = []
    for one, label in zip(x, y, strict=True):
        loss = F.cross_entropy(model(one[None]), label[None])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        rows.append(torch.cat([g.flatten() for g in gradients]))
    return torch.stack(rows).numpy()


Swept = tuple[Path, dict[tuple[int, float], Authors], Authors]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    root = tmp_path_factory.mktemp("swept")
    given = {"task": "digits/mlp", "batch_sizes": SIZES, "lrs": RATES, "seeds": [3], "epochs": EPOCHS,
             "every": EVERY}  # fmt: skip
    values, notes = fill_from_paper(given, sweep=True)
    assert len(notes) == 4, notes  # seeds, epochs, every; and the data set
    found = {}
    for config in Grid.of(values).configurations():
        train(config, root)
        found[config.batch_size, config.lr] = Authors(task_of(config), config)
    assert len(found) == len(SIZES) * len(RATES)
    dynamic = Configuration.of({"policy": SCHEDULE, "lr": RATES[0], "seed": 3} | {
        key: value for key, value in values.items() if key not in ("batch_sizes", "lrs", "seeds")
    })  # fmt: skip
    train(dynamic, root)
    return root, found, Authors(task_of(dynamic), dynamic)


def _figure_of_command(
    monkeypatch: pytest.MonkeyPatch, number: str, root: Path, out: Path, *words: object
) -> Figure:
    """Run `fisherscope figure --paper` and return what it saved."""
    saved: list[Figure] = []
    save = figures.save

    def record(drawn: Figure, path: Path) -> Path:
        saved.append(drawn)
        return save(drawn, path)

    monkeypatch.setattr(figures, "save", record)
    argv = ["fisherscope", "figure", number, str(root), "--paper", "-o", str(out), *map(str, words)]
    monkeypatch.setattr(sys, "argv", argv)
    with suppress(SystemExit):
        main()
    return saved[0]


# float32 moves c by c²·|B|·eps/2 of itself: up to 6e-5 of C̄ at these rates. At 0.03
# c reaches 1e3 and it is 0.13: another processor's kernels lead to another C̄.
CLOSE = {"rtol": np.array([1e-3, 1e-5])}


def _assert_contours(
    axes: Axes, places: dict[tuple[int, float], tuple[float, float]], values: list[float]
) -> None:
    """Compare the drawn lines with those of the authors' map of these settings."""
    x, y = zip(*places.values(), strict=True)
    contours = next(c for c in axes.collections if isinstance(c, QuadContourSet) and not c.filled)
    _, own = plt.subplots()
    sides = (np.exp(np.linspace(math.log(min(v)), math.log(max(v)), 51)) for v in (x, y))
    expected = own.contour(*sides, paper_figures.contour_map(x, y, values), levels=contours.levels)
    for ours, theirs in zip(contours.get_paths(), expected.get_paths(), strict=True):
        assert len(ours.vertices) == len(theirs.vertices)
        assert np.allclose(ours.vertices, theirs.vertices, rtol=1e-6)
    assert sum(len(path.vertices) for path in expected.get_paths()) > 50


def _panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>" and axes.get_visible()]


@pytest.mark.parametrize("number", ["1b", "3", "7"])
def test_under_paper_a_figure_is_the_authors_(
    number: str, swept: Swept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, found, _ = swept
    panels = _panels(_figure_of_command(monkeypatch, number, root, tmp_path / "drawn.png"))
    metrics = ["test"] if number == "1b" else ["running", "test"]
    assert len(panels) == len(metrics)
    settings = sorted(found)
    at: dict[tuple[int, float], tuple[float, float]] = {}
    for axes, metric in zip(panels, metrics, strict=True):
        drawn = {container.get_label(): container.lines[0].get_xydata() for container in axes.containers}
        for lr in RATES:
            place = drawn[rf"$\alpha$ = {lr:g}"]
            assert np.allclose(place, [found[size, lr].ends[-1] for size in SIZES], **CLOSE), metric
            at |= {(size, lr): tuple(where) for size, where in zip(SIZES, place, strict=True)}
        _assert_contours(
            axes, {k: at[k] for k in settings}, [100 * getattr(found[k], metric) for k in settings]
        )
    plt.close("all")


@pytest.mark.parametrize("number", ["1d", "5"])
def test_under_paper_a_schedule_travels_as_by_the_authors_(
    number: str, swept: Swept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, found, schedule = swept
    (axes,) = _panels(_figure_of_command(monkeypatch, number, root, tmp_path / "drawn.png"))
    lines = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == EPOCHS]
    travels = [schedule, *(found[size, RATES[0]] for size in SIZES)]  # it, and its beacons
    for run in travels:
        assert any(np.allclose(line, run.ends, **CLOSE) for line in lines), (run.ends, lines)
    ends = figures.figure_1b(root, x="cond_mean_paper", y="energy_sum_paper")
    drawn = {c.get_label(): c.lines[0].get_xydata() for c in _panels(ends)[0].containers}
    at = {(size, lr): tuple(drawn[rf"$\alpha$ = {lr:g}"][k]) for lr in RATES for k, size in enumerate(SIZES)}
    settings = sorted(found)
    _assert_contours(axes, {k: at[k] for k in settings}, [100 * found[k].test for k in settings])
    plt.close("all")


@pytest.mark.parametrize("number", ["2", "4"])
def test_under_paper_curves_are_the_authors_(
    number: str, swept: Swept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, found, _ = swept
    words = ("--lr", RATES[0]) if number == "2" else ()
    panels = _panels(_figure_of_command(monkeypatch, number, root, tmp_path / "drawn.png", *words))[-2:]
    for which, axes in enumerate(panels):
        lines = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == EPOCHS]
        for (size, lr), run in found.items():
            if number == "2" and lr != RATES[0]:
                continue
            across = np.arange(1, EPOCHS + 1) if number == "2" else run.steps
            curve = np.column_stack([across, [end[which] for end in run.ends]])
            rtol = CLOSE["rtol"][which]
            assert any(np.allclose(line, curve, rtol=[1e-3 / across[-1], rtol]) for line in lines), (size, lr)
    plt.close("all")


def test_what_is_not_the_paper_s_is_said(
    swept: Swept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, found, _ = swept
    (axes,) = _panels(
        _figure_of_command(monkeypatch, "1b", root, tmp_path / "drawn.png", "--y", "energy_sum")
    )
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "--paper: y = energy_sum, as given, wins over the paper's energy_sum_paper",
        f"--paper: {len(found) + 1} of {len(found) + 1} runs of digits/mlp have every = {EVERY}, not the "
        "paper's 50",
    ]
    assert "estimated" not in axes.get_ylabel()
    plt.close("all")


def test_its_options_are_those_of_the_figure(swept, monkeypatch, capsys, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    def said(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["fisherscope", "figure", *map(str, words)])
        with suppress(SystemExit):
            main()
        told = capsys.readouterr()
        return told.out + told.err

    root, _, _ = swept
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

"""Advice: the noise scale's interval, the table, and that a user's model is left as it was."""

from __future__ import annotations

import copy
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import fisherscope as fs
from fisherscope.advice import AdviceError, GradientSamples, timing_quality
from fisherscope.advice.conclusions import conclude
from fisherscope.advice.noise_estimation import Blocks
from fisherscope.advice.step_profile import StepProfile, doubts
from fisherscope.advice.timing_quality import waited_seconds
from fisherscope.advice.training_step import WarmUp, is_out_of_memory
from fisherscope.analysis import AnalysisError
from fisherscope.analysis.batch_size.advice import Advice, StepTime
from fisherscope.analysis.batch_size.noise_scale import NoiseInterval, fieller, noise_interval, size_tests

QUICK: dict[str, Any] = {"seconds": 60.0, "warmup": 20, "sizes": (4, 8, 16)}


def data(samples: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    x = torch.randn(samples, 6)
    return x, (x[:, 0] + 0.5 * torch.randn(samples) > 0).long()


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))


# The interval ---------------------------------------------------------------------------------------------


def planted(blocks: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Products and inner variances of blocks of draws N(G, Σ), and tr Σ/|G|²."""
    spread, mean = np.arange(1, 41) ** -0.5, np.full(40, 0.1)
    draws = mean + spread * rng.standard_normal((blocks, size, 40))
    means = draws.mean(1)
    within = draws.var(1, ddof=1).sum(1) if size > 1 else np.zeros(blocks)
    return means @ means.T, within, float((spread**2).sum() / (mean**2).sum())


@pytest.mark.parametrize(("blocks", "size", "between"), [(16, 32, False), (16, 32, True), (64, 1, True)])
def test_the_interval_covers_what_was_planted(blocks: int, size: int, between: bool) -> None:
    rng, hits = np.random.default_rng(7), 0
    for _ in range(200):
        products, within, truth = planted(blocks, size, rng)
        found = noise_interval(products, size, None if between else within)
        hits += found.low <= truth <= found.high
    assert 0.84 <= hits / 200 <= 0.96  # 90 % nominal; binomial deviation 2.1 %


def test_a_gram_alone_is_a_case_and_agrees_with_the_instrument() -> None:
    rng = np.random.default_rng(1)
    columns = rng.standard_normal((30, 50)) + 0.5
    gram = columns @ columns.T
    assert noise_interval(gram).scale == pytest.approx(fs.measures.instruments(gram)["noise/scale"])


def test_the_left_out_estimates_are_those_of_the_rest() -> None:
    """The jackknife's shortcut against leaving blocks out one by one."""
    products, within, _ = planted(9, 8, np.random.default_rng(2))
    whole = noise_interval(products, 8, within)
    pseudo = []
    for left in range(9):
        keep = [k for k in range(9) if k != left]
        part = noise_interval(products[np.ix_(keep, keep)], 8, within[keep])
        pseudo.append([9 * whole.variance - 8 * part.variance, 9 * whole.signal - 8 * part.signal])
    from scipy.stats import t

    ends = fieller(whole.variance, whole.signal, np.cov(np.array(pseudo).T) / 9, float(t.ppf(0.95, 8)))
    assert (whole.low, whole.high) == pytest.approx(ends)


def test_a_gradient_lost_in_noise_has_no_upper_end() -> None:
    rng = np.random.default_rng(4)
    draws = rng.standard_normal((16, 200))
    found = noise_interval(draws @ draws.T)
    assert math.isinf(found.high)
    assert found.low >= 0


def test_batches_without_replacement_vary_less() -> None:
    """Batches of 30 of 40 samples: the variance between them, corrected, is that of single samples."""
    rng = np.random.default_rng(5)
    samples = rng.standard_normal((40, 10)) + 1
    truth = samples.var(0, ddof=1).sum()
    means = np.stack([samples[rng.permutation(40)[:30]].mean(0) for _ in range(2000)])
    found = noise_interval(means @ means.T, 30, correction=1 - 30 / 40)
    assert found.variance == pytest.approx(truth, rel=0.05)
    assert found.signal == pytest.approx((samples.mean(0) ** 2).sum(), rel=0.01)


def test_too_few_blocks_are_refused() -> None:
    with pytest.raises(AnalysisError, match=r"J of at least 4.*measure more samples"):
        noise_interval(np.eye(3))
    with pytest.raises(AnalysisError, match="1 that are not finite"):
        noise_interval(np.diag([1.0, 1.0, 1.0, math.nan]))


def test_full_blocks_are_means_of_their_batches() -> None:
    gradients = torch.randn(11, 3, dtype=torch.float64)
    blocks = Blocks(limit=4)
    for k, gradient in enumerate(gradients):
        blocks.add(gradient.clone(), float(k))
    products, within = blocks.full()
    means = gradients[:8].view(2, 4, 3).mean(1)
    assert blocks.each == 4
    np.testing.assert_allclose(products, (means @ means.T).numpy())
    np.testing.assert_allclose(within, [1.5, 5.5])


def test_size_tests_are_those_of_the_principal_submatrices() -> None:
    columns = np.random.default_rng(6).standard_normal((16, 30)) + 0.3
    found = {test.batch_size: test for test in size_tests([columns @ columns.T])}
    assert set(found) == {4, 8, 16}
    assert found[8].batches == 2
    parts = [fs.measures.instruments(c @ c.T)["test/norm"] for c in (columns[:8], columns[8:])]
    assert found[8].norm_test == pytest.approx(np.median(parts))


# The table ------------------------------------------------------------------------------------------------


def advice(scale: float = 64.0, low: float = 50.0, high: float = 90.0, **more: Any) -> Advice:
    noise = NoiseInterval(scale, 1.0, low, high, 0.9, 16, 1024)
    steps = [StepTime(size, 0.001 + 0.0001 * size, size << 20) for size in (16, 32, 64, 128)]
    return Advice("mine", noise, (*steps, StepTime(256, why="out of memory", fits=False)), **more)


def test_the_fastest_size_is_that_of_the_formula() -> None:
    found = advice()
    times = {b: (0.001 + 0.0001 * b) * (1 + 64 / b) for b in (16, 32, 64, 128)}
    assert found.fastest == min(times, key=times.__getitem__)
    for row in found.rows[:4]:
        size = row.step.batch_size
        assert row.relative_time == pytest.approx(times[size] / min(times.values()))
        assert row.relative_samples == pytest.approx(1 + size / 64)
    assert found.rows[4].relative_time is None
    assert "no: out of memory" in str(found)


def test_advice_without_an_upper_end_says_so_and_goes_to_json() -> None:
    found = advice(high=math.inf)
    assert "at least 50 samples" in str(found)
    assert found.range[1] == 128
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["noise"]["high"] is None


def test_seconds_in_doubt_are_said_in_the_recommendation_itself() -> None:
    assert "rely" not in advice().sentence
    found = advice(doubts=("the machine was busy",))
    assert "do not rely on it yet" in found.sentence
    assert "In doubt: the machine was busy." in str(found)
    assert found.to_dict()["doubts"] == ["the machine was busy"]


def test_the_picture_shows_sizes_noise_and_memory() -> None:
    from fisherscope.figures.advice import advice_figure

    for found in (advice(), advice(high=math.inf), Advice("none", advice().noise, ())):
        figure = advice_figure(found)
        assert [axes.get_xlabel() for axes in figure.axes[:2]] == (
            ["batch size"] * 2 if found.steps else [""] * 2
        )


def test_a_name_is_text_in_a_notebook() -> None:
    found = Advice("<script>", advice().noise, (StepTime(8, why="<b>", fits=False),))
    assert "<b></" not in found._repr_html_()
    assert "&lt;b&gt;" in found._repr_html_()


# On a model -----------------------------------------------------------------------------------------------


def test_everything_is_put_back_bit_for_bit() -> None:
    model, samples = network(), data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    F.cross_entropy(model(samples[0]), samples[1]).backward()
    optimizer.step()
    model[0].eval()
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    gradients = [p.grad for p in model.parameters()]
    values = [g.clone() for g in gradients if g is not None]
    drawn = torch.get_rng_state()
    found = fs.advise(model, F.cross_entropy, samples, optimizer=optimizer, **QUICK)
    assert found.warmup == 20
    assert torch.equal(drawn, torch.get_rng_state())
    assert not model[0].training
    assert model[1].training
    assert all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
    assert all(torch.equal(g, v) for g, v in zip(gradients, values, strict=True) if g is not None)
    after = (model.state_dict(), optimizer.state_dict())
    flat = [torch.utils._pytree.tree_leaves(state) for state in (before, after)]
    assert all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(*flat, strict=True)
    )


def test_the_noise_scale_is_that_of_the_whole_data_set() -> None:
    """Without BatchNorm, against the gradients of all samples one by one."""
    torch.manual_seed(0)
    model, (x, y) = nn.Linear(6, 2), data()
    rows = []
    for k in range(len(x)):
        gradient = torch.autograd.grad(
            F.cross_entropy(model(x[k : k + 1]), y[k : k + 1]), [*model.parameters()]
        )
        rows.append(torch.cat([g.flatten() for g in gradient]).double())
    each = torch.stack(rows)
    truth = float(each.var(0).sum() / each.mean(0).square().sum())
    found = fs.advise(model, F.cross_entropy, (x, y), **{**QUICK, "warmup": 0}, level=0.999)
    assert found.noise.low <= truth <= found.noise.high
    assert found.noise.scale == pytest.approx(truth, rel=0.3)
    assert any("far too small" in note for note in found.notes)


def test_batchnorm_is_called_approximate() -> None:
    found = fs.advise(network(), F.cross_entropy, data(), **QUICK)
    assert found.coupled
    assert "about" in found.scale_text()


class Words(IterableDataset[dict[str, Any]]):
    """Nested dicts, no length."""

    def __iter__(self) -> Any:
        torch.manual_seed(0)
        for k in range(300):
            yield {"in": {"ids": torch.randint(0, 5, (4,))}, "tag": torch.tensor(k % 2)}


def test_nested_batches_and_data_without_a_length() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(16, 2))
    loss = lambda model, batch: F.cross_entropy(model(batch["in"]["ids"]), batch["tag"])  # noqa: E731
    found = fs.advise(model, loss, DataLoader(Words(), batch_size=2), **QUICK)
    assert found.dataset_size is None
    assert [step.batch_size for step in found.steps] == [4, 8, 16]


def test_a_loss_that_is_no_scalar_names_the_line_to_write() -> None:
    losses = {
        r"shape \(\d+,\).*\.mean\(\)": lambda model, b: F.cross_entropy(model(b[0]), b[1], reduction="none"),
        "without torch.no_grad": lambda model, b: F.cross_entropy(model(b[0]), b[1]).detach(),
        "gave float": lambda model, b: 1.0,
    }
    for said, loss in losses.items():
        with pytest.raises(AdviceError, match=said):
            fs.advise(network(), loss, data(), **QUICK)


def test_a_loss_that_does_not_fall_is_said() -> None:
    x, _ = data()
    noise = torch.randint(0, 2, (200,))
    found = fs.advise(nn.Linear(6, 2), F.cross_entropy, (x * 0, noise), **QUICK)
    assert any("did not fall" in note for note in found.notes)


def test_a_loss_that_is_not_finite_is_an_error_and_leaves_the_model() -> None:
    model = nn.Linear(6, 2)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(AdviceError, match=r"the loss became .* SGD\(lr=1e\+30\).*smaller lr"):
        fs.advise(
            model, lambda m, b: m(b[0]).square().mean(), data(), **QUICK,
            optimizer=lambda p: torch.optim.SGD(p, 1e30),
        )  # fmt: skip
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_sizes_and_data_below_four() -> None:
    few = TensorDataset(*(tensor[:3] for tensor in data()))
    with pytest.raises(AdviceError, match="3 samples; expected 4"):
        fs.advise(network(), F.cross_entropy, few, **QUICK)
    with pytest.raises(AdviceError, match=r"sizes=\(0,\)"):
        fs.advise(network(), F.cross_entropy, data(), sizes=(0,))
    tiny = fs.advise(network(), F.cross_entropy, data(6), **{**QUICK, "sizes": (1, 2, 4)})
    by_size = {step.batch_size: step for step in tiny.steps}
    assert by_size[1].why.startswith(
        "failed: Expected more than 1 value per channel"
    )  # BatchNorm's own words
    assert by_size[2].fits
    assert tiny.fastest in (2, 4)


def test_one_batch_will_do() -> None:
    found = fs.advise(nn.Linear(6, 2), F.cross_entropy, batch=data(32), **QUICK)
    assert found.noise.samples == 32
    assert any("from one batch" in note for note in found.notes)


def test_without_per_sample_gradients_batches_alone_give_the_scale() -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x - x.mean(0, keepdim=True).detach()) @ torch.linalg.inv(
                torch.eye(2) + 0.01 * self.inner.weight @ self.inner.weight.T + x.mean() * 0
            )

    found = fs.advise(Mixing(), F.cross_entropy, data(), record={"parameters": "inner.bias"}, **QUICK)
    assert found.noise.scale > 0
    assert found.every is None
    assert any("no per-sample gradients" in note for note in found.notes)


def test_a_size_beyond_the_memory_given_is_not_tried() -> None:
    model = nn.Sequential(nn.Linear(6, 4096), nn.ReLU(), nn.Linear(4096, 2))
    found = fs.advise(
        model, F.cross_entropy, data(4096), **{**QUICK, "sizes": (256, 4096)}, memory_limit=8 << 20
    )
    assert found.steps[-1].fits is False
    assert "free" in found.steps[-1].why


class Hungry(nn.Linear):
    """Asks the allocator for 64 TiB at 32 samples."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + (torch.zeros(1 << 46, dtype=torch.uint8)[0] if len(x) == 32 else 0)


def test_running_out_of_memory_is_recovered_from_and_said() -> None:
    found = fs.advise(Hungry(6, 2), F.cross_entropy, data(), **{**QUICK, "sizes": (4, 16, 32, 64)})
    assert [(step.batch_size, step.fits) for step in found.steps] == [(4, True), (16, True), (32, False)]
    assert "no: out of memory" in str(found)
    assert "the warm-up used batches of 16, the noise scale batches of 50" in str(found)
    assert found.fastest in (4, 16)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_conclusions_follow_from_values_alone() -> None:
    """The last phase has no model to look at."""
    noise = NoiseInterval(64.0, 1.0, 50.0, 90.0, 0.9, 16, 1024)
    samples = GradientSamples(noise, [np.eye(4)], 0.3, "", [], 16, reduced=True, coupled=False)
    steps = [StepTime(8, 0.1), StepTime(16, 0.2)]
    warmed_up = WarmUp([1.0] * 10, 20, (1.0, 0.99), 32, reduced=False, optimizer="SGD(lr=0.1)")
    workload = fs.tasks.subject_of(nn.Linear(6, 2), F.cross_entropy, data=data())
    found = conclude(workload, warmed_up, samples, StepProfile(steps, ["busy"], 2.0), 3.0, "cpu")
    assert found.every == 10  # 0.1 s more than a step of 0.2 s, at 5 %
    assert (found.warmup, found.losses, found.doubts) == (10, (1.0, 0.99), ("busy",))
    text = " ".join(found.notes)
    for part in ("wall time 2.0 × CPU", "did not fall", "only 10 of 20", "timed with SGD", "batches of 16"):
        assert part in text


# The command ----------------------------------------------------------------------------------------------

MINE = """
import torch
from torch import nn
from torch.nn import functional as F
x = torch.randn(80, 3)
def factory():
    return {"model": nn.Linear(3, 2), "loss": F.cross_entropy, "data": (x, (x[:, 0] > 0).long())}
"""


def test_the_command_from_file_to_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fisherscope.cli import main

    (tmp_path / "own_advised.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    call = "fisherscope advise own_advised.py:factory --warmup 20 --sizes 4,8 --json -o it.png"
    monkeypatch.setattr(sys, "argv", call.split())
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told["recommended"] in (4, 8)
    assert (tmp_path / "it.png").stat().st_size > 5000


def test_the_seed_is_also_that_of_a_model_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fisherscope.cli import main

    drawn = MINE.replace("def factory():", "def factory():\n    print(torch.rand(()).item())")
    (tmp_path / "own_seeded.py").write_text(drawn)
    monkeypatch.chdir(tmp_path)
    first = []
    for seed in ("0", "0", "1"):
        monkeypatch.delitem(sys.modules, "own_seeded", raising=False)
        words = f"fisherscope advise own_seeded.py:factory --warmup 1 --sizes 4 --json --seed {seed}"
        monkeypatch.setattr(sys, "argv", words.split())
        with pytest.raises(SystemExit):
            main()
        first.append(capsys.readouterr().out.splitlines()[0])
    assert first[0] == first[1] != first[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "def factory():"),
        (["digits/mlp", "--sizes", "a"], "expected whole numbers"),
        (["digits/mlp", "--optimizer", "sdg"], "did you mean SGD"),
        (["digits/mlp", "--seconds", "0"], "seconds > 0"),
    ],
)
def test_what_the_command_says_to_mistakes(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fisherscope.cli import main

    monkeypatch.setattr(sys, "argv", ["fisherscope", "advise", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_the_template_is_python() -> None:
    from fisherscope.tasks import TEMPLATE

    compile(TEMPLATE, "template", "exec")
    factory = TEMPLATE[TEMPLATE.index("def factory") :]
    assert len(factory.splitlines()) <= 5


def test_the_template_runs_with_a_project_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fisherscope.tasks import TEMPLATE, subject

    project = """
class MyModel(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)
my_dataset = (x, (x[:, 0] > 0).long())
"""
    (tmp_path / "my_project.py").write_text(MINE + project)
    (tmp_path / "templated.py").write_text(TEMPLATE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = subject("templated.py:factory")
    assert found.loss(found.make(), found.batch(4)).shape == ()


# What makes seconds doubtful --------------------------------------------------------------------------------


def test_seconds_that_contradict_each_other_are_said() -> None:
    steps = [
        StepTime(4, 0.011),
        StepTime(8, 0.0027),
        StepTime(16, 0.0026),
        StepTime(32, why="no", fits=False),
    ]
    (note,) = doubts(steps, wall_seconds=10.0, waiting_seconds=0.1)
    assert "a step of 4 took longer (0.011 s) than one of 8 (0.0027 s)" in note
    assert doubts(steps[1:], wall_seconds=10.0, waiting_seconds=0.1) == []


def test_threads_that_waited_for_a_core_are_said_first() -> None:
    assert doubts([StepTime(4, 0.0011), StepTime(8, 0.0027)], wall_seconds=10.0, waiting_seconds=2.4) == []
    (note,) = doubts([StepTime(4, 0.011), StepTime(8, 0.0027)], wall_seconds=10.0, waiting_seconds=6.0)
    assert "waited 6.0 s for a core in 10.0 s of timing" in note
    assert "OMP_NUM_THREADS=1" in note


def test_what_threads_waited_is_read_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert waited_seconds() >= 0.0  # here, whatever the system
    for thread, text in {
        "1": "900 1500000000 7",
        "2": "900 250000000 7",
        "3": "",
    }.items():  # the last one ended
        (tmp_path / thread).mkdir()
        (tmp_path / thread / "schedstat").write_text(text)
    monkeypatch.setattr(timing_quality, "_TASKS", tmp_path)
    assert waited_seconds() == 1.75
    monkeypatch.setattr(timing_quality, "_TASKS", tmp_path / "elsewhere")
    assert waited_seconds() == 0.0


# Notebooks ------------------------------------------------------------------------------------------------


def test_what_a_notebook_shows_is_well_formed_and_small() -> None:
    from xml.etree import ElementTree

    torch.manual_seed(0)
    model, (x, y) = nn.Linear(6, 2), data(64)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    monitor = fs.Monitor(model, optimizer, every=1)
    empty = monitor._repr_html_()
    for _ in range(4):
        with monitor.observe():
            F.cross_entropy(model(x), y).backward()
    with fs.record_gram(model) as record:
        F.cross_entropy(model(x), y).backward()
    shown = [empty, monitor._repr_html_(), record._repr_html_(), fs.spectrum(record.gram)._repr_html_()]
    for text in [*shown, advice()._repr_html_()]:
        ElementTree.fromstring(f"<div>{text}</div>")
        assert len(text) < 8000
    assert shown[1].count("<svg") == 3
    assert "singular values" in shown[3]
    assert "affine" in shown[2]

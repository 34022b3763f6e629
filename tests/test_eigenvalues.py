"""Spectra of Grams: values, the rounding floor, censoring, the bound of the error, the paper's preset."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from tests.oracles import measures as oracle
from torch import nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.eigenvalues import cond_of_blocks, spectrum

DELTA = 1e-7  # entry error of the constructed Grams, about what float32 products leave
DRAWS = 60


def jacobian(singular_values, lengths=None, width=None, seed=0):
    """Rows = per-sample gradients, with these singular values; then each row scaled to its length factor."""
    rng = np.random.default_rng(seed)
    size = len(singular_values)
    left, _ = np.linalg.qr(rng.normal(size=(size, size)))
    right, _ = np.linalg.qr(rng.normal(size=(width or 2 * size, size)))
    rows = left @ np.diag(singular_values) @ right.T
    return rows if lengths is None else rows * np.asarray(lengths)[:, None]


def noisy(rows, delta=DELTA, seed=0):
    """The Gram with symmetric noise of up to delta·|g_i||g_j| in each entry."""
    rng = np.random.default_rng([seed, 7])
    gram = oracle.gram(list(rows)) if len(rows) < 12 else rows @ rows.T
    lengths = np.linalg.norm(rows, axis=1)
    noise = np.triu(rng.uniform(-delta, delta, gram.shape))
    noise = noise + np.triu(noise, 1).T
    return gram + noise * np.outer(lengths, lengths)


STATES = {
    "well conditioned": jacobian(np.linspace(1, 3, 32)),
    "ratio 1e3": jacobian(np.geomspace(1, 1e-3, 32)),
    "ratio 1e3, B = 128": jacobian(np.geomspace(1, 1e-3, 128)),
    "tiny gradients": jacobian(np.linspace(1, 3, 32), lengths=np.geomspace(1, 1e-8, 32)),
    "one large gradient": jacobian(np.linspace(1, 3, 32), lengths=[1e6] + [1.0] * 31),
    "repeated samples": np.repeat(jacobian(np.linspace(1, 3, 16)), 2, axis=0),
    "repeated and tiny": np.concatenate(
        [
            np.repeat(jacobian(np.linspace(1, 3, 8), width=64), 2, axis=0),
            jacobian(np.linspace(1, 3, 8), np.geomspace(1e-2, 1e-5, 8), width=64, seed=1),
        ]
    ),
    "fitted, some without gradient": jacobian(
        np.linspace(1, 3, 32), lengths=[0.0] * 8 + [1e-6] * 8 + [1] * 16
    ),
    "two samples": jacobian(np.array([1.0, 0.05])),
}


@pytest.mark.parametrize("state", STATES)
def test_accuracy_bounds_the_error_of_the_smallest_counted_singular_value(state):
    rows = STATES[state]
    true = oracle.singular_values(rows)
    bounds, errors = [], []
    for seed in range(DRAWS):
        read = spectrum(noisy(rows, seed=seed), entry_error=DELTA)
        bounds.append(read.accuracy)
        errors.append(abs(math.sqrt(read.kept[-1]) / true[read.rank - 1] - 1))
        assert errors[-1] <= bounds[-1]
    # Loose by at most: 2·sqrt(B) in place of the few standard deviations (0.6·sqrt(2)) of a fixed quadratic
    # form, and sqrt(B) from the Frobenius norm of A⁻¹.
    assert np.median(bounds) <= max(errors) * 2 * len(rows)


@pytest.mark.parametrize("state", STATES)
def test_what_counts_has_a_true_singular_value_above_zero(state):
    rows = STATES[state]
    true_rank = int((oracle.singular_values(rows) > 1e-12).sum())
    for seed in range(DRAWS):
        assert spectrum(noisy(rows, seed=seed), DELTA).rank <= true_rank


def test_relatively_accurate_eigenvalues_count_however_tiny_the_gradients():
    rows = STATES["tiny gradients"]
    read = spectrum(noisy(rows), DELTA)
    true = oracle.singular_values(rows)
    assert read.rank == 32
    assert not read.censored
    assert read.cond == pytest.approx(true[0] / true[-1], rel=read.accuracy)
    assert read.accuracy < 1e-3
    assert read.cond < read.cond_limit


def test_a_repeated_sample_adds_no_rank_and_censors():
    read = spectrum(noisy(STATES["repeated samples"]), DELTA)
    true = oracle.singular_values(STATES["repeated samples"])
    assert read.rank == 16
    assert read.censored
    assert read.cond == pytest.approx(true[0] / true[15], rel=1e-5)
    # duplicates of |g| ≤ 3 leave eigenvalues of up to about 1e-6·|g|²
    assert 1e2 < read.cond_limit < 1e4


def test_an_eigenvalue_below_the_noise_of_others_does_not_count():
    rows = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1e-6]])
    read = spectrum(noisy(rows), DELTA)
    assert read.rank == 1
    assert read.censored
    assert read.cond_limit < 1e6


def test_samples_without_gradient_are_known_zeros_and_censor_nothing():
    rows = np.concatenate([np.zeros((3, 40)), jacobian(np.linspace(1, 2, 8), width=40)])
    read = spectrum(noisy(rows), DELTA)
    assert (read.rank, read.zero_samples, read.censored) == (8, 3, False)
    assert read.cond == pytest.approx(2, rel=1e-5)


def test_float64_grams_measure_ratios_of_1e5():
    rows = jacobian(np.geomspace(1, 1e-5, 64))
    read = spectrum(torch.tensor(rows @ rows.T))
    true = oracle.singular_values(rows)
    assert read.rank == 64
    assert read.accuracy < 1e-2
    assert abs(math.sqrt(read.kept[-1]) / true[-1] - 1) <= read.accuracy


def test_spectrum_equals_the_squared_singular_values():
    rows = jacobian(np.array([5.0, 2.0, 1.0]))
    for gram in (rows @ rows.T, torch.tensor(rows @ rows.T)):
        read = fs.spectrum(gram)
        np.testing.assert_allclose(read.eigenvalues, [25, 4, 1], rtol=1e-12)
        assert read.eigenvalues.dtype == np.float64
        assert read.cond == pytest.approx(5)
        assert read.trace == pytest.approx(30)
        assert read.energy(lr=0.1) == pytest.approx(0.1 / 3 * math.sqrt(30))
        assert read.effective_rank == pytest.approx(
            math.exp(-sum(p * math.log(p) for p in (5 / 8, 2 / 8, 1 / 8)))
        )


def test_rules_apply_to_a_finished_spectrum():
    rows = jacobian(np.array([5.0, 2.0, 0.01]))
    read = spectrum(rows @ rows.T)
    assert read.under("relative:1e-2").cond == pytest.approx(2.5)
    assert read.under("exact").cond == pytest.approx(500)
    assert read.under("energy:0.8").rank == 1
    with pytest.raises(ValueError, match="paper"):
        read.under("paper")


def test_floor_can_be_had_back_from_what_a_row_stores():
    read = spectrum(noisy(STATES["repeated samples"]), DELTA)
    floor = read.eigenvalues[0] / read.cond_limit**2
    assert fs.measures.cond(read.eigenvalues, "floor", floor) == pytest.approx(read.cond)


def test_paper_preset_is_the_float32_solver_clamped_and_literal():
    rows = np.repeat(jacobian(np.linspace(1, 3, 4)), 2, axis=0)
    gram = rows @ rows.T
    read = spectrum(gram, rule="paper")
    values = torch.linalg.eigvalsh(torch.tensor(gram).float()).clamp(min=0).numpy()
    positive = values[values != 0]
    assert read.rank == len(positive)
    assert read.cond == pytest.approx(math.sqrt(float(positive.max()) / float(positive.min())), rel=1e-6)
    assert not read.censored
    assert math.isnan(read.accuracy)


def test_a_zero_gram_is_a_status_and_so_is_one_with_nan():
    zero = spectrum(np.zeros((3, 3)))
    assert (zero.rank, zero.status, zero.trace) == (0, "every gradient is zero", 0.0)
    assert math.isnan(zero.cond)
    broken = spectrum(np.full((3, 3), math.nan))
    assert "NaN" in broken.status
    assert math.isnan(broken.cond)
    assert math.isnan(broken.effective_rank)
    assert spectrum(np.zeros((3, 3)), rule="paper").rank == 0


def test_one_sample():
    read = spectrum(np.array([[4.0]]), DELTA)
    assert (read.rank, read.cond, read.censored) == (1, 1.0, False)


def test_a_gram_that_is_not_square_and_a_rule_that_is_none_are_refused():
    with pytest.raises(ValueError, match=r"expected shape \(B, B\), received \(2, 3\)"):
        spectrum(np.ones((2, 3)))
    with pytest.raises(ValueError, match="did you mean 'relative'"):
        spectrum(np.eye(2), rule="relativ")


# --- blocks of eight


def test_cond_of_blocks_is_the_geometric_mean_over_disjoint_blocks():
    rows = np.random.default_rng(0).normal(size=(27, 60))
    gram = rows @ rows.T
    conds = []
    for start in (0, 8, 16):
        values = oracle.singular_values(rows[start : start + 8])
        conds.append(values[0] / values[-1])
    assert cond_of_blocks(gram) == pytest.approx(np.exp(np.mean(np.log(conds))))
    assert cond_of_blocks(gram, entry_error=DELTA) == pytest.approx(np.exp(np.mean(np.log(conds))), rel=1e-4)


def test_cond_of_blocks_obeys_the_rule_and_leaves_out_blocks_without_gradients():
    rows = np.concatenate([np.zeros((8, 40)), jacobian(np.geomspace(1, 1e-3, 8), width=40)])
    gram = rows @ rows.T
    assert cond_of_blocks(gram) == pytest.approx(1e3)
    assert cond_of_blocks(gram, rule="relative:0.5") == pytest.approx(1.0)
    assert cond_of_blocks(gram, rule="paper") > 100
    assert math.isnan(cond_of_blocks(gram[:7, :7]))
    assert math.isnan(cond_of_blocks(np.full((8, 8), math.nan)))


# --- real training states


def trained(fit_steps, batchnorm):
    """An MLP in float32 on the embedded digits, trained until it fits more and more of them, and a batch."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images[:256] / 16, dtype=torch.float32)
    y = torch.tensor(labels[:256])
    torch.manual_seed(0)
    norm = [nn.BatchNorm1d(96)] if batchnorm else []
    model = nn.Sequential(
        nn.Linear(64, 96), *norm, nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(fit_steps):
        chosen = torch.arange(step * 64, step * 64 + 64) % 256
        optimizer.zero_grad()
        F.cross_entropy(model(x[chosen]), y[chosen]).backward()
        optimizer.step()
    return model, x[:64], y[:64]


def recorded(model, x, y, precision):
    model.zero_grad()
    state = copy.deepcopy(model.state_dict())
    with fs.record_gram(model, precision=precision) as record:
        F.cross_entropy(model(x), y).backward()
    model.load_state_dict(state)
    return record


@pytest.mark.parametrize("batchnorm", [False, True], ids=["plain", "batchnorm"])
@pytest.mark.parametrize("fit_steps", [0, 20, 200, 1000])
def test_accuracy_bounds_the_error_on_real_training_states(fit_steps, batchnorm):
    """Against the Gram of the same per-sample gradients with products in float64."""
    model, x, y = trained(fit_steps, batchnorm)
    exact = recorded(model, x, y, "float64")
    record = recorded(model, x, y, "default")
    true = spectrum(exact.gram, exact.entry_error)
    read = spectrum(record.gram, record.entry_error)
    assert read.rank <= true.rank
    error = abs(math.sqrt(read.kept[-1] / true.kept[read.rank - 1]) - 1)
    assert error <= read.accuracy + true.under("floor").accuracy
    if read.cond <= 1e3:
        assert error <= 1e-3


def task_state(name, steps):
    """A float32 network of the paper's on the embedded digits after some steps, and 32 samples."""
    task = fs.tasks.get(name)
    torch.manual_seed(0)
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for chosen in [c for _ in range(10) for c in torch.randperm(300).split(32)[:9]][:steps]:
        optimizer.zero_grad()
        task.loss(model, task.batch("train", chosen)).backward()
        optimizer.step()
    return model, *task.batch("train", torch.arange(32))


def dense_singular_values(model, x, y):
    """By SVD, in float64, of the per-sample gradients that a float32 backward pass of linear layers gives."""
    seen, layers = [], [m for m in model.modules() if isinstance(m, nn.Linear)]

    def keep(_, inputs, out):
        out.retain_grad()
        seen.append((inputs[0].detach().double(), out))

    handles = [layer.register_forward_hook(keep) for layer in layers]
    F.cross_entropy(model(x), y).backward()
    for handle in handles:
        handle.remove()
    deltas = [(len(y) * out.grad.double(), a) for a, out in seen]
    columns = [torch.cat([torch.einsum("no,ni->noi", d, a).flatten(1), d], 1) for d, a in deltas]
    return torch.linalg.svdvals(torch.cat(columns, 1)).numpy()


@pytest.mark.parametrize("steps", [0, 6, 12, 18, 90])
def test_smallest_singular_value_against_an_svd_of_the_gradients(steps):
    """Ratios of 7 to 1e8 as the samples are fitted: 1e-3 by default up to 1e3, 1e-2 in float64 up to 1e5."""
    model, x, y = task_state("digits/mlp", steps)
    true = dense_singular_values(copy.deepcopy(model), x, y)
    for precision, ratio, allowed in (("default", 1e3, 1e-3), ("float64", 1e5, 1e-2)):
        record = recorded(model, x, y, precision)
        read = spectrum(record.gram, record.entry_error)
        error = abs(math.sqrt(read.kept[-1]) / true[read.rank - 1] - 1)
        assert error <= read.accuracy
        if true[0] / true[-1] <= ratio:
            assert read.rank == len(y)
            assert error <= allowed
            assert read.accuracy <= allowed  # and so says the bound


@pytest.mark.parametrize("steps", [0, 30])
def test_the_bound_is_not_absurdly_loose_on_a_residual_network(steps):
    """Of 32·κ rounding errors that may add up, float32 sums leave about 1e-7; the bound stays below 1e-3."""
    model, x, y = task_state("digits/resnet8", steps)
    exact, record = recorded(model, x, y, "float64"), recorded(model, x, y, "default")
    true, read = spectrum(exact.gram, exact.entry_error), spectrum(record.gram, record.entry_error)
    error = abs(math.sqrt(read.kept[-1] / true.kept[-1]) - 1)
    assert read.rank == true.rank == len(y)
    assert error <= read.accuracy <= 1e-3
    # entries: 7e-7 allowed, about 1e-7 off; 32 of them at their worst in place of their root mean square
    assert read.accuracy <= 100 * len(y) * max(error, torch.finfo(torch.float32).eps)

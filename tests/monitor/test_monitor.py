"""The monitor in real loops: rows, running means over all steps, schedules, resuming, trouble."""

import ast
import copy
import inspect
import io
import itertools
import json
import math
import time
import warnings

import numpy as np
import pytest
import torch
from tests.oracles import measures as oracle
from torch import nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.monitor import monitor as monitor_module
from fisherscope.monitor import state as state_module
from fisherscope.monitor import step as step_module
from fisherscope.monitor.batch_size import BatchSizeReader
from fisherscope.monitor.schedule import WARM_STEP, Budget, FixedInterval, PerEpoch, Position, RandomInterval
from fisherscope.monitor.timer import StepTimer

AXES = {"step", "epoch", "samples", "lr_sum", "lr", "batch_size", "steps_since", "step_scale_sum"}
NAMED = {
    "train/loss", "fisher/cond", "fisher/cond_mean", "fisher/cond_geomean", "fisher/cond_median",
    "fisher/cond_m8", "fisher/cond_limit", "fisher/censored", "fisher/trace", "fisher/energy",
    "fisher/energy_sum", "fisher/rank", "fisher/effective_rank", "fisher/accuracy", "fisher/residual",
    "noise/scale", "noise/variance", "noise/signal", "noise/snr", "test/norm", "test/inner_product",
    "test/orthogonality", "time/step_s", "time/fisher_s", "status",
}  # fmt: skip
PRODUCTS = 1e-5  # relative error of float32 products against float64 ones, as the engine promises


class Loop:
    """A small training loop in float32; `take` is one step on a batch."""

    def __init__(self, model=None, lr=0.1, seed=0, samples=96, groups=False, **options):
        torch.manual_seed(seed)
        self.model = model or nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4))
        parameters = self.model.parameters()
        if groups:
            parameters = [
                {"params": [p for n, p in self.model.named_parameters() if "weight" in n], "lr": lr},
                {"params": [p for n, p in self.model.named_parameters() if "bias" in n], "lr": lr / 4},
            ]
        self.optimizer = torch.optim.SGD(parameters, lr=lr, momentum=0.9)
        self.x, self.y = torch.randn(samples, 6), torch.randint(0, 4, (samples,))
        self.monitor = fs.Monitor(self.model, self.optimizer, **options)

    def take(self, chosen, **observe):
        self.optimizer.zero_grad()
        with self.monitor.observe(**observe) as step:
            F.cross_entropy(self.model(self.x[chosen]), self.y[chosen]).backward()
        self.optimizer.step()
        return step

    def run(self, steps, size=16):
        for step in range(steps):
            start = step * size % len(self.x)
            self.take(slice(start, start + size))
        return self.monitor


def sample_gradients(model, x, y):
    """∇ℓ_i one sample at a time, in float64."""
    twin = copy.deepcopy(model).double()
    gradients = []
    for i in range(len(x)):
        loss = F.cross_entropy(twin(x[i : i + 1].double()), y[i : i + 1])
        parts = torch.autograd.grad(loss, list(twin.parameters()))
        gradients.append(torch.cat([part.flatten() for part in parts]).numpy())
    return gradients


def without_times(rows):
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


# --- rows


def test_a_row_has_the_keys_that_were_promised_and_json_values():
    row = Loop().run(1).measurement
    assert set(row) >= AXES | NAMED
    json.dumps(row, allow_nan=False)
    assert row["status"] == "ok"


def test_a_row_says_what_explicit_gradients_say():
    loop = Loop(every=1)
    gradients = sample_gradients(loop.model, loop.x[:16], loop.y[:16])
    loss = float(F.cross_entropy(loop.model(loop.x[:16]), loop.y[:16]).detach())
    row = loop.run(1).measurement
    values = oracle.singular_values(gradients)
    trace = sum(float(g @ g) for g in gradients)
    close = max(row["fisher/accuracy"], PRODUCTS)
    assert row["fisher/cond"] == pytest.approx(values[0] / values[-1], rel=close)
    assert row["fisher/trace"] == pytest.approx(trace, rel=PRODUCTS)
    assert row["fisher/energy"] == pytest.approx(0.1 / 16 * math.sqrt(trace), rel=PRODUCTS)
    assert row["fisher/rank"] == 16
    assert row["noise/variance"] == pytest.approx(oracle.covariance_trace(gradients), rel=PRODUCTS)
    assert row["test/norm"] == pytest.approx(oracle.norm_test(gradients), rel=10 * PRODUCTS)
    assert row["gradient/norm"] == pytest.approx(
        np.linalg.norm(oracle.mean_gradient(gradients)), rel=PRODUCTS
    )
    assert row["train/loss"] == pytest.approx(loss, rel=1e-6)
    assert row["cabs/batch_size"] == pytest.approx(oracle.cabs(gradients, 0.1, loss), rel=10 * PRODUCTS)


def test_axes_count_every_step():
    monitor = Loop(every=3, stride=True, dataset_size=96).run(8)
    last = monitor.history.row(-1, named=True)
    assert monitor.history["step"].to_list() == [0, 3, 6]
    assert last["steps_since"] == 3
    assert last["samples"] == 7 * 16
    assert last["lr_sum"] == pytest.approx(0.7)
    assert last["step_scale_sum"] == pytest.approx(7 * 0.1 / 4)
    assert last["epoch"] == pytest.approx(1 + 1 / 6)


def test_energy_sum_over_all_steps_is_the_sum_of_step_energies_when_all_are_measured():
    loop = Loop(every=1)
    rates, sizes = [], []
    for number, size in enumerate([16, 8, 32, 5, 1, 16]):
        loop.optimizer.param_groups[0]["lr"] = 0.1 / (1 + number)
        loop.take(slice(0, size))
        rates.append(0.1 / (1 + number))
        sizes.append(size)
    history = loop.monitor.history
    expected = oracle.energy_sum(history["fisher/trace"], rates, sizes)
    assert history["fisher/energy_sum"][-1] == pytest.approx(expected)
    assert history["fisher/energy"].sum() == pytest.approx(expected)
    assert history["batch_size"].to_list() == sizes


def test_running_means_can_be_had_from_the_rows():
    history = Loop(every=4).run(30).history
    conds, steps = history["fisher/cond"].to_list(), history["steps_since"].to_list()
    mean, geomean, median = oracle.cond_means(conds, steps)
    last = history.row(-1, named=True)
    assert last["fisher/cond_mean"] == pytest.approx(mean)
    assert last["fisher/cond_geomean"] == pytest.approx(geomean)
    assert last["fisher/cond_median"] == pytest.approx(median)
    assert last["fisher/cond_mean_paper"] == pytest.approx(np.mean(conds))
    scale = np.diff([0.0, *history["step_scale_sum"]])
    density = np.sqrt(history["fisher/trace"].to_numpy() / history["batch_size"].to_numpy())
    assert last["fisher/energy_sum"] == pytest.approx(float(density @ scale))


def test_parameter_groups_weigh_their_own_traces():
    loop = Loop(groups=True, every=1)
    with fs.record_gram(loop.model) as record:
        F.cross_entropy(loop.model(loop.x[:16]), loop.y[:16]).backward()
    weights = sum(trace for name, trace in record.traces.items() if "weight" in name)
    biases = sum(trace for name, trace in record.traces.items() if "bias" in name)
    row = loop.run(1).measurement
    energy = math.sqrt(0.1**2 * weights + 0.025**2 * biases) / 16
    assert row["fisher/energy"] == pytest.approx(energy)
    assert row["fisher/energy_sum"] == pytest.approx(energy)
    assert row["lr_group1"] == 0.025
    assert row["step_scale_sum_group1"] == pytest.approx(0.025 / 4)


def test_the_epochs_row_has_the_tail_of_the_energy_sum():
    monitor = Loop(every=100, dataset_size=96).run(6)
    first = monitor.history.row(0, named=True)
    totals = monitor.epoch_end()
    assert totals["fisher/energy_sum"] == pytest.approx(6 * first["fisher/energy"])
    assert totals["fisher/energy_sum_paper"] == pytest.approx(6 * first["fisher/energy"])
    assert totals["samples"] == 96


def test_loss_can_be_said_and_a_summed_one_is_divided():
    loop = Loop(every=1, reduction="sum")
    with loop.monitor.observe():
        loss = F.cross_entropy(loop.model(loop.x[:8]), loop.y[:8], reduction="sum")
        loss.backward()
    assert loop.monitor.measurement["train/loss"] == pytest.approx(float(loss.detach()) / 8)
    with loop.monitor.observe() as step:
        F.cross_entropy(loop.model(loop.x[:8]), loop.y[:8], reduction="sum").backward()
        step.loss = torch.tensor(3.5)
    assert loop.monitor.measurement["train/loss"] == 3.5


def test_scaled_gradients_measure_as_unscaled_ones():
    plain = Loop(every=1).run(1).measurement
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    loop = Loop(every=1, grad_scaler=scaler)
    with loop.monitor.observe():
        scaler.scale(F.cross_entropy(loop.model(loop.x[:16]), loop.y[:16])).backward()
    row = loop.monitor.measurement
    for key in ("fisher/trace", "fisher/cond", "train/loss"):
        assert row[key] == pytest.approx(plain[key], rel=1e-5)


def test_a_subset_has_its_own_spectrum_and_the_whole_batch_its_trace():
    whole = Loop(every=1).run(1).measurement
    row = Loop(every=1, max_samples=8).run(1).measurement
    assert row["fisher/subset"] == row["fisher/rank"] == 8
    assert row["fisher/cond"] < whole["fisher/cond"]
    assert row["fisher/trace"] == whole["fisher/trace"]
    assert row["fisher/energy_sum"] == whole["fisher/energy_sum"]


def test_a_batch_below_the_subset_has_no_condition_number_but_counts_in_the_energy():
    loop = Loop(every=1, max_samples=8)
    loop.take(slice(0, 8))
    with pytest.warns(RuntimeWarning, match="below max_samples=8"):
        loop.take(slice(0, 4))
    first, second = loop.monitor.history.rows(named=True)
    assert second["fisher/cond"] is None
    assert second["fisher/cond_mean"] == first["fisher/cond_mean"]
    assert second["fisher/energy_sum"] > first["fisher/energy_sum"]


def test_paper_rule_is_the_float32_solver():
    loop = Loop(every=1, rule="paper")
    loop.x[1], loop.y[1] = loop.x[0], loop.y[0]
    row = loop.run(1).measurement
    assert row["fisher/accuracy"] is None
    assert not row["fisher/censored"]


def test_measuring_leaves_training_bit_for_bit_and_nothing_on_the_model():
    ends = []
    for every in (1, 10**9):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.Dropout(0.5), nn.ReLU(), nn.Linear(9, 4))
        loop = Loop(model, every=every)
        loop.run(4)
        ends.append([*loop.model.state_dict().values(), torch.get_rng_state()])
        assert not loop.model._forward_pre_hooks
        assert not loop.model._forward_hooks
        torch.save(loop.model, io.BytesIO())
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


# --- which samples, which layers


def test_samples_that_stand_out_are_named():
    loop = Loop(every=1, lr=0.0)
    loop.y = loop.x[:, :4].argmax(1)
    with torch.no_grad():
        loop.x[5] *= 30
    for _ in range(2):
        loop.take(slice(0, 16), ids=torch.arange(100, 116))
        loop.take(slice(16, 32), ids=list(range(116, 132)))
    samples = loop.monitor.samples
    assert len(samples) == 32
    assert samples["seen"].to_list() == [2] * 32
    gradients = sample_gradients(loop.model, loop.x[:16], loop.y[:16])
    mean = oracle.mean_gradient(gradients)
    whole = np.mean([g @ g for g in gradients])
    for row, gradient in zip(samples.head(16).rows(named=True), gradients, strict=True):
        assert row["relative_square_norm"] == pytest.approx(gradient @ gradient / whole, rel=1e-4)
        cosine = gradient @ mean / np.linalg.norm(gradient) / np.linalg.norm(mean)
        assert row["cosine"] == pytest.approx(cosine, rel=1e-3, abs=1e-5)
    outliers = loop.monitor.outliers(1)
    assert outliers["id"][0] == 105
    assert outliers["why"][0] == "large"


def test_ids_of_another_length_are_refused_or_recorded():
    with pytest.raises(ValueError, match="received 3 ids for a batch of 16"):
        Loop(every=1, strict=True).take(slice(0, 16), ids=[1, 2, 3])
    loop = Loop(every=1)
    with pytest.warns(RuntimeWarning, match="received 3 ids"):
        loop.take(slice(0, 16), ids=[1, 2, 3])
    assert loop.monitor.measurement["fisher/cond"] is None


def test_layers_have_their_share_and_noise_scale():
    loop = Loop(every=1)
    gradients = sample_gradients(loop.model, loop.x[:16], loop.y[:16])
    layers = loop.run(1).layers
    assert layers["trace_share"].sum() == pytest.approx(1)
    row = next(row for row in layers.rows(named=True) if row["parameter"] == "0.weight")
    part = [gradient[:54] for gradient in gradients]
    assert row["square_norm"] == pytest.approx(np.mean([g @ g for g in part]), rel=PRODUCTS)
    variance, signal = oracle.noise_scale_two_batches(part)
    expected = pytest.approx(variance / signal, rel=1e-3) if signal > 0 else None
    assert row["noise_scale"] == expected


# --- the size of unmeasured steps


class Wrapped(nn.Module):
    """Takes its input in whatever container `unwrap` opens."""

    def __init__(self, unwrap):
        super().__init__()
        self.linear, self.unwrap = nn.Linear(6, 4), unwrap

    def forward(self, *args, **kwargs):
        return self.linear(self.unwrap(*args, **kwargs))


@pytest.mark.parametrize(
    ("unwrap", "call"),
    [
        (lambda x: x, lambda model, x: model(x)),
        (lambda data: data["x"], lambda model, x: model({"x": x})),
        (lambda *, scale, x: x * scale, lambda model, x: model(scale=2.0, x=x)),
        (lambda pair: pair[0] + pair[1], lambda model, x: model([x, x])),
    ],
    ids=["tensor", "dict", "keywords", "list"],
)
def test_the_size_of_unmeasured_steps_is_read_off_the_inputs(unwrap, call):
    model = Wrapped(unwrap)
    loop = Loop(model, every=10**6)
    sizes = [16, 16, 7, 3, 16]
    for size in sizes:
        with loop.monitor.observe():
            F.cross_entropy(call(model, loop.x[:size]), loop.y[:size]).backward()
    assert loop.monitor.totals()["samples"] == sum(sizes)


def test_micro_batches_of_one_step_add_up():
    loop = Loop(every=10**6, accumulate=True)
    for sizes in ((4, 4, 2), (8, 8), (5,)):
        in_parts(loop, sizes)
    assert loop.monitor.history["batch_size"].to_list() == [10]
    assert loop.monitor.totals()["samples"] == 10 + 16 + 5


def in_parts(loop, sizes):
    loop.optimizer.zero_grad()
    with loop.monitor.observe():
        for size in sizes:
            loss = F.cross_entropy(loop.model(loop.x[:size]), loop.y[:size], reduction="sum")
            (loss / sum(sizes)).backward()


def test_micro_batches_are_accumulated_once_they_have_been_seen():
    loop = Loop(every=1)
    with pytest.warns(RuntimeWarning, match="accumulate=True"):
        in_parts(loop, (4, 4, 2))
    assert loop.monitor.measurement["fisher/cond"] is None
    in_parts(loop, (4, 4, 2))
    row = loop.monitor.measurement
    assert (row["status"], row["batch_size"], row["steps_since"]) == ("ok", 10, 2)
    with fs.record_gram(loop.model, accumulate=True) as record:
        for size in (4, 4, 2):
            loss = F.cross_entropy(loop.model(loop.x[:size]), loop.y[:size], reduction="sum") / 10
            loss.backward()
    assert row["fisher/trace"] == pytest.approx(float(record.gram.trace()))


def shapes_seen(sizes, *shapes):
    sizes._shapes = [[torch.Size(shape) for shape in call] for call in shapes]


def test_a_dimension_that_is_as_long_as_the_batch_once_is_not_taken_for_it_for_good():
    sizes = BatchSizeReader()
    shapes_seen(sizes, [(8, 8, 3)])
    sizes.learn(8)
    shapes_seen(sizes, [(8, 5, 3)])  # sequence-first
    sizes.learn(5)
    shapes_seen(sizes, [(8, 7, 3)])
    assert sizes.read() == 7


def test_samples_passed_twice_in_a_step_count_once():
    sizes = BatchSizeReader()
    shapes_seen(sizes, [(8, 3)], [(8, 3)])
    sizes.learn(8)
    shapes_seen(sizes, [(6, 3)], [(6, 3)])
    assert sizes.read() == 6


def test_a_step_whose_size_cannot_be_read_says_so_once_and_takes_the_previous():
    loop = Loop(every=10**6)
    loop.take(slice(0, 16))
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with loop.monitor.observe():
                pass
    assert not caught
    assert loop.monitor.totals()["samples"] == 48
    with loop.monitor.observe(batch_size=5):
        pass
    assert loop.monitor.totals()["samples"] == 53


def test_a_size_that_was_said_must_be_the_batchs():
    with pytest.raises(ValueError, match="received batch_size=9 for a batch of 16"):
        Loop(every=1, strict=True).take(slice(0, 16), batch_size=9)


# --- schedules


def positions(steps, size=16, epoch_samples=160):
    step = 0
    for epoch in itertools.count():
        done = step_in_epoch = 0
        while done < epoch_samples:
            if step == steps:
                return
            this = min(size, epoch_samples - done)
            yield Position(step, step_in_epoch, epoch, done, size if step else 0)
            step, step_in_epoch, done = step + 1, step_in_epoch + 1, done + this


def test_the_first_step_then_one_random_step_in_each_interval():
    due = [p.step for p in positions(1001) if RandomInterval(50, 3).due(p)]
    assert due[0] == 0
    assert [(step - 1) // 50 for step in due[1:]] == list(range(20))
    assert len({(step - 1) % 50 for step in due[1:]}) > 8
    assert due != [p.step for p in positions(1001) if RandomInterval(50, 4).due(p)]


def test_a_stride_begins_anew_with_each_epoch():
    assert [p.step for p in positions(25) if FixedInterval(4).due(p)] == [0, 4, 8, 10, 14, 18, 20, 24]


@pytest.mark.parametrize("size", [1, 8, 16, 40, 33])
def test_so_many_an_epoch_for_every_batch_size(size):
    schedule, seen = PerEpoch(4, 0, 160), {}
    for position in positions(10**6 if size > 1 else 480, size):
        if position.epoch == 3:
            break
        if schedule.due(position):
            seen.setdefault(position.epoch, []).append(position.samples_in_epoch)
    assert [len(taken) for taken in seen.values()] == [4, 4, 4]
    assert seen[0][0] == 0
    if size < 40:  # at 40 every step is measured
        assert seen[1] != seen[2]


def test_a_budget_becomes_an_interval_once():
    schedule = Budget(0.02, seed=0)
    due = []
    for position in positions(600):
        if position.step:
            before = position.step - 1
            schedule.add_time(0.18 if before in due else 0.1, before in due)
        if schedule.due(position):
            due.append(position.step)
    assert schedule.every == 40  # 0.08 s more, over 2 % of 0.1 s
    assert due[:2] == [0, WARM_STEP]
    assert [(step - 1) // 40 for step in due[2:]] == list(range(due[2] // 40, 15))
    resumed = Budget(0.02, seed=0)
    resumed.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert resumed.every == 40


def test_a_budget_resolves_in_a_real_loop():
    monitor = Loop(budget=0.5).run(WARM_STEP + 3)
    assert monitor.schedule.every >= 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"every": 0}, "every=0"),
        ({"stride": True, "budget": 0.1}, "exclude each other"),
        ({"per_epoch": 3}, "needs dataset_size"),
        ({"budget": 2.0}, r"share of the training time.*\(0, 1\)"),
        ({"max_samples": 1}, "at least 2"),
        ({"rule": "flor"}, "did you mean 'floor'"),
    ],
)
def test_contradictory_arguments_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        Loop(**options)


def test_what_is_no_optimizer_and_no_argument_is_refused():
    model = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="without param_groups"):
        fs.Monitor(model, model.parameters())
    with pytest.raises(TypeError, match="unknown argument evry"):
        fs.Monitor(model, torch.optim.SGD(model.parameters(), 0.1), evry=3)


# --- epochs


def test_epochs_are_counted_by_samples_until_their_ends_are_said():
    loop = Loop(every=1, dataset_size=96)
    loop.run(7)
    assert loop.monitor.measurement["epoch"] == pytest.approx(1 + 1 / 6)
    said = Loop(every=1, dataset_size=96)
    for epoch in range(2):
        said.run(5)  # the last batch of the epoch is dropped
        said.monitor.epoch_end()
        said.run(1)
        assert said.monitor.measurement["epoch"] == pytest.approx(epoch + 1 + 1 / 6)
        said.run(4)
        said.monitor.state.history.running.counters.end_epoch()
        said.monitor.state.history.running.counters.epoch -= 1


# --- state


@pytest.mark.parametrize(
    "options",
    [
        {"every": 4},
        {"every": 4, "stride": True},
        {"per_epoch": 2, "dataset_size": 96},
        {"groups": True, "every": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("stop", [1, 5, 9])
def test_a_resumed_monitor_goes_on_as_if_it_had_not_stopped(options, stop):
    whole = Loop(**options)
    whole.run(15)
    first = Loop(**options)
    first.run(stop)
    second = Loop(**options)
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.monitor.load_state_dict(json.loads(json.dumps(first.monitor.state_dict(), allow_nan=False)))
    for step in range(stop, 15):
        second.take(slice(step * 16 % 96, step * 16 % 96 + 16))
    rows = without_times(whole.monitor.history.rows(named=True))
    assert without_times(second.monitor.history.rows(named=True)) == rows
    assert second.monitor.totals() == whole.monitor.totals()
    assert second.monitor.layers.equals(whole.monitor.layers)


def test_a_resumed_monitor_knows_of_micro_batches():
    first, second = Loop(every=2, stride=True), Loop(every=2, stride=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        in_parts(first, (4, 4))
    in_parts(first, (4, 4))
    second.monitor.load_state_dict(json.loads(json.dumps(first.monitor.state_dict())))
    in_parts(second, (4, 4))
    assert second.monitor.measurement["status"] == "ok"


def test_a_saved_state_has_the_keys_that_older_runs_have():
    monitor = Loop(per_epoch=2, dataset_size=96).run(3)
    state = monitor.state_dict()
    assert set(state) == {"settings", "account", "epochs_given", "notes", "rows", "schedule", "sizes"}
    assert set(state["account"]) == {"counters", "cond", "energy", "noise", "layers", "samples"}
    assert set(state["schedule"]) == {"epoch", "taken"}
    assert set(state["sizes"]) == {"places", "ratio", "passes"}


def test_a_monitors_attributes_are_those_that_its_steps_read():
    loop = Loop(every=1)
    run, rows = MemoryRun(), []
    loop.monitor.run, loop.monitor.strict, loop.monitor.on_measure = run, True, [rows.append]
    loop.run(1)
    assert run.rows == rows == [loop.monitor.measurement]
    with pytest.raises(ValueError, match="received 3 ids"):
        loop.take(slice(0, 16), ids=[1, 2, 3])


def test_steps_and_monitor_do_not_reach_into_each_other():
    """They share a `MonitorState`; neither file names a private attribute of anything but itself."""
    for module in (monitor_module, step_module, state_module):
        tree = ast.parse(inspect.getsource(module))
        private = {
            ast.unparse(node)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and node.attr.strip("_") == node.attr[1:]
        }
        assert not {name for name in private if not name.startswith("self._")} - {
            "nn.modules.batchnorm._BatchNorm"
        }
    assert "fisherscope.monitor.monitor" not in inspect.getsource(step_module)


def test_a_state_of_another_way_of_measuring_is_refused():
    state = Loop(every=4).run(3).state_dict()
    with pytest.raises(ValueError, match=r"every=4 \(now 5\)"):
        Loop(every=5).monitor.load_state_dict(state)


# --- runs and trackers


class MemoryRun:
    """The contract of a run directory's writer, in memory."""

    def __init__(self):
        self.rows, self.spectra = [], []

    def log_step(self, row, eigenvalues):
        self.rows.append(row)
        self.spectra.append(eigenvalues)


def test_a_run_gets_rows_and_whole_spectra():
    run = MemoryRun()
    monitor = Loop(run=run, every=2, stride=True).run(4)
    assert [row["step"] for row in run.rows] == [0, 2]
    assert run.rows[-1] is monitor.state.history.rows[-1]
    for row, eigenvalues in zip(run.rows, run.spectra, strict=True):
        assert eigenvalues.shape == (16,)
        floor = eigenvalues[0] / row["fisher/cond_limit"] ** 2
        assert fs.measures.cond(eigenvalues, "floor", floor) == pytest.approx(row["fisher/cond"])


def test_trackers_get_each_row_and_cannot_harm_the_loop():
    seen = []

    def broken(row):
        raise OSError("server away")

    loop = Loop(every=2, stride=True, on_measure=[seen.append, broken])
    with pytest.warns(RuntimeWarning, match="server away"):
        loop.run(4)
    assert [row["step"] for row in seen] == [0, 2]
    seen[0].clear()
    assert loop.monitor.history["step"][0] == 0
    with pytest.raises(OSError, match="server away"):
        Loop(on_measure=[broken], strict=True).run(1)


def test_the_row_of_the_step_just_done_is_at_hand():
    loop = Loop(every=2, stride=True)
    loop.take(slice(0, 16))
    assert loop.monitor.measurement["step"] == 0
    loop.take(slice(0, 16))
    assert loop.monitor.measurement is None


# --- trouble


def test_observe_without_with_is_said_at_the_next_step():
    loop = Loop()
    loop.monitor.observe()
    with pytest.warns(RuntimeWarning, match=r"never entered.*with monitor.observe\(\):"):
        loop.monitor.observe()


def test_the_loops_own_error_passes_and_the_step_did_not_happen():
    loop = Loop(every=1)
    with pytest.raises(ZeroDivisionError), loop.monitor.observe():
        loop.model(loop.x[:4]) / (1 // 0)
    assert loop.monitor.totals()["step"] == 0
    assert not loop.model._forward_pre_hooks
    assert loop.run(1).measurement["status"] == "ok"


def test_nested_blocks_are_refused():
    loop = Loop()
    with loop.monitor.observe():
        F.cross_entropy(loop.model(loop.x[:4]), loop.y[:4]).backward()
        with pytest.raises(RuntimeError, match="still open"), loop.monitor.observe():
            pass
    assert loop.monitor.measurement["status"] == "ok"


def test_a_step_without_backward_is_a_diagnosis():
    loop = Loop(every=1)
    with pytest.warns(RuntimeWarning, match="no backward"), loop.monitor.observe():
        loop.model(loop.x[:4])
    row = loop.monitor.measurement
    assert set(row) == set(Loop().run(1).measurement)
    assert row["fisher/cond"] is row["fisher/trace"] is None
    assert "no backward" in row["status"]
    assert row["batch_size"] == 4


def test_steps_of_a_failed_measurement_are_left_to_the_next():
    loop = Loop(every=2, stride=True)
    loop.take(slice(0, 16))
    loop.take(slice(0, 16))
    with pytest.warns(RuntimeWarning), loop.monitor.observe():
        loop.model(loop.x[:16])
    loop.take(slice(0, 16))
    loop.take(slice(0, 16))
    rows = loop.monitor.history.rows(named=True)
    assert [row["steps_since"] for row in rows] == [1, 2, 4]
    assert [row["step"] for row in rows] == [0, 2, 4]
    weighted = (rows[0]["fisher/cond"] + 4 * rows[2]["fisher/cond"]) / 5
    assert rows[2]["fisher/cond_mean"] == pytest.approx(weighted)


def test_nan_is_a_status_nulls_and_an_alert():
    loop = Loop(every=1)
    loop.take(slice(0, 16))
    loop.x[3, 2] = math.nan
    with pytest.warns(RuntimeWarning, match="status"):
        loop.take(slice(0, 16))
    row = loop.monitor.measurement
    assert row["fisher/cond"] is row["fisher/trace"] is row["noise/scale"] is None
    assert row["fisher/cond_mean"] is not None
    json.dumps(row, allow_nan=False)
    assert any("NaN" in alert for alert in loop.monitor.alerts)


def test_zero_gradients_are_a_status_and_count_in_the_energy():
    loop = Loop(every=1)
    for scale in (0.0, 1.0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with loop.monitor.observe():
                (scale * F.cross_entropy(loop.model(loop.x[:16]), loop.y[:16])).backward()
    first, second = loop.monitor.history.rows(named=True)
    assert first["fisher/trace"] == first["fisher/energy_sum"] == 0
    assert first["fisher/cond"] is None
    assert "zero" in first["status"]
    assert second["fisher/cond_mean"] == second["fisher/cond"]


def test_a_batch_of_one_has_a_condition_number_of_one_and_no_noise_scale():
    loop = Loop(every=1)
    loop.take(slice(0, 1))
    row = loop.monitor.measurement
    assert row["fisher/cond"] == 1
    assert row["noise/scale"] is row["test/norm"] is None


class Mixing(nn.Module):
    """A parameter meets the mean over the samples."""

    def __init__(self):
        super().__init__()
        self.linear, self.weight = nn.Linear(6, 6), nn.Parameter(torch.eye(6)[:, :4].clone())

    def forward(self, x):
        return self.linear(x)[:, :4] + x.mean(0) @ self.weight


def test_what_cannot_be_split_is_recorded_and_training_goes_on_unless_strict():
    loop = Loop(Mixing(), every=1)
    before = loop.model.weight.detach().clone()
    with pytest.warns(RuntimeWarning, match="status"):
        loop.run(3)
    assert len(loop.monitor.history) == 3
    assert loop.monitor.measurement["status"] != "ok"
    assert not torch.equal(before, loop.model.weight)
    with pytest.raises(Exception, match="weight"):
        Loop(Mixing(), every=1, strict=True).run(1)


# --- in words


def test_batchnorm_is_noted():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    monitor = Loop(model, every=1).run(2)
    assert sum("BatchNorm" in note for note in monitor.notes) == 1
    assert "couples" in monitor.summary()
    assert not any("BatchNorm" in note for note in Loop(every=1).run(1).notes)


def test_summary_says_where_the_run_stands():
    loop = Loop(every=2)
    assert "none measured yet" in loop.monitor.summary()
    text = loop.run(20).summary()
    for part in (
        "20 steps",
        "C̄ =",
        "L =",
        "oise",
        "Rank 16 of 16",
        "dominates",
        "Measuring took",
        "Self-check",
    ):
        assert part in text, part


def test_alerts_of_a_batch_that_repeats_itself():
    loop = Loop(every=1, lr=0.0)
    loop.x[:16], loop.y[:16] = loop.x[0].clone(), loop.y[0].clone()
    loop.x[8:16] += 1e-3 * torch.randn(8, 6)
    loop.take(slice(0, 16))
    alerts = " ".join(loop.monitor.alerts)
    assert "times the noise scale" in alerts
    loop.x[8:16] = loop.x[0].clone()
    loop.take(slice(0, 16))
    alerts = " ".join(loop.monitor.alerts)
    assert "lost rank" in alerts
    assert "censored" in alerts


def test_alert_of_one_sample_that_drives_the_step():
    loop = Loop(every=1, lr=0.0)
    loop.x[3] *= 100
    assert any("One sample holds" in alert for alert in loop.run(1).alerts)


def test_alert_of_samples_without_gradient():
    loop = Loop(every=1, lr=0.0)
    weights = torch.ones(16)
    weights[:4] = 0
    with loop.monitor.observe():
        losses = F.cross_entropy(loop.model(loop.x[:16]), loop.y[:16], reduction="none")
        (losses * weights).mean().backward()
    assert loop.monitor.measurement["gradient/zero_share"] == 0.25
    assert any("25% of the samples have no gradient" in alert for alert in loop.monitor.alerts)


def test_a_run_that_is_well_has_no_alerts():
    assert Loop(every=1).run(6).alerts == []


def test_html_is_small_and_escaped():
    loop = Loop(every=1)
    assert "nothing measured yet" in loop.monitor._repr_html_()
    page = loop.run(2)._repr_html_()
    assert page.startswith("<table>")
    assert len(page) < 4000


def test_measuring_takes_what_its_step_takes_beyond_a_plain_one() -> None:
    """Watched, forward and backward are slower too; no clock of the measurement's own sees that."""
    model = nn.Linear(3, 2)
    monitor = fs.Monitor(model, torch.optim.SGD(model.parameters(), lr=0.1), 8)
    seconds = []
    for _ in range(17):
        with monitor.observe(batch_size=4) as seen:
            model(torch.randn(4, 3)).pow(2).mean().backward()
            time.sleep(0.2 if seen.measured else 0.0)
        if monitor.measurement is not None:
            seconds.append(monitor.measurement["time/fisher_s"])
    assert len(seconds) >= 2
    assert min(seconds[1:]) > 0.1


def test_a_block_is_compared_with_others_of_its_size() -> None:
    clock, schedule = StepTimer(), FixedInterval(10)
    for size in (4, 4, 4, 8, 8):
        clock.tick(schedule)
        clock.end_block(size)
    time.sleep(0.1)  # two of the three blocks before would have to be stopped as long
    assert clock.extra_seconds(8) == 0.0
    assert clock.extra_seconds(4) >= 0.01

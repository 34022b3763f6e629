"""The user's schedulers rule the rate, counted in samples, times the size's rule; against a loop by hand."""

import copy
import json
import math
import random

import pytest
import torch
from torch.optim import lr_scheduler as schedulers

import fisherscope as fs
from fisherscope.policy import Decision, Rate

SAMPLES, EPOCHS, BASE = 103, 4, 8
STEPS = EPOCHS * -(-SAMPLES // BASE)

SCHEDULERS = {
    "warm-up": lambda used: schedulers.LambdaLR(used, lambda step: min(1.0, (step + 1) / 9)),
    "cosine": lambda used: schedulers.CosineAnnealingLR(used, T_max=STEPS, eta_min=1e-3),
    "exponential": lambda used: schedulers.ExponentialLR(used, 0.97),
    "one cycle": lambda used: schedulers.OneCycleLR(used, max_lr=0.3, total_steps=STEPS),
    "sequence": lambda used: schedulers.SequentialLR(
        used,
        [schedulers.LinearLR(used, 0.1, total_iters=5), schedulers.StepLR(used, 7, 0.5)],
        milestones=[5],
    ),
}


class Drawn:
    """Sizes, gains and powers of betas drawn at random, the first with none."""

    closed_loop, name = False, "drawn"

    def __init__(self, seed, gains=True):
        self.rate, draw = Rate(0.1, EPOCHS), random.Random(seed)
        self.table = [(draw.randint(1, 40), draw.choice([0.25, 1.0, 3.0, math.sqrt(2)])) for _ in range(400)]
        self.table[0] = (BASE, 1.0)
        if not gains:
            self.table = [(size, 1.0) for size, _ in self.table]

    def init(self):
        return {"next": 0}

    def update(self, state, observation):
        size, gain = self.table[state["next"] % 400]
        return {"next": state["next"] + 1}, Decision(size, 0.1 * gain, "", gain)


def parameters():
    torch.manual_seed(0)
    return [torch.randn(3, 2).requires_grad_(), torch.randn(4).requires_grad_()]


def optimizer(kind=torch.optim.AdamW, used=None, **options):
    first, second = used or parameters()
    groups = [{"params": [first], "lr": 0.05}, {"params": [second], "lr": 0.002}]
    return kind(groups, **options)


def gradients(used, step):
    draw = torch.Generator().manual_seed(step)
    for group in used.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.randn(parameter.shape, generator=draw)


def values(used):
    return [parameter.detach().clone() for group in used.param_groups for parameter in group["params"]]


def by_hand(make, table, kind=torch.optim.AdamW):
    """The oracle: rates of a reference run, one batch of BASE samples a step, read off by samples."""
    reference, used = optimizer(kind), optimizer(kind)
    scheduler, written = make(reference), []
    for _ in range(STEPS):
        written.append([(group["lr"], group.get("betas")) for group in reference.param_groups])
        reference.step()
        scheduler.step()
    batches = [(epoch, begin) for epoch in range(EPOCHS) for begin in range(0, SAMPLES, BASE)]
    seen, step = [], 0
    for epoch in range(EPOCHS):
        start = 0
        while start < SAMPLES:
            size, gain = table[step]
            at = max(i for i, batch in enumerate(batches) if batch <= (epoch, start))
            for group, (lr, betas) in zip(used.param_groups, written[at], strict=True):
                group["lr"] = lr * gain
                if betas is not None:
                    group["betas"] = betas
            seen.append([group["lr"] for group in used.param_groups])
            gradients(used, step)
            used.step()
            start, step = start + size, step + 1
    return seen, values(used)


def steered(make, policy, lr="couple", kind=torch.optim.AdamW, own_step=False):
    used = optimizer(kind)
    scheduler = make(used)
    sampler = fs.DynamicBatchSampler(SAMPLES, policy)
    sampler.attach(used, lr, scheduler=None if own_step else scheduler)
    seen = []
    used.register_step_pre_hook(lambda *_: seen.append([group["lr"] for group in used.param_groups]))
    while sampler.epoch < EPOCHS:
        gradients(used, sampler.current.step)
        used.step()
        if own_step:
            scheduler.step()
        sampler.step()
    return seen, values(used), scheduler


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("seed", range(3))
def test_the_rate_is_the_scheduler_s_at_the_same_sample_times_the_gain(kind, seed):
    policy = Drawn(seed)
    rates, weights = by_hand(SCHEDULERS[kind], policy.table)
    seen, got, scheduler = steered(SCHEDULERS[kind], policy)
    assert seen == rates
    assert all(torch.equal(a, b) for a, b in zip(got, weights, strict=True))
    assert scheduler.last_epoch == STEPS


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_keep_leaves_the_scheduler_s_rate(kind):
    policy = Drawn(1)
    rates, weights = by_hand(SCHEDULERS[kind], [(size, 1.0) for size, _ in policy.table])
    seen, got, _ = steered(SCHEDULERS[kind], policy, "keep")
    assert seen == rates
    assert all(torch.equal(a, b) for a, b in zip(got, weights, strict=True))


@pytest.mark.parametrize("lr", ["couple", "keep"])
@pytest.mark.parametrize("own_step", [False, True])
@pytest.mark.parametrize("kind", SCHEDULERS)
def test_sizes_that_never_change_change_no_bit(kind, own_step, lr):
    used = optimizer()
    scheduler = SCHEDULERS[kind](used)
    for step in range(STEPS):
        gradients(used, step)
        used.step()
        scheduler.step()
    policy = fs.policy.parse(f"s{BASE}+linear+beta2", lr=0.1, epochs=EPOCHS)
    policy_rate_alone = fs.policy.parse(f"s{BASE}+constant+linear+betas", lr=0.1, epochs=EPOCHS)
    for chosen in (policy, policy_rate_alone):
        _, got, done = steered(SCHEDULERS[kind], chosen, lr, own_step=own_step)
        assert all(torch.equal(a, b) for a, b in zip(got, values(used), strict=True))
        assert done.get_last_lr() == scheduler.get_last_lr()


def test_a_plateau_s_rate_is_multiplied_and_it_is_not_advanced():
    used = optimizer()
    plateau = schedulers.ReduceLROnPlateau(used, factor=0.5, patience=0)
    sampler = fs.DynamicBatchSampler(64, fs.policy.parse("s8-to-32+linear", lr=0.1, epochs=5))
    with pytest.raises(TypeError, match="ReduceLROnPlateau does not count batches; step it yourself"):
        sampler.attach(used, scheduler=plateau)
    sampler.attach(used, "couple")
    seen = []
    used.register_step_pre_hook(lambda *_: seen.append(used.param_groups[0]["lr"]))
    expected = []
    for epoch in range(5):
        while sampler.epoch == epoch:
            expected.append(0.05 * 0.5 ** max(0, epoch - 1) * sampler.current.decision.batch_size / 8)
            gradients(used, 0)
            used.step()
            sampler.step()
        plateau.step(1.0)
    assert seen == expected


@pytest.mark.parametrize("family", ["beta2", "betas"])
@pytest.mark.parametrize("name", ["s8-to-32", "s32-to-8", "s8-growth:factor=1.2"])
def test_the_half_life_of_the_betas_stays_the_same_in_samples(family, name):
    used = optimizer(betas=(0.5, 0.99))
    policy = fs.policy.parse(f"{name}+{family}", lr=0.1, epochs=EPOCHS)
    sampler = fs.DynamicBatchSampler(SAMPLES, policy)
    sampler.attach(used)
    seen = []
    used.register_step_pre_hook(lambda *_: seen.append(used.param_groups[1]["betas"]))
    first, sizes = sampler.current.size, set()
    while sampler.epoch < EPOCHS:
        gradients(used, sampler.current.step)
        used.step()
        size = sampler.current.decision.batch_size
        one, two = seen[-1]
        assert math.log(0.5) / math.log(two) * size == pytest.approx(math.log(0.5) / math.log(0.99) * first)
        kept = size if family == "beta2" else first
        assert math.log(0.5) / math.log(one) * size == pytest.approx(kept, rel=1e-12)
        assert [group["betas"] for group in used.param_groups] == [(0.5, 0.99)] * 2
        sizes.add(size)
        sampler.step()
    assert len(sizes) > 1
    assert int(used.state[used.param_groups[0]["params"][0]]["step"]) == sampler.current.step


@pytest.mark.parametrize(("family", "betas"), [("beta2", (0.9, 0.999)), ("betas", (0.95, 0.9))])
def test_betas_that_diverge_are_refused_before_the_first_step(family, betas):
    sampler = fs.DynamicBatchSampler(5000, fs.policy.parse(f"s4-to-1024+{family}", lr=0.1, epochs=5))
    with pytest.raises(ValueError, match=r"√β₂ = .* would be below β₁ = .* use \+betas"):
        sampler.attach(optimizer(betas=betas))


def test_a_closed_loop_s_betas_are_refused_when_it_asks_for_them():
    sampler = fs.DynamicBatchSampler(5000, fs.policy.parse("s4-noise-scale+beta2", lr=0.1, epochs=5))
    sampler.attach(optimizer())
    row = {"noise/variance": 1000.0, "noise/signal": 1.0, "batch_size": 4}
    with pytest.raises(ValueError, match="√β₂"):
        sampler.step(row)


@pytest.mark.parametrize("family", ["beta2", "betas"])
def test_an_optimizer_without_betas_is_refused(family):
    sampler = fs.DynamicBatchSampler(64, fs.policy.parse(f"s8+{family}", lr=0.1, epochs=5))
    with pytest.raises(ValueError, match=r"attaching SGD: .* has none; its groups hold .*momentum"):
        sampler.attach(optimizer(torch.optim.SGD))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_run_resumed_anywhere_ends_the_same(kind, seed):
    policy = Drawn(seed)
    _, whole, _ = steered(SCHEDULERS[kind], policy)
    used = optimizer()
    scheduler, sampler = SCHEDULERS[kind](used), fs.DynamicBatchSampler(SAMPLES, policy)
    policy.__class__.__repr__ = lambda self: self.name
    sampler.attach(used, scheduler=scheduler)
    stops = set(random.Random(seed).sample(range(12), 3))
    while sampler.epoch < EPOCHS:
        if sampler.current.step in stops:
            saved = copy.deepcopy((used.state_dict(), scheduler.state_dict())), values(used)
            state = json.loads(json.dumps(sampler.state_dict()))
            used = optimizer(used=[value.requires_grad_() for value in saved[1]])
            scheduler, sampler = SCHEDULERS[kind](used), fs.DynamicBatchSampler(SAMPLES, policy)
            sampler.attach(used, scheduler=scheduler)
            used.load_state_dict(saved[0][0])
            scheduler.load_state_dict(saved[0][1])
            sampler.load_state_dict(state)
        gradients(used, sampler.current.step)
        used.step()
        sampler.step()
    assert all(torch.equal(a, b) for a, b in zip(values(used), whole, strict=True))


def test_a_state_that_was_saved_before_there_were_gains_is_read():
    policy = fs.policy.parse("s8-to-32+linear", lr=0.1, epochs=EPOCHS)
    sampler = fs.DynamicBatchSampler(SAMPLES, policy)
    sampler.step()
    state = json.loads(json.dumps(sampler.state_dict()))
    for batch in state["queue"]:
        batch["decision"] = {key: batch["decision"][key] for key in ("batch_size", "lr", "reason")}
    resumed = fs.DynamicBatchSampler(SAMPLES, policy)
    resumed.load_state_dict(state)
    resumed.step()
    sampler.step()
    assert resumed.current == sampler.current


def test_a_scheduler_that_the_loop_steps_too_is_named():
    used = optimizer()
    scheduler = SCHEDULERS["cosine"](used)
    sampler = fs.DynamicBatchSampler(SAMPLES, Drawn(0))
    sampler.attach(used, scheduler=scheduler)
    used.step()
    scheduler.step()
    with pytest.raises(RuntimeError, match="has made 1 steps, and the samples so far stand for 0 of 8"):
        sampler.step()


@pytest.mark.parametrize(("arguments", "message"), [
    ({"lr": "own"}, "lr='own'; expected 'policy'"),
    ({"lr": "policy", "scheduler": True}, "lr='policy' and a scheduler would both set"),
    ({"scheduler_batch_size": 8}, "scheduler_batch_size=8; expected"),
    ({"scheduler": True, "scheduler_batch_size": 0}, "scheduler_batch_size=0; expected"),
])  # fmt: skip
def test_arguments_that_contradict_each_other_are_refused(arguments, message):
    used = optimizer()
    if "scheduler" in arguments:
        arguments = {**arguments, "scheduler": SCHEDULERS["cosine"](used)}
    with pytest.raises(ValueError, match=message):
        fs.DynamicBatchSampler(SAMPLES, Drawn(0)).attach(used, **arguments)


def test_a_scheduler_s_step_may_stand_for_another_number_of_samples():
    used = optimizer()
    scheduler = SCHEDULERS["exponential"](used)
    sampler = fs.DynamicBatchSampler(100, fs.policy.parse("s10", lr=0.1, epochs=2))
    sampler.attach(used, scheduler=scheduler, scheduler_batch_size=50)
    assert "couple" in str(sampler.attachment)
    assert "ExponentialLR advances by samples, one step for each 50" in str(sampler.attachment)
    made = []
    while sampler.epoch < 2:
        used.step()
        sampler.step()
        made.append(scheduler.last_epoch)
    assert made == [0] * 4 + [1] * 5 + [2] * 5 + [3] * 5 + [4]


def test_a_step_that_raises_leaves_the_scheduler_s_rate_to_the_next():
    class Breaks(torch.optim.SGD):
        broken = True

        def step(self, closure=None):
            if self.broken:
                raise RuntimeError("out of memory")
            return super().step(closure)

    used = optimizer(Breaks)
    sampler = fs.DynamicBatchSampler(64, Drawn(0))
    sampler.attach(used, "couple")
    sampler.step()
    while sampler.current.decision.gain == 1.0:
        sampler.step()
    with pytest.raises(RuntimeError, match="out of memory"):
        used.step()
    used.broken = False
    used.step()
    assert [group["lr"] for group in used.param_groups] == [0.05, 0.002]


def test_rates_in_tensors_and_the_monitor_s_rows_say_the_rate_of_the_step():
    model = torch.nn.Linear(3, 2)
    used = torch.optim.Adam(model.parameters(), lr=torch.tensor(0.5))
    kept = used.param_groups[0]["lr"]
    sampler = fs.DynamicBatchSampler(64, fs.policy.parse("s8-to-32+linear", lr=0.1, epochs=1))
    sampler.attach(used, "couple")
    monitor = fs.Monitor(model, used, every=1)
    while sampler.epoch < 1:
        size = sampler.current.decision.batch_size
        used.zero_grad()
        with monitor.observe():
            model(torch.randn(size, 3)).square().mean().backward()
        assert monitor.measurement["lr"] == 0.5 * size / 8
        used.step()
        sampler.step()
    assert used.param_groups[0]["lr"] is kept
    assert kept.item() == 0.5


def test_attaching_again_replaces_what_was_attached():
    used = optimizer(torch.optim.SGD)
    sampler = fs.DynamicBatchSampler(64, Drawn(3))
    sampler.attach(used, "couple")
    while sampler.current.decision.gain == 1.0:
        sampler.step()
    gain, seen = sampler.current.decision.gain, []
    sampler.attach(used, "couple")
    used.register_step_pre_hook(lambda *_: seen.append(used.param_groups[0]["lr"]))
    used.step()
    sampler.attach(used, "keep")
    used.step()
    assert seen == [0.05 * gain, 0.05]

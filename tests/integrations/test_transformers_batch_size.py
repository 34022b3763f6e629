"""Policies inside Hugging Face's Trainer: its own bits while the size stays, else a plain loop's."""

from __future__ import annotations

import importlib
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset

from fisherscope import integrations
from fisherscope.policy import parse

N, EPOCHS = 44, 3


def model(dropout: float = 0.1, language: bool = False) -> Any:
    hugging = importlib.import_module("transformers")
    torch.manual_seed(0)
    if language:
        tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        return hugging.GPT2LMHeadModel(
            hugging.GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=16,
                               resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout, **tokens)
        )  # fmt: skip
    return hugging.BertForSequenceClassification(
        hugging.BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                           intermediate_size=32, hidden_dropout_prob=dropout,
                           attention_probs_dropout_prob=dropout)
    )  # fmt: skip


def samples(language: bool = False) -> list[dict[str, Any]]:
    draw = torch.Generator().manual_seed(1)
    data = []
    for k in range(N):
        ids = torch.randint(3, 40, (8,), generator=draw)
        labels = torch.where(torch.rand(8, generator=draw) < 0.3, -100, ids) if language else k % 2
        if language:
            labels[0] = -100  # never predicted, and Trainer counts it for some models
        data.append({"input_ids": ids, "labels": labels})
    return data


def lengthy() -> list[dict[str, Any]]:
    """Samples of other lengths, padded by hand so that they can be stacked; the length is a list's."""
    return [
        {"input_ids": [3 + (k * 7 + i) % 37 for i in range(2 + k % 9)], "labels": k % 2} for k in range(N)
    ]


def padded(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    ids = [sample["input_ids"] + [0] * (10 - len(sample["input_ids"])) for sample in batch]
    return {"input_ids": torch.tensor(ids), "labels": torch.tensor([sample["labels"] for sample in batch])}


def trainer(folder: Path, used: Any, **options: Any) -> Any:
    hugging = importlib.import_module("transformers")
    more = {key: options.pop(key) for key in ("data_collator", "callbacks", "eval_dataset") if key in options}
    data = options.pop("data", None)
    settings = {"num_train_epochs": EPOCHS, "learning_rate": 1e-2, "per_device_train_batch_size": 8,
                "logging_steps": 1, "save_strategy": "no", "use_cpu": True, "report_to": [],
                "disable_tqdm": True, "warmup_steps": 3}  # fmt: skip
    args = hugging.TrainingArguments(str(folder), **{**settings, **options})
    return hugging.Trainer(used, args, train_dataset=samples() if data is None else data, **more)


def logs(done: Any) -> list[dict[str, Any]]:
    timed = ("runtime", "per_second", "total_flos")
    return [{k: v for k, v in row.items() if not k.endswith(timed)} for row in done.state.log_history]


def assert_same(one: Any, two: Any, tolerance: float = 0.0) -> None:
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert float((a - b).detach().abs().max()) <= tolerance


@pytest.mark.parametrize("lr", ["couple", "keep"])
@pytest.mark.parametrize("options", [
    {},
    {"bf16": True, "lr_scheduler_type": "cosine"},
    {"train_sampling_strategy": "group_by_length", "data": lengthy(), "data_collator": padded},
    {"dataloader_num_workers": 1, "eval_dataset": samples()[:12], "eval_strategy": "steps", "eval_steps": 2},
    {"data": samples(True), "language": True, "max_grad_norm": 0.1},
], ids=["plain", "bf16, cosine", "by length", "worker, evaluated", "language"])  # fmt: skip
def test_a_size_that_never_changes_leaves_trainer_its_bits(
    options: dict[str, Any], lr: Any, tmp_path: Path
) -> None:
    options = dict(options)
    language = options.pop("language", False)
    plain, steered = model(language=language), model(language=language)
    own = trainer(tmp_path / "own", plain, **options)
    own.train()
    size = 8 if "train_sampling_strategy" in options else 5  # that of the groups, or of no meaning
    done = trainer(tmp_path / "steered", steered, **{**options, "per_device_train_batch_size": size})
    integrations.DynamicBatchSize("s8+linear", lr=lr).attach(done)
    done.train()
    assert_same(plain, steered)
    assert logs(done) == logs(own)
    assert done.state.global_step == EPOCHS * math.ceil(N / 8)


def plain_loop(used: Any, policy: Any, language: bool = False) -> tuple[list[list[int]], list[float]]:
    """The oracle: the Trainer's order and schedule written out, sizes and gains by the policy's update."""
    from fisherscope.policy import Observation

    optimizer = torch.optim.AdamW(used.parameters(), lr=1e-2, eps=1e-3, weight_decay=0.0)
    data, state, drawn, rates = samples(language), policy.init(), [], []
    _, first = policy.update(policy.init(), Observation(0, 0, N))
    epoch_steps = math.ceil(N / first.batch_size)
    total = EPOCHS * epoch_steps
    used.train()
    for epoch in range(EPOCHS):
        order = torch.randperm(N, generator=torch.Generator().manual_seed(42 + epoch)).tolist()
        start = 0
        while start < N:
            state, decision = policy.update(state, Observation(epoch, start, N))
            chosen = order[start : start + decision.batch_size]
            at = epoch * epoch_steps + start // first.batch_size
            factor = at / 3 if at < 3 else (total - at) / (total - 3)
            rates.append(1e-2 * factor * decision.gain)
            for group in optimizer.param_groups:
                group["lr"] = rates[-1]
            optimizer.zero_grad()
            ids = torch.stack([data[i]["input_ids"] for i in chosen])
            if language:
                labels = torch.stack([data[i]["labels"] for i in chosen])
                scores = used(input_ids=ids).logits[:, :-1].reshape(-1, 40)
                loss = torch.nn.functional.cross_entropy(scores, labels[:, 1:].reshape(-1), ignore_index=-100)
            else:
                labels = torch.tensor([data[i]["labels"] for i in chosen])
                loss = torch.nn.functional.cross_entropy(used(input_ids=ids).logits, labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(used.parameters(), 1.0)
            optimizer.step()
            drawn.append(chosen)
            start += len(chosen)
    return drawn, rates


@pytest.mark.parametrize("micro", [None, 5])
@pytest.mark.parametrize("language", [False, True])
@pytest.mark.parametrize("name", ["s4-to-16+sqrt", "s16-to-4+linear", "s4-growth:factor=1.2+linear"])
def test_a_size_that_changes_gives_the_parameters_of_a_plain_loop(
    name: str, language: bool, micro: int | None, tmp_path: Path
) -> None:
    expected, seen = model(0.0, language), model(0.0, language)
    drawn, rates = plain_loop(expected, parse(name, lr=1e-2, epochs=EPOCHS), language)
    # eps: the keys' biases have no gradient but its rounding, which Adam would make a step of
    done = trainer(tmp_path, seen, data=samples(language), adam_epsilon=1e-3)
    steering = integrations.DynamicBatchSize(name, max_micro_batch=micro)
    steering.attach(done)
    widths: list[int] = []
    seen.register_forward_pre_hook(
        lambda _, args, given: widths.append(len(given["input_ids"])), with_kwargs=True
    )
    done.train()
    assert done.state.global_step == len(drawn)
    assert [row["learning_rate"] for row in done.state.log_history if "learning_rate" in row] == (
        pytest.approx(rates, rel=1e-9)
    )
    assert sum(widths) == EPOCHS * N
    if micro is None:
        assert widths == [len(batch) for batch in drawn]
    else:
        assert max(widths) <= micro < max(map(len, drawn))
    assert_same(seen, expected, 1e-6)
    changes = [row for row in done.state.log_history if "batch_size" in row]
    sizes = [len(batch) for batch in drawn]
    assert changes
    assert {row["batch_size"] for row in changes} <= set(map(float, range(1, N + 1)))
    assert all("batch_size_gain" in row and "batch_size_reason" in row for row in changes)
    assert len(set(sizes)) > 1


SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.integrations.test_transformers_batch_size import *
from fisherscope import integrations
folder, kill, kind, resume = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4] == "resume"
transformers = importlib.import_module("transformers")
class Kill(transformers.TrainerCallback):
    def on_step_begin(self, args, state, control, **_):
        if state.global_step == kill:
            os.kill(os.getpid(), signal.SIGKILL)
options = OPTIONS[kind]
used = model()
done = trainer(folder, used, callbacks=[Kill()], save_strategy="steps", save_steps=5, **options)
integrations.DynamicBatchSize("s4-to-16+sqrt+beta2", max_micro_batch=6).attach(done)
done.train(resume_from_checkpoint=resume or None)
torch.save([p.detach() for p in used.parameters()], folder / "end.pt")
(folder / "steps").write_text(str(done.state.global_step))
"""
OPTIONS: dict[str, dict[str, Any]] = {
    "shuffled": {},
    "by length": {"train_sampling_strategy": "group_by_length", "data": lengthy(), "data_collator": padded},
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_training_killed_within_an_epoch_resumes_to_the_same_bits(kind: str, tmp_path: Path) -> None:
    def run(folder: Path, kill: int, resume: bool) -> int:
        folder.mkdir(exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", SCRIPT, str(folder), str(kill), kind, "resume" if resume else "no"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr[-3000:]
        return done.returncode

    assert run(tmp_path / "whole", -1, False) == 0
    assert run(tmp_path / "killed", 12, False) == -signal.SIGKILL
    assert run(tmp_path / "killed", 16, True) == -signal.SIGKILL  # from step 10, in the first epoch of 11
    assert run(tmp_path / "killed", -1, True) == 0  # from step 15, in the second
    ends = [torch.load(tmp_path / name / "end.pt") for name in ("whole", "killed")]
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
    assert (tmp_path / "whole" / "steps").read_text() == (tmp_path / "killed" / "steps").read_text()


def test_a_closed_loop_reads_the_rows_of_a_transformers_callback(tmp_path: Path) -> None:
    scope = integrations.TransformersCallback(every=1, accumulate=True)
    done = trainer(tmp_path, model(), callbacks=[scope])
    steering = integrations.DynamicBatchSize("s4-norm-test+bounds:max=20+linear", max_micro_batch=8)
    steering.attach(done)
    done.train()
    sizes = scope.monitor.history["batch_size"].to_list()
    assert sum(sizes) == EPOCHS * N
    assert len(set(sizes)) > 2
    assert steering.batches is not None
    assert steering.batches.sizes.lag == 1
    assert set(scope.monitor.history["status"].to_list()) == {"ok"}
    assert steering.batches.sizes.attachment is None


def test_trainer_may_train_twice(tmp_path: Path) -> None:
    one, two = model(0.0), model(0.0)
    done = trainer(tmp_path, one)
    integrations.DynamicBatchSize("s4-to-16+sqrt").attach(done)
    done.train()
    once = [p.detach().clone() for p in one.parameters()]
    one.load_state_dict(two.state_dict())
    done.optimizer = None
    done.train()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), once, strict=True))


class Endless(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        return iter(samples())


@pytest.mark.parametrize(("options", "kind", "message"), [
    ({"gradient_accumulation_steps": 2}, ValueError, "gradient_accumulation_steps=2; the policy's size is"),
    ({"max_steps": 10}, ValueError, "max_steps=10; a policy counts epochs"),
    ({"num_train_epochs": 1.5}, ValueError, "num_train_epochs=1.5; expected a whole number"),
    ({"auto_find_batch_size": True}, ValueError, "auto_find_batch_size=True; give max_micro_batch"),
    ({"dataloader_drop_last": True}, ValueError, "drop_last=True, and a policy's epochs hold every sample"),
    ({"data": Endless(), "max_steps": 3}, TypeError, "Endless has no length"),
])  # fmt: skip
def test_what_contradicts_a_policy_is_refused(
    options: dict[str, Any], kind: type[Exception], message: str, tmp_path: Path
) -> None:
    done = trainer(tmp_path, model(), **options)
    with pytest.raises(kind, match=message):  # noqa: PT012  (some are known when training starts)
        integrations.DynamicBatchSize("s8").attach(done)
        done.train()


def test_policies_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_micro_batch=0; expected at least 1"):
        integrations.DynamicBatchSize("s8", max_micro_batch=0)
    done = trainer(tmp_path, model())
    integrations.DynamicBatchSize("s64").attach(done)
    with pytest.raises(ValueError, match="asks for 64 samples per batch in epoch 0, the data have 44"):
        done.train()
    done = trainer(tmp_path, model())
    integrations.DynamicBatchSize("s8-norm-test").attach(done)
    with pytest.raises(ValueError, match="reads measurements, and the Trainer has no TransformersCallback"):
        done.train()
    done = trainer(tmp_path, model(), optim="sgd")
    integrations.DynamicBatchSize("s8-to-16+beta2").attach(done)
    with pytest.raises(ValueError, match=r"attaching SGD: .* has none"):
        done.train()
    steering = integrations.DynamicBatchSize("s8")
    steering.attach(trainer(tmp_path, model()))
    with pytest.raises(TypeError, match="another one is attached already"):
        steering.attach(trainer(tmp_path, model()))
    with pytest.raises(TypeError, match="object has no get_train_dataloader"):
        integrations.DynamicBatchSize("s8").attach(object())


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, model(), save_strategy="epoch").train()
    done = trainer(tmp_path, model(), save_strategy="epoch")
    integrations.DynamicBatchSize("s8").attach(done)
    with pytest.raises(ValueError, match="was saved without a DynamicBatchSize"):
        done.train(resume_from_checkpoint=True)

"""The callback of transformers' Trainer where rows of the model's inputs are not samples."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.integrations.test_lightning_samples import Recorded
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

import fisherscope as fs
from fisherscope import integrations

TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


class Texts(Dataset[dict[str, Any]]):
    """Texts of differing lengths, and another, rejected answer to each."""

    def __init__(self, count: int) -> None:
        draws = torch.Generator().manual_seed(2)
        self.rows = [torch.randint(3, 40, (2, 3 + k % 4), generator=draws).tolist() for k in range(count)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.rows[index][0], "rejected": self.rows[index][1]}


def llama() -> Any:
    hugging = importlib.import_module("transformers")
    torch.manual_seed(0)
    config = hugging.LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, attn_implementation="eager", **TOKENS,
    )  # fmt: skip
    return hugging.LlamaForCausalLM(config).double()


class Stages:
    """What came into each step: the parameters it began with, and the model's inputs."""

    def __init__(self, model: Any) -> None:
        self.steps: list[tuple[dict[str, Tensor], dict[str, Any]]] = []
        self.handle = model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if torch.is_grad_enabled() and kwargs["input_ids"].numel() > 0 and self.open:
            state = {name: value.detach().clone() for name, value in module.state_dict().items()}
            self.steps.append((state, dict(kwargs)))
            self.open = False

    open = True


def train(tmp_path: Path, model: Any, collator: Any, callback: Any, kind: Any = None) -> list[Any]:
    """Train three steps of 4 texts; return parameters and inputs of each."""
    hugging = importlib.import_module("transformers")
    stages = Stages(model)

    class Next(hugging.TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            stages.open = True

    settings = hugging.TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=True, max_steps=3, logging_steps=1,
        per_device_train_batch_size=4, remove_unused_columns=False, learning_rate=0.02, save_strategy="no",
        max_grad_norm=0.0,
    )  # fmt: skip
    trainer = (kind or hugging.Trainer)(
        model, settings, train_dataset=Texts(16), data_collator=collator, callbacks=[Next(), callback]
    )
    trainer.train()
    stages.handle.remove()
    return stages.steps


def assert_rows_are(run: Recorded, grams: list[Tensor]) -> None:
    assert len(run.rows) == len(grams) == 3
    for row, spectrum, gram in zip(run.rows, run.spectra, grams, strict=True):
        assert (row["status"], row["fisher/grouping"], row["batch_size"]) == ("ok", "given", len(gram))
        assert row["fisher/trace"] == pytest.approx(float(gram.trace()), rel=1e-5)  # its loss is in float32
        wanted = np.linalg.eigvalsh(gram.numpy())[::-1]
        np.testing.assert_allclose(spectrum, wanted, rtol=1e-3, atol=1e-6 * wanted[0])


def gram_of(model: Any, losses: list[Any]) -> Tensor:
    parameters = list(model.parameters())
    rows = [torch.cat([g.flatten() for g in torch.autograd.grad(loss(), parameters)]) for loss in losses]
    columns = torch.stack(rows).double()
    return columns @ columns.T


def test_a_flattened_batch_is_its_texts(tmp_path: Path) -> None:
    hugging = importlib.import_module("transformers")
    collator = hugging.DataCollatorWithFlattening(return_tensors="pt")

    def collate(rows: list[dict[str, Any]]) -> Any:
        return collator([{"input_ids": row["input_ids"]} for row in rows])

    run, model = Recorded(), llama()
    callback = integrations.TransformersCallback(
        every=1, run=run, strict=True, sample_of=fs.samples.packing()
    )
    steps = train(tmp_path, model, collate, callback)
    grams = []
    for state, inputs in steps:
        model.load_state_dict(state)
        starts = (inputs["position_ids"][0] == 0).nonzero().flatten().tolist()
        texts = [t.unsqueeze(0) for t in inputs["input_ids"][0].tensor_split(starts[1:])]
        counted = sum(t.shape[1] - 1 for t in texts)

        def loss(text: Tensor, counted: int = counted, n: int = len(texts)) -> Tensor:
            scores = model(input_ids=text).logits[0, :-1].float()
            return F.cross_entropy(scores, text[0, 1:], reduction="sum") * n / counted

        grams.append(gram_of(model, [lambda text=text: loss(text) for text in texts]))
    assert_rows_are(run, grams)


def test_pairs_of_a_trainer_of_ones_own_are_pairs(tmp_path: Path) -> None:
    """DPO without a reference: chosen and rejected in one forward, by a function of the batch."""
    hugging = importlib.import_module("transformers")

    class Preferences(hugging.Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Tensor:
            return preference(model, inputs)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        both = [torch.tensor(row[key]) for key in ("input_ids", "rejected") for row in rows]
        mask = [torch.ones_like(ids) for ids in both]
        pad = nn.utils.rnn.pad_sequence
        return {"input_ids": pad(both, batch_first=True), "attention_mask": pad(mask, batch_first=True)}

    def preference(model: Any, inputs: Any) -> Tensor:
        scores = model(**inputs).logits[:, :-1].log_softmax(-1)
        chosen = scores.gather(2, inputs["input_ids"][:, 1:, None]).squeeze(2)
        first, second = (chosen * inputs["attention_mask"][:, 1:]).sum(1).chunk(2)
        return -F.logsigmoid(first - second).mean()

    def halves(batch: Any) -> Tensor:
        pairs = len(batch["input_ids"]) // 2
        return torch.arange(2 * pairs) % pairs

    run, model = Recorded(), llama()
    callback = integrations.TransformersCallback(
        every=1, run=run, strict=True, sample_of=fs.samples.of_batch(halves)
    )
    steps = train(tmp_path, model, collate, callback, Preferences)
    grams = []
    for state, inputs in steps:
        model.load_state_dict(state)
        pairs = [
            {key: value[k::4] for key, value in inputs.items() if isinstance(value, Tensor)} for k in range(4)
        ]
        grams.append(gram_of(model, [lambda one=one: preference(model, one) for one in pairs]))
    assert_rows_are(run, grams)


def test_training_goes_on_where_sample_of_raises(tmp_path: Path) -> None:
    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        ids = torch.tensor([row["input_ids"][:3] for row in rows])
        return {"input_ids": ids, "labels": ids}

    run, model = Recorded(), llama()
    callback = integrations.TransformersCallback(every=1, run=run, sample_of=fs.samples.packing())
    with pytest.warns(RuntimeWarning, match="expected position_ids, cu_seq_lens_q"):
        train(tmp_path, model, collate, callback)
    assert len(run.rows) == 3
    assert all("samples.packing(): the model's inputs are" in row["status"] for row in run.rows)


def test_a_row_says_that_a_flattened_batch_was_counted_as_one(tmp_path: Path) -> None:
    hugging = importlib.import_module("transformers")
    collator = hugging.DataCollatorWithFlattening(return_tensors="pt")

    def collate(rows: list[dict[str, Any]]) -> Any:
        return collator([{"input_ids": row["input_ids"]} for row in rows])

    run, model = Recorded(), llama()
    callback = integrations.TransformersCallback(every=1, run=run, batch=0)
    with pytest.warns(RuntimeWarning):
        train(tmp_path, model, collate, callback)
    assert [row["batch_size"] for row in run.rows] == [1] * 3
    assert all("shows 4 packed sequences" in row["fisher/note"] for row in run.rows)

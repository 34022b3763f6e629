"""Hugging Face's Trainer: bit-identical training, the Gram of a plain loop, resuming."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.cases.training_frameworks import (
    Spectra,
    assert_spectra_agree,
    losses,
    trainer,
)
from tests.oracles.gram import gram_of
from torch.nn import functional as F

from fisherscope import integrations

TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def bert(dropout: float) -> Any:
    hugging = importlib.import_module("transformers")
    torch.manual_seed(0)
    return hugging.BertForSequenceClassification(
        hugging.BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                           intermediate_size=32, hidden_dropout_prob=dropout,
                           attention_probs_dropout_prob=dropout)
    )  # fmt: skip


def gpt(dropout: float) -> Any:
    hugging = importlib.import_module("transformers")
    torch.manual_seed(0)
    return hugging.GPT2LMHeadModel(
        hugging.GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=16, resid_pdrop=dropout,
                           embd_pdrop=dropout, attn_pdrop=dropout, **TOKENS)
    )  # fmt: skip


MODELS = {"BERT, a label a sentence": bert, "GPT-2, a label a token": gpt}


@pytest.mark.parametrize("options", [
    {}, {"bf16": True}, {"gradient_accumulation_steps": 2, "label_smoothing_factor": 0.1},
], ids=["plain", "bf16", "accumulated, smoothed"])  # fmt: skip
@pytest.mark.parametrize("kind", MODELS)
def test_hugging_face_losses_are_bit_identical_with_and_without(
    kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    plain, seen = MODELS[kind](0.1), MODELS[kind](0.1)
    without = trainer(tmp_path, plain, [], **options)
    without.train()
    callback = integrations.TransformersCallback(every=1, strict=True)
    done = trainer(tmp_path, seen, [callback], **options)
    done.train()
    assert losses(done) == losses(without)
    assert len(losses(done)) == 3
    assert all(torch.equal(a, b) for a, b in zip(seen.parameters(), plain.parameters(), strict=True))
    size = 4 * options.get("gradient_accumulation_steps", 1)
    assert callback.monitor.history["batch_size"].to_list() == [size] * 3


def shares(model: Any, batches: list[dict[str, Any]], language: bool, smoothing: float, parts: int) -> Any:
    """Each sample's part of the step's loss, as a plain loop over samples would write it."""
    counted = sum(int((batch["labels"] != -100).sum()) for batch in batches) if language else 0
    for batch in batches:
        size = len(batch["labels"])
        whole = int((batch["labels"][:, 1:] != -100).sum()) if language else 0
        for i in range(size):
            one = {key: value[i : i + 1] for key, value in batch.items()}
            labels = one.pop("labels")
            scores = model(**one).logits
            if not language:
                part = F.cross_entropy(scores, labels, label_smoothing=smoothing) / size / parts
            else:
                scores, labels = scores[:, :-1].reshape(-1, scores.shape[-1]), labels[:, 1:].reshape(-1)
                part = F.cross_entropy(
                    scores, labels, reduction="sum", label_smoothing=smoothing, ignore_index=-100
                )
                part = part / counted if counted else part / whole / parts
            yield part


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", MODELS)
def test_hugging_face_s_gram_is_that_of_a_plain_loop(
    kind: str, smoothing: float, parts: int, tmp_path: Path
) -> None:
    model, run, batches = MODELS[kind](0.0), Spectra(), []
    callback = integrations.TransformersCallback(every=1, run=run, strict=True)
    done = trainer(tmp_path, model, [callback], label_smoothing_factor=smoothing,
                   gradient_accumulation_steps=parts, max_steps=1)  # fmt: skip
    start = {name: value.clone() for name, value in model.state_dict().items()}
    compute = done.compute_loss

    def noted(of: Any, inputs: Any, **also: Any) -> Any:
        batches.append({key: value.clone() for key, value in inputs.items()})
        return compute(of, inputs, **also)

    done.compute_loss = noted
    done.train()
    assert len(batches) == parts
    model.load_state_dict(start)
    parameters = list(model.double().parameters())
    size = sum(len(batch["labels"]) for batch in batches)
    columns = []
    # Trainer gives BERT, whose forward takes any keyword, the number of labels, which its loss ignores, and
    # then does not divide that loss by micro-batches: the step's gradient is so much longer.
    divisor = parts if smoothing else 1
    for share in shares(model, batches, "GPT" in kind, smoothing, divisor):
        gradients = torch.autograd.grad(share, parameters, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, parameters, strict=True)]
        columns.append(size * torch.cat([g.flatten() for g in flat]))
    assert_spectra_agree(run.spectra[0], np.linalg.eigvalsh(gram_of(torch.stack(columns)).numpy()))
    assert run.rows[0]["train/loss"] == pytest.approx(losses(done)[0], rel=1e-4)


def test_hugging_face_epochs_have_their_evaluation(tmp_path: Path) -> None:
    run = Spectra()
    callback = integrations.TransformersCallback(every=2, run=run)
    trainer(tmp_path, bert(0.0), [callback], max_steps=-1, num_train_epochs=2, eval_strategy="epoch").train()
    assert [row["samples"] for row in run.epochs] == [24, 48]
    assert all(row["val_loss"] > 0 and row["train_loss"] > 0 for row in run.epochs)


def test_hugging_face_resumes_with_what_was_counted(tmp_path: Path) -> None:
    saved = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "num_train_epochs": 1}
    whole = integrations.TransformersCallback(every=2, seed=5)
    trainer(tmp_path, bert(0.0), [whole], **saved).train()
    resumed = integrations.TransformersCallback(every=2, seed=5)
    trainer(tmp_path, bert(0.0), [resumed], **saved).train(
        resume_from_checkpoint=str(tmp_path / "checkpoint-3")
    )
    assert resumed.monitor.history["step"].to_list() == whole.monitor.history["step"].to_list()
    assert resumed.monitor.totals()["samples"] == 24
    (tmp_path / "checkpoint-3" / "fisherscope.json").unlink()
    with pytest.warns(UserWarning, match="start over"):
        trainer(tmp_path, bert(0.0), [integrations.TransformersCallback()], **saved).train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-3")
        )


def test_hugging_face_goes_on_after_an_error_within_a_measured_step(tmp_path: Path) -> None:
    callback = integrations.TransformersCallback(every=1, strict=True)
    built = trainer(tmp_path, bert(0.0), [callback])
    compute, built.compute_loss = built.compute_loss, lambda *_, **__: 1 / 0
    with pytest.raises(ZeroDivisionError):
        built.train()
    built.compute_loss = compute
    built.train()
    assert len(callback.monitor.history) == 3

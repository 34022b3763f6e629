"""Hugging Face models built from small configurations: every parameter covered, exact, with dropout on."""

# ruff: noqa: E501
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import fisherscope as fs

transformers = pytest.importorskip("transformers")

B, LENGTH = 4, 6
SMALL = {"vocab_size": 40}
NARROW = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
Made = tuple[Any, dict[str, torch.Tensor]]


def ids() -> torch.Tensor:
    return torch.randint(3, 40, (B, LENGTH))


def language(model: Any) -> Made:
    tokens = ids()
    return model, {"input_ids": tokens, "labels": tokens}


def vision(model: Any) -> Made:
    images = torch.randn(B, 3, 32, 32, dtype=torch.float64)
    return model, {"pixel_values": images, "labels": torch.randint(0, 2, (B,))}


def whisper() -> Made:
    config = transformers.WhisperConfig(
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=8, max_source_positions=20, max_target_positions=16,
        decoder_start_token_id=1, **SMALL, **TOKENS,
    )  # fmt: skip
    sound = torch.randn(B, 8, 40, dtype=torch.float64)
    return transformers.WhisperForConditionalGeneration(config), {"input_features": sound, "labels": ids()}


def bert() -> Made:
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**NARROW, **SMALL))
    return model, {"input_ids": ids(), "labels": torch.randint(0, 2, (B,))}


MODELS: dict[str, Callable[[], Made]] = {
    "GPT-2": lambda: language(
        transformers.GPT2LMHeadModel(
            transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=16, **SMALL, **TOKENS)
        )
    ),
    "BERT": bert,
    "Llama": lambda: language(
        transformers.LlamaForCausalLM(transformers.LlamaConfig(num_key_value_heads=1, **NARROW, **SMALL))
    ),
    "T5": lambda: language(
        transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0, **SMALL
            )
        )
    ),
    "ViT": lambda: vision(
        transformers.ViTForImageClassification(transformers.ViTConfig(image_size=32, patch_size=8, **NARROW))
    ),
    "ConvNeXt": lambda: vision(
        transformers.ConvNextForImageClassification(
            transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)
        )
    ),
    "Swin": lambda: vision(
        transformers.SwinForImageClassification(
            transformers.SwinConfig(
                image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4
            )
        )
    ),
    "ResNet": lambda: vision(
        transformers.ResNetForImageClassification(
            transformers.ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
            )
        )
    ),
    "Mamba": lambda: language(
        transformers.MambaForCausalLM(
            transformers.MambaConfig(hidden_size=16, num_hidden_layers=2, state_size=4, **SMALL, **TOKENS)
        )
    ),
    "Whisper": whisper,
}
TOLERANCE = {"Mamba": 1e-8}
"""Relative; its reference scan computes in float32 inside a float64 model."""


def by_sample(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The Gram of each sample's own loss, one after another, (B, B) float64."""
    rows = []
    for sample in range(B):
        model.zero_grad()
        model(**{name: value[sample : sample + 1] for name, value in inputs.items()}).loss.backward()
        rows.append(
            torch.cat(
                [
                    (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
                    for p in model.parameters()
                    if p.requires_grad
                ]
            ).double()
        )
    columns = torch.stack(rows)
    return columns @ columns.T


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_covered_with_dropout_on(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = MODELS[name]()
    model = model.double().train()
    with fs.record_gram(model) as record:
        model(**inputs).loss.backward()
    assert record.status == "ok"
    assert record.share_covered == 1.0
    assert record.batch_size == B


@pytest.mark.parametrize("name", MODELS)
def test_the_gram_is_exact(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = MODELS[name]()
    model = model.double().eval()
    with fs.record_gram(model) as record:
        model(**inputs).loss.backward()
    wanted = by_sample(model, inputs)
    assert float((record.gram - wanted).norm() / wanted.norm()) <= TOLERANCE.get(name, 1e-12)

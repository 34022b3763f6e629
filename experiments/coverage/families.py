"""The families: how a small model of each is made, what a batch of it is, and the losses of its samples."""

# ruff: noqa: E501  (a family a line reads as the table that it is)

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, rnn

Batch = dict[str, Tensor]
VOCABULARY, CLASSES, LENGTH, ANSWER = 40, 5, 7, 5
TEXTS, IMAGES = 4, 3
"""Samples in a batch: as many as a model has heads, and as many as an image has channels."""
LENGTHS = (7, 4, 6, 3)
"""Of the texts, in a padded batch; unsorted."""
IGNORED = -100


def logit_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Each sample's mean cross entropy of a Hugging Face model's logits: (n, …, classes) or (n, classes, …)."""
    labels = batch["labels"]
    out = model(**{name: value for name, value in batch.items() if name != "labels"})
    logits = out.logits
    if logits.shape[:-1] == labels.shape:
        logits = logits.movedim(-1, 1)
    losses = F.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED)
    counts = (labels != IGNORED).flatten(1).sum(1) if labels.dim() > 1 else 1
    return losses.flatten(1).sum(1) / counts if labels.dim() > 1 else losses


def pair_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Of a model of images and texts: each pair's own similarity (a contrastive loss acts across samples)."""
    out = model(**{name: value for name, value in batch.items() if name != "labels"})
    return F.softplus(-model.logit_scale.exp() * (out.image_embeds * out.text_embeds).sum(-1))


def all_hidden_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean fourth power of the sum of all hidden states."""
    out = model(**{name: value for name, value in batch.items() if name != "labels"})
    return sum(out.hidden_states).pow(4).flatten(1).mean(1)


def output_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Cross entropy of the one output of a model of one or more tensors."""
    logits = model(*(value for name, value in batch.items() if name != "labels"))
    return F.cross_entropy(logits, batch["labels"], reduction="none")


def along_first(batch: Batch, picked: list[int]) -> Batch:
    """Return the samples of these numbers."""
    return {name: value[picked] for name, value in batch.items()}


@dataclass(frozen=True)
class Family:
    """How a model and its batch are made."""

    group: str
    model: Callable[[], nn.Module]
    batch: Callable[[], Batch]
    losses: Callable[[nn.Module, Batch], Tensor] = logit_losses
    pick: Callable[[Batch, list[int]], Batch] = along_first
    dtype: torch.dtype = torch.float64
    options: Mapping[str, Any] = field(default_factory=dict)


# Batches -----------------------------------------------------------------------------------------------


def ids(length: int = LENGTH) -> Tensor:
    """Tokens, none of them special."""
    return torch.randint(4, VOCABULARY, (TEXTS, length))


def mask() -> Tensor:
    """Of the padded batch."""
    return (torch.arange(LENGTH) < torch.tensor(LENGTHS)[:, None]).long()


def language() -> Batch:
    """Texts of one length, a label a token."""
    return {"input_ids": ids(), "labels": ids()}


def padded() -> Batch:
    """Texts of different lengths, a label a token."""
    return {
        "input_ids": ids() * mask(), "attention_mask": mask(), "labels": ids().where(mask() > 0, torch.tensor(IGNORED))
    }  # fmt: skip


def sentences() -> Batch:
    """Texts of different lengths, a label each."""
    return {
        "input_ids": ids() * mask(),
        "attention_mask": mask(),
        "labels": torch.randint(0, CLASSES, (TEXTS,)),
    }


def translation() -> Batch:
    """Return padded texts, and the beginning of an answer to each."""
    return {
        "input_ids": ids() * mask(), "attention_mask": mask(), "decoder_input_ids": ids(ANSWER), "labels": ids(ANSWER)
    }  # fmt: skip


def images(size: int = 32, **more: Callable[[], Tensor]) -> Callable[[], Batch]:
    """Images, a label each."""
    return lambda: {
        "pixel_values": torch.randn(IMAGES, 3, size, size),
        **{name: make() for name, make in more.items()},
        "labels": torch.randint(0, CLASSES, (IMAGES,)),
    }


def segmented(size: int, out: int) -> Callable[[], Batch]:
    """Images, a label a pixel of the result."""
    return lambda: images(size)() | {"labels": torch.randint(0, CLASSES, (IMAGES, out, out))}


def videos() -> Batch:
    """Four frames each."""
    return {"pixel_values": torch.randn(IMAGES, 4, 3, 16, 16), "labels": torch.randint(0, CLASSES, (IMAGES,))}


def sounds(name: str = "input_values", *shape: int) -> Callable[[], Batch]:
    """Sounds, a label each."""
    return lambda: {name: torch.randn(IMAGES, *shape), "labels": torch.randint(0, CLASSES, (IMAGES,))}


def spoken(features: int, frames: int, transposed: bool = False) -> Callable[[], Batch]:
    """Sounds, and the beginning of an answer to each."""
    shape = (frames, features) if transposed else (features, frames)
    return lambda: {
        "input_features": torch.randn(TEXTS, *shape), "decoder_input_ids": ids(ANSWER), "labels": ids(ANSWER)
    }  # fmt: skip


def captioned(size: int = 16) -> Batch:
    """Pairs of text and image."""
    return {
        "input_ids": ids(), "pixel_values": torch.randn(TEXTS, 3, size, size),
        "labels": torch.randint(0, CLASSES, (TEXTS,)),
    }  # fmt: skip


# Hugging Face ------------------------------------------------------------------------------------------

TOKENS = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
NARROW = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
PLACES = {"max_position_embeddings": 32}
TEXT = TOKENS | NARROW | PLACES
LLAMA = TEXT | {"num_key_value_heads": 2, "head_dim": 4}
EXPERTS = LLAMA | {"num_local_experts": 4, "num_experts_per_tok": 2}
MANY = LLAMA | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
BART = TOKENS | PLACES | {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "decoder_start_token_id": 1,
}  # fmt: skip
T5 = TOKENS | {
    "d_model": 16,
    "d_kv": 4,
    "d_ff": 32,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
MAMBA = TOKENS | {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
VIT = NARROW | {"image_size": 16, "patch_size": 4, "num_labels": CLASSES}
SOUND = NARROW | {
    "vocab_size": VOCABULARY, "num_labels": CLASSES, "conv_dim": (8, 8), "conv_stride": (4, 2), "conv_kernel": (8, 4),
    "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8, "apply_spec_augment": False,
}  # fmt: skip


def quiet(config: Any) -> Any:
    """Return a configuration, and those inside it, without dropout of any kind."""
    for name, value in list(vars(config).items()):
        if hasattr(value, "to_dict") and value is not config:
            quiet(value)
        elif isinstance(value, float) and ("drop" in name or "jitter" in name):
            setattr(config, name, 0.0)
        elif isinstance(value, list | tuple) and "drop" in name:
            setattr(config, name, type(value)(0.0 for _ in value))
    return config


def made(config: str, model: str, sizes: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """How a model of Hugging Face is made of a small configuration, with random weights."""

    def make() -> nn.Module:
        import transformers

        found: nn.Module = getattr(transformers, model)(quiet(getattr(transformers, config)(**sizes)))
        return found

    return make


def causal(
    name: str, sizes: Mapping[str, Any], model: str = "", batch: Callable[[], Batch] = language, **more: Any
) -> Family:
    """Return a causal language model."""
    return Family(
        "causal language models", made(f"{name}Config", model or f"{name}ForCausalLM", sizes), batch, **more
    )


def masked(
    name: str, sizes: Mapping[str, Any], model: str = "", batch: Callable[[], Batch] = padded, **options: Any
) -> Family:
    """Return an encoder of texts with a head of tokens, or of texts."""
    more = {"num_labels": CLASSES}
    return Family(
        "encoders of text",
        made(f"{name}Config", model or f"{name}ForMaskedLM", {**sizes, **more}),
        batch,
        **options,
    )


def seq2seq(
    name: str,
    sizes: Mapping[str, Any],
    batch: Callable[[], Batch] = translation,
    group: str = "text to text",
    **more: Any,
) -> Family:
    """Return an encoder and a decoder."""
    return Family(group, made(f"{name}Config", f"{name}ForConditionalGeneration", sizes), batch, **more)


def vision(
    name: str, sizes: Mapping[str, Any], batch: Callable[[], Batch] | None = None, model: str = ""
) -> Family:
    """Return a classifier of images."""
    return Family(
        "vision",
        made(f"{name}Config", model or f"{name}ForImageClassification", {"num_labels": CLASSES, **sizes}),
        batch or images(),
    )


def sound(name: str, sizes: Mapping[str, Any], batch: Callable[[], Batch], model: str = "") -> Family:
    """Return a classifier of sounds."""
    return Family("sound", made(f"{name}Config", model or f"{name}ForSequenceClassification", sizes), batch)


def clip(name: str, text: Mapping[str, Any], image: Mapping[str, Any]) -> Family:
    """Two towers that end in one space."""
    sizes = {"text_config": dict(text), "vision_config": dict(image), "projection_dim": 8}
    return Family("several inputs", made(f"{name}Config", f"{name}Model", sizes), captioned, pair_losses)


MIXTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "Mixtral": ("Mixtral", EXPERTS),
    "Qwen2-MoE": ("Qwen2Moe", MANY | {"shared_expert_intermediate_size": 16}),
    "Qwen3-MoE": ("Qwen3Moe", MANY),
    "Qwen3-Next": ("Qwen3Next", MANY | {"shared_expert_intermediate_size": 16, "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 4, "linear_value_head_dim": 4, "layer_types": ["linear_attention", "full_attention"]}),
    "PhiMoE": ("Phimoe", TEXT | {"num_key_value_heads": 2, "num_local_experts": 4}),
    "OLMoE": ("Olmoe", TEXT | {"num_key_value_heads": 2, "num_experts": 4, "num_experts_per_tok": 2}),
    "GraniteMoE": ("GraniteMoe", EXPERTS),
    "GraniteMoE hybrid": ("GraniteMoeHybrid", EXPERTS | {"shared_intermediate_size": 16, "layer_types": ["mamba", "attention"], "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 4, "mamba_n_groups": 1, "mamba_expand": 2, "mamba_chunk_size": 4}),
    "DeepSeek-V2": ("DeepseekV2", TEXT | {"num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 16, "first_k_dense_replace": 1, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4}),
    "DeepSeek-V3": ("DeepseekV3", TEXT | {"num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "n_shared_experts": 1, "moe_intermediate_size": 16, "first_k_dense_replace": 1, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4}),
    "GPT-OSS": ("GptOss", EXPERTS | {"sliding_window": 3, "layer_types": ["sliding_attention", "full_attention"]}),
    "MiniMax": ("MiniMax", EXPERTS | {"layer_types": ["linear_attention", "full_attention"], "block_size": 4}),
    "Jamba": ("Jamba", TEXT | {"num_key_value_heads": 2, "num_experts": 4, "num_experts_per_tok": 2, "expert_layer_period": 2, "expert_layer_offset": 1, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False}),
}  # fmt: skip
"""Of experts: by the product of groups that is the default, which knows no float64, and by a loop over the experts."""


HUGGING_FACE: dict[str, Family] = {
    # causal language models
    "GPT-2": causal("GPT2", TOKENS | {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32}, "GPT2LMHeadModel"),
    "GPT-2, padded": causal("GPT2", TOKENS | {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32}, "GPT2LMHeadModel", padded),
    "GPT-Neo": causal("GPTNeo", TEXT | {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 4} | {"num_hidden_layers": 2}),
    "GPT-NeoX": causal("GPTNeoX", TEXT),
    "GPT-J": causal("GPTJ", TOKENS | {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32, "rotary_dim": 2}),
    "GPT-BigCode": causal("GPTBigCode", TOKENS | {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32}),
    "CodeGen": causal("CodeGen", TOKENS | {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32, "rotary_dim": 2}),
    "OPT": causal("OPT", TEXT | {"ffn_dim": 32, "word_embed_proj_dim": 16}),
    "OPT, padded": causal("OPT", TEXT | {"ffn_dim": 32, "word_embed_proj_dim": 16}, batch=padded),
    "Bloom": causal("Bloom", TOKENS | {"hidden_size": 16, "n_layer": 2, "n_head": 4}),
    "Llama": causal("Llama", LLAMA),
    "Llama, padded": causal("Llama", LLAMA, batch=padded),
    "Llama, eager attention": causal("Llama", LLAMA | {"attn_implementation": "eager"}, batch=padded),
    "Llama, classifier": causal("Llama", LLAMA | {"num_labels": CLASSES}, "LlamaForSequenceClassification", sentences),
    "Mistral": causal("Mistral", LLAMA | {"sliding_window": 3}),
    "Mixtral, batched products": causal("Mixtral", EXPERTS | {"experts_implementation": "batched_mm"}, batch=padded),
    "Qwen2": causal("Qwen2", LLAMA),
    "Qwen3": causal("Qwen3", LLAMA),
    "Gemma": causal("Gemma", LLAMA),
    "Gemma 2": causal("Gemma2", LLAMA | {"sliding_window": 3}),
    "Gemma 3": causal("Gemma3Text", LLAMA | {"sliding_window": 3}, "Gemma3ForCausalLM"),
    "Phi": causal("Phi", TEXT),
    "Phi-3": causal("Phi3", TEXT | {"num_key_value_heads": 2}),
    "Falcon": causal("Falcon", TEXT | {"ffn_hidden_size": 32}),
    "Falcon, ALiBi": causal("Falcon", TEXT | {"ffn_hidden_size": 32, "alibi": True, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "MPT": causal("Mpt", TOKENS | {"d_model": 16, "n_heads": 4, "n_layers": 2, "max_seq_len": 32, "expansion_ratio": 2}),
    "StableLM": causal("StableLm", TEXT | {"num_key_value_heads": 2}),
    "OLMo": causal("Olmo", LLAMA),
    "OLMo 2": causal("Olmo2", LLAMA),
    "Granite": causal("Granite", LLAMA),
    "JetMoE": causal("JetMoe", TOKENS | {"hidden_size": 16, "num_hidden_layers": 2, "num_key_value_heads": 2, "kv_channels": 4, "intermediate_size": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "max_position_embeddings": 32}),
    "DBRX": causal("Dbrx", TOKENS | {"d_model": 16, "n_heads": 4, "n_layers": 2, "max_seq_len": 32, "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4}, "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 16}}),
    "Llama 4": causal("Llama4Text", LLAMA | {"num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 32, "interleave_moe_layer_step": 2}, "Llama4ForCausalLM"),
    "Bamba": causal("Bamba", TEXT | {"num_key_value_heads": 2, "attn_layer_indices": [1], "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 4, "mamba_n_groups": 1, "mamba_expand": 2, "mamba_chunk_size": 4}),
    "Zamba 2": causal("Zamba2", TEXT | {"num_key_value_heads": 4, "layers_block_type": ["mamba", "hybrid"], "mamba_d_state": 4, "mamba_ngroups": 1, "n_mamba_heads": 4, "mamba_headdim": 8, "mamba_expand": 2, "chunk_size": 4, "num_mem_blocks": 1, "use_mem_rope": False}),
    "Mamba": causal("Mamba", MAMBA),
    "Mamba 2": causal("Mamba2", TOKENS | {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "num_heads": 4, "head_dim": 8, "expand": 2, "n_groups": 1, "chunk_size": 4}),
    "Falcon Mamba": causal("FalconMamba", MAMBA),
    "RWKV": causal("Rwkv", TOKENS | {"hidden_size": 16, "num_hidden_layers": 2, "attention_hidden_size": 16, "intermediate_size": 32, "context_length": 16}),
    "RecurrentGemma": causal("RecurrentGemma", TEXT | {"num_key_value_heads": 1, "lru_width": 16, "attention_window_size": 4, "block_types": ["recurrent", "attention"]}),
    "LFM2": causal("Lfm2", LLAMA | {"layer_types": ["conv", "full_attention"], "block_ff_dim": 32, "block_multiple_of": 8}),
    "Cohere": causal("Cohere", TEXT | {"num_key_value_heads": 2}),
    "Starcoder 2": causal("Starcoder2", TEXT | {"num_key_value_heads": 2}),
    "SmolLM 3": causal("SmolLM3", LLAMA),
    "Nemotron": causal("Nemotron", LLAMA),
    "GLM": causal("Glm", LLAMA),
    "Persimmon": causal("Persimmon", TEXT),
    "CTRL": causal("CTRL", TOKENS | {"n_embd": 16, "n_layer": 2, "n_head": 4, "dff": 32, "n_positions": 32}, "CTRLLMHeadModel"),
    "XGLM": causal("XGLM", TOKENS | {"d_model": 16, "num_layers": 2, "attention_heads": 4, "ffn_dim": 32, "max_position_embeddings": 32}, dtype=torch.float32),
    "BioGPT": causal("BioGpt", TEXT),
    "OpenAI GPT": causal("OpenAIGPT", TOKENS | {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32}, "OpenAIGPTLMHeadModel"),
    # encoders of text
    "BERT": masked("Bert", TEXT),
    "BERT, classifier": masked("Bert", TEXT, "BertForSequenceClassification", sentences),
    "BERT, all hidden states": Family("encoders of text", made("BertConfig", "BertModel", TEXT | {"output_hidden_states": True}), sentences, all_hidden_losses),
    "RoBERTa": masked("Roberta", TEXT),
    "ALBERT": masked("Albert", TEXT | {"embedding_size": 8}),
    "DistilBERT": masked("DistilBert", TOKENS | {"dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 32, "max_position_embeddings": 32}),
    "ELECTRA": masked("Electra", TEXT | {"embedding_size": 8}),
    "DeBERTa": masked("Deberta", TEXT | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 8}),
    "DeBERTa-v2": masked("DebertaV2", TEXT | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 8, "position_buckets": 4, "share_att_key": True, "norm_rel_ebd": "layer_norm"}),
    "XLNet": masked("XLNet", TOKENS | {"d_model": 16, "n_layer": 2, "n_head": 4, "d_inner": 32}, "XLNetLMHeadModel"),
    "MPNet": masked("MPNet", TEXT),
    "ModernBERT": masked("ModernBert", TEXT | {"local_attention": 4, "global_attn_every_n_layers": 2, "cls_token_id": 1, "sep_token_id": 2}),
    "ConvBERT": masked("ConvBert", TEXT | {"embedding_size": 16, "head_ratio": 2, "conv_kernel_size": 3}),
    "Funnel": masked("Funnel", TOKENS | {"block_sizes": [1, 1], "num_decoder_layers": 1, "d_model": 16, "n_head": 4, "d_head": 4, "d_inner": 32}),
    "FNet": masked("FNet", TEXT, batch=language),
    "SqueezeBERT": masked("SqueezeBert", TEXT | {"embedding_size": 16, "q_groups": 2, "k_groups": 2, "v_groups": 2, "intermediate_groups": 2, "output_groups": 2}),
    "MobileBERT": masked("MobileBert", TEXT | {"embedding_size": 8, "intra_bottleneck_size": 8, "num_feedforward_networks": 2}),
    "RoFormer": masked("RoFormer", TEXT | {"embedding_size": 16}),
    "Nyströmformer": masked("Nystromformer", TEXT | {"num_landmarks": 7, "segment_means_seq_len": 7, "conv_kernel_size": 3}),
    "ESM": masked("Esm", TEXT | {"mask_token_id": 3, "position_embedding_type": "rotary"}),
    "Longformer": masked("Longformer", TEXT | {"attention_window": 4}, batch=language),
    "XLM": masked("XLM", {"vocab_size": VOCABULARY, "emb_dim": 16, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 32, "pad_index": 0}, "XLMWithLMHeadModel"),
    "CANINE, classifier": masked("Canine", TEXT | {"downsampling_rate": 2, "num_hash_buckets": 40, "num_hash_functions": 2, "local_transformer_stride": 4, "upsampling_kernel_size": 3}, "CanineForSequenceClassification", lambda: {"input_ids": torch.randint(4, 200, (TEXTS, 8)), "labels": torch.randint(0, CLASSES, (TEXTS,))}, dtype=torch.float32),
    "LayoutLM": masked("LayoutLM", TEXT | {"max_2d_position_embeddings": 32}, batch=lambda: padded() | {"bbox": torch.randint(0, 15, (TEXTS, LENGTH, 2)).repeat(1, 1, 2) + torch.tensor([0, 0, 3, 3])}),
    # text to text
    "T5": seq2seq("T5", T5),
    "T5, gated": seq2seq("T5", T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "mT5": seq2seq("MT5", T5),
    "Switch Transformers": seq2seq("SwitchTransformers", T5 | {"num_experts": 4, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1, "expert_capacity": 64}),
    "BART": seq2seq("Bart", BART),
    "mBART": seq2seq("MBart", BART),
    "Pegasus": seq2seq("Pegasus", BART),
    "Blenderbot": seq2seq("Blenderbot", BART),
    "M2M-100": seq2seq("M2M100", BART),
    "Marian": Family("text to text", made("MarianConfig", "MarianMTModel", BART), translation),
    "LED": seq2seq("LED", {k: v for k, v in BART.items() if k != "max_position_embeddings"} | {"attention_window": 4, "max_encoder_position_embeddings": 32, "max_decoder_position_embeddings": 32}, lambda: {"input_ids": ids(8), "decoder_input_ids": ids(ANSWER), "labels": ids(ANSWER)}),
    "ProphetNet": seq2seq("ProphetNet", TOKENS | {"hidden_size": 16, "num_encoder_layers": 1, "num_decoder_layers": 1, "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "ngram": 2, "max_position_embeddings": 32, "decoder_start_token_id": 1}, dtype=torch.float32),
    # sound
    "Whisper": seq2seq("Whisper", {k: v for k, v in BART.items() if k != "max_position_embeddings"} | {"num_mel_bins": 8, "max_source_positions": 20, "max_target_positions": 16, "apply_spec_augment": False}, spoken(8, 40), "sound"),
    "Speech2Text": seq2seq("Speech2Text", {k: v for k, v in BART.items() if k != "max_position_embeddings"} | {"max_source_positions": 64, "max_target_positions": 16, "input_feat_per_channel": 8, "conv_channels": 16, "num_conv_layers": 2, "conv_kernel_sizes": (3, 3)}, spoken(8, 24, True), "sound"),
    "Wav2Vec2": sound("Wav2Vec2", SOUND, sounds("input_values", 200)),
    "Wav2Vec2, layer norm": sound("Wav2Vec2", SOUND | {"feat_extract_norm": "layer", "do_stable_layer_norm": True}, sounds("input_values", 200)),
    "HuBERT": sound("Hubert", SOUND, sounds("input_values", 200)),
    "WavLM": sound("WavLM", SOUND | {"num_buckets": 8, "max_bucket_distance": 8}, sounds("input_values", 200)),
    "SEW": sound("SEW", SOUND | {"squeeze_factor": 2}, sounds("input_values", 200)),
    "Audio spectrogram transformer": sound("AST", NARROW | {"patch_size": 4, "frequency_stride": 4, "time_stride": 4, "max_length": 16, "num_mel_bins": 8, "num_labels": CLASSES}, sounds("input_values", 16, 8), "ASTForAudioClassification"),
    # vision
    "ViT": vision("ViT", VIT, images(16)),
    "DeiT": vision("DeiT", VIT, images(16)),
    "BEiT": vision("Beit", VIT | {"use_relative_position_bias": True, "layer_scale_init_value": 0.1}, images(16)),
    "Data2Vec": vision("Data2VecVision", VIT | {"use_shared_relative_position_bias": True}, images(16)),
    "DINOv2": vision("Dinov2", VIT | {"mlp_ratio": 2}, images(16)),
    "Swin": vision("Swin", {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}),
    "Swin v2": vision("Swinv2", {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}),
    "ConvNeXt": vision("ConvNext", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}),
    "ConvNeXt v2": vision("ConvNextV2", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}),
    "ResNet": vision("ResNet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}),
    "ResNet, bottleneck": vision("ResNet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "bottleneck"}),
    "RegNet": vision("RegNet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 4}),
    "BiT": vision("Bit", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "num_groups": 2}),
    "MobileNet v2": vision("MobileNetV2", {"depth_multiplier": 0.25, "image_size": 32}),
    "EfficientNet": vision("EfficientNet", {"image_size": 32, "width_coefficient": 0.25, "in_channels": [32, 16], "out_channels": [16, 32], "kernel_sizes": [3, 5], "strides": [1, 2], "num_block_repeats": [1, 1], "expand_ratios": [1, 2], "depthwise_padding": [], "hidden_dim": 320, "depth_divisor": 4}),
    "LeViT": vision("Levit", {"image_size": 32, "hidden_sizes": [16, 16, 24], "num_attention_heads": [2, 2, 2], "depths": [1, 1, 1], "key_dim": [4, 4, 4], "drop_path_rate": 0, "mlp_ratio": [2, 2, 2], "attention_ratio": [2, 2, 2]}),
    "PoolFormer": vision("PoolFormer", {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}),
    "PVT": vision("Pvt", {"image_size": 32, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [2, 2, 2, 4], "sequence_reduction_ratios": [4, 2, 2, 1], "mlp_ratios": [2, 2, 2, 2]}),
    "PVT v2": vision("PvtV2", {"image_size": 32, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [2, 2, 2, 4], "mlp_ratios": [2, 2, 2, 2]}),
    "CvT": vision("Cvt", {"embed_dim": [8, 8, 16], "num_heads": [1, 2, 4], "depth": [1, 2, 3]}),
    "SegFormer": vision("Segformer", {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 2, 2, 4], "mlp_ratios": [2, 2, 2, 2], "decoder_hidden_size": 8}, segmented(32, 8), "SegformerForSemanticSegmentation"),
    "MobileViT": vision("MobileViT", {"image_size": 128, "hidden_sizes": [8, 12, 16], "neck_hidden_sizes": [4, 8, 8, 12, 12, 16, 16], "num_attention_heads": 2, "mlp_ratio": 2.0, "patch_size": 2}, images(128)),
    "MobileViT, attention to one patch": vision("MobileViT", {"image_size": 32, "hidden_sizes": [8, 12, 16], "neck_hidden_sizes": [4, 8, 8, 12, 12, 16, 16], "num_attention_heads": 2, "mlp_ratio": 2.0, "patch_size": 2}),
    "MobileViT v2": vision("MobileViTV2", {"image_size": 32, "width_multiplier": 0.25, "patch_size": 2, "base_attn_unit_dims": [16, 24, 32], "n_attn_blocks": [1, 1, 1]}, images(64)),
    "FocalNet": vision("FocalNet", {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "focal_levels": [2, 2], "focal_windows": [3, 3], "hidden_sizes": [8, 16]}),
    "Hiera": vision("Hiera", {"image_size": [32, 32], "embed_dim": 8, "depths": [1, 1, 1], "num_heads": [1, 2, 4], "query_stride": [2, 2], "masked_unit_size": [4, 4], "patch_size": [7, 7], "patch_stride": [2, 2], "patch_padding": [3, 3], "num_query_pool": 2, "mlp_ratio": 2.0}),
    "ViT-MSN": vision("ViTMSN", VIT, images(16)),
    "ImageGPT": vision("ImageGPT", {"vocab_size": 17, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 4}, lambda: {"input_ids": torch.randint(0, 16, (TEXTS, 9)), "labels": torch.randint(0, CLASSES, (TEXTS,))}),
    "VideoMAE": vision("VideoMAE", VIT | {"num_frames": 4, "tubelet_size": 2}, videos, "VideoMAEForVideoClassification"),
    "TimeSformer": vision("Timesformer", VIT | {"num_frames": 4}, videos, "TimesformerForVideoClassification"),
    "ViViT": vision("Vivit", VIT | {"num_frames": 4, "tubelet_size": [2, 4, 4]}, videos, "VivitForVideoClassification"),
    "Perceiver": vision("Perceiver", {"num_latents": 6, "d_latents": 16, "num_blocks": 1, "num_self_attends_per_block": 2, "num_self_attention_heads": 4, "num_cross_attention_heads": 4, "image_size": 8}, lambda: {"inputs": torch.randn(IMAGES, 3, 8, 8), "labels": torch.randint(0, CLASSES, (IMAGES,))}, "PerceiverForImageClassificationLearned"),
    # several inputs
    "CLIP": clip("CLIP", TEXT, VIT),
    "SigLIP": clip("Siglip", TEXT, VIT),
    "BLIP": clip("Blip", TEXT, VIT),
    "ALIGN-like (Chinese CLIP)": clip("ChineseCLIP", TEXT, VIT),
    "ViLT": Family("several inputs", made("ViltConfig", "ViltForQuestionAnswering", TEXT | VIT | {"max_image_length": 16}), lambda: {**{k: v for k, v in captioned().items() if k != "labels"}, "attention_mask": mask(), "labels": torch.randint(0, CLASSES, (TEXTS,))}),
    "LLaVA": Family("several inputs", made("LlavaConfig", "LlavaForConditionalGeneration", {"vision_config": {"model_type": "clip_vision_model", **VIT, "projection_dim": 8}, "text_config": {"model_type": "llama", **LLAMA}, "image_token_index": 3, "image_token_id": 3, "vision_feature_layer": -1}), lambda: {"input_ids": torch.cat([torch.full((TEXTS, 16), 3), ids()], 1), "pixel_values": torch.randn(TEXTS, 3, 16, 16), "labels": torch.cat([torch.full((TEXTS, 16), IGNORED), ids()], 1)}),
    "PatchTST": Family("several inputs", made("PatchTSTConfig", "PatchTSTForClassification", {"num_input_channels": 2, "context_length": 16, "patch_length": 4, "patch_stride": 4, "d_model": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 32, "num_targets": CLASSES, "use_cls_token": True}), sounds("past_values", 16, 2), lambda model, batch: F.cross_entropy(model(past_values=batch["past_values"]).prediction_logits, batch["labels"], reduction="none")),
}  # fmt: skip


# torch.nn ----------------------------------------------------------------------------------------------


class Lambda(nn.Module):
    """A function with the parameters and modules that it uses."""

    def __init__(self, function: Callable[..., Tensor], **parts: nn.Module | Tensor) -> None:
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
            else:
                self.register_parameter(name, nn.Parameter(part))
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        """Call it."""
        return self.function(self, *inputs)


def layer(
    model: Callable[[], nn.Module],
    *shape: int,
    samples: int = TEXTS,
    batch: Callable[[], Batch] | None = None,
    pick: Callable[[Batch, list[int]], Batch] = along_first,
) -> Family:
    """Return a small model around one kind of layer, of inputs of one shape."""
    usual = lambda: {"x": torch.randn(samples, *shape), "labels": torch.randint(0, CLASSES, (samples,))}  # noqa: E731
    return Family("torch.nn", model, batch or usual, output_losses, pick)


def pooled(*body: nn.Module, width: int) -> nn.Module:
    """Return a body whose output is averaged over space, and a linear head."""
    return Lambda(
        lambda s, x: s.head(s.body(x).flatten(2).mean(2)),
        body=nn.Sequential(*body),
        head=nn.Linear(width, CLASSES),
    )


def over_tokens(inner: nn.Module, width: int = 6) -> nn.Module:
    """Return a layer over tokens, between two linear ones."""
    return Lambda(
        lambda s, x: s.head(s.inner(s.first(x))).mean(1),
        first=nn.Linear(4, 6),
        inner=inner,
        head=nn.Linear(width, CLASSES),
    )


def recurrent(kind: type[nn.RNNBase], **more: Any) -> nn.Module:
    """Return a recurrent layer over a padded batch; its last step is read."""
    body = kind(4, 6, 2, batch_first=True, **more)
    return Lambda(
        lambda s, x: s.head(s.body(x)[0][:, -1]),
        body=body,
        head=nn.LazyLinear(CLASSES)
        if more.get("proj_size")
        else nn.Linear(12 if more.get("bidirectional") else 6, CLASSES),
    )


def packed(kind: type[nn.RNNBase], sorted_: bool = False, **more: Any) -> nn.Module:
    """Return a recurrent layer over packed texts; the mean of the steps is read."""

    def forward(s: nn.Module, x: Tensor, lengths: Tensor) -> Tensor:
        order = lengths.argsort(descending=True) if sorted_ else torch.arange(len(lengths))
        pack = rnn.pack_padded_sequence(
            s.first(x)[order], lengths[order], batch_first=True, enforce_sorted=sorted_
        )
        out, _ = rnn.pad_packed_sequence(s.body(pack)[0], batch_first=True, total_length=x.shape[1])
        return s.head(out.sum(1)[order.argsort()] / lengths[:, None])

    body = kind(6, 6, 1, batch_first=True, **more)
    return Lambda(
        forward,
        first=nn.Linear(4, 6),
        body=body,
        head=nn.Linear(12 if more.get("bidirectional") else 6, CLASSES),
    )


def lengthy() -> Batch:
    """Return padded texts and their lengths."""
    return {
        "x": torch.randn(TEXTS, LENGTH, 4),
        "lengths": torch.tensor(LENGTHS),
        "labels": torch.randint(0, CLASSES, (TEXTS,)),
    }


def packed_state(s: nn.Module, x: Tensor, lengths: Tensor) -> Tensor:
    """Return the last state of each text of a packed batch."""
    pack = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return s.head(s.body(pack)[1][0][-1])


def along_second(batch: Batch, picked: list[int]) -> Batch:
    """Return the samples of these numbers, where they lie along the second dimension."""
    return {"x": batch["x"][:, picked], "labels": batch["labels"][picked]}


def first_is_time(width: int) -> Callable[[], Batch]:
    """Return a batch (time, samples, width)."""
    return lambda: {"x": torch.randn(LENGTH, TEXTS, width), "labels": torch.randint(0, CLASSES, (TEXTS,))}


def words() -> Batch:
    """Texts as numbers of words."""
    return {"x": torch.randint(0, VOCABULARY, (TEXTS, LENGTH)), "labels": torch.randint(0, CLASSES, (TEXTS,))}


def bag(s: nn.Module, x: Tensor) -> Tensor:
    """Bags given as one long row and their beginnings."""
    return s.head(s.table(x.flatten(), torch.arange(0, x.numel(), x.shape[1])))


def attention(s: nn.Module, x: Tensor, lengths: Tensor) -> Tensor:
    """Attention under a padding mask."""
    hidden = torch.arange(x.shape[1]) >= lengths[:, None]
    seen, _ = s.attend(s.first(x), s.first(x), s.first(x), key_padding_mask=hidden, need_weights=False)
    return s.head(seen.mean(1))


def cross(s: nn.Module, x: Tensor) -> Tensor:
    """Attention of learned queries to a text, its keys and values of another width."""
    seen, _ = s.attend(s.queries.expand(len(x), -1, -1), x, x)
    return s.head(seen.mean(1))


def encoder(s: nn.Module, x: Tensor, lengths: Tensor) -> Tensor:
    """Return a stack of layers under a padding mask."""
    hidden = torch.arange(x.shape[1]) >= lengths[:, None]
    return s.head(s.body(s.first(x), src_key_padding_mask=hidden).mean(1))


def decoder(s: nn.Module, x: Tensor) -> Tensor:
    """Return an encoder and a decoder under a causal mask."""
    y = s.first(x)
    causal_mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
    return s.head(s.body(y, y.flip(1), tgt_mask=causal_mask).mean(1))


def cells(s: nn.Module, x: Tensor) -> Tensor:
    """Return a cell, step by step."""
    h = x.new_zeros(len(x), 6)
    state: Any = (h, h) if isinstance(s.cell, nn.LSTMCell) else h
    for step in range(x.shape[1]):
        state = s.cell(x[:, step], state)
    return s.head(state[0] if isinstance(state, tuple) else state)


def stack(*arguments: Any, **options: Any) -> nn.Module:
    """Return a transformer encoder of two layers."""
    return nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 4, 16, dropout=0.0, batch_first=True, **options),
        2,
        *arguments,
        enable_nested_tensor=False,
    )


TORCH: dict[str, Family] = {
    "Linear": layer(lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, CLASSES)), 4),
    "Linear over tokens": layer(lambda: over_tokens(nn.Sequential(nn.GELU(), nn.Linear(6, 6))), 5, 4),
    "Linear over flattened tokens": layer(lambda: Lambda(lambda s, x: s.head(F.gelu(s.first(x.flatten(0, 1)))).view(*x.shape[:2], -1).mean(1), first=nn.Linear(4, 6), head=nn.Linear(6, CLASSES)), 5, 4),
    "Bilinear": layer(lambda: Lambda(lambda s, x: s.head(s.pair(x, x.flip(1))), pair=nn.Bilinear(4, 4, 6), head=nn.Linear(6, CLASSES)), 4),
    "Conv1d": layer(lambda: pooled(nn.Conv1d(2, 4, 3, dilation=2), nn.GELU(), nn.Conv1d(4, 4, 3), width=4), 2, 11),
    "Conv2d": layer(lambda: pooled(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), width=4), 3, 9, 9, samples=3),
    "Conv2d, grouped": layer(lambda: pooled(nn.Conv2d(4, 8, 3, groups=4), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2, bias=False), width=6), 4, 8, 8),
    "Conv2d, circular padding": layer(lambda: pooled(nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"), nn.ReLU(), width=4), 2, 6, 6),
    "Conv3d": layer(lambda: pooled(nn.Conv3d(2, 4, 2), nn.ReLU(), nn.Conv3d(4, 4, 2), width=4), 2, 4, 4, 4),
    "ConvTranspose1d": layer(lambda: pooled(nn.ConvTranspose1d(2, 4, 3, stride=2), nn.GELU(), width=4), 2, 5),
    "ConvTranspose2d": layer(lambda: pooled(nn.Conv2d(2, 4, 3), nn.ConvTranspose2d(4, 4, 3, stride=2, output_padding=1, groups=2), nn.ReLU(), width=4), 2, 6, 6),
    "ConvTranspose3d": layer(lambda: pooled(nn.ConvTranspose3d(2, 4, 2), nn.ReLU(), width=4), 2, 3, 3, 3),
    "Unfold and Fold": layer(lambda: Lambda(lambda s, x: s.head(F.fold(s.mix(F.unfold(x, 2, stride=2).mT).mT, (6, 6), 2, stride=2).flatten(2).mean(2)), mix=nn.Linear(8, 12), head=nn.Linear(3, CLASSES)), 2, 6, 6),
    "Embedding": layer(lambda: Lambda(lambda s, x: s.head(s.table(x).mean(1)), table=nn.Embedding(VOCABULARY, 6, padding_idx=2), head=nn.Linear(6, CLASSES)), batch=words),
    "Embedding, sparse": layer(lambda: Lambda(lambda s, x: s.head(s.table(x).mean(1)), table=nn.Embedding(VOCABULARY, 6, sparse=True), head=nn.Linear(6, CLASSES)), batch=words),
    "Embedding, scaled by frequency": layer(lambda: Lambda(lambda s, x: s.head(s.table(x).mean(1)), table=nn.Embedding(VOCABULARY, 6, scale_grad_by_freq=True), head=nn.Linear(6, CLASSES)), batch=words),
    "EmbeddingBag": layer(lambda: Lambda(lambda s, x: s.head(s.table(x)), table=nn.EmbeddingBag(VOCABULARY, 6, mode="mean"), head=nn.Linear(6, CLASSES)), batch=words),
    "EmbeddingBag, max": layer(lambda: Lambda(lambda s, x: s.head(s.table(x)), table=nn.EmbeddingBag(VOCABULARY, 6, mode="max"), head=nn.Linear(6, CLASSES)), batch=words),
    "EmbeddingBag, offsets": layer(lambda: Lambda(bag, table=nn.EmbeddingBag(VOCABULARY, 6, mode="sum"), head=nn.Linear(6, CLASSES)), batch=words),
    "RNN": layer(lambda: recurrent(nn.RNN), 5, 4),
    "LSTM": layer(lambda: recurrent(nn.LSTM), 5, 4),
    "LSTM, bidirectional": layer(lambda: recurrent(nn.LSTM, bidirectional=True), 5, 4),
    "LSTM, projected": layer(lambda: Lambda(lambda s, x: s.head(s.body(x)[0].mean(1)), body=nn.LSTM(4, 6, batch_first=True, proj_size=3), head=nn.Linear(3, CLASSES)), 5, 4),
    "LSTM, time first": layer(lambda: Lambda(lambda s, x: s.head(s.body(x)[0][-1]), body=nn.LSTM(4, 6), head=nn.Linear(6, CLASSES)), batch=first_is_time(4), pick=along_second),
    "GRU": layer(lambda: recurrent(nn.GRU, bidirectional=True), 5, 4),
    "RNN, packed": layer(lambda: packed(nn.RNN), batch=lengthy),
    "LSTM, packed": layer(lambda: packed(nn.LSTM), batch=lengthy),
    "LSTM, packed, sorted": layer(lambda: packed(nn.LSTM, True), batch=lengthy),
    "LSTM, packed, bidirectional": layer(lambda: packed(nn.LSTM, bidirectional=True), batch=lengthy),
    "LSTM, packed, last state": layer(lambda: Lambda(packed_state, body=nn.LSTM(4, 6, 2, batch_first=True), head=nn.Linear(6, CLASSES)), batch=lengthy),
    "GRU, packed": layer(lambda: packed(nn.GRU), batch=lengthy),
    "GRU, packed, sorted": layer(lambda: packed(nn.GRU, True), batch=lengthy),
    "LSTMCell": layer(lambda: Lambda(cells, cell=nn.LSTMCell(4, 6), head=nn.Linear(6, CLASSES)), 5, 4),
    "GRUCell": layer(lambda: Lambda(cells, cell=nn.GRUCell(4, 6), head=nn.Linear(6, CLASSES)), 5, 4),
    "RNNCell": layer(lambda: Lambda(cells, cell=nn.RNNCell(4, 6), head=nn.Linear(6, CLASSES)), 5, 4),
    "MultiheadAttention": layer(lambda: Lambda(attention, first=nn.Linear(4, 8), attend=nn.MultiheadAttention(8, 4, batch_first=True), head=nn.Linear(8, CLASSES)), batch=lengthy),
    "MultiheadAttention, learned keys": layer(lambda: Lambda(lambda s, x: s.head(s.attend(x, x, x)[0].mean(1)), attend=nn.MultiheadAttention(8, 4, batch_first=True, add_bias_kv=True, add_zero_attn=True), head=nn.Linear(8, CLASSES)), 5, 8),
    "MultiheadAttention, learned queries": layer(lambda: Lambda(cross, queries=torch.randn(1, 3, 8), attend=nn.MultiheadAttention(8, 4, kdim=6, vdim=6, batch_first=True), head=nn.Linear(8, CLASSES)), 5, 6),
    "TransformerEncoder": layer(lambda: Lambda(encoder, first=nn.Linear(4, 8), body=stack(), head=nn.Linear(8, CLASSES)), batch=lengthy),
    "TransformerEncoder, norm first": layer(lambda: Lambda(encoder, first=nn.Linear(4, 8), body=stack(nn.LayerNorm(8), norm_first=True, activation="gelu"), head=nn.Linear(8, CLASSES)), batch=lengthy),
    "TransformerEncoder, time first": layer(lambda: Lambda(lambda s, x: s.head(s.body(x).mean(0)), body=nn.TransformerEncoderLayer(8, 4, 16, dropout=0.0), head=nn.Linear(8, CLASSES)), batch=first_is_time(8), pick=along_second),
    "Transformer": layer(lambda: Lambda(decoder, first=nn.Linear(4, 8), body=nn.Transformer(8, 4, 1, 1, 16, dropout=0.0, batch_first=True), head=nn.Linear(8, CLASSES)), 5, 4),
    "BatchNorm1d, eval": layer(lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, CLASSES)), 4),
    "BatchNorm2d, eval": layer(lambda: pooled(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), width=4), 2, 6, 6),
    "BatchNorm3d, eval": layer(lambda: pooled(nn.Conv3d(2, 4, 2), nn.BatchNorm3d(4), nn.ReLU(), width=4), 2, 4, 4, 4),
    "LayerNorm": layer(lambda: over_tokens(nn.Sequential(nn.LayerNorm(6), nn.GELU())), 5, 4),
    "LayerNorm over two dimensions": layer(lambda: over_tokens(nn.Sequential(nn.LayerNorm((5, 6)), nn.GELU())), 5, 4),
    "RMSNorm": layer(lambda: over_tokens(nn.Sequential(nn.RMSNorm(6), nn.GELU())), 5, 4),
    "GroupNorm": layer(lambda: pooled(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), width=4), 2, 6, 6),
    "InstanceNorm1d": layer(lambda: pooled(nn.Conv1d(2, 4, 3), nn.InstanceNorm1d(4, affine=True), nn.GELU(), width=4), 2, 8),
    "InstanceNorm2d": layer(lambda: pooled(nn.Conv2d(2, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.GELU(), width=4), 2, 6, 6),
    "LocalResponseNorm": layer(lambda: pooled(nn.Conv2d(2, 4, 3), nn.LocalResponseNorm(2), nn.ReLU(), width=4), 2, 6, 6),
    "PReLU": layer(lambda: pooled(nn.Conv2d(2, 4, 3), nn.PReLU(4), nn.Conv2d(4, 4, 3), nn.PReLU(), width=4), 2, 7, 7),
    "weight norm": layer(lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 6)), nn.Tanh(), nn.Linear(6, CLASSES)), 4),
    "weight norm, old": layer(lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 6)), nn.Tanh(), nn.Linear(6, CLASSES)), 4),
    "weight norm of a convolution": layer(lambda: pooled(parametrizations.weight_norm(nn.Conv2d(2, 4, 3)), nn.ReLU(), width=4), 2, 6, 6),
    "orthogonal": layer(lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), parametrizations.orthogonal(nn.Linear(6, 6)), nn.Linear(6, CLASSES)), 4),
    "spectral norm, eval": layer(lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 6)).eval(), nn.Tanh(), nn.Linear(6, CLASSES)), 4),
    "AdaptiveLogSoftmax": Family("torch.nn", lambda: Lambda(lambda s, x: s.out.log_prob(s.first(x)), first=nn.Linear(4, 8), out=nn.AdaptiveLogSoftmaxWithLoss(8, 12, [4, 8])), lambda: {"x": torch.randn(TEXTS, 4), "labels": torch.tensor([1, 5, 11, 6])}, output_losses),
    "AdaptiveLogSoftmax, its own loss": Family("torch.nn", lambda: Lambda(lambda s, x, y: s.out(s.first(x), y).output, first=nn.Linear(4, 8), out=nn.AdaptiveLogSoftmaxWithLoss(8, 12, [4, 8])), lambda: {"x": torch.randn(TEXTS, 4), "labels": torch.tensor([1, 5, 11, 6])}, lambda model, batch: -model(batch["x"], batch["labels"])),
    "tied weights": layer(lambda: Lambda(lambda s, x: F.linear(torch.tanh(s.mix(s.table(x))), s.table.weight).mean(1)[:, :CLASSES], table=nn.Embedding(VOCABULARY, 6), mix=nn.Linear(6, 6)), batch=words),
    "parameter as a token": layer(lambda: Lambda(lambda s, x: s.head((s.scale * torch.cat([s.token.expand(len(x), -1, -1), x], 1) + s.shift)[:, 0] + x.mean(1)), token=torch.randn(1, 1, 4), scale=torch.randn(4), shift=torch.randn(6, 4), head=nn.Linear(4, CLASSES)), 5, 4),
    "einsum": layer(lambda: Lambda(lambda s, x: s.head(torch.einsum("btd,dhe->bhe", x, s.weight).tanh().flatten(1)), weight=torch.randn(4, 2, 3), head=nn.Linear(6, CLASSES)), 5, 4),
    "batched product of experts": layer(lambda: Lambda(lambda s, x: s.head(torch.bmm(x.flatten(0, 1).expand(3, -1, -1), s.experts).tanh().mean(0).view(*x.shape[:2], -1).mean(1)), experts=torch.randn(3, 4, 6), head=nn.Linear(6, CLASSES)), 5, 4),
}  # fmt: skip


def families() -> dict[str, Family]:
    """Return every family by its name."""
    loop = {"experts_implementation": "eager"}
    mixtures = {}
    for name, (kind, sizes) in MIXTURES.items():
        mixtures[name] = causal(kind, sizes, batch=padded, dtype=torch.float32)
        mixtures[f"{name}, experts in a loop"] = causal(kind, sizes | loop, batch=padded)
    return mixtures | HUGGING_FACE | TORCH

"""Build a GPT of the standard shape: pre-norm blocks, learned positions, tied head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class GPTShape:
    """Hold the sizes of a GPT.

    Args:
        context: Positions of a sample.
        width: Features of a position.
        layers: Number of blocks.
        heads: Attention heads; divides `width`.
        vocabulary: Number of tokens; 256 for bytes.
    """

    context: int
    width: int
    layers: int
    heads: int
    vocabulary: int = 256


SHAPES = {"gpt-mini": GPTShape(64, 96, 3, 4), "gpt-mini-tiny": GPTShape(32, 32, 2, 2)}
"""By the network's name."""
_SETTINGS = {
    "optimizer": "AdamW", "batch_size": 16, "weight_decay": 0.1, "decay_matrices_only": True,
    "grad_clip": 1.0, "schedule": "cosine", "warmup": 0.05,
}  # fmt: skip
SETTINGS = {
    "gpt-mini": {**_SETTINGS, "lr": 2e-3, "epochs": 10},
    "gpt-mini-tiny": {**_SETTINGS, "lr": 3e-3, "epochs": 4},
}
"""By the network's name: what a run is configured with where nothing else is given."""


class GPT(nn.Module):
    """Predict the next token at every position.

    Source: Radford et al. 2019 (GPT-2): normalisation before each half of a block, the head's weight is that
    of the token embedding, weights drawn with deviation 0.02, those that end in the residual stream with
    0.02/sqrt(2·layers). No dropout.

    Args:
        shape: The sizes.
    """

    def __init__(self, shape: GPTShape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.context, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        _initialise(self, shape.layers)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (n, t, vocabulary) of tokens (n, t)."""
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


class Block(nn.Module):
    """Add causal self-attention, then a feed-forward layer of four times the width."""

    def __init__(self, shape: GPTShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.norm1, self.norm2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.qkv, self.project = nn.Linear(shape.width, 3 * shape.width), nn.Linear(shape.width, shape.width)
        self.expand, self.contract = (
            nn.Linear(shape.width, 4 * shape.width),
            nn.Linear(4 * shape.width, shape.width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the next residual stream, (n, t, width)."""
        n, t, width = x.shape
        query, key, value = (
            part.view(n, t, self.heads, -1).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).split(width, 2)
        )
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.project(attended.transpose(1, 2).reshape(n, t, width))
        out: Tensor = x + self.contract(F.gelu(self.expand(self.norm2(x))))
        return out


def _initialise(model: GPT, layers: int) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            ends_in_stream = name.endswith(("project", "contract"))
            nn.init.normal_(module.weight, 0.0, 0.02 / math.sqrt(2 * layers) if ends_in_stream else 0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def next_token_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the batch's mean cross-entropy over all positions, in nats a token."""
    return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def next_token_scores(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Return each sample's mean cross-entropy over its positions, (n,)."""
    loss = F.cross_entropy(model(batch[0]).float().transpose(1, 2), batch[1], reduction="none")
    return {"loss": loss.mean(1)}

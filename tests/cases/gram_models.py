"""Small models of every kind that the engine has to see through, each with its batch."""

# ruff: noqa: E501  (a case a line reads as the table that it is)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 5


@dataclass(frozen=True)
class Case:
    """A model, and how n samples of its input are made."""

    model: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    batch_dim: int = 0
    coupled: bool = False  # BatchNorm in training mode: samples act on each other


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
        return self.function(self, *inputs)


def images(channels: int, *space: int) -> Callable[[int], Tensor]:
    return lambda n: torch.randn(n, channels, *space)


def tokens(length: int, vocabulary: int = 11) -> Callable[[int], Tensor]:
    return lambda n: torch.randint(0, vocabulary, (n, length))


def pooled(body: nn.Module, width: int) -> nn.Module:
    """A body whose output is averaged over space, and a linear head."""
    return Lambda(
        lambda s, x: s.head(s.body(x).flatten(2).mean(2)), body=body, head=nn.Linear(width, CLASSES)
    )


def attention_block() -> nn.Module:
    return Lambda(
        lambda s, x: s.head(s.layer(s.embed(x) + s.place[: x.shape[1]]).mean(1)),
        embed=nn.Embedding(11, 8),
        place=torch.randn(7, 8),
        layer=nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
        head=nn.Linear(8, CLASSES),
    )


def sequence_first() -> nn.Module:
    return Lambda(
        lambda s, x: s.head(s.layer(x).mean(0)),
        layer=nn.TransformerEncoderLayer(6, 2, 12, dropout=0.0, batch_first=False),
        head=nn.Linear(6, CLASSES),
    )


def translator() -> nn.Module:
    return Lambda(
        lambda s, x: s.head(s.body(s.embed(x), s.embed(x.flip(1))).mean(1)),
        embed=nn.Embedding(11, 8),
        body=nn.Transformer(8, 2, 1, 1, 16, dropout=0.0, batch_first=True),
        head=nn.Linear(8, CLASSES),
    )


def recurrent(kind: type[nn.RNNBase]) -> nn.Module:
    body = kind(4, 6, 2, batch_first=True, bidirectional=True)
    return Lambda(lambda s, x: s.head(s.body(x)[0][:, -1]), body=body, head=nn.Linear(12, CLASSES))


def u_net() -> nn.Module:
    def forward(s: nn.Module, x: Tensor) -> Tensor:
        fine = F.relu(s.down(x))
        coarse = F.relu(s.deep(F.max_pool2d(fine, 2)))
        joined = torch.cat([s.up(coarse), fine], 1)
        return s.out(joined).flatten(2).mean(2)

    return Lambda(
        forward,
        down=nn.Conv2d(2, 4, 3, padding=1),
        deep=nn.Conv2d(4, 6, 3, padding="same"),
        up=nn.ConvTranspose2d(6, 4, 2, 2),
        out=nn.Conv2d(8, CLASSES, 1),
    )


def tied_autoencoder() -> nn.Module:
    def forward(s: nn.Module, x: Tensor) -> Tensor:
        hidden = torch.tanh(F.linear(x, s.weight, s.inner))
        return F.linear(hidden, s.weight.t(), s.outer)[:, :CLASSES]

    return Lambda(forward, weight=torch.randn(4, 6) / 3, inner=torch.zeros(4), outer=torch.zeros(6))


def tied_language_model() -> nn.Module:
    return Lambda(
        lambda s, x: F.linear(torch.tanh(s.mix(s.embed(x))), s.embed.weight).mean(1)[:, :CLASSES],
        embed=nn.Embedding(11, 6),
        mix=nn.Linear(6, 6),
    )


def class_token() -> nn.Module:
    def forward(s: nn.Module, x: Tensor) -> Tensor:
        first = s.token.expand(x.shape[0], -1, -1)
        return s.head((s.scale * torch.cat([first, x], 1) + s.shift)[:, 0] + x.mean(1))

    return Lambda(
        forward,
        token=torch.randn(1, 1, 4),
        scale=torch.randn(4),
        shift=torch.randn(6, 4),
        head=nn.Linear(4, CLASSES),
    )


def flattened_tokens() -> nn.Module:
    """Tokens of all samples as rows of one matrix, as mixtures of experts and language heads have them."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        rows = s.first(x.reshape(-1, x.shape[-1]))
        return s.second(F.gelu(rows)).reshape(x.shape[0], x.shape[1], -1).mean(1)

    return Lambda(forward, first=nn.Linear(4, 6), second=nn.Linear(6, CLASSES))


def residual_in_place() -> nn.Module:
    def forward(s: nn.Module, x: Tensor) -> Tensor:
        h = s.first(x)
        h += s.second(F.relu(h, inplace=False))
        F.relu_(h)
        return s.head(h).mean(1)

    return Lambda(forward, first=nn.Linear(4, 6), second=nn.Linear(6, 6), head=nn.Linear(6, CLASSES))


def checkpointed() -> nn.Module:
    from torch.utils.checkpoint import checkpoint

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        return s.head(checkpoint(lambda v: F.relu(s.body(v)), x, use_reentrant=False))

    return Lambda(forward, body=nn.Linear(4, 6), head=nn.Linear(6, CLASSES))


def weight_norm() -> nn.Module:
    from torch.nn.utils.parametrizations import orthogonal, weight_norm

    return nn.Sequential(
        weight_norm(nn.Linear(4, 6)), nn.ReLU(), orthogonal(nn.Linear(6, 6)), nn.Linear(6, CLASSES)
    )


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, CLASSES))
    for parameter in (*model[0].parameters(), model[2].bias):
        parameter.requires_grad_(False)
    return model


def convolution(*arguments: int, **options: object) -> nn.Module:
    layer = nn.Conv2d(*arguments, **options)  # type: ignore[arg-type]
    return pooled(nn.Sequential(layer, nn.ReLU(inplace=True)), layer.out_channels)


def normalised(layer: nn.Module) -> nn.Module:
    return pooled(nn.Sequential(nn.Conv2d(2, 4, 3), layer, nn.ReLU()), 4)


class Sine(torch.autograd.Function):
    """sin(x·w), by hand: nothing inside is seen by anyone."""

    @staticmethod
    def forward(ctx, x: Tensor, w: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, w)
        return (x * w).sin()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        x, w = ctx.saved_tensors
        slope = (x * w).cos() * gradient
        return slope * w, (slope * x).sum(0)


def learned_keys() -> nn.Module:
    """Attention with a learned key and value, repeated for every sample."""
    attend = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True, add_zero_attn=True)
    return Lambda(
        lambda s, x: s.head(s.attend(x, x, x)[0].mean(1)), attend=attend, head=nn.Linear(8, CLASSES)
    )


def filtered() -> nn.Module:
    """A learned complex filter of real parameters, in Fourier space."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x, dim=1) * torch.view_as_complex(s.filter)
        return s.head(torch.fft.irfft(spectrum, n=4, dim=1).mean(2))

    return Lambda(forward, filter=torch.randn(3, 6, 2), head=nn.Linear(4, CLASSES))


def prototypes() -> nn.Module:
    """Cosines with learned prototypes, under a learned scale that is a single number."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        along = F.normalize(s.body(x), dim=-1) @ F.normalize(s.prototypes, dim=-1).t()
        return along * s.scale.exp().clamp(max=100)

    return Lambda(forward, body=nn.Linear(4, 6), prototypes=torch.randn(CLASSES, 6), scale=torch.tensor(1.0))


def written_into() -> nn.Module:
    """A replayed call whose output is overwritten later, and a token put where a mask says."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        h = torch.einsum("btd,dhe->bthe", x, s.weight)
        h += 1
        h = h.flatten(2)
        h[x[..., 0] > 0] = s.token
        return s.head(h).mean(1)

    return Lambda(forward, weight=torch.randn(4, 2, 3), token=torch.randn(6), head=nn.Linear(6, CLASSES))


def deformed() -> nn.Module:
    """Places made by `meshgrid` (which hands itself over twice), moved by a convolution."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        line = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)
        places = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
        moved = places + torch.tanh(s.move(x)).permute(0, 2, 3, 1)
        return s.head(F.grid_sample(s.body(x), moved, align_corners=True).mean((2, 3)))

    return Lambda(
        forward,
        move=nn.Conv2d(2, 2, 3, padding=1),
        body=nn.Conv2d(2, 4, 3, padding=1),
        head=nn.Linear(4, CLASSES),
    )


def thinned() -> nn.Module:
    """Weights thinned out at random, as a value of parameters alone."""
    return Lambda(
        lambda s, x: F.linear(torch.tanh(s.body(x)), F.dropout(s.weight, 0.0, s.training)),
        body=nn.Linear(4, 6), weight=torch.randn(CLASSES, 6),
    )  # fmt: skip


def settled(model: nn.Module) -> nn.Module:
    """In eval mode, with statistics and scales of batch norm as after training."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean, layer.running_var = (
                torch.randn(layer.num_features),
                torch.rand(layer.num_features) + 0.5,
            )
            layer.weight, layer.bias = (
                nn.Parameter(layer.running_var * 1.5),
                nn.Parameter(torch.randn(layer.num_features)),
            )
    return model.eval()


class Biased(nn.Module):
    """Attention of LeViT: biases by distance, gathered by an index; batch norm over samples times positions."""

    def __init__(self, width: int, side: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.mix, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.norm, self.end = nn.BatchNorm1d(3 * width), nn.BatchNorm1d(width)
        self.biases = nn.Parameter(torch.randn(heads, side * side))
        row, column = torch.arange(side * side) // side, torch.arange(side * side) % side
        self.places = (row[:, None] - row).abs() * side + (column[:, None] - column).abs()

    def forward(self, x: Tensor) -> Tensor:
        n, t, width = x.shape
        mixed = self.norm(self.mix(x).flatten(0, 1)).view(n, t, self.heads, -1)
        q, k, v = mixed.transpose(1, 2).chunk(3, dim=3)
        scores = (q @ k.mT + self.biases[:, self.places]).softmax(3)
        seen = (scores @ v).transpose(1, 2).reshape(n, t, width)
        return x + self.end(self.out(F.hardswish(seen)).flatten(0, 1)).reshape_as(x)


def biased_attention() -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(2, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8))
    model = Lambda(
        lambda s, x: s.head(s.attention(s.stem(x).flatten(2).mT).mean(1)),
        stem=stem, attention=Biased(8, 3), head=nn.Linear(8, CLASSES),
    )  # fmt: skip
    return settled(model)


def unfolded_attention() -> nn.Module:
    """MobileViT: attention between pixels at the same place of each patch, so that rows are (sample, place)."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        y = s.enter(x)
        n, c, side, _ = y.shape
        rows = y.reshape(n * c * side // 2, 2, side // 2, 2).transpose(1, 2).reshape(n, c, -1, 4)
        rows = s.layer(rows.transpose(1, 3).reshape(n * 4, -1, c))
        y = rows.view(n, 4, -1, c).transpose(1, 3).reshape(n * c * side // 2, side // 2, 2, 2)
        y = s.leave(y.transpose(1, 2).reshape(n, c, side, side))
        return s.head(torch.cat([x, y], 1).mean((2, 3)))

    model = Lambda(
        forward,
        enter=nn.Sequential(nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.SiLU()),
        layer=nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True),
        leave=nn.Sequential(nn.Conv2d(8, 6, 1, bias=False), nn.BatchNorm2d(6)),
        head=nn.Linear(8, CLASSES),
    )
    return settled(model)


CASES: dict[str, Case] = {
    "mlp": Case(lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, CLASSES)), lambda n: torch.randn(n, 4)),
    "linear over positions": Case(lambda: Lambda(lambda s, x: s.head(torch.tanh(s.body(x))).mean(1), body=nn.Linear(4, 6), head=nn.Linear(6, CLASSES)), lambda n: torch.randn(n, 3, 4)),
    "conv1d": Case(lambda: pooled(nn.Conv1d(2, 4, 3, dilation=2), 4), images(2, 9)),
    "conv2d": Case(lambda: convolution(2, 4, 3, stride=2, padding=1), images(2, 7, 7)),
    "conv3d": Case(lambda: pooled(nn.Conv3d(2, 4, 2), 4), images(2, 4, 4, 4)),
    "grouped": Case(lambda: convolution(4, 6, 3, groups=2), images(4, 6, 6)),
    "depthwise": Case(lambda: convolution(4, 8, 3, groups=4, bias=False), images(4, 6, 6)),
    "same padding": Case(lambda: convolution(2, 4, 4, padding="same", dilation=2), images(2, 8, 8)),
    "circular padding": Case(lambda: convolution(2, 4, 3, padding=1, padding_mode="circular"), images(2, 6, 6)),
    "transposed": Case(lambda: pooled(nn.ConvTranspose2d(2, 4, 3, stride=2, output_padding=1, groups=2), 4), images(2, 4, 4)),
    "transposed 1d": Case(lambda: pooled(nn.ConvTranspose1d(2, 4, 3), 4), images(2, 5)),
    "batch norm": Case(lambda: normalised(nn.BatchNorm2d(4)), images(2, 6, 6), coupled=True),
    "batch norm, even background": Case(lambda: normalised(nn.BatchNorm2d(4)), lambda n: torch.randn(n, 2, 6, 6) * 0.01 + 30, coupled=True),
    "batch norm, eval": Case(lambda: normalised(nn.BatchNorm2d(4)).eval(), images(2, 6, 6)),
    "layer norm": Case(lambda: Lambda(lambda s, x: s.head(s.norm(x)).mean(1), norm=nn.LayerNorm(4), head=nn.Linear(4, CLASSES)), lambda n: torch.randn(n, 3, 4)),
    "group norm": Case(lambda: normalised(nn.GroupNorm(2, 4)), images(2, 6, 6)),
    "instance norm": Case(lambda: normalised(nn.InstanceNorm2d(4, affine=True)), images(2, 6, 6)),
    "RMS norm": Case(lambda: Lambda(lambda s, x: s.head(s.norm(x)).mean(1), norm=nn.RMSNorm(4), head=nn.Linear(4, CLASSES)), lambda n: torch.randn(n, 3, 4)),
    "embedding": Case(lambda: Lambda(lambda s, x: s.head(s.table(x).mean(1)), table=nn.Embedding(11, 6, padding_idx=2), head=nn.Linear(6, CLASSES)), tokens(4)),
    "embedding bag": Case(lambda: Lambda(lambda s, x: s.head(s.table(x)), table=nn.EmbeddingBag(11, 6, mode="mean"), head=nn.Linear(6, CLASSES)), tokens(4)),
    "attention": Case(attention_block, tokens(7)),
    "transformer": Case(translator, tokens(5)),
    "sequence first": Case(sequence_first, lambda n: torch.randn(7, n, 6), batch_dim=1),
    "lstm": Case(lambda: recurrent(nn.LSTM), lambda n: torch.randn(n, 5, 4)),
    "gru": Case(lambda: recurrent(nn.GRU), lambda n: torch.randn(n, 5, 4)),
    "rnn": Case(lambda: recurrent(nn.RNN), lambda n: torch.randn(n, 5, 4)),
    "u-net": Case(u_net, images(2, 8, 8)),
    "weight norm": Case(weight_norm, lambda n: torch.randn(n, 4)),
    "tied autoencoder": Case(tied_autoencoder, lambda n: torch.randn(n, 6)),
    "tied language model": Case(tied_language_model, tokens(4)),
    "class token": Case(class_token, lambda n: torch.randn(n, 5, 4)),
    "flattened tokens": Case(flattened_tokens, lambda n: torch.randn(n, 3, 4)),
    "residual in place": Case(residual_in_place, lambda n: torch.randn(n, 3, 4)),
    "checkpointed": Case(checkpointed, lambda n: torch.randn(n, 4)),
    "learned keys": Case(learned_keys, lambda n: torch.randn(n, 5, 8)),
    "function of a user's own": Case(lambda: Lambda(lambda s, x: s.head(Sine.apply(x, s.weight)), weight=torch.randn(4), head=nn.Linear(4, CLASSES)), lambda n: torch.randn(n, 4)),
    "largest of a bag": Case(lambda: Lambda(lambda s, x: s.head(s.table(x)), table=nn.EmbeddingBag(11, 6, mode="max"), head=nn.Linear(6, CLASSES)), tokens(4)),
    "complex filter": Case(filtered, lambda n: torch.randn(n, 4, 6)),
    "prototypes": Case(prototypes, lambda n: torch.randn(n, 4)),
    "written into": Case(written_into, lambda n: torch.randn(n, 5, 4)),
    "thinned weight": Case(thinned, lambda n: torch.randn(n, 4)),
    "deformed": Case(deformed, images(2, 5, 5)),
    "biased attention": Case(biased_attention, images(2, 6, 6)),
    "unfolded attention": Case(unfolded_attention, images(2, 4, 4)),
    "frozen": Case(frozen, lambda n: torch.randn(n, 4)),
}  # fmt: skip

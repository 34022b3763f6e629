"""Models drawn at random that move their samples' rows about, with an oracle that loops over the samples.

The oracle runs the model on one sample at a time (a batch of one), so that it shares no assumption with
the engine about
which row of a batch is whose.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

CLASSES = 4
Movement = Callable[[random.Random, int, int], nn.Module]


class Moves(nn.Module):
    """Tokens (b, t, c) → (b, t, c), each sample's result its own, by rows in another order or form."""

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.steps = steps


class Roll(Moves):
    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        shift = self.steps % 3 + 1
        return self.layer(z.roll(shift, 0)).tanh().roll(-shift, 0)


class Flip(Moves):
    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        return self.layer(z.flip(0)).tanh().flip(0)


class Sort(Moves):
    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        order = z.detach().sum((1, 2)).argsort(descending=bool(self.steps % 2))
        return self.layer(z[order]).tanh()[order.argsort()]


class SortByLength(Moves):
    def forward(self, z: Tensor, lengths: Tensor) -> Tensor:
        _, order = lengths.sort(descending=True, stable=True)
        return self.layer(z.index_select(0, order)).tanh().index_select(0, order.argsort())


class Shuffle(Moves):
    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        order = torch.randperm(len(z)) if self.steps % 2 else torch.rand(len(z)).argsort()
        return self.layer(z[order]).tanh()[order.argsort()]


class HostShuffle(Moves):
    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        order = np.random.permutation(len(z)).tolist()  # noqa: NPY002  (as users do)
        if self.steps % 2:
            random.shuffle(order)
        back = np.argsort(order).tolist()
        return self.layer(z[order]).tanh()[back]


class Pack(nn.Module):
    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.layer, self.steps = nn.GRU(width, width, batch_first=True), steps

    def forward(self, z: Tensor, lengths: Tensor) -> Tensor:
        if self.steps % 2:
            lengths, order = lengths.sort(descending=True)
            packed = pack_padded_sequence(z[order], lengths, batch_first=True)
            out, last = self.layer(packed)
            padded, _ = pad_packed_sequence(out, batch_first=True, total_length=z.shape[1])
            return (padded + last[-1].unsqueeze(1))[order.argsort()]
        packed = pack_padded_sequence(z, lengths, batch_first=True, enforce_sorted=False)
        out, _ = self.layer(packed)
        return pad_packed_sequence(out, batch_first=True, total_length=z.shape[1])[0]


class Mask(Moves):
    def forward(self, z: Tensor, lengths: Tensor) -> Tensor:
        valid = torch.arange(z.shape[1]) < lengths.unsqueeze(1)
        out = torch.zeros_like(z)
        out[valid] = self.layer(z[valid]).tanh()
        return out + z


class Gather(Moves):
    def forward(self, z: Tensor, lengths: Tensor) -> Tensor:
        last = z.gather(1, (lengths - 1).view(-1, 1, 1).expand(-1, 1, z.shape[2]))
        return z + self.layer(last).tanh()


class LastToken(Moves):
    def forward(self, z: Tensor, lengths: Tensor) -> Tensor:
        return z + self.layer(z[torch.arange(len(z)), lengths - 1]).tanh().unsqueeze(1)


class Chunk(Moves):
    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        return torch.cat([self.layer(part).tanh() for part in z.split(self.steps % 3 + 1)])


class Pool(Moves):
    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        pooled = z.mean(1) if self.steps % 2 else z.amax(1)
        return z + self.layer(pooled).tanh().unsqueeze(1)


class Twice(Moves):
    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        one, two = self.layer(torch.cat([z, 0.5 * z])).tanh().chunk(2)
        return one + two


class Repeat(Moves):
    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        wide = z.repeat_interleave(2, 0) if self.steps % 2 else z.repeat(2, 1, 1)
        out = self.layer(wide * torch.linspace(0.5, 1, wide.shape[1]).view(1, -1, 1)).tanh()
        return out.view(len(z), 2, *z.shape[1:]).sum(1) if self.steps % 2 else sum(out.chunk(2))


class Skip(Moves):
    def forward(self, z: Tensor, lengths: Tensor) -> Tensor:
        keep = (lengths % 2 == 1).nonzero().squeeze(1)
        out = z.clone()
        out[keep] = z[keep] + self.layer(z[keep]).tanh()
        return out


class Experts(nn.Module):
    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.steps, self.gate = steps, nn.Linear(width, 3)
        self.experts = nn.ModuleList(nn.Linear(width, width) for _ in range(3))

    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        rows = z.flatten(0, 1)
        weights = self.gate(rows).softmax(1)
        top, out = weights.argmax(1), torch.zeros_like(rows)
        for k, expert in enumerate(self.experts):
            where = top == k
            if self.steps % 2:
                out[where] = expert(rows[where]) * weights[where, k : k + 1]
            else:
                index = where.nonzero().squeeze(1)
                out = out.index_add(0, index, expert(rows[index]) * weights[index, k : k + 1])
        return z + out.view_as(z)


class SortedExperts(nn.Module):
    """Two experts a token: tokens are sorted by expert, and index_add brings their parts back."""

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 4)
        self.experts = nn.ModuleList(nn.Linear(width, width) for _ in range(4))

    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        rows = z.flatten(0, 1)
        weights, chosen = self.gate(rows).softmax(1).topk(2)
        order = chosen.flatten().argsort(stable=True)
        sizes = torch.bincount(chosen.flatten(), minlength=4).tolist()
        parts = rows[order // 2].split(sizes)
        out = torch.cat([expert(part) for expert, part in zip(self.experts, parts, strict=True)])
        out = out * weights.flatten()[order].unsqueeze(1)
        return z + torch.zeros_like(rows).index_add(0, order // 2, out).view_as(z)


class StackByNumber(Moves):
    """Rows picked one by one by Python numbers."""

    def forward(self, z: Tensor, lengths: Tensor) -> Tensor:
        order = sorted(range(len(z)), key=lengths.tolist().__getitem__)
        out = self.layer(torch.stack([z[k] for k in order])).tanh()
        return torch.stack([out[order.index(k)] for k in range(len(z))])


class CatInOrder(Moves):
    """Parts of the batch put together in an order drawn on the host."""

    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        order = random.sample(range(len(z)), len(z))
        parts = z.split(1) if self.steps % 2 else [part.unsqueeze(0) for part in z.unbind(0)]
        out = self.layer(torch.cat([parts[k] for k in order])).tanh().split(1)
        return torch.cat([out[order.index(k)] for k in range(len(z))])


class Matrix(Moves):
    """A product with a permutation matrix."""

    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        matrix = torch.eye(len(z), dtype=z.dtype)[torch.randperm(len(z))]
        if self.steps % 2:
            out = self.layer((matrix @ z.flatten(1)).view_as(z)).tanh()
            return (matrix.T @ out.flatten(1)).view_as(z)
        out = self.layer(torch.einsum("ij,jtc->itc", matrix, z)).tanh()
        return torch.einsum("ij,itc->jtc", matrix, out)


class Assign(Moves):
    """Rows written into a buffer at Python numbers."""

    def forward(self, z: Tensor, lengths: Tensor) -> Tensor:
        order = lengths.argsort(stable=True).tolist()
        wide = torch.zeros_like(z)
        for place, k in enumerate(order):
            wide[place] = z[k]
        out = self.layer(wide).tanh()
        back = torch.zeros_like(z)
        for place, k in enumerate(order):
            back[k] = out[place]
        return back


class Scatter(Moves):
    def forward(self, z: Tensor, lengths: Tensor) -> Tensor:
        order = (lengths + torch.rand(len(z)) * 0.5).argsort()
        index = order.view(-1, 1, 1).expand_as(z)
        out = self.layer(z.gather(0, index)).tanh()
        return torch.zeros_like(z).scatter(0, index, out)


class MaskedSelect(Moves):
    def forward(self, z: Tensor, lengths: Tensor) -> Tensor:
        valid = (torch.arange(z.shape[1]) < lengths.unsqueeze(1)).unsqueeze(2).expand_as(z)
        out = self.layer(z.masked_select(valid).view(-1, z.shape[2])).tanh()
        return z + torch.zeros_like(z).masked_scatter(valid, out)


class Sometimes(Moves):
    """Reversed for some batches only."""

    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        if z.detach().sum() > 0:
            return self.layer(z.flip(0)).tanh().flip(0)
        return self.layer(z).tanh()


class Masked(Moves):
    """Rows picked by a mask of ones and zeros, multiplied and added up."""

    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        mask = torch.eye(len(z), dtype=z.dtype)[torch.randperm(len(z))][:, :, None, None]
        out = self.layer(self.pick(z, mask)).tanh()
        return self.pick(out, mask.transpose(0, 1))

    def pick(self, z: Tensor, mask: Tensor) -> Tensor:
        if self.steps % 2:
            return (mask * z).sum(1)
        return torch.where(mask > 0, z, z.new_zeros(())).sum(1)


class Kernel(Moves):
    """Samples taken for the channels of a convolution whose kernel permutes them."""

    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        kernel = torch.eye(len(z), dtype=z.dtype)[torch.randperm(len(z))][:, :, None]
        out = self.layer(F.conv1d(z.flatten(1)[None], kernel)[0].view_as(z)).tanh()
        back = kernel.transpose(0, 1).contiguous()
        return F.conv1d(out.flatten(1)[None], back)[0].view_as(z)


class Coin(Moves):
    """One of two orders, chosen by a number that is multiplied with."""

    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        coin = (torch.rand(()) < 0.5).to(z)
        return self.choose(self.layer(self.choose(z, coin)).tanh(), coin)

    def choose(self, z: Tensor, coin: Tensor) -> Tensor:
        if self.steps % 3 == 0:
            return torch.where(coin > 0, z, z.flip(0))
        if self.steps % 3 == 1:
            return coin * z + (1 - coin) * z.flip(0)
        return torch.lerp(z, z.flip(0), coin)


class Swap(Moves):
    """The two halves of the batch, some of whose samples change places."""

    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        half = len(z) // 2
        keep = (torch.rand(half) < 0.5)[:, None, None]
        return self.swap(self.layer(self.swap(z, keep)).tanh(), keep)

    def swap(self, z: Tensor, keep: Tensor) -> Tensor:
        first, second, rest = z.split([len(keep), len(keep), len(z) - 2 * len(keep)])
        return torch.cat([torch.where(keep, first, second), torch.where(keep, second, first), rest])


class Reshape(Moves):
    """Samples laid out as a table whose sides are drawn, and read along the other side."""

    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        n = len(z)
        side = random.choice([k for k in range(1, n + 1) if n % k == 0])
        return self.turn(self.layer(self.turn(z, side)).tanh(), n // side)

    def turn(self, z: Tensor, side: int) -> Tensor:
        n, width = len(z), z[0].numel()
        if self.steps % 4 == 0:
            return z.reshape(side, n // side, width).transpose(0, 1).reshape(z.shape)
        if self.steps % 4 == 1:
            return z.unflatten(0, (side, -1)).movedim(1, 0).flatten(0, 1)
        if self.steps % 4 == 2:
            table = z.contiguous().as_strided((n // side, side, width), (width, width * (n // side), 1))
            return table.reshape(z.shape)
        return z.unfold(0, n // side, n // side).permute(3, 0, 1, 2).reshape(z.shape)


class Fourier(Moves):
    """Moved round by a drawn number of places, with a factor for each frequency."""

    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        n = len(z)
        turns = torch.arange(n, dtype=torch.float64) * random.randrange(n) / n
        factor = torch.exp(2j * torch.pi * turns).view(-1, 1, 1)
        return self.move(self.layer(self.move(z, factor)).tanh(), factor.conj())

    def move(self, z: Tensor, factor: Tensor) -> Tensor:
        return torch.fft.ifft(torch.fft.fft(z, dim=0) * factor, dim=0).real


class Solve(Moves):
    """A system of equations whose matrix is a permutation."""

    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        matrix = torch.eye(len(z), dtype=z.dtype)[torch.randperm(len(z))]
        out = self.layer(torch.linalg.solve(matrix, z.flatten(1)).view_as(z)).tanh()
        return torch.linalg.solve(matrix.T.contiguous(), out.flatten(1)).view_as(z)


class Unpool(Moves):
    """Samples taken for the places of an unpooling, which puts them where its indices say."""

    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        order = torch.randperm(len(z))
        return self.place(self.layer(self.place(z, order)).tanh(), order.argsort())

    def place(self, z: Tensor, order: Tensor) -> Tensor:
        columns = z.flatten(1).T[None].contiguous()
        return F.max_unpool1d(columns, order.expand(columns.shape).contiguous(), 1)[0].T.reshape(z.shape)


class Rotate(Moves):
    """Moved round by a drawn number of places, with slices."""

    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        shift = random.randrange(len(z))
        return self.rotate(self.layer(self.rotate(z, shift)).tanh(), len(z) - shift)

    def rotate(self, z: Tensor, shift: int) -> Tensor:
        if self.steps % 2:
            return torch.cat([z[shift:], z[:shift]])
        return z.repeat(2, 1, 1)[shift : shift + len(z)]


class ClassToken(nn.Module):
    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, steps + 1, width))
        self.layer = nn.Linear(width, width)

    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        wide = torch.cat([self.token.expand(len(z), -1, -1), z], 1) + self.places[:, : z.shape[1] + 1]
        mixed = wide + wide.mean(1, keepdim=True)
        out = self.layer(mixed).tanh()
        return out[:, 1:] + out[:, :1]


class TimeFirst(Moves):
    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        return self.layer(z.transpose(0, 1)).tanh().transpose(0, 1)


class Flat(Moves):
    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        if self.steps % 2:
            return self.layer(z.flatten(0, 1)).tanh().view_as(z)
        return self.layer(z.transpose(0, 1).flatten(0, 1)).tanh().view(z.shape[1], len(z), -1).transpose(0, 1)


class Plain(Moves):
    def forward(self, z: Tensor, _: Tensor) -> Tensor:
        return F.layer_norm(self.layer(z).tanh() + z, z.shape[-1:])


class Inside(nn.Module):
    """Several layers between a shuffle and its inverse: in place, moved by numbers, or by chance again."""

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        drawn = torch.randint(len(self.KINDS), (int(torch.randint(2, 5, ())),)).tolist()
        self.parts, self.steps, self.norm = [self.KINDS[k] for k in drawn], steps, nn.LayerNorm(width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(len(self.parts) + 1))
        self.gate_is_open = 0.0

    def forward(self, z: Tensor, lengths: Tensor) -> Tensor:
        order = z.detach().sum((1, 2)).argsort() if self.steps % 3 == 0 else torch.randperm(len(z))
        inside = self.layers[-1](z[order]).tanh()
        for part, layer in zip(self.parts, self.layers, strict=False):
            inside = getattr(self, part)(inside, layer)
        return inside[order.argsort()]

    def residual(self, z: Tensor, layer: nn.Module) -> Tensor:
        return z + layer(self.norm(z)).tanh()

    def roll(self, z: Tensor, layer: nn.Module) -> Tensor:
        return layer(z.roll(1, 0)).tanh().roll(-1, 0)

    def twice(self, z: Tensor, layer: nn.Module) -> Tensor:
        return sum(layer(torch.cat([z, 0.5 * z])).tanh().chunk(2))  # type: ignore[return-value]

    def chunks(self, z: Tensor, layer: nn.Module) -> Tensor:
        return torch.cat([layer(part).tanh() for part in z.split(2)])

    def flat(self, z: Tensor, layer: nn.Module) -> Tensor:
        return layer(z.flatten(0, 1)).tanh().view_as(z)

    def time_first(self, z: Tensor, layer: nn.Module) -> Tensor:
        return layer(z.transpose(0, 1)).tanh().transpose(0, 1)

    def pool(self, z: Tensor, layer: nn.Module) -> Tensor:
        return z + layer(z.mean(1)).tanh().unsqueeze(1)

    def attention(self, z: Tensor, layer: nn.Module) -> Tensor:
        q = layer(z)
        return z + (q @ q.mT).softmax(-1) @ q

    def coin(self, z: Tensor, layer: nn.Module) -> Tensor:
        coin = torch.rand(()) < 0.2
        out = layer(torch.where(coin, z.flip(0), z)).tanh()
        return torch.where(coin, out.flip(0), out)

    def gate(self, z: Tensor, layer: nn.Module) -> Tensor:
        """One path in another order, whose gradient is zero for the first batches."""
        order = torch.randperm(len(z))
        h = layer(z)
        return h.tanh() + self.gate_is_open * h[order].tanh()[order.argsort()]

    def again(self, z: Tensor, layer: nn.Module) -> Tensor:
        order = torch.rand(len(z)).argsort()
        return layer(z[order]).tanh()[order.argsort()]

    def tokens(self, z: Tensor, layer: nn.Module) -> Tensor:
        """Tokens of all samples in an order of their own."""
        order = z.detach().flatten(0, 1).sum(1).argsort()
        return layer(z.flatten(0, 1)[order]).tanh()[order.argsort()].view_as(z)

    KINDS = ("residual", "roll", "twice", "chunks", "flat", "time_first", "pool", "attention", "coin", "gate",
             "again", "tokens")  # fmt: skip


MOVEMENTS: dict[str, type[nn.Module]] = {
    "roll": Roll, "flip": Flip, "sort by value": Sort, "sort by length": SortByLength, "shuffle": Shuffle,
    "shuffle on the host": HostShuffle, "pack": Pack, "mask": Mask, "gather": Gather, "last token": LastToken,
    "chunk": Chunk, "pool": Pool, "cat twice": Twice, "repeat": Repeat, "skip samples": Skip,
    "experts": Experts, "sorted experts": SortedExperts, "stack by number": StackByNumber,
    "cat in another order": CatInOrder, "permutation matrix": Matrix, "assign rows": Assign,
    "scatter": Scatter, "masked select": MaskedSelect, "sometimes": Sometimes, "class token": ClassToken,
    "masked sum": Masked, "convolution over samples": Kernel, "one of two orders": Coin, "swap": Swap,
    "reshape": Reshape, "Fourier": Fourier, "solve": Solve, "unpool": Unpool, "rotate": Rotate,
    "inside a shuffle": Inside, "time first": TimeFirst, "flatten": Flat, "none": Plain,
}  # fmt: skip
CALLS = ("one forward", "one by one", "one by one, reordered", "chunks of a batch", "a call a sample")


class Network(nn.Module):
    """Movements in a row between an embedding of the features and a head."""

    def __init__(self, parts: list[nn.Module], features: int, width: int) -> None:
        super().__init__()
        self.enter, self.parts = nn.Linear(features, width), nn.ModuleList(parts)
        self.head = nn.Linear(width, CLASSES)

    def body(self, x: Tensor, lengths: Tensor) -> Tensor:
        z = self.enter(x)
        for part in self.parts:
            z = part(z, lengths)
        return z.mean(1)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.head(self.body(x, lengths))


class Body(nn.Module):
    """All but the head, as a module of its own."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = [network]
        self.enter, self.parts = network.enter, network.parts

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.network[0].body(x, lengths)


@dataclass
class Drawn:
    """A model, a batch, and how the loss calls the one on the other.

    Args:
        kinds: The movements and the way of calling, by name.
        model: What is measured.
        x: (b, t, features) float64.
        lengths: (b,) from 1 to t.
        y: (b,) classes.
        calls: One of `CALLS`.
    """

    kinds: list[str]
    model: nn.Module
    x: Tensor
    lengths: Tensor
    y: Tensor
    calls: str
    network: Network
    body: Body
    order: Tensor

    def loss(self) -> Tensor:
        """The batch's mean loss, called as `calls` says."""
        x, n, y = self.x, self.lengths, self.y
        if self.calls == "one forward":
            return F.cross_entropy(self.network(x, n), y)
        if self.calls == "one by one":
            return F.cross_entropy(self.network.head(self.body(x, n).tanh()), y)
        if self.calls == "one by one, reordered":
            z = self.body(x, n).tanh()
            return F.cross_entropy(self.network.head(z[self.order]), y[self.order])
        size = 1 if self.calls == "a call a sample" else 2
        parts = zip(x.split(size), n.split(size), y.split(size), strict=True)
        return sum(F.cross_entropy(self.network(a, b), c, reduction="sum") for a, b, c in parts) / len(x)

    def alone(self, k: int) -> Tensor:
        """The loss of one sample, of a batch of its own."""
        x, n, y = self.x[k : k + 1], self.lengths[k : k + 1], self.y[k : k + 1]
        if self.calls.startswith("one by one"):
            return F.cross_entropy(self.network.head(self.body(x, n).tanh()), y)
        return F.cross_entropy(self.network(x, n), y)

    def another(self, seed: int) -> Drawn:
        """Another batch of the same shape for the same model, which has other orders."""
        numbers = torch.Generator().manual_seed(seed)
        for part in self.network.parts:
            if isinstance(part, Inside):
                part.gate_is_open = float(seed % 3 == 0)
        x = torch.randn(self.x.shape, generator=numbers, dtype=torch.float64)
        places, order = (torch.randperm(len(x), generator=numbers) for _ in range(2))
        return replace(self, x=x, lengths=self.lengths[places], y=self.y[order], order=order)

    def gram(self) -> Tensor:
        """(b, b): inner products of the gradients of the samples' own losses, one by one."""
        parameters = list(self.network.parameters())
        rows = []
        for k in range(len(self.x)):
            grads = torch.autograd.grad(self.alone(k), parameters, allow_unused=True)
            rows.append(
                torch.cat(
                    [
                        (torch.zeros_like(p) if g is None else g).flatten()
                        for p, g in zip(parameters, grads, strict=True)
                    ]
                )
            )
        columns = torch.stack(rows)
        return columns @ columns.T


def draw(seed: int, names: Sequence[str] = tuple(MOVEMENTS)) -> Drawn:
    """Draw a model and a batch: sizes often coincide with widths, as everyday ones do."""
    numbers = random.Random(seed)
    torch.manual_seed(seed)
    batch, steps = numbers.randint(2, 9), numbers.randint(1, 7)
    width = numbers.choice([batch, steps + 1, 5, 6, 8])
    features = numbers.choice([batch, 3, 6])
    kinds = [names[seed % len(names)], *(numbers.choice(names) for _ in range(numbers.randint(0, 3)))]
    numbers.shuffle(kinds)
    network = Network([MOVEMENTS[kind](width, steps) for kind in kinds], features, width).double()
    calls = CALLS[0] if numbers.random() < 0.6 else numbers.choice(CALLS[1:])
    lengths = torch.tensor([numbers.randint(1, steps) for _ in range(batch)])
    lengths[numbers.randrange(batch)] = steps
    x = torch.randn(batch, steps, features, dtype=torch.float64)
    y = torch.randint(0, CLASSES, (batch,))
    order = torch.randperm(batch)
    return Drawn([*kinds, calls], network, x, lengths, y, calls, network, Body(network), order)

"""Workloads whose rows are not samples, drawn at random, each with an oracle that loops over the samples."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fisherscope as fs


@dataclass
class Grouped:
    """A workload whose samples have several rows.

    Args:
        model: What is measured, float64.
        samples: One batch of one sample each; the loss takes a list of some of them.
        loss: (model, samples) → the batch's mean loss.
        sample_of: What says whose each row is.
    """

    model: nn.Module
    samples: list[Any]
    loss: Callable[[nn.Module, list[Any]], Tensor]
    sample_of: Any

    def gram(self) -> Tensor:
        """(n, n): inner products of the gradients of the samples' own losses, one by one."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        rows = []
        for sample in self.samples:
            grads = torch.autograd.grad(self.loss(self.model, [sample]), parameters, allow_unused=True)
            filled = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)]
            rows.append(torch.cat([g.flatten() for g in filled]))
        columns = torch.stack(rows)
        return columns @ columns.T


def network(features: int, width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(features, width), nn.Tanh(), nn.Linear(width, out)).double()


def pairs(numbers: random.Random) -> Grouped:
    """DPO: chosen and rejected in one forward; the width is the rows' number half of the time."""
    n, features = numbers.randint(1, 5), numbers.choice([3, 6])
    width = 2 * n if numbers.random() < 0.5 else numbers.choice([n, 5])
    samples = [torch.randn(2, features, dtype=torch.float64) for _ in range(n)]

    def loss(model: nn.Module, some: list[Tensor]) -> Tensor:
        u, v = model(torch.cat([torch.stack([s[k] for s in some]) for k in (0, 1)])).chunk(2)
        return -F.logsigmoid((u - v).sum(1)).mean()

    return Grouped(network(features, width, 3), samples, loss, fs.samples.concatenation(2))


def groups(numbers: random.Random) -> Grouped:
    """GRPO: completions of a prompt side by side, advantages relative to their group."""
    n, size, features = numbers.randint(1, 4), numbers.randint(2, 3), numbers.choice([3, 6])
    width = n * size if numbers.random() < 0.5 else 5
    samples = [
        (torch.randn(size, features, dtype=torch.float64), torch.randn(size, dtype=torch.float64))
        for _ in range(n)
    ]

    def loss(model: nn.Module, some: list[Any]) -> Tensor:
        out = model(torch.cat([x for x, _ in some])).sum(1).view(len(some), size)
        reward = torch.stack([r for _, r in some])
        return -(out.log_softmax(1) * (reward - reward.mean(1, keepdim=True))).sum(1).mean()

    return Grouped(network(features, width, 3), samples, loss, fs.samples.groups(size))


class PackedAttention(nn.Module):
    """One head of attention within each sequence of a packed row, (1, rows) tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.mix, self.head = (
            nn.Embedding(11, width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, 7),
        )

    def forward(self, input_ids: Tensor, position_ids: Tensor, **_: Any) -> Tensor:
        q, k, v = self.mix(self.embed(input_ids)).chunk(3, -1)
        sequence = (position_ids == 0).cumsum(-1)
        allowed = (sequence.unsqueeze(-1) == sequence.unsqueeze(-2)).tril()
        scores = (q @ k.mT / 2).masked_fill(~allowed, float("-inf"))
        return self.head((scores.softmax(-1) @ v).tanh())


def packed(numbers: random.Random) -> Grouped:
    """Sequences flattened into one row, as by DataCollatorWithFlattening; their mean is by sequence."""
    lengths = [numbers.randint(2, 4) for _ in range(numbers.randint(1, 4))]
    width = numbers.choice([sum(lengths), len(lengths), 4])
    samples = [torch.randint(0, 7, (k,)) for k in lengths]

    def loss(model: nn.Module, some: list[Tensor]) -> Tensor:
        ids = torch.cat(some).unsqueeze(0)
        places = torch.cat([torch.arange(len(s)) for s in some]).unsqueeze(0)
        out = model(input_ids=ids, position_ids=places)[0].split([len(s) for s in some])
        return torch.stack([F.cross_entropy(o[:-1], s[1:]) for o, s in zip(out, some, strict=True)]).mean()

    return Grouped(PackedAttention(width).double(), samples, loss, fs.samples.packing())


def packed_rows(numbers: random.Random) -> Grouped:
    """Two padded rows of several sequences each, numbered by the attention mask."""
    lengths = [numbers.randint(1, 3) for _ in range(numbers.randint(2, 5))]
    model = PackedAttention(numbers.choice([2, 4])).double()
    samples = [torch.randint(0, 7, (k,)) for k in lengths]

    def loss(model: nn.Module, some: list[Tensor]) -> Tensor:
        halves = [some[: (len(some) + 1) // 2], some[(len(some) + 1) // 2 :]]
        length = max(sum(len(s) for s in half) for half in halves) + 1
        ids, places, mask = (torch.zeros(2, length, dtype=torch.long) for _ in range(3))
        for row, half in enumerate(halves):
            start = 0
            for number, s in enumerate(half, start=1):
                at = slice(start, start + len(s))
                ids[row, at], places[row, at], mask[row, at] = s, torch.arange(len(s)), number
                start += len(s)
        out = model(input_ids=ids, position_ids=places, attention_mask=mask)
        numbers_of = fs.samples.of_sequence_mask(mask)
        return torch.stack([out[numbers_of == k].square().mean() for k in range(len(some))]).mean()

    return Grouped(model, samples, loss, fs.samples.packing())


class GraphNetwork(nn.Module):
    """Message passing with an edge network, pooling, and a head."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.node, self.edge = nn.Linear(features, width), nn.Linear(2 * width + 2, width)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        h = self.node(x).tanh()
        source, target = edge_index
        message = self.edge(torch.cat([h[source], h[target], edge_attr], 1)).tanh()
        h = h.index_add(0, target, message)
        return self.head(h.new_zeros(int(batch.max()) + 1, h.shape[1]).index_add(0, batch, h))


def graphs(numbers: random.Random) -> Grouped:
    """Graphs of different sizes; as many edges as nodes, or as many nodes as the width, at times."""
    n, features = numbers.randint(1, 4), 3
    samples = []
    for _ in range(n):
        nodes = numbers.randint(2, 4)
        edges = nodes if numbers.random() < 0.5 else numbers.randint(1, 5)
        samples.append(
            (
                torch.randn(nodes, features, dtype=torch.float64),
                torch.randint(0, nodes, (2, edges)),
                torch.randn(edges, 2, dtype=torch.float64),
                numbers.randrange(4),
            )
        )
    width = numbers.choice([sum(len(s[0]) for s in samples), n, 5])

    def loss(model: nn.Module, some: list[Any]) -> Tensor:
        start = torch.tensor([0, *(len(s[0]) for s in some)]).cumsum(0)
        out = model(
            torch.cat([s[0] for s in some]),
            torch.cat([s[1] + start[k] for k, s in enumerate(some)], 1),
            torch.cat([s[2] for s in some]),
            torch.arange(len(some)).repeat_interleave(torch.tensor([len(s[0]) for s in some])),
        )
        return F.cross_entropy(out, torch.tensor([s[3] for s in some]))

    return Grouped(
        GraphNetwork(features, width).double(), samples, loss, fs.samples.graphs(batch=3, edge_index=1)
    )


def episodes(numbers: random.Random) -> Grouped:
    """REINFORCE: the steps of all episodes in one forward."""
    lengths = [numbers.randint(1, 4) for _ in range(numbers.randint(1, 4))]
    width = numbers.choice([sum(lengths), len(lengths), 5])
    samples = [_episode(k) for k in lengths]
    ends = torch.cat([torch.arange(k) == k - 1 for k in lengths])

    def loss(model: nn.Module, some: list[Any]) -> Tensor:
        states, actions, returns = (torch.cat(parts) for parts in zip(*some, strict=True))
        log_probs = model(states).log_softmax(1).gather(1, actions.unsqueeze(1)).squeeze(1)
        return -(log_probs * returns).sum() / len(some)

    return Grouped(network(4, width, 3), samples, loss, fs.samples.of_ends(ends))


def episodes_step_by_step(numbers: random.Random) -> Grouped:
    """REINFORCE as in pytorch/examples: a forward for each step, one backward for all."""
    lengths = [numbers.randint(1, 3) for _ in range(numbers.randint(1, 3))]
    samples = [_episode(k) for k in lengths]

    def loss(model: nn.Module, some: list[Any]) -> Tensor:
        terms = [
            -model(state.unsqueeze(0).clone()).log_softmax(1)[0, action] * gain
            for episode in some
            for state, action, gain in zip(*episode, strict=True)
        ]
        return torch.stack(terms).sum() / len(some)

    return Grouped(network(4, 5, 3), samples, loss, fs.samples.of_lengths(lengths))


def _episode(steps: int) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.randn(steps, 4, dtype=torch.float64),
        torch.randint(0, 3, (steps,)),
        torch.randn(steps, dtype=torch.float64),
    )


KINDS: dict[str, Callable[[random.Random], Grouped]] = {
    "pairs": pairs, "groups": groups, "packed": packed, "packed rows": packed_rows, "graphs": graphs,
    "episodes": episodes, "episodes step by step": episodes_step_by_step,
}  # fmt: skip


def draw(kind: str, seed: int) -> Grouped:
    """Draw a workload of a kind."""
    torch.manual_seed(seed)
    return KINDS[kind](random.Random(f"{kind} {seed}"))

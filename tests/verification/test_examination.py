"""`doctor` and `examine`: proof where the Gram is exact, a verdict where it is not, lines to write."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

import fisherscope as fs
from fisherscope.cli.doctor import doctor
from fisherscope.gram.rules import normalization
from fisherscope.model_state.reproducible import same_draws
from fisherscope.verification.reference import path_columns

FACTORIES = """
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
def cross_entropy(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])
def mlp():
    torch.manual_seed(1)  # no sample without a gradient: rows that are not seen are not proven
    body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 3))
    return body, cross_entropy, (torch.randn(9, 4), torch.randint(0, 3, (9,)))
class Mixing(nn.Module):
    def __init__(self):
        super().__init__()
        self.own, self.shared = nn.Linear(4, 3), nn.Linear(4, 3)
    def forward(self, x):
        return self.own(x) + self.shared(x.mean(0))
def mixing():
    return Mixing(), cross_entropy, (torch.randn(12, 4), torch.randint(0, 3, (12,)))
class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(20, 4, padding_idx=0), nn.Parameter(torch.randn(9, 4))
        self.norm, self.mix, self.head = nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 3)
    def forward(self, tokens, padding):
        h = self.norm(self.words(tokens) + self.places[: tokens.shape[1]]).tanh()
        h = self.mix(h.flatten(0, 1)).view_as(h)  # rows are samples times places
        keep = ~padding[..., None]
        return self.head((h * keep).sum(1) / keep.sum(1))
def padded():
    rows = [(torch.randint(1, 20, (3 + (5 * k) % 7,)), k % 3) for k in range(11)]
    def collate(some):
        tokens = pad_sequence([t for t, _ in some], batch_first=True)
        return tokens, tokens == 0, torch.tensor([label for _, label in some])
    loss = lambda model, batch: F.cross_entropy(model(*batch[:2]), batch[2])
    return {"model": Words(), "loss": loss, "data": DataLoader(rows, collate_fn=collate)}
def ambiguous():
    return nn.Linear(4, 4), lambda model, batch: model(batch).square().mean(), torch.randn(5, 5, 4)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_model_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    return name


def cross_entropy(model: nn.Module, batch: Any) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 3))


def batch(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(n, 4), torch.randint(0, 3, (n,))


def test_doctor_proves_a_model_and_says_so_by_its_exit_code(mine: str) -> None:
    command = [sys.executable, "-m", "fisherscope", "doctor", f"{mine}.py:mlp", "--seconds", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the Gram of 9 samples is exact" in done.stdout
    assert "BatchNorm in training mode couples the samples" in done.stdout
    assert "dropout is on, which is fine" in done.stdout
    assert done.stdout.count("✓") == 4  # two ways, at its own size and at another dimension's


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seconds", "nan"], "seconds=nan for the cost of a step"),
        (["--seconds", "-1"], "expected 0 or more"),
        (["--batch-size", "0"], "0 samples; expected 1 or more"),
    ],
)
def test_doctor_refuses_what_is_no_number_of_anything(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fisherscope.cli import main

    monkeypatch.setattr(sys, "argv", ["fisherscope", "doctor", "digits/mlp", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_sequences_padded_to_the_longest_are_proven_both_ways(mine: str) -> None:
    found = fs.examine(fs.tasks.subject(f"{mine}:padded"), seconds=0)
    assert [proof.note for proof in found.proofs] == [""] * len(found.proofs)
    assert len(found.proofs) == 4
    assert found.exact


def test_doctor_names_what_cannot_be_split_and_fails(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        doctor(f"{mine}:mixing", seconds=0, as_json=True)
    assert left.value.code == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["exact"]
    assert {row["parameter"] for row in found["coverage"] if row["rule"] == "left out"} >= {"shared.weight"}
    assert any("semantics='per_loss'" in text for text in found["warnings"])


def test_doctor_says_which_line_to_write(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"'record': \{'batch': 0\}"):
        doctor(f"{mine}:ambiguous", seconds=0)
    with pytest.raises(ValueError, match=r"def factory\(\):"):
        doctor()
    doctor(template=True)
    assert capsys.readouterr().out == fs.tasks.TEMPLATE  # the one that advise prints


def test_examining_leaves_the_model_as_it_is() -> None:
    torch.manual_seed(0)
    model, own = normalised(), batch(6)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = fs.examine(model, cross_entropy, own, seconds=0)
    assert found.exact
    assert "bit for bit" in found.neutrality
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_wrong_rule_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loops share no rule with the recorder: one that is off by a factor shows in training mode."""
    right = normalization._per_channel

    def wrong(*arguments: Any) -> Any:
        columns = right(*arguments)
        columns["bias"].gradients[0] *= 2
        columns["bias"].gradients[1] -= columns["bias"].gradients[0] / 2
        return columns

    monkeypatch.setattr(normalization, "_per_channel", wrong)
    torch.manual_seed(0)
    found = fs.examine(normalised(), cross_entropy, batch(6), seconds=0)
    assert not found.exact
    assert "NOT PROVEN EXACT" in str(found)


def test_a_loss_that_weighs_samples_is_proven_up_to_their_weights() -> None:
    weights = torch.tensor([1.0, 5.0, 0.2])

    def weighted(model: nn.Module, batch: Any) -> torch.Tensor:
        return F.cross_entropy(model(batch[0]), batch[1], weight=weights.to(batch[0].dtype))

    torch.manual_seed(0)
    found = fs.examine(nn.Linear(4, 3), weighted, batch(8), seconds=0)
    assert found.exact
    assert "the loss weighs samples" in found.proofs[0].note


def test_masked_shares_are_the_columns_of_explicit_copies() -> None:
    """A linear layer under BatchNorm: share i by hand, from the gradient of the layer's output."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double()
    x, y = batch(5)
    x = x.double()
    out = model[0](x)
    gradient = torch.autograd.grad(F.cross_entropy(model[1](out), y), out)[0]
    wanted = torch.einsum("no,ni->noi", gradient, x).flatten(1)
    larger, alone = (torch.cat([x, x[:1]]), torch.cat([y, y[:1]])), (x[:1], y[:1])
    found = path_columns(model, cross_entropy, (x, y), larger, alone, 5)
    torch.testing.assert_close(found[:, :12], wanted)


def test_batch_norm_before_tokens_is_proven_alone_too() -> None:
    """torch's kernel misreads the gradient of a single image whose strides are those of its tokens."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(2, 3, 3, 2, 1), nn.BatchNorm2d(3))
            self.mix, self.head = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = self.stem(x).flatten(2).transpose(1, 2)
            return self.head((tokens + self.mix(tokens)).mean(1))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    images = torch.randn(6, 2, 6, 6), torch.randint(0, 3, (6,))
    found = fs.examine(Tokens(), cross_entropy, images, seconds=0)
    assert all(proof.exact for proof in found.proofs), found.proofs
    frozen = nn.Sequential(nn.BatchNorm1d(4, affine=False), nn.Linear(4, 3))  # its output needs no gradient
    found = fs.examine(frozen, cross_entropy, batch(6), seconds=0)
    assert all(proof.exact and not proof.note for proof in found.proofs), found.proofs


class Hosted(nn.Module):
    """A mask drawn by NumPy, as Wav2Vec2 draws its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.token = nn.Linear(4, 6), nn.Linear(6, 3), nn.Parameter(torch.randn(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.body(x))
        if self.training:
            mask = torch.from_numpy(np.random.rand(len(x)) < 0.4)  # noqa: NPY002  (as such models do)
            hidden = torch.where(mask.unsqueeze(1), self.token, hidden)
        return self.head(hidden)


def penalised(model: nn.Module, batch: Any) -> torch.Tensor:
    return cross_entropy(model, batch) + 0.1 * sum(p.square().sum() for p in model.parameters())


@pytest.mark.parametrize(
    ("make", "loss"),
    [
        (Hosted, cross_entropy),
        (lambda: nn.Sequential(spectral_norm(nn.Linear(4, 6)), nn.Linear(6, 3)), cross_entropy),
        (lambda: nn.Linear(4, 3), penalised),
    ],
    ids=["numbers drawn on the host", "a power iteration in buffers", "a penalty on the parameters"],
)
def test_what_a_forward_moves_on_is_no_false_alarm(make: Any, loss: Any) -> None:
    torch.manual_seed(0)
    found = fs.examine(make(), loss, batch(6), seconds=0)
    assert all(proof.exact for proof in found.proofs), found.proofs
    assert found.neutrality.startswith("bit for bit")


@pytest.mark.parametrize(
    "draw",
    [lambda: float(torch.rand(())), np.random.rand, random.random],
    ids=["torch", "NumPy", "Python"],
)
def test_random_numbers_in_eval_mode_leave_the_proof_to_training_mode(draw: Callable[[], float]) -> None:
    class Sampled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * (1 + draw())

    torch.manual_seed(0)
    found = fs.examine(Sampled(4, 3), cross_entropy, batch(6), seconds=0)
    assert found.exact
    assert "draws random numbers in eval mode" in found.proofs[0].note


@pytest.mark.parametrize("draw", [np.random.rand, random.random], ids=["NumPy", "Python"])
def test_the_same_draws_twice_whatever_was_drawn_between(draw: Callable[[], float]) -> None:
    """And the user's own numbers go on as if none had been drawn inside."""
    inside, outside = [], []
    for draws in (1, 3):
        np.random.seed(5)  # noqa: NPY002  (the global one is meant)
        random.seed(5)
        draw()
        with same_draws():
            numbers = [draw() for _ in range(draws)]
        inside.append(numbers[0])
        outside.append(draw())
    assert inside[0] == inside[1] != outside[0]
    assert outside[0] == outside[1]

"""A user's own task, and mistakes in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import fisherscope as fs
from fisherscope import tasks
from fisherscope.tasks import TaskError, factory


def test_a_user_s_task_trains_like_ours(own: str, tmp_path: Path) -> None:
    from fisherscope.training import train

    task = fs.tasks.get(f"{own}:made")
    assert "no test data" in task.notes[0]
    assert (len(task.train), len(task.validation)) == (36, 4)
    result = train({"task": f"{own}:made", "batch_size": 6, "lr": 0.1, "epochs": 2}, tmp_path / "runs")
    assert result.status == "finished"


def test_one_factory_is_advised_on_and_trained(own: str, tmp_path: Path) -> None:
    from fisherscope.training import train

    name = f"{own}:compared"
    assert tasks.subject(name).dataset_size == 40
    task = fs.tasks.get(name)
    assert (len(task.train), len(task.validation)) == (36, 4)
    assert task.batch("train", [0, 1])["collated"]  # as its loader does
    torch.manual_seed(0)
    first, second = task.model(), task.model()  # made anew, though the factory hands over one
    assert not torch.equal(next(first.parameters()), next(second.parameters()))
    result = train({"task": name, "batch_size": 6, "lr": 0.1, "epochs": 1}, tmp_path / "runs")
    assert result.status == "finished"


def test_a_loss_of_torch_is_called_with_the_model_s_output(own: str) -> None:
    task = fs.tasks.get(f"{own}:torch_s")
    loss = task.loss(task.model(), task.batch("train", [0, 1, 2]))
    assert loss.shape == ()
    weighted = factory.batch_loss(torch.nn.CrossEntropyLoss(label_smoothing=0.1))
    assert weighted(torch.nn.Identity(), (torch.zeros(3, 2), torch.zeros(3).long())) > 0


def test_a_model_made_already_and_not_to_be_made_again_is_refused() -> None:
    with pytest.raises(TaskError, match="makes a new model"):
        factory.as_task("mine", {"model": torch.nn.Linear(5, 2), "train": (torch.zeros(4, 5),)})


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("nonsense", "returned int"),
        ("no_data", "no 'train'"),
        ("misspelt", "did you mean 'test'"),
        ("advised", r"(?s)has its own loss and no 'scores'.*def scores\(model, batch\)"),
        ("mad", "did you mean made"),
    ],
)
def test_a_factory_s_nonsense_is_told(own: str, function: str, words: str) -> None:
    with pytest.raises(TaskError, match=words):
        tasks.get(f"{own}:{function}")


NONSENSE = """
import torch
from torch import nn
from torch.nn import functional as F

x, y = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
only = nn.Linear(5, 2)
backbone = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
each = lambda m, b: {"loss": F.cross_entropy(m(b[0]), b[1], reduction="none"), "error": b[1].float()}
mean = lambda m, b: F.cross_entropy(m(b[0]), b[1])

def frozen():
    return nn.Linear(5, 2).requires_grad_(False)

def normed():
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(zip(x, y))

some = torch.utils.data.SubsetRandomSampler(range(30))

class Holed(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        if index == 39:
            raise KeyError("no such sample")
        return x[index], y[index]

CASES = {
    "ends": SystemExit(3),
    "needs": {"model": lambda width: nn.Linear(width, 2)},
    "none": {"model": lambda: None},
    "frozen": {"model": frozen},
    "shared": {"model": lambda: only},
    "part": {"model": lambda: nn.Sequential(backbone, nn.Linear(4, 2))},
    "sampled": {"train": torch.utils.data.DataLoader(Holed(), 4, sampler=some)},
    "sum": {"reduction": "sum"},
    "stream": {"train": torch.utils.data.DataLoader(Stream(), 4)},
    "narrow": {"model": lambda: nn.Linear(6, 2)},
    "lengths": {"train": (x, y[:-1])},
    "arrays": {"train": (x.numpy(), y.numpy())},
    "mixed": {"train": {"x": x, "y": 3}},
    "vector": {"loss": lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="none")},
    "one": {"loss": lambda m, b: mean(m, b)[None]},
    "number": {"loss": lambda m, b: mean(m, b).item()},
    "detached": {"loss": lambda m, b: mean(m, b).detach()},
    "raises": {"loss": lambda m, b: 1 / 0},
    "text": {"loss": "cross_entropy"},
    "nothing": {"scores": lambda m, b: None},
    "lossless": {"scores": lambda m, b: {"error": b[1].float()}},
    "means": {"scores": lambda m, b: {"loss": mean(m, b), "error": b[1].float()}},
    "metric": {"metric": "accuracy"},
    "direction": {"direction": "up"},
    "five": {5: 6},
    "holed": {"train": Holed(), "validation": (x, y)},
    "alone": {"model": normed, "train": (x[:37], y[:37]), "validation": (x, y)},
}

def made(case):
    def factory():
        if isinstance(CASES[case], BaseException):
            raise CASES[case]
        good = {"model": lambda: nn.Linear(5, 2), "train": (x, y), "loss": mean, "scores": each}
        return {**good, **CASES[case]}
    return factory

for case in CASES:
    globals()[case] = made(case)
ready = 3
"""


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("ends", "raised SystemExit: 3 (nonsense.py:"),
        ("needs", "missing 1 required positional argument: 'width'"),
        ("none", "'model' returned NoneType; expected a torch.nn.Module"),
        ("frozen", "none of its parameters is to be trained"),
        ("shared", "returned the same model twice"),
        ("part", "returned the same model twice, or a part of it"),
        ("sampled", "draws by its own SubsetRandomSampler"),
        ("sum", "returned reduction='sum'; training takes the loss as a batch's mean"),
        ("stream", "received a loader of a stream"),
        ("narrow", "raised RuntimeError: mat1 and mat2 shapes"),
        ("lengths", "its tensors have 40, 39 samples"),
        ("arrays", "torch.from_numpy"),
        ("mixed", "received a dict of 'x': Tensor, 'y': int"),
        ("vector", "has shape (8,); expected one number"),
        ("one", "has shape (1,); expected one number"),
        ("number", "is float; expected a tensor"),
        ("detached", "does not depend on the model's parameters"),
        ("raises", "raised ZeroDivisionError: division by zero (nonsense.py:"),
        ("text", "'loss' is str; expected a function"),
        ("nothing", "are NoneType; expected {'loss'"),
        ("lossless", "have no 'loss' among error"),
        ("means", "'loss' is of shape (); expected a tensor of shape (2,)"),
        ("metric", "have no 'accuracy' among loss, error"),
        ("direction", "expected 'min' or 'max'"),
        ("five", "returned the key '5'"),
        ("holed", "raised KeyError: 'no such sample' (nonsense.py:"),
        ("alone", "choose another batch size"),
        ("ready", "ready is int; expected a function"),
    ],
)
def test_a_factory_s_mistake_is_told_with_its_line(
    case: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but one before anything is written; the sample that is not there shows when it is drawn."""
    from fisherscope.training import train

    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "nonsense", raising=False)
    (tmp_path / "nonsense.py").write_text(NONSENSE)
    config = {"task": "nonsense.py:" + case, "batch_size": 4 if case == "alone" else 8, "epochs": 1}
    with pytest.raises(TaskError) as told:
        train(config, tmp_path / "runs")
    assert words in str(told.value).replace(f"{tmp_path}/", "")
    assert (tmp_path / "runs").exists() == (case == "holed")


def test_a_factory_of_advise_is_a_task_too() -> None:
    x, y = torch.zeros(20, 5), torch.arange(20) % 2
    made = {"name": "mine", "record": {"batch": 0}, "model": lambda: torch.nn.Linear(5, 2), "data": (x, y)}
    assert len(factory.as_task("mine", made).train) == 18

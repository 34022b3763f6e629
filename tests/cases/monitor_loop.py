"""A small training loop that a monitor observes, and runs in memory."""

import copy

import torch
from torch import nn
from torch.nn import functional as F

import fisherscope as fs

PRODUCTS = 1e-5  # relative error of float32 products against float64 ones, as the engine promises


class Loop:
    """A small training loop in float32; `take` is one step on a batch."""

    def __init__(self, model=None, lr=0.1, seed=0, samples=96, groups=False, **options):
        torch.manual_seed(seed)
        self.model = model or nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4))
        parameters = self.model.parameters()
        if groups:
            parameters = [
                {"params": [p for n, p in self.model.named_parameters() if "weight" in n], "lr": lr},
                {"params": [p for n, p in self.model.named_parameters() if "bias" in n], "lr": lr / 4},
            ]
        self.optimizer = torch.optim.SGD(parameters, lr=lr, momentum=0.9)
        self.x, self.y = torch.randn(samples, 6), torch.randint(0, 4, (samples,))
        self.monitor = fs.Monitor(self.model, self.optimizer, **options)

    def take(self, chosen, **observe):
        self.optimizer.zero_grad()
        with self.monitor.observe(**observe) as step:
            F.cross_entropy(self.model(self.x[chosen]), self.y[chosen]).backward()
        self.optimizer.step()
        return step

    def run(self, steps, size=16):
        for step in range(steps):
            start = step * size % len(self.x)
            self.take(slice(start, start + size))
        return self.monitor


def sample_gradients(model, x, y):
    """∇ℓ_i one sample at a time, in float64."""
    twin = copy.deepcopy(model).double()
    gradients = []
    for i in range(len(x)):
        loss = F.cross_entropy(twin(x[i : i + 1].double()), y[i : i + 1])
        parts = torch.autograd.grad(loss, list(twin.parameters()))
        gradients.append(torch.cat([part.flatten() for part in parts]).numpy())
    return gradients


def in_parts(loop, sizes):
    loop.optimizer.zero_grad()
    with loop.monitor.observe():
        for size in sizes:
            loss = F.cross_entropy(loop.model(loop.x[:size]), loop.y[:size], reduction="sum")
            (loss / sum(sizes)).backward()


class MemoryRun:
    """The contract of a run directory's writer, in memory."""

    def __init__(self):
        self.rows, self.spectra = [], []

    def log_step(self, row, eigenvalues):
        self.rows.append(row)
        self.spectra.append(eigenvalues)

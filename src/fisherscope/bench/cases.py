"""Define what `fisherscope bench` times: networks, and a training step in each mode."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

Step = Callable[[], object]
EVERY = 50
"""Steps between the measurements of monitored training."""


@dataclass(frozen=True)
class Case:
    """Describe a network and batch to time; see `Bench`.

    Args:
        network: Name of the network.
        shape: Shape of one sample.
        batch_size: Samples per batch.
        turns: Rounds in which each mode is timed.
        other_tools: Rounds in which torch.func and Opacus are timed too.
    """

    network: str
    shape: tuple[int, ...]
    batch_size: int
    turns: int
    other_tools: int = 0


CASES = {
    "mlp-128": Case("mlp", (1, 32, 32), 128, 100, 10),
    "resnet8-128": Case("resnet8", (1, 32, 32), 128, 15, 5),
    "resnet110-128": Case("resnet110", (3, 32, 32), 128, 4),  # per-sample gradients held whole: 0.9 GB
    "resnet110-32": Case("resnet110", (3, 32, 32), 32, 8, 2),
    "gpt2-8": Case("gpt2", (128,), 8, 3),
    "monitored-mlp-128": Case("mlp", (1, 32, 32), 128, 15),
    "monitored-resnet8-128": Case("resnet8", (1, 32, 32), 128, 3),
}
MODES = ("plain", "neutral", "fused")


class Bench:
    """Run the training step of a network in several modes.

    Args:
        case: Network and batch.
        device: "cpu" or "cuda".

    Example:
        ```python
        from fisherscope.bench import Bench, Case

        bench = Bench(Case("mlp", (1, 8, 8), batch_size=8, turns=1), "cpu")
        bench.plain()
        bench.measure_step(fused=False)
        steps, refusals = bench.steps()
        steps["plain"]()
        assert set(bench.training()) == {"plain", "monitored"}
        assert bench.loss(bench.model).shape == ()
        bench.with_func()
        ```
    """

    def __init__(self, case: Case, device: str) -> None:
        import torch

        torch.manual_seed(0)
        self.case, self.device = case, device
        self.model = _network(case).to(device).train()
        self.optimizer = _optimizer(self.model)
        self.x, self.y = (part.to(device) for part in _batch(case))

    def steps(self) -> tuple[dict[str, Step], dict[str, str]]:
        """Return the training step of each mode.

        Returns:
            Steps by mode, and why another tool rejects the network, by tool.
        """
        steps: dict[str, Step] = {
            "plain": self.plain,
            "neutral": lambda: self.measure_step(fused=False),
            "fused": lambda: self.measure_step(fused=True),
        }
        rejections: dict[str, str] = {}
        if self.case.other_tools:
            steps["func"] = self.with_func
            try:
                steps["opacus"] = self.with_opacus()
            except Exception as error:  # noqa: BLE001  (another tool may raise anything on a model it rejects)
                rejections["opacus"] = f"{type(error).__name__}: {str(error)[:200]}"
        return steps, rejections

    def training(self) -> dict[str, Step]:
        """Return functions that take `EVERY` training steps.

        Returns:
            By mode: "plain", and "monitored", of which a monitor measures one step.
        """
        import fisherscope as fs

        monitor = fs.Monitor(self.model, self.optimizer, every=EVERY)

        def plain() -> None:
            for _ in range(EVERY):
                self.plain()

        def run_monitored() -> None:
            for _ in range(EVERY):
                self.optimizer.zero_grad()
                with monitor.observe():
                    self.loss(self.model).backward()
                self.optimizer.step()
            wait(self.device)

        return {"plain": plain, "monitored": run_monitored}

    def loss(self, model: "nn.Module") -> "Tensor":
        """Compute the batch's mean cross-entropy.

        Args:
            model: The network.

        Returns:
            The loss, of shape (), float32.
        """
        from torch.nn import functional as F

        out = model(self.x)
        if self.case.network == "gpt2":  # the next token
            return F.cross_entropy(out.logits[:, :-1].flatten(0, 1), self.y[:, 1:].flatten())
        return F.cross_entropy(out, self.y)

    def plain(self) -> None:
        """Take a training step."""
        self.optimizer.zero_grad()
        self.loss(self.model).backward()
        self.optimizer.step()
        wait(self.device)

    def measure_step(self, fused: bool) -> None:
        """Take a training step with its Gram and eigenvalues.

        Args:
            fused: Whether the weight gradients are taken as sums of per-sample ones.
        """
        import fisherscope as fs

        self.optimizer.zero_grad()
        with fs.record_gram(self.model, fused=fused) as record:
            self.loss(self.model).backward()
        fs.spectrum(record.gram, record.entry_error)
        self.optimizer.step()
        wait(self.device)

    def with_func(self) -> None:
        """Take a plain step, then a pass of torch.func in eval mode, for its BatchNorm."""
        import torch
        from torch.func import functional_call, grad, vmap
        from torch.nn import functional as F

        self.plain()
        self.model.eval()
        parameters = {name: p.detach() for name, p in self.model.named_parameters()}
        buffers = dict(self.model.named_buffers())

        def loss(own: Any, image: Any, label: Any) -> Any:
            return F.cross_entropy(functional_call(self.model, (own, buffers), (image[None],)), label[None])

        columns = vmap(grad(loss), (None, 0, 0))(parameters, self.x, self.y)
        torch.linalg.eigvalsh(sum(c.flatten(1).double() @ c.flatten(1).double().T for c in columns.values()))
        self.model.train()
        wait(self.device)

    def with_opacus(self) -> Step:
        """Make a step with Opacus, which rejects BatchNorm in training mode; see `steps`.

        Returns:
            The step.
        """
        import torch
        from opacus import GradSampleModule

        own = GradSampleModule(copy.deepcopy(self.model), loss_reduction="mean")
        optimizer = _optimizer(own)

        def step() -> None:
            optimizer.zero_grad()
            self.loss(own).backward()
            columns = [p.grad_sample.flatten(1).double() for p in own.parameters()]
            torch.linalg.eigvalsh(sum(c @ c.T for c in columns))
            optimizer.step()
            for p in own.parameters():
                p.grad_sample = None
            wait(self.device)

        return step


def wait(device: str) -> None:
    """Wait until the accelerator is idle."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _network(case: Case) -> "nn.Module":
    from fisherscope.tasks import models

    if case.network != "gpt2":
        return models.build(case.network, case.shape[0], 10, case.shape[1])
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_embd=512, n_layer=8, n_head=8, n_positions=case.shape[0], use_cache=False)
    return GPT2LMHeadModel(config)  # 51 million parameters, the head tied to the embedding


def _optimizer(model: "nn.Module") -> Any:
    import torch

    return torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)


def _batch(case: Case) -> "tuple[Tensor, Tensor]":
    import torch

    if case.network == "gpt2":
        tokens = torch.randint(0, 50257, (case.batch_size, *case.shape))
        return tokens, tokens
    return torch.randn(case.batch_size, *case.shape), torch.randint(0, 10, (case.batch_size,))

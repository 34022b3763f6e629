"""Lightning: bit-identical training, the Gram of a plain loop, resuming, changing sizes."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.cases.training_frameworks import (
    Spectra,
    assert_spectra_agree,
    lightning,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import fisherscope as fs
from fisherscope import integrations


class Points(Dataset[tuple[Tensor, int]]):
    def __init__(self, count: int) -> None:
        self.x = torch.randn(count, 8, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.x[index], index % 3


def classifier(**also: Any) -> Any:
    """Its step calls parts of the module, as Lightning's first example does, and keeps a metric's state."""
    metrics = importlib.import_module("torchmetrics.classification")

    class Classifier(lightning().LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.encoder = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1))
            self.head = nn.Linear(16, 3)
            self.accuracy = metrics.MulticlassAccuracy(3)
            self.losses: list[float] = []

        def training_step(self, batch: Any, index: int) -> Tensor:
            x, y = batch
            scores = self.head(self.encoder(x))
            loss = F.cross_entropy(scores, y)
            self.accuracy(scores, y)
            self.losses.append(loss.item())
            if also.get("fails_at") == index:
                raise ZeroDivisionError
            return loss

        def on_train_epoch_end(self) -> None:
            self.losses.append(self.accuracy.compute().item())

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", F.cross_entropy(self.head(self.encoder(batch[0])), batch[1]))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    return Classifier()


def fit(
    module: Any, callbacks: Any, loader: Any = None, validation: Any = None, path: Any = None, **trainer: Any
) -> Any:
    settings = {"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
                "enable_progress_bar": False, "enable_model_summary": False, **trainer}  # fmt: skip
    if loader is None:
        loader = DataLoader(Points(40), batch_size=8)
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning|torchmetrics")
        built = lightning().Trainer(callbacks=callbacks, **settings)
        built.fit(module, loader, validation, ckpt_path=path, weights_only=False if path else None)
    return built


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_lightning_losses_are_bit_identical_with_and_without(precision: str, accumulated: int) -> None:
    plain, seen = classifier(), classifier()
    options: dict[str, Any] = {"precision": precision, "accumulate_grad_batches": accumulated}
    if precision == "16-mixed":
        options = {"accumulate_grad_batches": accumulated, "plugins": half_with_a_scaler()}
    fit(plain, [], **options)
    if precision == "16-mixed":
        options["plugins"] = half_with_a_scaler()
    callback = integrations.LightningCallback(every=2, strict=True)
    fit(seen, [callback], **options)
    assert seen.losses == plain.losses
    assert all(torch.equal(a, b) for a, b in zip(seen.parameters(), plain.parameters(), strict=True))
    assert callback.monitor.history["batch_size"].to_list()[0] == 8 * accumulated
    assert callback.monitor.history["samples"].max() <= 80


def half_with_a_scaler() -> Any:
    plugins = importlib.import_module("lightning.pytorch.plugins.precision")
    return plugins.MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))


def plain_spectra(model: Any, batches: list[Any], accumulated: int) -> list[Any]:
    """The spectrum of each step of a loop without a framework, and the loop's losses."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    spectra = []
    for begin in range(0, len(batches), accumulated):
        part = batches[begin : begin + accumulated]
        optimizer.zero_grad()
        with fs.record_gram(model, accumulate=accumulated > 1) as record:
            for x, y in part:
                (F.cross_entropy(model.head(model.encoder(x)), y) / accumulated).backward()
        optimizer.step()
        spectra.append(np.linalg.eigvalsh(record.gram.numpy()))
    return spectra


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("accumulated", [1, 2, 5])
def test_lightning_s_gram_is_that_of_a_plain_loop(accumulated: int, scaled: bool) -> None:
    model, twin, run = classifier(), classifier(), Spectra()
    for module in (model, twin):
        module.encoder[2].p = 0.0
    plugins = None
    if scaled:  # float32 arithmetic, but a loss scale as in half precision
        plugins = half_with_a_scaler()
        plugins.autocast_context_manager = lambda: torch.autocast("cpu", enabled=False)
    fit(model, [integrations.LightningCallback(every=1, run=run, strict=True)], max_epochs=1,
        accumulate_grad_batches=accumulated, plugins=plugins)  # fmt: skip
    expected = plain_spectra(twin.train(), list(DataLoader(Points(40), batch_size=8)), accumulated)
    assert len(run.spectra) == len(expected) == -(-5 // accumulated)
    for seen, wanted in zip(run.spectra, expected, strict=True):
        assert_spectra_agree(seen, wanted)
    losses = [sum(model.losses[:5][k : k + accumulated]) / accumulated for k in range(0, 5, accumulated)]
    assert [row["train/loss"] for row in run.rows] == pytest.approx(losses, rel=1e-5)


def test_lightning_epochs_have_what_was_logged_and_loggers_the_rows(tmp_path: Path) -> None:
    run = Spectra()
    logger = importlib.import_module("lightning.pytorch.loggers").CSVLogger(
        tmp_path, flush_logs_every_n_steps=1
    )
    fit(classifier(), [integrations.LightningCallback(every=2, run=run)],
        validation=DataLoader(Points(16), batch_size=16), logger=logger)  # fmt: skip
    assert len(run.epochs) == 2
    assert all(row["val_loss"] > 0 and row["fisher/energy_sum"] > 0 for row in run.epochs)
    assert "fisher/cond_mean" in Path(logger.log_dir, "metrics.csv").read_text()


def test_lightning_leaves_nothing_on_a_model_whose_step_failed() -> None:
    module, callback = classifier(fails_at=0), integrations.LightningCallback(every=1)
    with pytest.raises(ZeroDivisionError):
        fit(module, [callback])
    assert callback.monitor.totals()["step"] == 0
    with fs.record_gram(module) as record:  # an open recorder would refuse
        module.head(module.encoder(torch.randn(4, 8))).sum().backward()
    assert record.batch_size == 4


def test_lightning_resumes_with_what_was_counted(tmp_path: Path) -> None:
    def both(epochs: int, path: Any = None) -> Any:
        callback = integrations.LightningCallback(every=2, seed=5)
        trainer = fit(classifier(), [callback], max_epochs=epochs, path=path)
        return callback, trainer

    whole, _ = both(2)
    _, trainer = both(1)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = both(2, tmp_path / "half.ckpt")
    assert resumed.monitor.history["step"].to_list() == whole.monitor.history["step"].to_list()
    assert resumed.monitor.totals()["samples"] == whole.monitor.totals()["samples"] == 80


def test_lightning_needs_one_optimizer() -> None:
    module = classifier()
    module.automatic_optimization = False
    module.configure_optimizers = lambda: [torch.optim.SGD(module.parameters(), 0.1) for _ in range(2)]
    with pytest.raises(ValueError, match="2 optimizers"):
        fit(module, [integrations.LightningCallback()])


def dynamic(name: str, lag: int = 0, workers: int = 0) -> Any:
    data = Points(96)
    sampler = fs.DynamicBatchSampler(data, fs.policy.parse(name, lr=0.05, epochs=5), seed=0, lag=lag)
    return integrations.DynamicLoader(DataLoader(data, batch_sampler=sampler, num_workers=workers))


@pytest.mark.parametrize("name", ["s4-to-16", "s16-to-4"])
def test_sizes_change_inside_lightning_as_the_policy_says(name: str) -> None:
    callback = integrations.LightningCallback(every=1, strict=True)
    validation = DataLoader(Points(8), batch_size=8)
    run = Spectra()
    callback.options["run"] = run
    fit(classifier(), [callback], dynamic(name), validation, max_epochs=5)
    policy = fs.policy.parse(name, lr=0.05, epochs=5)
    plan = fs.DynamicBatchSampler(96, policy, seed=0)
    wanted = []
    while plan.epoch < 5:
        wanted.append((plan.current.size, plan.current.decision.lr))
        plan.step()
    assert [(row["batch_size"], row["lr"]) for row in run.rows] == wanted
    assert len({size for size, _ in wanted}) == 3
    assert all("val_loss" in row for row in run.epochs)
    assert len(run.epochs) == 5


def test_a_policy_that_reads_measurements_runs_inside_lightning() -> None:
    callback = integrations.LightningCallback(every=1)
    fit(classifier(), [callback], dynamic("s4-norm-test:theta=0.5+bounds:max=32", lag=1), max_epochs=4)
    sizes = callback.monitor.history["batch_size"]
    assert sizes[0] == 4
    assert sizes.max() > 4


def test_lightning_is_not_given_a_sampler_that_it_would_count_or_join() -> None:
    with pytest.raises(ValueError, match="DynamicLoader"):
        fit(classifier(), [integrations.LightningCallback()], dynamic("s4-to-16").loader)
    with pytest.raises(ValueError, match="accumulate_grad_batches"):
        fit(classifier(), [integrations.LightningCallback()], dynamic("s4-to-16"), accumulate_grad_batches=2)
    with pytest.raises(TypeError, match="expected DataLoader"):
        integrations.DynamicLoader(DataLoader(Points(8)))

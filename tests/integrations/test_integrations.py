"""Contracts of the integrations, each with the real framework, offline."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.oracles.gram import gram_of
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import fisherscope as fs
from fisherscope import integrations

FRAMEWORKS = {"lightning": "lightning", "transformers": "transformers", "tensorboard": "tensorboard",
              "mlflow": "mlflow", "wandb": "wandb"}  # fmt: skip
EPS32 = float(np.finfo(np.float32).eps)


class Spectra:
    """A run that keeps what the monitor hands it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.spectra: list[Any] = []
        self.epochs: list[dict[str, Any]] = []

    def log_step(self, row: dict[str, Any], eigenvalues: Any) -> None:
        self.rows.append(row)
        self.spectra.append(eigenvalues)

    def log_epoch(self, row: dict[str, Any]) -> None:
        self.epochs.append(row)


def assert_spectra_agree(seen: Any, expected: Any, roundings: float = 2048) -> None:
    """Eigenvalues in float32 arithmetic: an absolute error of some roundings of the largest."""
    seen, expected = np.sort(np.asarray(seen)), np.sort(np.asarray(expected))
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).max() <= roundings * EPS32 * expected.max()


# The registry ------------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_missing_framework_is_named_with_the_extra_that_installs_it(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = next(name for name, module in integrations.HOMES.items() if module == framework)
    for loaded in [m for m in sys.modules if m.partition(".")[0] == framework]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, framework, None)
    monkeypatch.delitem(sys.modules, f"fisherscope.integrations.{framework}", raising=False)
    with pytest.raises(
        integrations.MissingFrameworkError, match=rf"pip install 'fisherscope\[{framework}\]'"
    ):
        getattr(integrations, name)("somewhere" if framework == "tensorboard" else None)
    sys.modules.pop(f"fisherscope.integrations.{framework}", None)


def test_every_framework_has_its_extra() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(integrations.HOMES.values()) - {"csv"} <= set(project["optional-dependencies"])


def test_an_unknown_integration_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(AttributeError, match="LightningCallback"):
        _ = integrations.KerasCallback


# Trackers ----------------------------------------------------------------------------------------

Tracked = tuple[Any, Callable[[str], list[tuple[int, float]]]]
"""A tracker, and what its framework's own reader gives for a key: (step, value)."""


def tensorboard(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tracked:
    def read(key: str) -> list[tuple[int, float]]:
        events = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
        held = events.EventAccumulator(str(folder))
        held.Reload()
        return [(event.step, event.value) for event in held.Scalars(key)]

    return integrations.TensorBoardTracker(folder), read


def mlflow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tracked:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    flow = importlib.import_module("mlflow")
    flow.set_tracking_uri(folder.as_uri())
    client = flow.MlflowClient()
    run = client.create_run(client.create_experiment("measures")).info.run_id

    def read(key: str) -> list[tuple[int, float]]:
        return [(metric.step, metric.value) for metric in client.get_metric_history(run, key)]

    return integrations.MLflowTracker(run), read


def wandb(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tracked:
    for key in ("WANDB_SILENT", "WANDB_DISABLE_GIT", "WANDB_DISABLE_CODE"):
        monkeypatch.setenv(key, "true")
    folder.mkdir()
    bees = importlib.import_module("wandb")
    quiet = bees.Settings(x_disable_stats=True, x_disable_meta=True, console="off")
    run = bees.init(mode="offline", dir=str(folder), project="measures", settings=quiet)

    def read(key: str) -> list[tuple[int, float]]:
        run.finish()
        bees.teardown()  # the file is written by another process, which may still be at it
        return list(_wandb_file(next(folder.glob("wandb/offline-*/*.wandb")), key))

    return integrations.WandbTracker(run), read


def _wandb_file(path: Path, key: str) -> Any:
    """The history in an offline run's file: protocol buffers in a LevelDB log of a 7-byte header."""
    records = importlib.import_module("wandb.proto.wandb_internal_pb2")
    data, place, held = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:  # a block's rest is padding
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        held += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind not in (1, 4):  # neither whole nor the last part
            continue
        record = records.Record.FromString(held)
        held = b""
        named = {item.key or ".".join(item.nested_key): item for item in record.history.item}
        if key in named:
            yield int(named["step"].value_json), float(named[key].value_json)


def csv(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tracked:
    import polars

    path = folder / "measured.csv"

    def read(key: str) -> list[tuple[int, float]]:
        return list(polars.read_csv(path).select("step", key).iter_rows())

    return integrations.CsvTracker(path), read


TRACKERS = {
    "TensorBoardTracker": tensorboard,
    "MLflowTracker": mlflow,
    "WandbTracker": wandb,
    "CsvTracker": csv,
}


def test_every_integration_is_under_contract() -> None:
    assert {*TRACKERS, "LightningCallback", "DynamicLoader", "TransformersCallback"} == set(
        integrations.HOMES
    )


def measured(tracker: Any, steps: int = 4) -> fs.Monitor:
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    monitor = fs.Monitor(model, optimizer, every=2, stride=True, strict=True, on_measure=[tracker])
    for _ in range(steps):
        optimizer.zero_grad()
        with monitor.observe():
            F.cross_entropy(model(torch.randn(6, 5)), torch.arange(6) % 3).backward()
        optimizer.step()
    return monitor


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_has_every_number_under_its_own_key(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, read = TRACKERS[name](tmp_path / "there", monkeypatch)
    history = measured(tracker).history
    tracker.close()
    for key in ("fisher/cond_mean", "fisher/energy_sum", "lr"):
        seen = read(key)
        assert [step for step, _ in seen] == history["step"].to_list() == [0, 2]
        assert [value for _, value in seen] == pytest.approx(
            history[key].to_list(), rel=1e-6
        )  # float32 events
        if name == "WandbTracker":
            break  # its file is read once


def test_wandb_without_a_run_says_what_to_call() -> None:
    with pytest.raises(RuntimeError, match=r"wandb\.init"):
        integrations.WandbTracker()


def test_csv_goes_on_in_the_same_file_and_refuses_another_s(tmp_path: Path) -> None:
    path = tmp_path / "measured.csv"
    for _ in range(2):
        measured(integrations.CsvTracker(path))
    assert len(path.read_text().splitlines()) == 1 + 4
    with pytest.raises(ValueError, match="differ in lr_group1"):
        integrations.CsvTracker(path)({**measured(list).history.row(0, named=True), "lr_group1": 0.1})


# Lightning ---------------------------------------------------------------------------------------


def lightning() -> Any:
    return importlib.import_module("lightning.pytorch")


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


# Lightning with sizes that change ----------------------------------------------------------------


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


# Hugging Face ------------------------------------------------------------------------------------

TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


class Sentences(Dataset[dict[str, Any]]):
    """Sentences of differing lengths: padded in batches."""

    def __init__(self, count: int, language: bool) -> None:
        self.draws, self.language = torch.Generator().manual_seed(2), language
        self.ids = [torch.randint(3, 40, (3 + k % 5,), generator=self.draws) for k in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"ids": self.ids[index], "label": index % 2}

    def padded(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        pad = nn.utils.rnn.pad_sequence
        inputs = pad([row["ids"] for row in rows], batch_first=True)
        mask = pad([torch.ones_like(row["ids"]) for row in rows], batch_first=True)
        labels = (
            pad([row["ids"] for row in rows], batch_first=True, padding_value=-100)
            if self.language
            else torch.tensor([row["label"] for row in rows])
        )
        return {"input_ids": inputs, "attention_mask": mask, "labels": labels}


def bert(dropout: float) -> Any:
    hugging = importlib.import_module("transformers")
    torch.manual_seed(0)
    return hugging.BertForSequenceClassification(
        hugging.BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                           intermediate_size=32, hidden_dropout_prob=dropout,
                           attention_probs_dropout_prob=dropout)
    )  # fmt: skip


def gpt(dropout: float) -> Any:
    hugging = importlib.import_module("transformers")
    torch.manual_seed(0)
    return hugging.GPT2LMHeadModel(
        hugging.GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=16, resid_pdrop=dropout,
                           embd_pdrop=dropout, attn_pdrop=dropout, **TOKENS)
    )  # fmt: skip


MODELS = {"BERT, a label a sentence": bert, "GPT-2, a label a token": gpt}


class Stages:
    """What came into each optimizer step: the parameters it began with and its micro-batches."""

    def __init__(self, model: Any) -> None:
        self.steps: list[tuple[dict[str, Tensor], list[dict[str, Any]]]] = []
        self.model, self.fresh = model, True
        self.handle = model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self.fresh:
            self.steps.append(({n: t.detach().clone() for n, t in module.state_dict().items()}, []))
        self.fresh = False
        self.steps[-1][1].append(dict(kwargs))


def trainer(tmp_path: Path, model: Any, callbacks: list[Any], **args: Any) -> Any:
    hugging = importlib.import_module("transformers")
    data = Sentences(24, language=hasattr(model, "lm_head"))
    settings = hugging.TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=True, logging_steps=1,
        per_device_train_batch_size=4, remove_unused_columns=False, learning_rate=0.05,
        **{"max_steps": 3, "save_strategy": "no", **args},
    )  # fmt: skip
    return hugging.Trainer(model, settings, train_dataset=data, eval_dataset=data, data_collator=data.padded,
                           callbacks=callbacks)  # fmt: skip


def losses(done: Any) -> list[float]:
    return [entry["loss"] for entry in done.state.log_history if "loss" in entry]


@pytest.mark.parametrize("options", [
    {}, {"bf16": True}, {"gradient_accumulation_steps": 2, "label_smoothing_factor": 0.1},
], ids=["plain", "bf16", "accumulated, smoothed"])  # fmt: skip
@pytest.mark.parametrize("kind", MODELS)
def test_hugging_face_losses_are_bit_identical_with_and_without(
    kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    plain, seen = MODELS[kind](0.1), MODELS[kind](0.1)
    without = trainer(tmp_path, plain, [], **options)
    without.train()
    callback = integrations.TransformersCallback(every=1, strict=True)
    done = trainer(tmp_path, seen, [callback], **options)
    done.train()
    assert losses(done) == losses(without)
    assert len(losses(done)) == 3
    assert all(torch.equal(a, b) for a, b in zip(seen.parameters(), plain.parameters(), strict=True))
    size = 4 * options.get("gradient_accumulation_steps", 1)
    assert callback.monitor.history["batch_size"].to_list() == [size] * 3


def shares(model: Any, batches: list[dict[str, Any]], language: bool, smoothing: float, parts: int) -> Any:
    """Each sample's part of the step's loss, as a plain loop over samples would write it."""
    counted = sum(int((batch["labels"] != -100).sum()) for batch in batches) if language else 0
    for batch in batches:
        size = len(batch["labels"])
        whole = int((batch["labels"][:, 1:] != -100).sum()) if language else 0
        for i in range(size):
            one = {key: value[i : i + 1] for key, value in batch.items()}
            labels = one.pop("labels")
            scores = model(**one).logits
            if not language:
                part = F.cross_entropy(scores, labels, label_smoothing=smoothing) / size / parts
            else:
                scores, labels = scores[:, :-1].reshape(-1, scores.shape[-1]), labels[:, 1:].reshape(-1)
                part = F.cross_entropy(
                    scores, labels, reduction="sum", label_smoothing=smoothing, ignore_index=-100
                )
                part = part / counted if counted else part / whole / parts
            yield part


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", MODELS)
def test_hugging_face_s_gram_is_that_of_a_plain_loop(
    kind: str, smoothing: float, parts: int, tmp_path: Path
) -> None:
    model, run, batches = MODELS[kind](0.0), Spectra(), []
    callback = integrations.TransformersCallback(every=1, run=run, strict=True)
    done = trainer(tmp_path, model, [callback], label_smoothing_factor=smoothing,
                   gradient_accumulation_steps=parts, max_steps=1)  # fmt: skip
    start = {name: value.clone() for name, value in model.state_dict().items()}
    compute = done.compute_loss

    def noted(of: Any, inputs: Any, **also: Any) -> Any:
        batches.append({key: value.clone() for key, value in inputs.items()})
        return compute(of, inputs, **also)

    done.compute_loss = noted
    done.train()
    assert len(batches) == parts
    model.load_state_dict(start)
    parameters = list(model.double().parameters())
    size = sum(len(batch["labels"]) for batch in batches)
    columns = []
    # Trainer gives BERT, whose forward takes any keyword, the number of labels, which its loss ignores, and
    # then does not divide that loss by micro-batches: the step's gradient is so much longer.
    divisor = parts if smoothing else 1
    for share in shares(model, batches, "GPT" in kind, smoothing, divisor):
        gradients = torch.autograd.grad(share, parameters, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, parameters, strict=True)]
        columns.append(size * torch.cat([g.flatten() for g in flat]))
    assert_spectra_agree(run.spectra[0], np.linalg.eigvalsh(gram_of(torch.stack(columns)).numpy()))
    assert run.rows[0]["train/loss"] == pytest.approx(losses(done)[0], rel=1e-4)


def test_hugging_face_epochs_have_their_evaluation(tmp_path: Path) -> None:
    run = Spectra()
    callback = integrations.TransformersCallback(every=2, run=run)
    trainer(tmp_path, bert(0.0), [callback], max_steps=-1, num_train_epochs=2, eval_strategy="epoch").train()
    assert [row["samples"] for row in run.epochs] == [24, 48]
    assert all(row["val_loss"] > 0 and row["train_loss"] > 0 for row in run.epochs)


def test_hugging_face_resumes_with_what_was_counted(tmp_path: Path) -> None:
    saved = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "num_train_epochs": 1}
    whole = integrations.TransformersCallback(every=2, seed=5)
    trainer(tmp_path, bert(0.0), [whole], **saved).train()
    resumed = integrations.TransformersCallback(every=2, seed=5)
    trainer(tmp_path, bert(0.0), [resumed], **saved).train(
        resume_from_checkpoint=str(tmp_path / "checkpoint-3")
    )
    assert resumed.monitor.history["step"].to_list() == whole.monitor.history["step"].to_list()
    assert resumed.monitor.totals()["samples"] == 24
    (tmp_path / "checkpoint-3" / "fisherscope.json").unlink()
    with pytest.warns(UserWarning, match="start over"):
        trainer(tmp_path, bert(0.0), [integrations.TransformersCallback()], **saved).train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-3")
        )


def test_hugging_face_goes_on_after_an_error_within_a_measured_step(tmp_path: Path) -> None:
    callback = integrations.TransformersCallback(every=1, strict=True)
    built = trainer(tmp_path, bert(0.0), [callback])
    compute, built.compute_loss = built.compute_loss, lambda *_, **__: 1 / 0
    with pytest.raises(ZeroDivisionError):
        built.train()
    built.compute_loss = compute
    built.train()
    assert len(callback.monitor.history) == 3

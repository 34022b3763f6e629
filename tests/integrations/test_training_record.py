"""Runs of framework callbacks end as their trainings do, and the verbs read them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cases.framework_script import ENDINGS, TRAININGS
from tests.cases.resumed_trainings import (
    Sentences,
    draw,
    lightning_data,
    lightning_module,
    resume_everywhere,
    rows,
)
from torch import nn
from torch.utils.data import DataLoader

import fisherscope as fs
from fisherscope.cli import main
from fisherscope.integrations import LightningCallback, TransformersCallback

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore::UserWarning:torch")


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def fit(module: Any, loader: Any, *callbacks: Any, **options: Any) -> Any:
    import lightning.pytorch as pl

    checkpoint, validation = options.pop("checkpoint", None), options.pop("validation", None)
    settings = {"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
                "enable_progress_bar": False, "enable_model_summary": False, **options}  # fmt: skip
    trainer = pl.Trainer(callbacks=list(callbacks), **settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        trainer.fit(
            module, loader, validation, ckpt_path=checkpoint, weights_only=False if checkpoint else None
        )
    return trainer


def fixed(size: int = 8) -> DataLoader[Any]:
    return DataLoader(lightning_data(), batch_size=size)


def hugging(folder: Path, *callbacks: Any, model: Any = None, **options: Any) -> Any:
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    settings = transformers.TrainingArguments(
        str(folder / "out"), use_cpu=True, report_to=[], disable_tqdm=True,
        **{"save_strategy": "no", "per_device_train_batch_size": 4, "num_train_epochs": 2, **options},
    )  # fmt: skip
    return transformers.Trainer(
        model or transformers.BertForSequenceClassification(config), settings, train_dataset=Sentences(),
        eval_dataset=Sentences(), callbacks=list(callbacks),
    )  # fmt: skip


# How a training ends -----------------------------------------------------------------------------

REASONS = {
    "finish": ("finished", "", ""),
    "fail": ("failed", "ZeroDivisionError: of the user's own", "ZeroDivisionError: of the user's own"),
    "exit": ("interrupted", "by SystemExit", "the process ended before the training did"),
    "Ctrl-C": ("interrupted", "by Ctrl-C", "by Ctrl-C"),
    "SIGTERM": ("interrupted", "by SIGTERM", "the process exited without closing the run"),
}
"""Status by ending, and the reason with Lightning and with Trainer, which tells its callbacks nothing."""


def test_a_run_ends_as_its_training_in_a_process_of_its_own(tmp_path: Path) -> None:
    assert set(REASONS) == set(ENDINGS)
    command = [sys.executable, "-m", "tests.cases.framework_script", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600)
    for number, framework in enumerate(TRAININGS):
        runs = fs.load_runs(tmp_path / framework)
        heads = {how: runs.head(how) for how in REASONS}
        assert {how: (head["status"], head["reason"]) for how, head in heads.items()} == {
            how: (status, reasons[number]) for how, (status, *reasons) in REASONS.items()
        }
        assert all(rows(tmp_path / framework / how / "steps.jsonl") for how in REASONS)


@pytest.mark.parametrize("framework", ["lightning", "transformers"])
def test_a_block_around_a_training_ends_the_run(framework: str, tmp_path: Path) -> None:
    def train(run: Any, fails: bool) -> None:
        if framework == "lightning":
            module = lightning_module(draw(0))
            if fails:
                module.on_train_epoch_end = lambda: 1 / 0
            fit(module, fixed(), LightningCallback(2, run=run))
        else:
            trainer = hugging(tmp_path, TransformersCallback(2, run=run))
            if fails:
                trainer.compute_loss = lambda *_, **__: 1 / 0
            trainer.train()

    with fs.open_run(tmp_path / "whole", {"seed": 0}) as run:
        train(run, fails=False)
        assert run.status == "running"
        run.log_outcomes(correct=[True])
    assert fs.runs.status(tmp_path / "whole") == "finished"
    with pytest.raises(ZeroDivisionError), fs.open_run(tmp_path / "broken", {"seed": 0}) as run:
        train(run, fails=True)
    assert fs.runs.status(tmp_path / "broken") == "failed"


def test_a_failure_that_the_loop_around_catches_is_recorded_in_a_block(tmp_path: Path) -> None:
    module = lightning_module(draw(0))
    module.on_train_epoch_end = lambda: 1 / 0
    with fs.open_run(tmp_path / "caught", {"seed": 0}) as run:
        with pytest.raises(ZeroDivisionError):
            fit(module, fixed(), LightningCallback(2, run=run))
        run.log_text("went on")
    assert fs.load_runs(tmp_path).head("caught")["reason"] == "ZeroDivisionError: division by zero"


def test_a_training_that_diverged_is_recorded_as_such(tmp_path: Path) -> None:
    module = lightning_module(draw(0))
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), float("inf"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(module, fixed(), LightningCallback(2, run=fs.open_run(tmp_path / "run", {"seed": 0})))
    head = fs.load_runs(tmp_path).head("run")
    assert head["status"] == "diverged"
    assert "layers.0.weight" in head["reason"]


# What a run says of its training -----------------------------------------------------------------


def test_lightning_s_training_stands_in_the_configuration(tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import EarlyStopping

    run = fs.open_run(tmp_path / "run", {"seed": 3, "task": "mine"})
    fit(lightning_module(draw(0)), fixed(12), LightningCallback(3, run=run),
        EarlyStopping("val_loss", patience=9), validation=fixed(), accumulate_grad_batches=2)  # fmt: skip
    found = fs.runs.run_config(tmp_path / "run")
    optimizer = type(lightning_module(draw(0)).configure_optimizers()).__name__
    assert found.pop("framework").startswith("lightning 2")
    assert found == {
        "seed": 3, "task": "mine", "model": "Classifier", "optimizer": optimizer, "batch_size": 24,
        "lr": 0.05, "epochs": 2, "metric": "loss", "direction": "min",
    }  # fmt: skip
    epochs = rows(tmp_path / "run" / "epochs.jsonl")
    assert [(row["epoch"], row["step"], row["batch_size"], row["lr"]) for row in epochs] == [
        (1, 2, 24, 0.05), (2, 4, 24, 0.05),
    ]  # fmt: skip
    fs.open_run(tmp_path / "run", {"seed": 3, "task": "mine"}).close()  # what was described is no argument


def test_epochs_and_sizes_are_the_framework_s(tmp_path: Path) -> None:
    callback = TransformersCallback(2, run=fs.open_run(tmp_path / "run", {"x": 1}))
    hugging(tmp_path, callback, num_train_epochs=5, eval_strategy="epoch").train()
    epochs = rows(tmp_path / "run" / "epochs.jsonl")
    assert [(row["epoch"], row["step"], row["samples"]) for row in epochs] == [
        (k, 6 * k, 21 * k) for k in range(1, 6)
    ]
    assert {row["batch_size"] for row in epochs} == {4}  # the last batch of each has one sample
    assert all(row["val/loss"] > 0 and row["lr"] > 0 for row in epochs)
    assert "5.00 epochs" in callback.monitor.summary()
    assert fs.runs.run_config(tmp_path / "run")["epochs"] == 5


@pytest.mark.parametrize("steps", [7, 12])
def test_a_training_by_steps_ends_in_its_last_epoch(steps: int, tmp_path: Path) -> None:
    hugging(
        tmp_path, TransformersCallback(2, run=fs.open_run(tmp_path / "hugging", {"x": 1})), max_steps=steps
    ).train()
    fit(lightning_module(draw(0)), fixed(7), LightningCallback(run=fs.open_run(tmp_path / "pl", {"x": 1})),
        max_epochs=-1, max_steps=steps)  # fmt: skip
    for name in ("hugging", "pl"):
        assert fs.runs.status(tmp_path / name) == "finished"
        assert fs.runs.run_config(tmp_path / name)["epochs"] == 2
        assert [row["epoch"] for row in rows(tmp_path / name / "epochs.jsonl")] == [1, 2]


def test_early_stopping_finishes_a_run_and_is_named(tmp_path: Path) -> None:
    import transformers
    from lightning.pytorch.callbacks import EarlyStopping

    fit(lightning_module(draw(0)), fixed(), LightningCallback(run=fs.open_run(tmp_path / "pl", {"x": 1})),
        EarlyStopping("val_loss", min_delta=9.0, patience=1), max_epochs=9, validation=fixed())  # fmt: skip
    stop = transformers.EarlyStoppingCallback(1, 9.0)
    hugging(
        tmp_path, TransformersCallback(run=fs.open_run(tmp_path / "hugging", {"x": 1})), stop,
        num_train_epochs=9, eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True,
    ).train()  # fmt: skip
    runs = fs.load_runs(tmp_path)
    assert runs.head("pl")["reason"] == "stopped early, after epoch 2 of 9"
    assert runs.head("hugging")["reason"] == "stopped early, after step 12 of 54"
    assert set(runs.runs["status"]) == {"finished"}


# Again and further -------------------------------------------------------------------------------


class Heavy(nn.Module):
    """A model that is out of memory above some samples, from its second step on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(6, 2), 0

    def forward(self, input_ids: Any, labels: Any) -> dict[str, Any]:
        self.calls += 1
        if len(labels) > 14 and self.calls > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        scores = self.layer(input_ids / 40)
        return {"loss": nn.functional.cross_entropy(scores, labels), "logits": scores}


def test_auto_find_batch_size_leaves_the_rows_of_the_size_that_it_found(tmp_path: Path) -> None:
    callback = TransformersCallback(1, run=fs.open_run(tmp_path / "run", {"x": 1}))
    hugging(
        tmp_path, callback, model=Heavy(), per_device_train_batch_size=16, auto_find_batch_size=True
    ).train()
    steps = rows(tmp_path / "run" / "steps.jsonl")
    assert [row["step"] for row in steps] == list(range(len(steps)))
    assert fs.runs.run_config(tmp_path / "run")["batch_size"] == steps[0]["batch_size"] == 14
    assert fs.runs.status(tmp_path / "run") == "finished"
    assert "began again" in (tmp_path / "run" / "log.txt").read_text()


def test_several_fits_of_one_trainer_are_one_run(tmp_path: Path) -> None:
    callback = LightningCallback(2, run=fs.open_run(tmp_path / "run", {"x": 1}))
    module = lightning_module(draw(0))
    trainer = fit(module, fixed(), callback, max_epochs=1)
    assert fs.runs.status(tmp_path / "run") == "finished"
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module, fixed())
    assert [row["epoch"] for row in rows(tmp_path / "run" / "epochs.jsonl")] == [1, 2, 3]
    assert callback.monitor.totals()["step"] == 15
    assert fs.runs.status(tmp_path / "run") == "finished"


def test_another_training_of_the_same_callback_is_not_mixed_into_its_run(tmp_path: Path) -> None:
    callback = LightningCallback(2, run=fs.open_run(tmp_path / "run", {"x": 1}))
    fit(lightning_module(draw(0)), fixed(), callback)
    before = (tmp_path / "run" / "steps.jsonl").read_bytes()
    with pytest.warns(RuntimeWarning, match="a run of its own for each training"):
        fit(lightning_module(draw(1)), fixed(), callback)
    assert callback.monitor.totals()["step"] == 10
    assert (tmp_path / "run" / "steps.jsonl").read_bytes() == before


def test_a_training_that_failed_may_be_tried_again(tmp_path: Path) -> None:
    callback, module = (
        LightningCallback(2, run=fs.open_run(tmp_path / "run", {"x": 1})),
        lightning_module(draw(0)),
    )
    module.on_train_epoch_end = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        fit(module, fixed(), callback)
    assert fs.runs.status(tmp_path / "run") == "failed"
    fit(lightning_module(draw(0)), fixed(), callback)
    assert fs.runs.status(tmp_path / "run") == "finished"
    assert [row["epoch"] for row in rows(tmp_path / "run" / "epochs.jsonl")] == [1, 2]


@pytest.mark.parametrize("framework", ["lightning", "transformers"])
def test_a_training_from_the_start_is_not_added_to_an_earlier_run(framework: str, tmp_path: Path) -> None:
    with fs.open_run(tmp_path / "run", {"x": 1}) as run:
        run.log_epoch(val_error=0.5)
    run = fs.open_run(tmp_path / "run", {"x": 1})
    trainings = {
        "lightning": lambda: fit(lightning_module(draw(0)), fixed(), LightningCallback(run=run)),
        "transformers": lambda: hugging(tmp_path, TransformersCallback(run=run)).train(),
    }
    with pytest.raises(fs.runs.RunError, match="restart=True"):
        trainings[framework]()
    assert [row["val/error"] for row in fs.runs.epoch_rows(tmp_path / "run")] == [0.5]


def test_a_checkpoint_of_another_folder_is_resumed_with_its_own_state(tmp_path: Path) -> None:
    saved = {"save_strategy": "steps", "save_steps": 3}
    hugging(tmp_path, TransformersCallback(2), **saved).train()
    other = TransformersCallback(2)
    hugging(tmp_path / "other", other, **saved).train(
        resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-3")
    )
    assert other.monitor.totals()["samples"] == 42


def test_a_checkpoint_without_our_state_counts_on_from_its_step(tmp_path: Path) -> None:
    run = fs.open_run(tmp_path / "run", {"x": 1})
    hugging(tmp_path, TransformersCallback(2, run=run), save_strategy="steps", save_steps=9).train()
    (tmp_path / "out" / "checkpoint-9" / "fisherscope.json").unlink()
    run = fs.open_run(tmp_path / "run", {"x": 1})
    with pytest.warns(UserWarning, match="start over"):
        hugging(tmp_path, TransformersCallback(2, run=run)).train(
            resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-9")
        )
    steps = [row["step"] for row in rows(tmp_path / "run" / "steps.jsonl")]
    assert steps == sorted(set(steps))
    assert [(row["epoch"], row["step"]) for row in rows(tmp_path / "run" / "epochs.jsonl")] == [
        (1, 6),
        (2, 12),
    ]


# Resuming from every checkpoint ------------------------------------------------------------------


@pytest.mark.parametrize(("framework", "seeds"), [("lightning", (3, 4, 6)), ("transformers", (1,))])
def test_a_training_resumes_bit_for_bit_from_any_checkpoint(
    framework: str, seeds: tuple[int, ...], tmp_path: Path
) -> None:
    """A tenth of `make campaign-resume`."""
    for seed in seeds:
        outcomes = list(resume_everywhere(framework, draw(seed), tmp_path / str(seed), share=0.3))
        assert outcomes, seed
        assert not [f"{seed}, {name}: {texts}" for name, texts in outcomes if texts]


# To the end: the verbs ---------------------------------------------------------------------------


@pytest.mark.parametrize("framework", ["lightning", "transformers"])
def test_the_verbs_read_a_grid_of_callbacks_runs(
    framework: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fisherscope(*arguments: str) -> str:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["fisherscope", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (0, None)
        return capsys.readouterr().out

    for size in (5, 10):
        for rate in (0.01, 0.1):
            run = fs.open_run(tmp_path / "grid" / f"s{size}-lr{rate}", {"seed": 0})
            if framework == "lightning":
                module = lightning_module(draw(0))
                module.configure_optimizers = lambda m=module, r=rate: torch.optim.SGD(m.parameters(), r)
                fit(module, fixed(size), LightningCallback(2, run=run), validation=fixed())
            else:
                hugging(tmp_path, TransformersCallback(2, run=run), learning_rate=rate,
                        per_device_train_batch_size=size, eval_strategy="epoch").train()  # fmt: skip
    grid = str(tmp_path / "grid")
    assert fisherscope("runs", grid).count("finished") == 4
    chosen = json.loads(fisherscope("select", grid, "--json"))
    assert chosen["recommended"] in {"s5-lr0.01", "s5-lr0.1", "s10-lr0.01", "s10-lr0.1"}
    assert chosen["recommended"] in fisherscope("table", grid)
    fisherscope("report", grid, "-o", str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert "s10-lr0.1" in page
    assert "val/loss" in page

"""`fisherscope train` as a user types it: its file and its flags, and what is said of mistakes in them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

import fisherscope as fs
from fisherscope.cli import main
from fisherscope.cli.train_progress import values_table
from fisherscope.training import Configuration, TrainState, task_of

QUICK = ("digits/mlp", "--epochs", "1", "--threads", "1")


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a command prints, and its exit code where that is not 0; a traceback would be an error here."""
    monkeypatch.setattr(sys, "argv", ["fisherscope", *map(str, words)])
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    else:
        code = 0
    told = capsys.readouterr()
    return told.out + told.err + (f"[{code}]" if code else "")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    return lambda *words: said(monkeypatch, capsys, *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task: digits/mlp\nbatchsize: 3\n", "did you mean 'batch_size'"),
        ("task: digits/mlp\nbatch-size: 3\n", "did you mean 'batch_size'"),
        ("task: digits/mlp\nlr: 0.1\nlr: 0.2\n", "lr given twice"),
        ("- task: digits/mlp\n", "expected key: value lines"),
        ("", "expected key: value lines"),
        ("task: [\n", "not YAML"),
        ("task: digits/mlp\nepochs: true\n", "epochs: expected a number, received True"),
        ("task: digits/mlp\nbatch_size: 8\npolicy: s16\n", "contradict each other"),
    ],
)
def test_a_file_s_mistake_is_told(text: str, words: str, run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "run.yaml").write_text(text)
    told = run("train", "--config", "run.yaml")
    assert words in told
    assert told.endswith("[2]")


def test_what_is_no_text_or_no_file_is_told(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "bytes.yaml").write_bytes(b"\x00\xff")
    assert "reading bytes.yaml: not YAML" in run("train", "--config", "bytes.yaml")
    assert "reading nowhere.yaml: No such file" in run("train", "--config", "nowhere.yaml")
    assert "reading .: Is a directory" in run("train", "--config", ".")
    assert "is not a YAML value" in run("train", *QUICK, "--set", "momentum=[1")


def test_flags_take_the_place_of_the_file(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "run.yaml").write_text("task: digits/mlp\npolicy: s8\nlr: 0.3\n")

    def held(*words: object) -> tuple[str, int, float]:
        found = yaml.safe_load(run("train", "--config", "run.yaml", *words, "--print-config"))
        return found["policy"], found["batch_size"], found["lr"]

    assert held() == ("s8", 8, 0.3)
    assert held("--batch-size", 32) == ("s32", 32, 0.3)  # they say the same: neither is left behind
    assert held("--policy", "s16-to-64", "--lr", 0.1) == ("s16-to-64", 16, 0.1)
    assert held("--set", "batch_size=64") == ("s64", 64, 0.3)
    assert "contradict each other" in run("train", *QUICK, "--batch-size", 8, "--policy", "s16")


def test_a_printed_configuration_is_the_same_run(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    words = (*QUICK, "--policy", "s8-to-32", "--lr", "0.05", "--set", "momentum=0.5")
    (tmp_path / "printed.yaml").write_text(run("train", *words, "--print-config"))
    first = run("train", *words)
    again = run("train", "--config", "printed.yaml")
    assert first.splitlines()[-2:] == again.splitlines()
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_what_goes_on_with_a_run_is_said(run) -> None:  # type: ignore[no-untyped-def]
    words = ("train", "digits/mlp", "--epochs", "2", "--threads", "1")
    stopped = run(*words, "--until", "1")
    assert (
        "Run the same command without --until, or with a later one, to resume." in stopped
    )  # the same command would not
    assert "finished" in run(*words)


def test_a_rate_in_the_policy_s_name_is_the_run_s(run) -> None:  # type: ignore[no-untyped-def]
    assert yaml.safe_load(run("train", *QUICK, "--policy", "s32-lr0.03", "--print-config"))["lr"] == 0.03
    told = run("train", *QUICK, "--policy", "s32-lr0.03", "--lr", "0.1", "--print-config")
    assert "it says lr=0.03, but lr=0.1 was given" in told


def test_a_policy_that_reads_measurements_is_refused_where_there_are_none(run) -> None:  # type: ignore[no-untyped-def]
    told = run("train", *QUICK, "--policy", "s32-norm-test", "--set", "measure=false")
    assert "reads measurements, and measure=false takes none" in told
    assert told.endswith("[2]")


def test_a_long_reason_leaves_the_other_columns(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with fs.open_run(tmp_path / "runs" / "mine", {"task": "mine"}) as made:
        made.log_epoch(epoch=1, step=1, val_error=0.25)
        made.finish("failed", "a reason that goes on and on " * 20)
    told = run("runs", "runs")
    assert "failed" in told
    assert "0.25" in told


def test_a_narrow_terminal_shows_fewer_values_and_each_whole() -> None:
    session = TrainState(config := Configuration.of({"task": "digits/mlp"}), task_of(config))
    session.step(next(iter(session.sampler)))
    shown = {}
    for width in (20, 40, 120):
        console = Console(width=width, file=(out := io.StringIO()))
        console.print(values_table(session, {"val/error": 0.25, "val/loss": 1.0}, width))
        shown[width] = out.getvalue().split("\n")[0].split()
        assert "…" not in out.getvalue()
    assert shown[20][:2] == ["epoch", "loss"]
    assert shown[120] == ["epoch", "loss", "val", "error", "C̄", "L", "|B|", "lr", "measuring"]
    assert shown[40] == shown[120][: len(shown[40])]
    assert len(shown[20]) < len(shown[40]) < len(shown[120])


def test_a_run_is_not_done_twice(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert "delete runs/digits-mlp-s128-lr0.1-seed0-" in run("train", *QUICK, "--no-resume")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("digits/resnet9", "--batch-sizes", "8"), "did you mean digits/resnet8"),
        (("digits/mlp", "--batch-sizes", "8", "--jobs", "0", "--dry-run"), "at least 1"),
        (("digits/mlp", "--batch-sizes", "8", "--until", "0"), "at least 1"),
        (("--config", "grid.yaml"), "lr belongs to one run; a grid takes a list, lrs: [0.05]"),
    ],
)
def test_a_sweep_s_mistakes_are_told_before_anything_runs(words, told, run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "grid.yaml").write_text("task: digits/mlp\nbatch_sizes: [8]\nlr: 0.05\n")
    found = run("sweep", *words)
    assert told in found
    assert found.endswith("[2]")


def test_a_sweep_with_runs_that_cannot_go_on_fails(run) -> None:  # type: ignore[no-untyped-def]
    found = run("sweep", *QUICK[:3], "--batch-sizes", "301", "--jobs", 1)
    assert "batches of 301 from 300 samples" in found
    assert "1 runs failed (see above)" in found
    assert "run the same command to resume them" not in found
    assert found.endswith("[1]")


def test_an_error_of_the_system_says_what_of(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run("train", *QUICK)
    assert "report: nowhere/page.html: No such file or directory" in run(
        "report", "runs", "-o", "nowhere/page.html"
    )

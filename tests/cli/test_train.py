"""`fisherscope train`: its file, its flags, and mistakes in them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.cases.said_by_verbs import QUICK


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task: digits/mlp\nbatchsize: 3\n", "did you mean 'batch_size'"),
        ("task: digits/mlp\nbatch-size: 3\n", "did you mean 'batch_size'"),
        ("task: digits/mlp\nlr: 0.1\nlr: 0.2\n", "'lr' given twice"),
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
    assert "reading .: it is a directory" in run("train", "--config", ".")
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


def test_a_run_is_not_done_twice(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert "delete runs/digits-mlp-s128-lr0.1-seed0-" in run("train", *QUICK, "--no-resume")

"""Run `fisherscope train TASK`: train one run, recorded and resumable."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from fisherscope.bounded_reading import read_bytes
from fisherscope.plain_text import short_repr

OUT = Path("runs")
LARGEST_SETTINGS = 1 << 20
"""Bytes of a file of settings."""
LONGEST_TEXT = 300
"""Characters of a YAML error that are shown."""


def train(
    task: Annotated[
        str | None, typer.Argument(help="Built-in task such as digits/resnet8, or module:function.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples per batch.")] = None,
    lr: Annotated[float | None, typer.Option(help="Initial learning rate.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="Policy, such as s32-to-128-MS or s32-norm-test.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Length of the schedule, epochs.")] = None,
    until: Annotated[
        int | None, typer.Option(help="Epoch after which to stop, resumable; by default the last.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Random seed of initialisation, order and augmentation.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="Optimizer (class name in torch.optim).")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Learning rate over the run: levels, constant, cosine, linear, wsd.")
    ] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of the run over which the rate rises.")] = None,
    every: Annotated[int | None, typer.Option(help="Steps per measurement.")] = None,
    limit_train: Annotated[
        int | None, typer.Option(help="Number of training samples; by default all.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory of the data files.")] = None,
    out: Annotated[Path, typer.Option(help="Directory of the runs.")] = OUT,
    device: Annotated[str | None, typer.Option(help="Device: cpu, cuda, cuda:1, …")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads for torch (saved with the run).")] = None,
    settings: Annotated[Path | None, typer.Option("--config", help="YAML file of settings.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="Further setting, key=value; repeatable.")
    ] = None,
    paper: Annotated[
        bool,
        typer.Option(
            help="Train and measure as Liao et al. 2020 (docs/paper.md); other flags win, and are named."
        ),
    ] = False,
    resume: Annotated[bool, typer.Option(help="Resume an existing run (default).")] = True,
    print_config: Annotated[bool, typer.Option(help="Print the configuration, and train nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train one run and record it; rerun the command to resume.

    Exit code 130 after Ctrl-C and 143 after SIGTERM, with epochs left.
    """
    from_flags = {
        "task": task, "batch_size": batch_size, "lr": lr, "policy": policy, "epochs": epochs, "seed": seed,
        "optimizer": optimizer, "every": every, "limit_train": limit_train, "device": device,
        "threads": threads, "schedule": schedule, "warmup": warmup,
    }  # fmt: skip
    values = merge_settings(
        read_settings(settings) if settings else {},
        {key: value for key, value in from_flags.items() if value is not None} | parse_pairs(option or []),
    )
    if "task" not in values:
        raise ValueError("training: no task given; name one, such as: fisherscope train digits/resnet8")
    if paper:
        values = fill_paper_settings(values)
    from fisherscope.training import Configuration

    config = Configuration.of(values)
    if not resume and not print_config:
        raise ValueError(
            f"training: --no-resume, but a run is never trained twice; delete {out / config.id} to start over"
        )
    if print_config:
        import yaml

        print(yaml.safe_dump(config.model_dump(), sort_keys=False), end="")
        return
    from fisherscope.cli import exit_interrupted
    from fisherscope.cli.train_progress import train_display
    from fisherscope.gram import keep_freed_blocks
    from fisherscope.training import train as run
    from fisherscope.training.interruption import ignore_repeats

    keep_freed_blocks()
    ignore_repeats()
    with train_display(config, quiet=as_json) as progress:
        result = run(config, out, until=until, data_dir=data_dir, progress=progress)
    if as_json:
        print(json.dumps({**vars(result), "path": str(result.path)}))
        if result.signal is not None:
            exit_interrupted(result.signal)
        return
    print(f"{result.id}: {result.status}{f' ({result.reason})' if result.reason else ''}\n{result.path}")
    if result.status == "interrupted":
        at_until = until is not None and result.epochs >= until
        condition = " without --until, or with a later one," if at_until else ""
        print(f"Run the same command{condition} to resume.", flush=True)
    if result.signal is not None:
        exit_interrupted(result.signal)


def fill_paper_settings(values: dict[str, Any], *, sweep: bool = False) -> dict[str, Any]:
    """Fill in the paper's settings; print on stderr which given ones differ from them."""
    from fisherscope.training import fill_from_paper

    filled, notes = fill_from_paper(values, sweep=sweep)
    for text in notes:
        print(f"--paper: {text}", file=sys.stderr)
    return filled


def merge_settings(file: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Merge the settings of a file with those of the command line, which override them.

    Batch size and policy mean the same: either of them on the command line overrides both.
    """
    sizes = {"batch_size", "policy"}
    overridden = sizes if sizes & options.keys() else set()
    return {key: value for key, value in file.items() if key not in overridden} | options


def read_settings(path: Path) -> dict[str, Any]:
    """Read the key: value lines of a YAML file.

    Raises:
        ValueError: It cannot be read, holds something else, or has a key twice.
    """
    import yaml

    try:
        text = read_bytes(path, LARGEST_SETTINGS).decode()
        settings, tree = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except OSError as error:
        raise ValueError(
            f"reading {path}: {error.strerror}; --config takes a YAML file of settings"
        ) from error
    except RecursionError:
        raise ValueError(f"reading {path}: not settings: it is nested too deeply") from None
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"reading {path}: not YAML: {str(error)[:LONGEST_TEXT]}") from error
    if not isinstance(settings, dict) or not isinstance(tree, yaml.MappingNode):
        raise ValueError(f"reading {path}: expected key: value lines, such as task: digits/resnet8")
    keys = [str(key.value) for key, _ in tree.value]
    repeated = sorted(key for key, count in Counter(keys).items() if count > 1)
    if repeated:
        raise ValueError(f"reading {path}: {short_repr(', '.join(repeated))} given twice; give each once")
    return settings


def parse_pairs(texts: list[str]) -> dict[str, Any]:
    """Parse key=value settings.

    Raises:
        ValueError: One is not of this form, or its value is not YAML.
    """
    import yaml

    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {short_repr(text)}: expected key=value, such as --set momentum=0.8")
        try:
            pairs[key.replace("-", "_")] = yaml.safe_load(value)
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            what = str(error)[:LONGEST_TEXT] or type(error).__name__
            raise ValueError(f"--set {key[:80]}: {short_repr(value)} is not a YAML value ({what})") from error
    return pairs

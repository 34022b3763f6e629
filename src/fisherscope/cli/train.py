"""`fisherscope train TASK`: one run, recorded, resumable."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

OUT = Path("runs")


def train(
    task: Annotated[str | None, typer.Argument(help="digits/resnet8, … or module:function.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples a batch.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of the first level.")] = None,
    policy: Annotated[str | None, typer.Option(help="Such as s32-to-128-MS or s32-norm-test.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Length of the schedule.")] = None,
    until: Annotated[int | None, typer.Option(help="Stop, resumable, after so many epochs of it.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of initialisation, order and augmentation.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="Of torch.optim, by name.")] = None,
    every: Annotated[int | None, typer.Option(help="Steps from one measurement to the next.")] = None,
    limit_train: Annotated[int | None, typer.Option(help="Train on so many samples.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the data files lie.")] = None,
    out: Annotated[Path, typer.Option(help="Directory of runs.")] = OUT,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, …")] = None,
    threads: Annotated[int | None, typer.Option(help="Of torch; part of what makes a run.")] = None,
    settings: Annotated[Path | None, typer.Option("--config", help="YAML file of any of these.")] = None,
    option: Annotated[list[str] | None, typer.Option("--set", help="Any other key=value.")] = None,
    paper: Annotated[bool, typer.Option(help="Train on all data; the test split is validation too.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on with the run; it is what happens anyway.")] = True,
    print_config: Annotated[bool, typer.Option(help="Print the configuration and do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train one run and record it; asked for again, it goes on where it stopped."""
    from_flags = {
        "task": task, "batch_size": batch_size, "lr": lr, "policy": policy, "epochs": epochs, "seed": seed,
        "optimizer": optimizer, "every": every, "limit_train": limit_train, "device": device,
        "threads": threads,
    }  # fmt: skip
    given = over(
        from_file(settings) if settings else {},
        {key: value for key, value in from_flags.items() if value is not None} | _pairs(option or []),
    )
    if paper:
        given["validation"] = False
    if "task" not in given:
        raise ValueError("training: which task? Such as: fisherscope train digits/resnet8")
    from fisherscope.training import Configuration

    config = Configuration.of(given)
    if not resume and not print_config:
        raise ValueError(f"training: a run is never done twice; delete {out / config.id} to begin it anew")
    if print_config:
        import yaml

        print(yaml.safe_dump(config.identity(), sort_keys=False), end="")
        return
    from fisherscope.cli.train_progress import shown
    from fisherscope.gram import keep_freed_blocks
    from fisherscope.training import train as run

    keep_freed_blocks()
    with shown(config, quiet=as_json) as progress:
        result = run(config, out, until=until, data_dir=data_dir, progress=progress)
    if as_json:
        print(json.dumps({**vars(result), "path": str(result.path)}))
        return
    print(f"{result.id}: {result.status}{f' ({result.reason})' if result.reason else ''}\n{result.path}")
    if result.status == "interrupted":
        as_asked = until is not None and result.epochs >= until
        what = "Without --until, or with a later one, it" if as_asked else "The same command"
        print(f"{what} goes on with it.")


def over(held: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Settings of a file with those of the command line in their place.

    Batch size and policy say the same: either of the command line takes the place of both.
    """
    sizes = {"batch_size", "policy"}
    replaced = sizes if sizes & told.keys() else set()
    return {key: value for key, value in held.items() if key not in replaced} | told


def from_file(path: Path) -> dict[str, Any]:
    """The key: value lines of a YAML file.

    Raises:
        ValueError: It cannot be read, is something else, or has a key twice.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        held, tree = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except OSError as error:
        raise ValueError(
            f"reading {path}: {error.strerror}; --config takes a YAML file of settings"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"reading {path}: not YAML: {error}") from error
    if not isinstance(held, dict) or not isinstance(tree, yaml.MappingNode):
        raise ValueError(f"reading {path}: expected key: value lines, such as task: digits/resnet8")
    keys = [str(key.value) for key, _ in tree.value]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"reading {path}: {', '.join(twice)} said twice; say each once")
    return held


def _pairs(texts: list[str]) -> dict[str, Any]:
    import yaml

    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text}: expected key=value, such as --set momentum=0.8")
        try:
            pairs[key.replace("-", "_")] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"--set {text}: {value} is no value as YAML writes one ({error})") from error
    return pairs

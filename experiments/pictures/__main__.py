"""Draw every picture of the documentation that shows results: `python -m experiments.pictures [GROUP ...]`.

docs/images/inputs.json gets the digests of the committed results that each picture was drawn from; a test
compares them with the files, so that a picture of earlier results cannot stay.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.pictures import gallery

ROOT = Path(__file__).parents[2]
RESULTS = "experiments/results"
INPUTS = gallery.IMAGES / "inputs.json"
TASKS = ("digits-mlp", "digits-resnet8", "mnist-mlp", "mnist-resnet8")
STUDIED = ("mnist-mlp", "mnist-resnet8")


@dataclass(frozen=True)
class Group:
    """Describe pictures that are drawn together.

    Args:
        draw: Draws all of them.
        pictures: Their files below docs/images, as patterns.
        inputs: What they are drawn from, below the repository's root.
    """

    draw: Callable[[], None]
    pictures: tuple[str, ...]
    inputs: tuple[str, ...]


def main(names: Sequence[str]) -> None:
    """Draw the groups that are named, by default all, and note what they were drawn from."""
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        raise SystemExit(f"drawing {unknown[0]!r}: expected one of {', '.join(GROUPS)}")
    for name in names or GROUPS:
        GROUPS[name].draw()
        drawn = json.loads(INPUTS.read_text(encoding="utf-8")) if INPUTS.exists() else {}
        drawn[name] = {
            "command": f"python -m experiments.pictures {name}",
            "pictures": pictures_of(name),
            "inputs": {path: digest(ROOT / path) for path in GROUPS[name].inputs},
        }
        INPUTS.write_text(json.dumps(drawn, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{name}: {len(pictures_of(name))} pictures", flush=True)


def pictures_of(name: str) -> list[str]:
    """Return the files of a group, below docs/images."""
    found = {path for pattern in GROUPS[name].pictures for path in gallery.IMAGES.glob(pattern)}
    return sorted(path.relative_to(gallery.IMAGES).as_posix() for path in found)


def digest(path: Path) -> str:
    """Return sixteen hexadecimal digits of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _draw_dynamic() -> None:
    from experiments.dynamic import comparison, pictures

    pictures.main()
    for task in TASKS:
        written = json.loads((ROOT / RESULTS / f"dynamic-{task}.json").read_text(encoding="utf-8"))
        comparison.picture(written, task.replace("-", "/"))


def _draw_study() -> None:
    from experiments.study.pictures import draw
    from experiments.study.sweeps import load, studied

    results = json.loads((ROOT / RESULTS / "study.json").read_text(encoding="utf-8"))
    draw(results, {name: studied(load(name)) for name in STUDIED}, gallery.IMAGES / "study")


def _draw_reproduce() -> None:
    gallery.draw_figures(gallery.REPRODUCED, ROOT / RESULTS / "reproduce", "reproduce-figure")


GROUPS = {
    "gallery": Group(
        gallery.main, ("figure-*.png",),
        (f"{RESULTS}/sweeps/digits-resnet8.zip", f"{RESULTS}/sweeps/mnist-mlp.zip"),
    ),
    "dynamic": Group(
        _draw_dynamic, ("dynamic-*.png",),
        (f"{RESULTS}/sweeps/dynamic-digits-resnet8.zip",
         *(f"{RESULTS}/dynamic-{task}.json" for task in TASKS)),
    ),
    "study": Group(
        _draw_study, ("study/*.png",),
        (f"{RESULTS}/study.json", *(f"{RESULTS}/sweeps/{name}.zip" for name in STUDIED)),
    ),
    "reproduce": Group(
        _draw_reproduce, ("reproduce-*.png",), (f"{RESULTS}/reproduce/mnist-mlp-0.002.zip",)
    ),
}  # fmt: skip
"""By name; the other pictures of the documentation show a screen or the code."""


if __name__ == "__main__":
    main(sys.argv[1:])

"""Draw what a notebook shows: docs/images/notebook.png.

`OMP_NUM_THREADS=1 python -m experiments.pictures.notebook`; needs Chromium and a quiet machine: on a
busy one the advice shows a warning.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from html import escape
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageChops
from sklearn.datasets import load_digits
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import fisherscope as fs

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "notebook.png"
WIDTH, HEIGHT, MARGIN, COLOURS = 900, 1400, 16, 128
STYLE = """
body { font: 13px sans-serif; margin: 16px; color: #1c1f26; background: white }
pre { background: #f3f4f6; border: 1px solid #d8dbe0; border-radius: 3px; padding: 6px 10px; margin: 8px 0 }
pre { font-size: 13px }
div.out { margin-left: 60px }
td, th { padding: 2px 8px }
"""


def cells() -> dict[str, Any]:
    """Return what is typed in each cell, and the object that it evaluates to."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    data = TensorDataset(images, torch.tensor(digits.target))
    model = fs.tasks.get("digits/resnet8").model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    monitor = fs.Monitor(model, optimizer, every=3, dataset_size=len(data))
    for x, y in DataLoader(data, 32, shuffle=True):
        optimizer.zero_grad()
        with monitor.observe():
            F.cross_entropy(model(x), y).backward()
        optimizer.step()
    with fs.record_gram(model) as record:
        F.cross_entropy(model(images[:32]), data.tensors[1][:32]).backward()
    return {
        "monitor": monitor,
        "fs.spectrum(record.gram)": fs.spectrum(record.gram, record.entry_error),
        "record": record,
        "fs.advise(model, F.cross_entropy, data, optimizer=optimizer)": fs.advise(
            model, F.cross_entropy, data, optimizer=optimizer
        ),
    }


def page(shown: dict[str, Any]) -> str:
    """Lay out inputs and outputs, one under the other."""
    parts = (
        f"<pre>{escape(typed)}</pre><div class=out>{found._repr_html_()}</div>"
        for typed, found in shown.items()
    )
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{''.join(parts)}"


def drawn(html: str) -> Image.Image:
    """Draw the page with Chromium, cut at its end."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("drawing the notebook: no chromium, chromium-browser or google-chrome is installed")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "page.html")
        path.write_text(html)
        flags = (
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            "--log-level=3",
            f"--window-size={WIDTH},{HEIGHT}",
        )
        shot = Path(folder, "page.png")
        called = [browser, *flags, f"--screenshot={shot}", path.as_uri()]
        subprocess.run(called, check=True, stderr=subprocess.DEVNULL)
        picture = Image.open(io.BytesIO(shot.read_bytes())).convert("RGB")
    inked = ImageChops.difference(picture, Image.new("RGB", picture.size, "white")).getbbox()
    return picture if inked is None else picture.crop((0, 0, WIDTH, min(HEIGHT, inked[3] + MARGIN)))


def main() -> None:
    """Draw it."""
    picture = drawn(page(cells()))
    picture.quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    print(f"{PICTURE.name}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

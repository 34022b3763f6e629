"""A grid of six short runs, and verbs called as a user types them."""

from __future__ import annotations

from typing import Any

import typer
from typer.testing import CliRunner, Result

WORDS = (
    "digits/mlp", "--batch-sizes", "8,16,32", "--lrs", "0.02,0.2", "--epochs", "6", "--limit-train", "64",
    "--budget", "50%", "--jobs", "2",
)  # fmt: skip


def ran(verb: Any, *words: object) -> Result:
    app = typer.Typer()
    app.command()(verb)
    return CliRunner().invoke(app, [str(word) for word in words])

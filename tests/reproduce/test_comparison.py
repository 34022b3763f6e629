"""Published results beside what runs reached."""

from __future__ import annotations

from pathlib import Path

import fisherscope as fs
from fisherscope.reproduce import compare, comparison_rows


def test_published_and_reached(tmp_path: Path) -> None:
    errors = {"s16-lr0.1": (0.004, 0.006), "s8-lr0.1": (0.003, 0.003), "s16-lr0.2": (0.002,)}
    for name, values in errors.items():
        size, lr = name.removeprefix("s").split("-lr")
        for seed, error in enumerate(values):
            config = {
                "task": "mnist/resnet8",
                "batch_size": int(size),
                "lr": float(lr),
                "seed": seed,
                "epochs": 1,
            }
            with fs.open_run(tmp_path / f"{name}-{seed}", config) as run:
                run.log_epoch(test_error=error)
    for policy, error in {"s16-to-64-MS": 0.0035, "s16-to-64": 0.0045}.items():
        config = {"task": "mnist/resnet8", "policy": policy, "lr": 0.1, "seed": 0, "epochs": 1}
        with fs.open_run(tmp_path / policy, config) as run:
            run.log_epoch(test_error=error)
    config = {"task": "mnist/resnet8", "batch_size": 16, "lr": 0.1, "seed": 9, "epochs": 2}
    run = fs.open_run(tmp_path / "unfinished", config)
    run.log_epoch(test_error=0.9)
    run.close()
    assert comparison_rows(compare(tmp_path, "mnist/resnet8")) == [
        ["best of the grid", "s16-lr0.1", "0.36 ± 0.02", "0.50 ± 0.14 (2 seeds)", "s16-lr0.2 0.20 (1 seed)"],
        ["s#", "s16-lr0.1", "0.36 ± 0.02", "0.50 ± 0.14 (2 seeds)", "s8-lr0.1 0.30 ± 0.00 (2 seeds)"],
        ["-∅", "s16-to-64-lr0.1", "0.39 ± 0.02", "0.45 (1 seed)", "s16-to-64-lr0.1 0.45 (1 seed)"],
        ["-MS", "s16-to-64-MS-lr0.1", "0.34 ± 0.02", "0.35 (1 seed)", "s16-to-64-MS-lr0.1 0.35 (1 seed)"],
    ]  # fmt: skip
    assert comparison_rows(compare(tmp_path, "mnist/resnet8"))[0][1:3] == ["s16-lr0.1", "0.36 ± 0.02"]

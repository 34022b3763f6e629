"""The documents' tables of costs from benchmarks/results: `python benchmarks/readme.py`."""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NAMES = {
    "mlp-128": "MLP, 128 samples",
    "resnet8-128": "ResNet-8, 128",
    "resnet110-128": "ResNet-110, 128",
    "resnet110-32": "ResNet-110, 32",
    "gpt2-8": "GPT-2 of 51 million parameters, 8 × 128 tokens",
}
HEAD = """| | default | `fused=True` | plain step + torch.func | peak memory, default / fused |
|---|---|---|---|---|"""


def row(name: str, modes: dict[str, Any]) -> str:
    """A network's line."""
    neutral, fused = modes["neutral"], modes["fused"]
    other = modes.get("func", {}).get("ratio")
    told = "" if other is None else f"{other:.0f} ×" if other > 10 else f"{other:.1f} ×"
    memory = f"{neutral['peak_ratio']:.2f} / {fused['peak_ratio']:.2f} ×"
    return f"| {name} | {neutral['ratio']:.2f} × | {fused['ratio']:.2f} × | {told} | {memory} |"


def monitored(modes: dict[str, Any]) -> str:
    """What a monitor adds, in percent; below zero is timing noise, and is called so."""
    share = 100 * (modes["monitored"]["ratio"] - 1)
    return f"by {share:.1f} %" if share > 0 else f"by less than timing noise ({share:.1f} %)"


LOOPS = {"mlp-8": "MLP, 8 samples", "mlp-32": "MLP, 32", "resnet8-128": "ResNet-8, 128"}
LOOP_HEAD = """| | ms a step | to the bare loop | measuring 1 in 50, to the bare loop | making the batch |
|---|---|---|---|---|"""


def loop_row(name: str, case: dict[str, Any]) -> str:
    """A network's line of the loop's table, ratios with their quartiles over turns."""
    ratios = (
        f"{mode['to_bare']:.2f} ({' to '.join(f'{q:.2f}' for q in mode['to_bare_quartiles'])})"
        for mode in (case["loop"], case["measuring_every_50"])
    )
    share = f"{100 * case['data_share_of_a_step']:.1f} %"
    return f"| {name} | {case['loop']['step_ms']:.2f} | {' | '.join(ratios)} | {share} |"


def put(page: Path, mark: str, block: str) -> None:
    """Put a block between a page's marks."""
    pattern = rf"(<!-- begin: {mark} -->\n).*?(\n<!-- end -->)"
    page.write_text(re.sub(pattern, lambda m: f"{m[1]}\n{block}\n{m[2]}", page.read_text(), flags=re.S))


def main() -> None:
    """Write the tables between their marks."""
    cases = json.loads((ROOT / "benchmarks/results/gram-cpu.json").read_text())["cases"]
    modes = {name: case["modes"] for name, case in cases.items()}
    rows = [row(title, modes[name]) for name, title in NAMES.items()]
    mlp, resnet = (monitored(modes[f"monitored-{name}"]) for name in ("mlp-128", "resnet8-128"))
    told = f"Measuring every 50th step slows the MLP {mlp} and ResNet-8 {resnet}, at 128 samples."
    put(ROOT / "README.md", "cost", "\n".join([HEAD, *rows, "", told]))
    loops = json.loads((ROOT / "benchmarks/results/loop.json").read_text())["cases"]
    table = [LOOP_HEAD, *(loop_row(title, loops[name]) for name, title in LOOPS.items())]
    put(ROOT / "docs/cost.md", "loop", "\n".join(table))


if __name__ == "__main__":
    main()

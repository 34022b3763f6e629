"""The README's table of costs from benchmarks/results/gram-cpu.json: `python benchmarks/readme.py`."""

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
    """What a monitor adds, in percent; below zero is the machine's noise, and is called so."""
    share = 100 * (modes["monitored"]["ratio"] - 1)
    return f"{share:.1f} %" if share > 0 else f"nothing that shows through the noise ({share:.1f} %)"


def main() -> None:
    """Write the table between its marks."""
    cases = json.loads((ROOT / "benchmarks/results/gram-cpu.json").read_text())["cases"]
    modes = {name: case["modes"] for name, case in cases.items()}
    rows = [row(title, modes[name]) for name, title in NAMES.items()]
    mlp, resnet = (monitored(modes[f"monitored-{name}"]) for name in ("mlp-128", "resnet8-128"))
    told = f"Measuring one step in fifty costs, of the time, {mlp} on the MLP and {resnet} on ResNet-8, at 128 samples."
    block = "\n".join([HEAD, *rows, "", told])
    page = ROOT / "README.md"
    pattern = r"(<!-- begin: cost -->\n).*?(\n<!-- end -->)"
    page.write_text(re.sub(pattern, lambda m: f"{m[1]}\n{block}\n{m[2]}", page.read_text(), flags=re.S))


if __name__ == "__main__":
    main()

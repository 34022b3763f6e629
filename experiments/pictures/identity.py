"""Draw how rows are read, for docs/exactness.md: codes at the output, ratios at a call inside.

python -m experiments.pictures.identity
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from fisherscope.gram.identity.codes import draw_codes

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "row-identity.png"
SAMPLES = 8


class Sorted(nn.Module):
    """A network that sorts its batch, and puts it back in order at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 12), nn.Linear(12, 3)
        self.hidden: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers on the sorted batch."""
        order = x[:, 0].argsort()
        self.hidden = self.first(x[order])
        return self.last(self.hidden.tanh()[order.argsort()])  # type: ignore[no-any-return]


def main() -> None:
    """Measure one network and draw the two gradients' ratio at each row."""
    torch.manual_seed(1)
    model, x = Sorted().double(), torch.randn(SAMPLES, 5, dtype=torch.float64)
    out = model(x)
    assert model.hidden is not None
    codes = draw_codes(SAMPLES, torch.Generator().manual_seed(0)).scales[0]
    cotangent = torch.randn_like(out)
    (a,) = torch.autograd.grad(out, model.hidden, cotangent, retain_graph=True)
    (b,) = torch.autograd.grad(out, model.hidden, codes[:, None] * cotangent)
    ratio = (a * b).sum(1) / a.square().sum(1)
    mine = [int((codes - r).abs().argmin()) for r in ratio]
    colours = plt.get_cmap("tab10")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    left.barh(range(SAMPLES), codes - 1, color=[colours(k) for k in range(SAMPLES)])
    left.set(xlabel="code of the sample, minus 1", ylabel="row", title="Output: row k is sample k")
    right.barh(range(SAMPLES), ratio - 1, color=[colours(k) for k in mine])
    for row, sample in enumerate(mine):
        right.text(ratio[row] - 1 + 0.02, row, f"sample {sample}", va="center", fontsize=9)
    right.set(xlabel="scaled gradient / unit gradient, minus 1", title="A layer inside, on the sorted batch")
    right.set_xlim(0, 1.25)
    left.invert_yaxis()
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()

"""The embedded digits."""

from __future__ import annotations

import torch

from fisherscope import tasks


def test_digits_are_split_the_same_every_time() -> None:
    one, other = tasks.get("digits/mlp"), tasks.get("digits/resnet8")
    assert (len(one.train), len(one.validation), len(one.test)) == (300, 500, 997)
    for split in ("train", "validation", "test"):
        indices = torch.arange(50)
        assert torch.equal(one.batch(split, indices)[0], other.batch(split, indices)[0])
    seen = torch.cat(
        [one.batch(s, range(len(one.split(s))))[0].flatten(1) for s in ("train", "validation", "test")]
    )
    assert len(torch.unique(seen, dim=0)) > 1790  # a few of the 1797 images are alike

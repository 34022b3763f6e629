"""Build the networks of Liao et al. 2020, section 4 (parameter counts: docs/tasks.md)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NAMES = ("mlp", "resnet8", "densenet8", "resnet110", "densenet110")


def build(name: str, channels: int, classes: int, side: int) -> nn.Module:
    """Build a network by name, initialised from torch's global generator.

    Args:
        name: One of `NAMES`.
        channels: Channels of the input.
        classes: Number of outputs.
        side: Height and width of the input, pixels.

    Returns:
        The network.
    """
    if name == "mlp":
        return mlp(channels * side * side, classes)
    family = ResNet if name.startswith("resnet") else DenseNet
    return family(1 if name.endswith("t8") else 18, channels, classes)


def mlp(inputs: int, classes: int) -> nn.Module:
    """Build input → 500 → 500 → classes, with ReLU between."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, 500),
        nn.ReLU(),
        nn.Linear(500, 500),
        nn.ReLU(),
        nn.Linear(500, classes),
    )


class ResNet(nn.Module):
    """Stack residual units in three stages of 16, 32 and 64 channels.

    Args:
        units: Residual units per stage: 18 make ResNet-110, 1 makes ResNet-8.
        channels: Channels of the input.
        classes: Number of outputs.
    """

    def __init__(self, units: int, channels: int, classes: int) -> None:
        super().__init__()
        self.stem, self.stem_norm = _convolution(channels, 16), nn.BatchNorm2d(16)
        stages: list[nn.Module] = []
        inputs = 16
        for outputs in (16, 32, 64):
            for place in range(units):
                stages.append(ResidualUnit(inputs, outputs, 2 if place == 0 and outputs > 16 else 1))
                inputs = outputs
        self.units = nn.Sequential(*stages)
        self.norm, self.head = nn.BatchNorm2d(64), nn.Linear(64, classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.units(self.stem_norm(self.stem(x)))
        out: Tensor = self.head(F.relu(self.norm(x)).mean((2, 3)))
        return out


class ResidualUnit(nn.Module):
    """Add conv, BN, ReLU, conv, BN to a shortcut without parameters.

    The shortcut takes a 2×2 mean where the stride is 2, and zeros for new channels; no ReLU follows the sum.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.first_norm = _convolution(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.second, self.second_norm = _convolution(outputs, outputs), nn.BatchNorm2d(outputs)
        self.stride, self.new_channels = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        if self.stride > 1:
            x = F.avg_pool2d(x, 2)
        if self.new_channels:
            x = F.pad(x, (0, 0, 0, 0, 0, self.new_channels))
        return x + branch


class DenseNet(nn.Module):
    """Stack three dense blocks of growth 8, 10 and 14; transitions keep all channels.

    Args:
        layers: Layers per block: 18 make DenseNet-110, 1 makes DenseNet-8.
        channels: Channels of the input.
        classes: Number of outputs.
    """

    def __init__(self, layers: int, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = _convolution(channels, 16)
        parts: list[nn.Module] = []
        width = 16
        for block, growth in enumerate((8, 10, 14)):
            for _ in range(layers):
                parts.append(DenseLayer(width, growth))
                width += growth
            if block < 2:
                parts.append(Transition(width))
        self.blocks = nn.Sequential(*parts)
        self.norm, self.head = nn.BatchNorm2d(width), nn.Linear(width, classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(F.relu(self.norm(self.blocks(self.stem(x)))).mean((2, 3)))
        return out


class DenseLayer(nn.Module):
    """Apply BN, ReLU, conv3×3, and concatenate the result to the input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm, self.convolution = nn.BatchNorm2d(inputs), _convolution(inputs, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.convolution(F.relu(self.norm(x)))], 1)


class Transition(nn.Module):
    """Apply BN, ReLU, conv1×1 and a 2×2 mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.convolution = nn.BatchNorm2d(width), nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.convolution(F.relu(self.norm(x))), 2)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


def _initialise(model: nn.Module) -> None:
    """Initialise convolutions by He's normal (fan-out), and the head's bias by zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            kernel = module.kernel_size[0] * module.kernel_size[1]
            nn.init.normal_(module.weight, 0.0, math.sqrt(2 / (kernel * module.out_channels)))
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

"""What an architecture for a test is: a network, its inputs at any sizes, and the extents that may stay open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

Sizes = Mapping[str, int]
"""Extents by the name of the dimension."""


@dataclass(frozen=True)
class Architecture:
    """A network to export.

    Attributes:
        name: what the tests call it.
        network: makes it, weights and all; called under a fixed seed.
        inputs: makes inputs, by name in the order of the network's parameters.
        sizes: the extents of a static export, and the example's of one with open dimensions.
        more: other extents at which an export with open dimensions must be right as well.
        dynamic: by input, the name of the dimension of each axis that stays open.
        outputs: the names of the results.
        rtol: how far a value may be off what ONNX Runtime gives, as a share of itself.
        atol: the same as a share of the largest value; sums of rounded terms are off by parts of the terms.
    """

    name: str
    network: Callable[[], nn.Module]
    inputs: Callable[[Sizes], dict[str, Any]]
    sizes: Sizes
    more: Sequence[Sizes] = ()
    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ("output",)
    rtol: float = 1e-3
    atol: float = 1e-4


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """Return the network with the same random weights each time, its normalisations with statistics that are not their defaults."""
    torch.manual_seed(0)
    network = make().eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.1)
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    return network


def image(sizes: Sizes, channels: int = 3) -> Any:
    """Return a random image, float32 [batch, channels, height, width]."""
    return torch.randn(sizes["batch"], channels, sizes["height"], sizes["width"], generator=torch.Generator().manual_seed(1))


def tokens(sizes: Sizes, vocabulary: int) -> Any:
    """Return random token numbers, int64 [batch, sequence]."""
    return torch.randint(0, vocabulary, (sizes["batch"], sizes["sequence"]), generator=torch.Generator().manual_seed(1))

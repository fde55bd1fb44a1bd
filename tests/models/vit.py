"""A vision transformer (Dosovitskiy et al. 2020) on 8 x 8 patches, with PyTorch's own encoder layers in their pre-norm form."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from models.architecture import Architecture, image


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Any) -> Any:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    def __init__(self, width: int = 48, heads: int = 4, depth: int = 3, patches: int = 16) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.1)
        self.position = nn.Parameter(torch.randn(1, patches + 1, width) * 0.1)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 10)

    def forward(self, x: Any) -> Any:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), patches], dim=1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


ARCHITECTURE = Architecture(
    "vit",
    VisionTransformer,
    lambda sizes: {"image": image(sizes)},
    {"batch": 2, "height": 32, "width": 32},
    more=({"batch": 3, "height": 32, "width": 32}, {"batch": 1, "height": 32, "width": 32}),
    dynamic={"image": {0: "batch"}},
)

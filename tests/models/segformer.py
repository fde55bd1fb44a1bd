"""SegFormer (Xie et al. 2021): overlapping patches, attention over reduced keys, an MLP with a depthwise convolution, an all-MLP head."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from models.architecture import Architecture, image


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, reduce: int) -> None:
        super().__init__()
        self.heads = heads
        self.reduce = nn.Conv2d(width, width, reduce, reduce) if reduce > 1 else nn.Identity()
        self.norm = nn.LayerNorm(width)
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x: Any, height: int, width: int) -> Any:
        batch, _, channels = x.shape
        few = self.reduce(x.transpose(1, 2).reshape(batch, channels, height, width)).flatten(2).transpose(1, 2)
        query = self.q(x).reshape(batch, -1, self.heads, channels // self.heads).transpose(1, 2)
        pairs = self.kv(self.norm(few)).reshape(batch, -1, 2, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        key, value = pairs.unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(batch, -1, channels))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, reduce: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, reduce)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.depthwise = nn.Conv2d(2 * width, 2 * width, 3, 1, 1, groups=2 * width)

    def forward(self, x: Any, height: int, width: int) -> Any:
        x = x + self.attention(self.norm1(x), height, width)
        y = self.up(self.norm2(x))
        y = self.depthwise(y.transpose(1, 2).reshape(y.shape[0], -1, height, width)).flatten(2).transpose(1, 2)
        return x + self.down(nn.functional.gelu(y))


class Stage(nn.Module):
    def __init__(self, channels: int, width: int, kernel: int, stride: int, reduce: int) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(channels, width, kernel, stride, kernel // 2), nn.LayerNorm(width)
        self.block, self.last = Block(width, 2, reduce), nn.LayerNorm(width)

    def forward(self, x: Any) -> Any:
        x = self.patch(x)
        batch, channels, height, width = x.shape
        x = self.last(self.block(self.norm(x.flatten(2).transpose(1, 2)), height, width))
        return x.transpose(1, 2).reshape(batch, channels, height, width)


class SegFormer(nn.Module):
    def __init__(self, widths: tuple[int, ...] = (16, 24, 32), head: int = 24, classes: int = 5) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            (Stage(3, widths[0], 7, 4, 4), Stage(widths[0], widths[1], 3, 2, 2), Stage(widths[1], widths[2], 3, 2, 1))
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, head, 1) for width in widths)
        self.fuse = nn.Sequential(nn.Conv2d(3 * head, head, 1, bias=False), nn.BatchNorm2d(head), nn.ReLU())
        self.classes = nn.Conv2d(head, classes, 1)

    def forward(self, image: Any) -> Any:
        x, features = image, []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            features.append(lateral(x))
        size = features[0].shape[2:]
        same = [nn.functional.interpolate(part, size=size, mode="bilinear", align_corners=False) for part in features]
        scores = self.classes(self.fuse(torch.cat(same, dim=1)))
        return nn.functional.interpolate(scores, size=image.shape[2:], mode="bilinear", align_corners=False)


ARCHITECTURE = Architecture(
    "segformer",
    SegFormer,
    lambda sizes: {"image": image(sizes)},
    {"batch": 2, "height": 64, "width": 64},
    more=({"batch": 1, "height": 64, "width": 64}, {"batch": 3, "height": 64, "width": 64}),
    dynamic={"image": {0: "batch"}},
    outputs=("scores",),
)

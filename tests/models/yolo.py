"""A detector in the manner of YOLO: C2f-like blocks, a feature pyramid, distributions over box edges, NonMaxSuppression in the graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from models.architecture import Architecture, image
from models.non_max_suppression import suppressed


def conv(channels: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out, eps=1e-3), nn.SiLU())


class Split(nn.Module):
    """Half of the channels go through two convolutions and are joined with what went past."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.first, self.inner, self.last = (
            conv(channels, channels, 1),
            nn.Sequential(conv(half, half), conv(half, half)),
            conv(3 * half, channels, 1),
        )

    def forward(self, x: Any) -> Any:
        left, right = self.first(x).chunk(2, 1)
        return self.last(torch.cat([left, right, right + self.inner(right)], 1))


class Pooled(nn.Module):
    """The same max pool three times, all of them joined."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.pool, self.last = conv(channels, channels // 2, 1), nn.MaxPool2d(5, 1, 2), conv(2 * channels, channels, 1)

    def forward(self, x: Any) -> Any:
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.last(torch.cat(parts, 1))


class Yolo(nn.Module):
    def __init__(self, classes: int = 4, bins: int = 8) -> None:
        super().__init__()
        self.bins, self.kinds = bins, classes
        self.stem = nn.Sequential(conv(3, 8, 3, 2), conv(8, 16, 3, 2), Split(16))
        self.deep = nn.Sequential(conv(16, 32, 3, 2), Split(32), Pooled(32))
        self.up, self.mix = nn.Upsample(scale_factor=2, mode="nearest"), conv(48, 16, 1)
        self.heads = nn.ModuleList(nn.Conv2d(channels, 4 * bins + classes, 1) for channels in (16, 32))
        self.register_buffer("range", torch.arange(bins).float())

    def decoded(self, raw: Any, stride: int) -> Any:
        batch, _, height, width = raw.shape
        raw = raw.view(batch, 4 * self.bins + self.kinds, height * width)
        edges, scores = raw.split((4 * self.bins, self.kinds), 1)
        edges = (edges.view(batch, 4, self.bins, -1).softmax(2) * self.range.view(1, 1, -1, 1)).sum(2)
        rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        centres = torch.stack([columns.reshape(-1), rows.reshape(-1)])
        corners = torch.cat([centres - edges[:, :2], centres + edges[:, 2:]], 1) * stride
        return corners, scores.sigmoid()

    def forward(self, image: Any) -> Any:
        fine = self.stem(image)
        coarse = self.deep(fine)
        fine = self.mix(torch.cat([self.up(coarse), fine], 1))
        parts = [self.decoded(head(x), stride) for head, x, stride in zip(self.heads, (fine, coarse), (4, 8), strict=True)]
        boxes, scores = torch.cat([part[0] for part in parts], 2).transpose(1, 2), torch.cat([part[1] for part in parts], 2)
        chosen = suppressed(boxes, scores, 20, 0.5, 0.5)
        return boxes[chosen[:, 0], chosen[:, 2]], scores[chosen[:, 0], chosen[:, 1], chosen[:, 2]], chosen


ARCHITECTURE = Architecture(
    "yolo",
    Yolo,
    lambda sizes: {"image": image(sizes)},
    {"batch": 2, "height": 64, "width": 64},
    more=({"batch": 1, "height": 64, "width": 64}, {"batch": 3, "height": 64, "width": 64}),
    dynamic={"image": {0: "batch"}},
    outputs=("boxes", "scores", "chosen"),
)

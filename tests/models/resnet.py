"""A residual network with bottlenecks (He et al. 2015), four stages of one and two blocks."""

from __future__ import annotations

from typing import Any

from torch import nn

from models.architecture import Architecture, image


class Bottleneck(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        wide = 4 * width
        self.way = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
        )
        straight = stride == 1 and channels == wide
        self.shortcut = nn.Identity() if straight else nn.Sequential(nn.Conv2d(channels, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))
        self.last = nn.ReLU(inplace=True)

    def forward(self, x: Any) -> Any:
        return self.last(self.way(x) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)
        )
        stages = ((16, 8, 1), (32, 8, 1), (32, 16, 2), (64, 24, 2), (96, 32, 2))
        self.stages = nn.Sequential(*(Bottleneck(*stage) for stage in stages))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Any) -> Any:
        return self.head(self.pool(self.stages(self.stem(x))).flatten(1))


ARCHITECTURE = Architecture(
    "resnet",
    ResNet,
    lambda sizes: {"image": image(sizes)},
    {"batch": 2, "height": 64, "width": 64},
    more=({"batch": 3, "height": 64, "width": 64}, {"batch": 1, "height": 64, "width": 64}),
    dynamic={"image": {0: "batch"}},
)

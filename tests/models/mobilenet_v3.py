"""MobileNetV3 (Howard et al. 2019): inverted residuals, squeeze-and-excitation, hard swish."""

from __future__ import annotations

from typing import Any

from torch import nn

from models.architecture import Architecture, image


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, channels // 4, 1), nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Any) -> Any:
        return x * nn.functional.hardsigmoid(self.fc2(nn.functional.relu(self.fc1(self.pool(x)))))


class Inverted(nn.Module):
    def __init__(self, channels: int, inner: int, out: int, kernel: int, stride: int, squeeze: bool, hard: bool) -> None:
        super().__init__()
        act = nn.Hardswish if hard else nn.ReLU
        self.way = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner, eps=0.001),
            act(),
            nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False),
            nn.BatchNorm2d(inner, eps=0.001),
            act(),
            SqueezeExcite(inner) if squeeze else nn.Identity(),
            nn.Conv2d(inner, out, 1, bias=False),
            nn.BatchNorm2d(out, eps=0.001),
        )
        self.residual = stride == 1 and channels == out

    def forward(self, x: Any) -> Any:
        return x + self.way(x) if self.residual else self.way(x)


class MobileNetV3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False),
            nn.BatchNorm2d(16, eps=0.001),
            nn.Hardswish(),
            Inverted(16, 16, 16, 3, 2, True, False),
            Inverted(16, 48, 24, 3, 2, False, False),
            Inverted(24, 64, 24, 3, 1, False, False),
            Inverted(24, 64, 32, 5, 2, True, True),
            Inverted(32, 96, 32, 5, 1, True, True),
            nn.Conv2d(32, 96, 1, bias=False),
            nn.BatchNorm2d(96, eps=0.001),
            nn.Hardswish(),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(nn.Linear(96, 64), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(64, 10))

    def forward(self, x: Any) -> Any:
        return self.head(self.pool(self.features(x)).flatten(1))


ARCHITECTURE = Architecture(
    "mobilenet_v3",
    MobileNetV3,
    lambda sizes: {"image": image(sizes)},
    {"batch": 2, "height": 64, "width": 64},
    more=({"batch": 5, "height": 64, "width": 64}, {"batch": 1, "height": 64, "width": 64}),
    dynamic={"image": {0: "batch"}},
)

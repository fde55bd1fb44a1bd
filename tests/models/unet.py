"""A U-Net (Ronneberger et al. 2015) for images of any size: transposed convolutions up, nearest resizing to the size of the skip."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from models.architecture import Architecture, image


def double(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, padding=1),
        nn.BatchNorm2d(out),
        nn.ReLU(),
        nn.Conv2d(out, out, 3, padding=1),
        nn.InstanceNorm2d(out, affine=True),
        nn.ReLU(),
    )


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = double(3, 8), double(8, 16), double(16, 32)
        self.up2, self.up1 = nn.ConvTranspose2d(32, 16, 2, 2), nn.ConvTranspose2d(16, 8, 2, 2)
        self.join2, self.join1 = double(32, 16), double(16, 8)
        self.pool, self.head = nn.MaxPool2d(2), nn.Conv2d(8, 1, 1)

    def forward(self, image: Any) -> Any:
        first = self.down1(image)
        second = self.down2(self.pool(first))
        x = self.up2(self.bottom(self.pool(second)))
        x = self.join2(torch.cat([second, nn.functional.interpolate(x, size=second.shape[2:], mode="nearest")], dim=1))
        x = self.join1(torch.cat([first, nn.functional.interpolate(self.up1(x), size=first.shape[2:], mode="nearest")], dim=1))
        return torch.sigmoid(self.head(x))


ARCHITECTURE = Architecture(
    "unet",
    UNet,
    lambda sizes: {"image": image(sizes)},
    {"batch": 1, "height": 32, "width": 48},
    more=({"batch": 2, "height": 40, "width": 28}, {"batch": 1, "height": 37, "width": 51}),
    dynamic={"image": {0: "batch", 2: "height", 3: "width"}},
    outputs=("mask",),
)

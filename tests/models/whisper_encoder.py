"""The encoder of Whisper (Radford et al. 2022): two convolutions over a spectrogram, sinusoidal positions, pre-norm layers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from models.architecture import Architecture, Sizes
from models.vit import Block


class WhisperEncoder(nn.Module):
    def __init__(self, bands: int = 20, width: int = 32, heads: int = 4, depth: int = 2, longest: int = 100) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(bands, width, 3, padding=1), nn.Conv1d(width, width, 3, 2, padding=1)
        scale = torch.exp(-math.log(10000) / (width // 2 - 1) * torch.arange(width // 2))
        angles = torch.arange(longest).float()[:, None] * scale[None]
        self.register_buffer("positions", torch.cat([angles.sin(), angles.cos()], dim=1))
        self.blocks, self.norm = nn.Sequential(*(Block(width, heads) for _ in range(depth))), nn.LayerNorm(width)

    def forward(self, spectrogram: Any) -> Any:
        x = nn.functional.gelu(self.conv2(nn.functional.gelu(self.conv1(spectrogram))))
        x = x.permute(0, 2, 1)
        return self.norm(self.blocks(x + self.positions[: x.shape[1]]))


def _inputs(sizes: Sizes) -> dict[str, Any]:
    return {"spectrogram": torch.randn(sizes["batch"], 20, sizes["frames"], generator=torch.Generator().manual_seed(1))}


ARCHITECTURE = Architecture(
    "whisper_encoder",
    WhisperEncoder,
    _inputs,
    {"batch": 2, "frames": 40},
    more=({"batch": 1, "frames": 96}, {"batch": 3, "frames": 22}),
    dynamic={"spectrogram": {0: "batch", 2: "frames"}},
)

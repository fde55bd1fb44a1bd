"""DETR (Carion et al. 2020): a small backbone, sine positions, an encoder and a decoder over learned queries, classes and boxes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from models.architecture import Architecture, image


class Detr(nn.Module):
    def __init__(self, width: int = 32, queries: int = 8, classes: int = 6) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, 2, 1),
        )
        self.project = nn.Conv2d(32, width, 1)
        self.queries = nn.Parameter(torch.randn(queries, width))
        encoder = nn.TransformerEncoderLayer(width, 4, 64, batch_first=True)
        decoder = nn.TransformerDecoderLayer(width, 4, 64, batch_first=True)
        self.encoder, self.decoder = nn.TransformerEncoder(encoder, 1), nn.TransformerDecoder(decoder, 2, nn.LayerNorm(width))
        self.classes = nn.Linear(width, classes + 1)
        self.boxes = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))

    def positions(self, x: Any) -> Any:
        """Sines and cosines of the place of each pixel, counted by a cumulative sum as DETR does over its mask."""
        ones = torch.ones_like(x[:, 0])
        scale = 10000 ** (2 * (torch.arange(8, device=x.device) // 2) / 8)
        parts = []
        for axis in (1, 2):
            place = ones.cumsum(axis)
            place = place / (place[:, -1:, :] if axis == 1 else place[:, :, -1:]) * 6.28
            angle = place[..., None] / scale
            parts.append(torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], dim=4).flatten(3))
        return torch.cat([*parts, *parts], dim=3)

    def forward(self, image: Any) -> Any:
        x = self.project(self.backbone(image))
        memory = self.encoder((x + self.positions(x).permute(0, 3, 1, 2)).flatten(2).transpose(1, 2))
        found = self.decoder(self.queries.unsqueeze(0).repeat(x.shape[0], 1, 1), memory)
        return self.classes(found), self.boxes(found).sigmoid()


ARCHITECTURE = Architecture(
    "detr",
    Detr,
    lambda sizes: {"image": image(sizes)},
    {"batch": 2, "height": 48, "width": 64},
    more=({"batch": 1, "height": 48, "width": 64}, {"batch": 3, "height": 48, "width": 64}),
    dynamic={"image": {0: "batch"}},
    outputs=("logits", "boxes"),
)

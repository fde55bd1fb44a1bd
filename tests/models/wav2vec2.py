"""wav2vec 2.0 (Baevski et al. 2020): strided convolutions over a waveform, a grouped convolution for positions, a transformer, CTC."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from models.architecture import Architecture, Sizes


class Positions(nn.Module):
    """A convolution whose weight is kept normalised; an even kernel gives one frame too many."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(width, width, 8, padding=4, groups=4), dim=2)

    def forward(self, x: Any) -> Any:
        return x + nn.functional.gelu(self.conv(x.transpose(1, 2))[:, :, :-1]).transpose(1, 2)


class Wav2Vec2(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, width, 10, 5, bias=False)
        self.norm = nn.GroupNorm(width, width)
        self.features = nn.ModuleList(nn.Conv1d(width, width, kernel, 2, bias=False) for kernel in (3, 3, 2))
        self.layer_norm, self.project = nn.LayerNorm(width), nn.Linear(width, width)
        self.positions = Positions(width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 30)

    def forward(self, waveform: Any) -> Any:
        x = nn.functional.gelu(self.norm(self.first(waveform[:, None])))
        for conv in self.features:
            x = nn.functional.gelu(conv(x))
        x = self.project(self.layer_norm(x.transpose(1, 2)))
        return torch.log_softmax(self.head(self.encoder(self.positions(x))), dim=-1)


def _inputs(sizes: Sizes) -> dict[str, Any]:
    return {"waveform": torch.randn(sizes["batch"], sizes["samples"], generator=torch.Generator().manual_seed(1))}


ARCHITECTURE = Architecture(
    "wav2vec2",
    Wav2Vec2,
    _inputs,
    {"batch": 2, "samples": 1600},
    more=({"batch": 1, "samples": 2311}, {"batch": 3, "samples": 900}),
    dynamic={"waveform": {0: "batch", 1: "samples"}},
    outputs=("logits",),
)

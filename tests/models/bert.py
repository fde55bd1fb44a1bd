"""BERT (Devlin et al. 2018): embeddings of tokens, positions and segments, post-norm layers, attention over a padding mask."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from models.architecture import Architecture, Sizes, tokens

VOCABULARY = 100


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def split(self, x: Any) -> Any:
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, x: Any, bias: Any) -> Any:
        query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + bias
        mixed = torch.softmax(scores, dim=-1) @ value
        return self.out(mixed.transpose(1, 2).reshape(x.shape))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.norm1 = SelfAttention(width, heads), nn.LayerNorm(width, eps=1e-12)
        self.mlp, self.norm2 = (
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)),
            nn.LayerNorm(width, 1e-12),
        )

    def forward(self, x: Any, bias: Any) -> Any:
        x = self.norm1(x + self.attention(x, bias))
        return self.norm2(x + self.mlp(x))


class Bert(nn.Module):
    def __init__(self, width: int = 32, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.words, self.positions, self.segments = nn.Embedding(VOCABULARY, width), nn.Embedding(64, width), nn.Embedding(2, width)
        self.register_buffer("order", torch.arange(64).unsqueeze(0))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(depth))
        self.pooler = nn.Linear(width, width)

    def forward(self, ids: Any, mask: Any, segments: Any) -> Any:
        order = self.order[:, : ids.shape[1]]
        x = self.norm(self.words(ids) + self.positions(order) + self.segments(segments))
        bias = (1.0 - mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        for layer in self.layers:
            x = layer(x, bias)
        return x, torch.tanh(self.pooler(x[:, 0]))


def _inputs(sizes: Sizes) -> dict[str, Any]:
    ids = tokens(sizes, VOCABULARY)
    mask = torch.ones_like(ids)
    mask[0, sizes["sequence"] // 2 :] = 0
    return {"ids": ids, "mask": mask, "segments": (ids > VOCABULARY // 2).long()}


ARCHITECTURE = Architecture(
    "bert",
    Bert,
    _inputs,
    {"batch": 2, "sequence": 12},
    more=({"batch": 3, "sequence": 33}, {"batch": 1, "sequence": 5}),
    dynamic={name: {0: "batch", 1: "sequence"} for name in ("ids", "mask", "segments")},
    outputs=("hidden", "pooled"),
)

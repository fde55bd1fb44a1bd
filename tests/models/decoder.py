"""A decoder-only transformer as language models have it: RMS norm, rotary positions, causal attention of grouped heads, gated MLP."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from models.architecture import Architecture, tokens

VOCABULARY = 100


class RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x: Any) -> Any:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def rotated(x: Any, cos: Any, sin: Any) -> Any:
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.size, self.heads, self.groups = width // heads, heads, groups
        self.q, self.k, self.v, self.o = (
            nn.Linear(width, wide, bias=False) for wide in (width, groups * self.size, groups * self.size, width)
        )

    def forward(self, x: Any, cos: Any, sin: Any) -> Any:
        batch, length, _ = x.shape
        query = rotated(self.q(x).view(batch, length, self.heads, self.size).transpose(1, 2), cos, sin)
        key = rotated(self.k(x).view(batch, length, self.groups, self.size).transpose(1, 2), cos, sin)
        value = self.v(x).view(batch, length, self.groups, self.size).transpose(1, 2)
        key, value = (part.repeat_interleave(self.heads // self.groups, dim=1) for part in (key, value))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.o(mixed.transpose(1, 2).reshape(batch, length, -1))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.attention = RmsNorm(width), RmsNorm(width), Attention(width, heads, groups)
        self.gate, self.up, self.down = (nn.Linear(*pair, bias=False) for pair in ((width, 96), (width, 96), (96, width)))

    def forward(self, x: Any, cos: Any, sin: Any) -> Any:
        x = x + self.attention(self.norm1(x), cos, sin)
        y = self.norm2(x)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))


class Decoder(nn.Module):
    def __init__(self, width: int = 32, heads: int = 4, groups: int = 2, depth: int = 2) -> None:
        super().__init__()
        size = width // heads
        self.words = nn.Embedding(VOCABULARY, width)
        self.register_buffer("frequencies", 1.0 / (10000 ** (torch.arange(0, size, 2).float() / size)))
        self.layers = nn.ModuleList(Layer(width, heads, groups) for _ in range(depth))
        self.norm, self.head = RmsNorm(width), nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, ids: Any) -> Any:
        angles = torch.outer(torch.arange(ids.shape[1], device=ids.device).float(), self.frequencies)
        angles = torch.cat([angles, angles], dim=-1)
        cos, sin, x = angles.cos(), angles.sin(), self.words(ids)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.head(self.norm(x))


ARCHITECTURE = Architecture(
    "decoder",
    Decoder,
    lambda sizes: {"ids": tokens(sizes, VOCABULARY)},
    {"batch": 2, "sequence": 12},
    more=({"batch": 1, "sequence": 31}, {"batch": 3, "sequence": 4}),
    dynamic={"ids": {0: "batch", 1: "sequence"}},
    outputs=("logits",),
)

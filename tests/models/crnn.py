"""A CRNN for text in images (Shi et al. 2015): convolutions, a bidirectional LSTM over the columns, scores for CTC."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from models.architecture import Architecture, image


class Crnn(nn.Module):
    def __init__(self, hidden: int = 24, classes: int = 20) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, 1, 1),
            nn.ReLU(),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(16, 32, 3, 1, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d((2, 2), (2, 1), (0, 1)),
            nn.Conv2d(32, 32, 3, 1, 1),
            nn.LeakyReLU(0.1),
            nn.MaxPool2d((4, 1)),
        )
        self.lstm = nn.LSTM(32, hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, x: Any) -> Any:
        columns = self.features(x).squeeze(2).transpose(1, 2)
        return torch.log_softmax(self.head(self.lstm(columns)[0]), dim=-1)


ARCHITECTURE = Architecture(
    "crnn",
    Crnn,
    lambda sizes: {"image": image(sizes, 1)},
    {"batch": 2, "height": 16, "width": 40},
    more=({"batch": 3, "height": 16, "width": 40}, {"batch": 1, "height": 16, "width": 40}),
    dynamic={"image": {0: "batch"}},
    outputs=("scores",),
)

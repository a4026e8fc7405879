"""Five small models of 8 x 8 digits: (N, 1, 8, 8) pixels to (N, 10) logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["CNN", "LSTM", "MLP", "ResNet", "Transformer"]


class MLP(nn.Sequential):
    """``depth`` hidden layers; ``activation`` is the name of a class in torch.nn."""

    def __init__(self, width: int, depth: int, activation: str) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs in (64, *[width] * (depth - 1)):
            layers += [nn.Linear(inputs, width), getattr(nn, activation)()]
        super().__init__(*layers, nn.Linear(width, 10))


class CNN(nn.Sequential):
    """Three convolutions, the last two at half the resolution."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Conv2d(1, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(2 * width * 16, 10),
        )


class _Residual(nn.Module):
    """Two convolutions whose result is added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, input: Tensor) -> Tensor:
        return torch.relu(input + self.branch(input))


class ResNet(nn.Sequential):
    """A stem, ``depth`` residual blocks, and the mean over all positions."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            *[_Residual(width) for _ in range(depth)],
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, 10),
        )


class LSTM(nn.Module):
    """Reads the eight rows from the top; the last hidden state decides."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, width, num_layers=depth, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        outputs, _ = self.lstm(images.squeeze(1))
        logits: Tensor = self.head(outputs[:, -1])
        return logits


class Transformer(nn.Module):
    """The eight rows as tokens with learned positions; the mean over all of them decides."""

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.row = nn.Linear(8, width)
        self.position = nn.Embedding(8, width)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.row(images.squeeze(1)) + self.position.weight
        logits: Tensor = self.head(self.encoder(tokens).mean(dim=1))
        return logits

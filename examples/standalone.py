"""Plain PyTorch, no Hydra and no Lightning: one call initializes the model and returns the audit."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn

import initpolicy as ip


def main(epochs: int = 30) -> float:
    """Trains on scanned digits; the accuracy on every fifth of them, which is kept for the test."""
    torch.set_num_threads(1)  # so small a model gains nothing from more
    digits = load_digits()
    pixels = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    held_out = torch.arange(len(labels)) % 5 == 0
    x, y = pixels[~held_out], labels[~held_out]

    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    audit = ip.apply_policy(model, "he_relu", example_input=x[:1], seed=1)
    print(audit)
    audit.save("init_audit.csv")

    torch.manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()

    right = model(pixels[held_out]).argmax(dim=1) == labels[held_out]
    return float(right.float().mean())


if __name__ == "__main__":
    print(f"test accuracy {main():.4f}")

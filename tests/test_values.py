"""Values are a promise: sha256 of every tensor of a small model, under every initializer. Changing one breaks users.

A new initializer is added by ``INITPOLICY_UPDATE_GOLDEN=1 pytest tests/test_values.py``; the difference must show new
lines only, or the change is a breaking one and CHANGELOG.md says so. What LAPACK or a library's log and exp compute is
promised to rounding alone, so of those the first values that are not 0 are kept instead of a sum.
"""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from applying_parts import bits, policy
from golden_files import GOLDEN, UPDATE, check_golden
from safetensors.torch import save_file
from torch import nn

from initpolicy import apply_policy
from initpolicy.initializers import INITIALIZERS

SEED = 20240601

EXACT: dict[str, tuple[Any, str]] = {
    # a spec, and which parameters can take it
    "zeros": ("zeros", "True"),
    "ones": ("ones", "True"),
    "constant": (0.1, "True"),
    "normal": ({"name": "normal", "mean": 0.25, "std": 0.02}, "True"),
    "uniform": ({"name": "uniform", "a": -0.3, "b": 0.7}, "True"),
    "trunc_normal": ({"name": "trunc_normal", "std": 0.02}, "True"),
    "trunc_normal absolute": ({"name": "trunc_normal", "a": 0.5, "b": 3, "bounds": "absolute"}, "True"),
    "bernoulli": ({"name": "bernoulli", "p": 0.3}, "True"),
    "poisson": ({"name": "poisson", "rate": 2.5}, "True"),
    "exponential": ({"name": "exponential", "rate": 3}, "True"),
    "log_normal": ({"name": "log_normal", "mean": -1, "std": 0.5}, "True"),
    "log_uniform": ({"name": "log_uniform", "low": 0.001, "high": 0.1}, "True"),
    "xavier_normal": ("xavier_normal", "ndim >= 2"),
    "xavier_uniform": ("xavier_uniform", "ndim >= 2"),
    "kaiming_normal": ({"name": "kaiming_normal", "nonlinearity": "relu"}, "ndim >= 2"),
    "kaiming_uniform": ({"name": "kaiming_uniform", "a": 0.2, "mode": "fan_out"}, "ndim >= 2"),
    "lecun_normal": ("lecun_normal", "ndim >= 2"),
    "lecun_uniform": ("lecun_uniform", "ndim >= 2"),
    "variance_scaling": ("variance_scaling", "ndim >= 2"),
    "variance_scaling uniform": (
        {"name": "variance_scaling", "scale": 2, "mode": "fan_geo", "distribution": "uniform"}, "ndim >= 2"
    ),
    "sparse": ({"name": "sparse", "sparsity": 0.8, "std": 0.1}, "ndim == 2"),
    "eye": ("eye", "ndim == 2"),
    "dirac": ("dirac", "ndim >= 3"),
    "bilinear": ("bilinear", "ndim >= 3"),
    "icnr": ({"name": "icnr", "scale": 2, "nonlinearity": "relu"}, "ndim == 4"),
    "formula": ({"name": "formula", "value": "0.1 * z + i / numel"}, "numel < 10000"),
    "pretrained": ({"name": "pretrained", "path": "trained.safetensors"}, "True"),
    "split in three": ({"name": "normal", "split": 3}, "ndim == 1 and floor(numel / 3) * 3 == numel"),
    "blocks": ({"name": "blocks", "parts": [1, "xavier_uniform"], "dim": 1}, "ndim == 2 and kernel == 1"),
}  # fmt: skip
CLOSE: dict[str, tuple[Any, str]] = {
    "normalized": ("normalized", "ndim >= 2"),
    "orthogonal": ({"name": "orthogonal", "gain": 2}, "ndim >= 2 and numel < 10000"),
    "delta_orthogonal": ("delta_orthogonal", "ndim >= 3"),
    "formula": ({"name": "formula", "value": "log(j + 1) + exp(z)"}, "ndim >= 2 and numel < 10000"),
}
DTYPES = ("float64", "bfloat16", "float16")


def net() -> nn.ModuleDict:
    """Every kind of layer whose layout differs, and a table of more than one block of the stream."""
    layers = {
        "linear": nn.Linear(40, 30),
        "conv": nn.Conv2d(6, 8, 3, groups=2),
        "depthwise": nn.Conv1d(6, 6, 5, groups=6),
        "up": nn.ConvTranspose2d(4, 4, 4, stride=2),
        "table": nn.Embedding(1400, 50, padding_idx=3),
        "lstm": nn.LSTM(6, 6),
        "attention": nn.MultiheadAttention(6, 2),
        "norm": nn.LayerNorm(12),
    }
    return nn.ModuleDict(layers)


def filled(spec: Any, where: str, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """What the initializer wrote, by name."""
    model = net().to(dtype)
    rule = {"match": {"where": where.replace("True", "ndim >= 0")}, "init": {"*": spec}}
    audit = apply_policy(model, policy(rules={"all": rule}, seed=SEED))
    assert audit.ok
    written = {row.name for row in audit.rows if row.status == "initialized"}
    return {name: param.detach() for name, param in model.named_parameters() if name in written}


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of weights, in the working folder."""
    tensors = {name: torch.arange(param.numel()).reshape(param.shape) / 7 for name, param in net().named_parameters()}
    save_file(tensors, tmp_path / "trained.safetensors")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("trained")
def test_values_must_not_change() -> None:
    sums = {
        case: {name: sha256(bits(tensor)).hexdigest() for name, tensor in filled(*asked).items()}
        for case, asked in EXACT.items()
    }
    for dtype in DTYPES:
        for case in ("normal", "trunc_normal absolute", "exponential", "kaiming_uniform"):
            found = filled(*EXACT[case], dtype=getattr(torch, dtype))
            sums[f"{case} {dtype}"] = {name: sha256(bits(tensor)).hexdigest() for name, tensor in found.items()}
    assert all(sums.values())
    check_golden("values.json", json.dumps(sums, indent=1) + "\n")


def test_values_must_not_change_but_by_rounding() -> None:
    found = {
        case: {
            name: [round(float(value), 6) for value in tensor[tensor != 0][:8]]
            for name, tensor in filled(*asked).items()
        }
        for case, asked in CLOSE.items()
    }
    path = GOLDEN / "values_close.json"
    if os.environ.get(UPDATE) == "1":
        path.write_text(json.dumps(found, indent=1) + "\n")
    known = json.loads(path.read_text())
    assert {case: list(values) for case, values in found.items()} == {
        case: list(values) for case, values in known.items()
    }
    for case, tensors in found.items():
        for name, values in tensors.items():
            assert values == pytest.approx(known[case][name], rel=1e-4, abs=2e-5), (case, name)


def test_every_initializer_is_among_them() -> None:
    asked = {case.partition(" ")[0] for case in (*EXACT, *CLOSE)}
    assert set(INITIALIZERS) <= asked
    assert asked - set(INITIALIZERS) == {"split", "blocks"}


def test_another_seed_gives_other_sums() -> None:
    """The sums are of the values: a negative control."""
    known = json.loads((GOLDEN / "values.json").read_text())
    model = net()
    apply_policy(model, policy(EXACT["normal"][0], seed=SEED))
    assert sha256(bits(model["linear"].weight)).hexdigest() == known["normal"]["linear.weight"]  # type: ignore[arg-type]
    apply_policy(model, policy(EXACT["normal"][0], seed=SEED + 1))
    assert sha256(bits(model["linear"].weight)).hexdigest() != known["normal"]["linear.weight"]  # type: ignore[arg-type]

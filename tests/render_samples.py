"""A small hand-made audit with one of everything: every status, trouble of each kind, parts, folds, odd names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from initpolicy.records import AuditRow, Header

__all__ = ["HEADER", "ROWS", "planned", "row"]

HEADER = Header(
    policy="he_relu",
    description="He for what feeds a rectifier, Xavier for the rest, zero biases.",
    seed=42,
    fingerprint="9f2c41d07a55e3b8",
    notes=(
        "activations: found by order in nn.Sequential; give an example_input for the rest",
        "2 parameters claimed by no rule: temperature, [red]odd|name",
        "activations: found by order in nn.Sequential; give an example_input for the rest",
    ),
)

_BLANK: dict[str, Any] = {"dtype": "float32", "device": "cpu", "module_type": "Linear"}


def row(name: str, shape: tuple[int, ...], **fields: Any) -> AuditRow:
    """A row with what every row needs filled in."""
    return AuditRow(**{**_BLANK, "name": name, "shape": shape, "status": "initialized", **fields})


def _he(name: str, shape: tuple[int, ...], expected: float, reached: float, **fields: Any) -> AuditRow:
    fan_in, fan_out = shape[1] * 9 if len(shape) == 4 else shape[1], shape[0]
    return row(
        name,
        shape,
        **{
            "rule": "rectified",
            "shadowed": ("linear_like",),
            "initializer": "kaiming_normal",
            "arguments": {"mode": "fan_in", "gain": 2**0.5},
            "activation": "relu",
            "found_by": "sequential",
            "fan_in": float(fan_in),
            "fan_out": float(fan_out),
            "gain": 2**0.5,
            "gain_from": "following relu",
            "expected_mean": 0.0,
            "expected_std": expected,
            "low": float("-inf"),
            "high": float("inf"),
            "mean": 1.5e-5,
            "std": reached,
            "min": -4.1 * expected,
            "max": 4.2 * expected,
            "verdict": "ok",
            "seed": 42,
            "digest": "0f" * 16,
            **fields,
        },
    )


def _constant(name: str, shape: tuple[int, ...], value: float, **fields: Any) -> AuditRow:
    moments = dict.fromkeys(("expected_mean", "low", "high", "mean", "min", "max"), value)
    return row(
        name,
        shape,
        **{
            "rule": "linear_like",
            "initializer": "constant",
            "arguments": {"value": value},
            "expected_std": 0.0,
            "std": 0.0,
            "verdict": "ok",
            "digest": "ab" * 16,
            **moments,
            **fields,
        },
    )


def _block(index: int) -> list[AuditRow]:
    place = f"encoder.blocks.{index}"
    attention = _he(
        f"{place}.attn.in_proj_weight",
        (384, 128),
        0.08838834764831845,
        0.0884 + 0.0001 * index,
        module_type="MultiheadAttention",
        rule="packed",
        shadowed=(),
        initializer="xavier_uniform",
        arguments={"gain": 1.0},
        activation="softmax",
        gain=1.0,
        gain_from="given",
        low=-0.15309310892394862,
        high=0.15309310892394862,
        min=-0.1530922,
        max=0.1530911,
    )
    off = {"mean": -2.1e-3, "std": 0.2031, "min": -0.9, "max": 0.88, "verdict": "off"} if index == 7 else {}
    return [
        attention,
        _he(f"{place}.mlp.fc1.weight", (512, 128), 0.125, 0.1251 - 0.0002 * index,
            path=(f"{place}.mlp.fc1", f"{place}.mlp.act"), input_activation="identity",
            input_path=("input", "add", f"{place}.norm"), input_flags=("norm", *["add"] * (index > 0)), **off),
        _constant(f"{place}.mlp.fc1.bias", (512,), 0.0),
        _constant(f"{place}.norm.weight", (128,), 1.0, rule="norms", module_type="LayerNorm", initializer="ones",
                  arguments={}),
    ]  # fmt: skip


_EXPERT: dict[str, Any] = {
    "activation": "silu | identity",
    "gain": 1.0,
    "gain_from": "given",
    "path": ("experts", "mul", "silu"),
    "flags": ("mul", "gated"),
    "other_hits": ("identity: experts → mul → down (mul, gated)", "softmax: experts → add → router (add)"),
    "input_activation": "relu",
    "input_path": ("act|1", "norm"),
    "input_flags": ("norm",),
    "other_input_hits": ("identity: input → stem → cat (cat)",),
}

ROWS: tuple[AuditRow, ...] = (
    row("backbone.stem.weight", (64, 3, 7, 7), module_type="Conv2d", status="frozen",
        reason="does not require gradients"),
    row("embed.weight", (1000, 128), module_type="Embedding", rule="tables", initializer="trunc_normal",
        arguments={"mean": 0.0, "std": 0.02, "a": -2.0, "b": 2.0, "bounds": "sigma"}, expected_mean=0.0,
        expected_std=0.017592513220684, low=-0.04, high=0.04, mean=-1.2e-5, std=0.01759, min=-0.0399, max=0.0399,
        verdict="ok", seed=42, digest="11" * 16, fan_in=1.0, fan_out=128.0, reason="row 0 (padding_idx) stays zero"),
    *(each for index in range(12) for each in _block(index)),
    *(
        _he(f"experts.{layer}.{expert}.w1", (64, 128), 0.08838834764831845, 0.0884, **_EXPERT)
        for layer in range(4)
        for expert in range(8)
        if (layer, expert) != (2, 3)
    ),
    _he("experts.2.3.w1", (64, 128), 0.08838834764831845, 0.0884, **_EXPERT, reason="same values as experts.2.2.w1"),
    row("rnn.weight_hh_l0", (512, 128), module_type="LSTM", rule="recurrent", initializer="orthogonal",
        arguments={"gain": 1.0}, gain=1.0, gain_from="given", activation="sigmoid | tanh", expected_mean=0.0,
        expected_std=128**-0.5, low=-1.0, high=1.0, mean=2e-6, std=0.08839, min=-0.31, max=0.33, verdict="ok",
        seed=42, digest="22" * 16, fan_in=128.0, fan_out=128.0),
    row("rnn.bias_ih_l0", (512,), module_type="LSTM", rule="forget_gate", shadowed=("recurrent", "linear_like"),
        initializer="constant", arguments={"parts": [{"value": 0}, {"value": 1}, {"value": 0}, {"value": 0}]},
        expected_mean=0.25, expected_std=0.4330127018922193, low=0.0, high=1.0, mean=0.25, std=0.4330127018922193,
        min=0.0, max=1.0, verdict="ok", digest="33" * 16),
    row("mixer.weight", (16, 16), module_type="Mixer", rule="custom", initializer="my_pkg.inits.fancy_",
        arguments={"alpha": 0.3}, mean=0.1, std=0.2, min=-1.0, max=1.0, seed=42, digest="44" * 16),
    row("norm.running_scale", (128,), module_type="BatchNorm1d", status="kept", rule="norms", reason="keep"),
    row("adapter.lora_A.weight", (8, 128), module_type="LoraLinear", status="excluded", reason="exclude.0"),
    row("codebook", (4, 4), dtype="int8", module_type="Quantizer", status="skipped", reason="not floating point"),
    row("temperature", (), module_type="Net", status="unmatched", reason="no rule claims it"),
    row("[red]odd|name", (3,), module_type="Net", status="unmatched", reason="no rule claims it"),
    row("head.weight", (1000, 128), aliases=(), status="tied", reason="the same tensor as embed.weight"),
)  # fmt: skip


def planned(rows: tuple[AuditRow, ...]) -> tuple[AuditRow, ...]:
    """The same rows before anything was written or measured."""
    blank: dict[str, Any] = {**dict.fromkeys(("mean", "std", "min", "max", "seed")), "verdict": "", "digest": ""}
    return tuple(replace(row, **blank) for row in rows)

"""Models that make images."""

from __future__ import annotations

import importlib
import math
from typing import Any

from torch import nn

from parity.case import Case, Orthogonal, glorot, normal, uniform
from parity.standins import blocks, kind, laws, torch_default, tree

__all__ = ["CASES", "COVERS"]

COVERS = {
    "edm": ("edm", "edm_adm"),
    "stylegan2_equalized": ("stylegan2",),
}

C, EMBEDDING = 32, 64
"""Channels, width of embeddings."""

NORMS = {r"norm\w*\.weight": 1.0, r"norm\w*\.bias": 0.0}


def fan(shape: tuple[int, ...]) -> tuple[int, int]:
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def xavier(gain: float = 1.0) -> Any:
    return lambda shape, *_: uniform(gain * math.sqrt(6 / sum(fan(shape))))


def dcgan() -> nn.Module:
    return tree(
        {
            "main.0": nn.ConvTranspose2d(40, C, 4, bias=False),
            "main.1": nn.BatchNorm2d(C),
            "main.3": nn.Conv2d(C, 16, 4, bias=False),
            "main.4": nn.BatchNorm2d(96),
        }
    )


def pix2pix() -> nn.Module:
    return tree(
        {
            "model.1": nn.Conv2d(3, C, 7),
            "model.2": nn.BatchNorm2d(96),
            "model.10": nn.ConvTranspose2d(C, 16, 3),
            "model.12": nn.Linear(40, 40),
        }
    )


def stylegan2() -> nn.Module:
    def full(fan_in: int, fan_out: int, multiplier: float = 1.0) -> Any:
        numbers = {"weight_gain": multiplier / math.sqrt(fan_in), "bias_gain": multiplier}
        return kind("FullyConnectedLayer", numbers=numbers, weight=(fan_out, fan_in), bias=fan_out)

    return tree(
        {
            "mapping.fc0": full(40, EMBEDDING, 0.01),
            "synthesis.b4": kind("SynthesisBlock", const=(C, 4, 4)),
            "synthesis.b4.conv1": kind("SynthesisLayer", weight=(C, C, 3, 3), bias=C, noise_strength=()),
            "synthesis.b4.conv1.affine": full(EMBEDDING, C),
            "synthesis.b4.torgb": kind("ToRGBLayer", weight=(3, C, 1, 1), bias=3),
            "synthesis.b4.torgb.affine": full(EMBEDDING, C),
            "b4.fromrgb": kind("Conv2dLayer", weight=(C, 3, 1, 1), bias=C),
            "b4.out": full(C, 1),
        }
    )


def edm(dhariwal: bool = False) -> nn.Module:
    def conv(fan_in: int, fan_out: int, kernel: int = 3) -> Any:
        return kind("Conv2d", weight=(fan_out, fan_in, kernel, kernel), bias=fan_out)

    def linear(fan_in: int, fan_out: int, bias: bool = True) -> Any:
        shapes: Any = {"weight": (fan_out, fan_in), **({"bias": fan_out} if bias else {})}
        return kind("Linear", **shapes)

    def block() -> dict[str, nn.Module]:
        return {
            "norm0": kind("GroupNorm", weight=C, bias=C),
            "conv0": conv(C, C),
            "affine": linear(EMBEDDING, C),
            "conv1": conv(C, C),
            "skip": conv(C, C, 1),
            "qkv": conv(C, 3 * C, 1),
            "proj": conv(C, C, 1),
        }

    parts: dict[str, nn.Module] = {
        "map_label": linear(40, EMBEDDING, not dhariwal),
        "map_augment": linear(9, EMBEDDING, False),
        "map_layer0": linear(EMBEDDING, EMBEDDING),
        "enc.8x8_conv": conv(3, C),
        **{f"enc.8x8_block0.{name}": part for name, part in block().items()},
        **{f"dec.8x8_block0.{name}": part for name, part in block().items()},
    }
    if dhariwal:
        return tree({**parts, "out_norm": kind("GroupNorm", weight=C, bias=C), "out_conv": conv(C, 3)})
    return tree({**parts, "dec.8x8_aux_norm": kind("GroupNorm", weight=C, bias=C), "dec.8x8_aux_conv": conv(C, 3)})


def default(shape: tuple[int, ...], found: Any, owner: Any) -> Any:
    """torch's default, of EDM's own layers."""
    return uniform(1 / math.sqrt(math.prod(owner.weight.shape[1:])))


def adm() -> nn.Module:
    def block() -> dict[str, nn.Module]:
        return {
            "in_layers.0": nn.GroupNorm(4, C),
            "in_layers.2": nn.Conv2d(C, C, 3),
            "emb_layers.1": nn.Linear(EMBEDDING, C),
            "out_layers.0": nn.GroupNorm(4, C),
            "out_layers.3": nn.Conv2d(C, C, 3),
        }

    attention = {"input_blocks.1.1.qkv": nn.Conv1d(C, 3 * C, 1), "input_blocks.1.1.proj_out": nn.Conv1d(C, C, 1)}
    return tree(
        {
            "time_embed.0": nn.Linear(C, EMBEDDING),
            "label_emb": nn.Embedding(64, EMBEDDING),
            "input_blocks.0.0": nn.Conv2d(3, C, 3),
            **{f"input_blocks.1.0.{name}": part for name, part in block().items()},
            **attention,
            "out.0": nn.GroupNorm(4, C),
            "out.2": nn.Conv2d(C, 6, 3),
        }
    )


SIDE, WIDTH = 4, 64


def dit() -> nn.Module:
    def block() -> dict[str, nn.Module]:
        return {
            "attn.qkv": nn.Linear(WIDTH, 3 * WIDTH),
            "attn.proj": nn.Linear(WIDTH, WIDTH),
            "mlp.fc1": nn.Linear(WIDTH, 4 * WIDTH),
            "mlp.fc2": nn.Linear(4 * WIDTH, WIDTH),
            "adaLN_modulation.1": nn.Linear(WIDTH, 6 * WIDTH),
        }

    root = kind("DiT", pos_embed=(1, SIDE**2, WIDTH))
    root.pos_embed.requires_grad_(False)
    return tree(
        {
            "x_embedder.proj": nn.Conv2d(4, WIDTH, 2, 2),
            "t_embedder.mlp.0": nn.Linear(40, WIDTH),
            "t_embedder.mlp.2": nn.Linear(WIDTH, WIDTH),
            "y_embedder.embedding_table": nn.Embedding(160, WIDTH),
            **blocks("blocks", 2, block),
            "final_layer.linear": nn.Linear(WIDTH, 32),
            "final_layer.adaLN_modulation.1": nn.Linear(WIDTH, 2 * WIDTH),
        },
        root,
    )


def positions(*_: Any) -> Any:
    """get_2d_sincos_pos_embed: the columns' table, then the rows'."""
    np: Any = importlib.import_module("numpy")
    omega = 1 / 10000 ** (np.arange(WIDTH // 4) / (WIDTH / 4))
    columns, rows = np.meshgrid(np.arange(SIDE), np.arange(SIDE))  # w goes first
    tables = [np.outer(grid.ravel(), omega) for grid in (columns, rows)]
    return np.concatenate([f(table) for table in tables for f in (np.sin, np.cos)], axis=1)[None]


def biggan() -> nn.Module:
    def conv(*sizes: int) -> Any:
        return kind("SNConv2d", nn.Conv2d, in_channels=sizes[0], out_channels=sizes[1], kernel_size=sizes[2])

    return tree(
        {
            "linear": kind("SNLinear", nn.Linear, in_features=40, out_features=512),
            "shared": nn.Embedding(100, 48),
            "blocks.0.0.conv1": conv(C, C, 3),
            "blocks.0.0.bn1": kind("ccbn"),
            "blocks.0.0.bn1.gain": kind("SNLinear", nn.Linear, in_features=48, out_features=C, bias=False),
            "blocks.0.1": kind("Attention", gamma=()),
            "blocks.0.1.theta": kind("SNConv2d", nn.Conv2d, in_channels=C, out_channels=4, kernel_size=1, bias=False),
            "output_layer.0": kind("bn", gain=C, bias=C),
            "output_layer.2": conv(C, 3, 3),
        }
    )


CASES = (
    Case(
        preset="dcgan",
        model="DCGAN",
        build=dcgan,
        stated=laws({r"\d\.bias": 0.0, r"[14]\.weight": normal(0.02, 1.0), r"": normal(0.02)}),
        seeds=100,
        mutations={"BatchNorm of 1": {"rules": {"norm": {"init": {"weight": 1}}}}},
    ),
    Case(
        preset="cyclegan_pix2pix",
        model="pix2pix",
        build=pix2pix,
        stated=laws({r"bias": 0.0, r"\.2\.weight": normal(0.02, 1.0), r"": normal(0.02)}),
        seeds=100,
    ),
    Case(
        preset="stylegan2",
        model="StyleGAN2's layers",
        build=stylegan2,
        stated=laws(
            {
                r"affine\.bias": 1.0,
                r"bias|noise": 0.0,
                r"mapping": normal(100.0),
                r"": normal(1.0),
            }
        ),
    ),
    Case(
        preset="edm",
        model="EDM's SongUNet",
        build=edm,
        stated=laws(
            {
                **NORMS,
                r"bias": 0.0,
                r"qkv": xavier(math.sqrt(0.2)),
                r"conv1|proj|aux_conv": xavier(1e-5),
                r"": xavier(),
            }
        ),
    ),
    Case(
        preset="edm_adm",
        model="EDM's DhariwalUNet",
        build=lambda: edm(dhariwal=True),
        stated=laws(
            {
                **NORMS,
                r"conv1|proj|map_augment|out_conv": 0.0,
                r"map_label": normal(1.0),
                r"": default,
            }
        ),
        seeds=12,
    ),
    Case(
        preset="adm_guided_diffusion",
        model="ADM's U-Net",
        build=adm,
        stated=laws({r"out_layers\.3|proj_out|^out\.2": 0.0, r"": torch_default}),
        seeds=12,
    ),
    Case(
        preset="dit",
        model="DiT, 2 blocks of width 64",
        build=dit,
        stated=laws(
            {
                r"pos_embed": positions,
                r"adaLN|final_layer|bias": 0.0,
                r"y_embedder|t_embedder": normal(0.02),
                r"x_embedder": glorot(16, WIDTH),
                r"": lambda shape, *_: glorot(shape[1], shape[0]),
            }
        ),
        mutations={"no zero": {"rules": {"zero": {"init": {"*": 0.01}}}}},
    ),
    Case(
        preset="biggan",
        model="BigGAN's generator",
        build=biggan,
        stated=laws(
            {
                r"output_layer\.0\.gain": 1.0,
                r"output_layer\.0\.bias|gamma": 0.0,
                r"weight": Orthogonal(),
                r"": torch_default,
            }
        ),
        seeds=8,
    ),
)

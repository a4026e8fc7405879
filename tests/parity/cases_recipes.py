"""Recipes of papers and of libraries of layers: depth scaling, orthogonal laws, detection, adapters, small examples."""

from __future__ import annotations

import importlib
import math
from typing import Any

import torch
from torch import nn

from parity.case import Blocks, Case, Orthogonal, glorot, normal, truncated, uniform
from parity.standins import blocks, folded, he, kind, laws, on_sphere, tie, torch_default, tree

__all__ = ["CASES", "COVERS", "NOT_MADE"]

COVERS = {
    "fastai": ("fastai", "fastai_head"),
    "word_language_model": ("word_language_model", "espcn"),
    "deepnorm": ("torchscale", "deepnorm"),
}
NOT_MADE = {
    "lsuv": "Its scales come from the activations of a batch, which is no law of values.",
    "autoinit": "Its deviations follow from moments that it tracks through a network of Keras' layers by quadrature; "
    "`signal` keeps the forward signal's scale by the same integral for torch's layers.",
    "pyg": "Its Linear is torch_default's; where a layer is Glorot is written in each operator, so it is no one law.",
    "mimetic": "Query and key are factors of one matrix, so two parameters have a joint law; and its numbers were seen "
    "in a port by others only.",
    "spectral_gaussian": "Not read in any source.",
}

D, WIDE, N, M = 64, 160, 2, 3
"""Width, that of the feed-forward part, layers of encoder and decoder."""


def numpy() -> Any:
    return importlib.import_module("numpy")


def fan(shape: tuple[int, ...]) -> int:
    return math.prod(shape[1:])


# --- width and depth ------------------------------------------------------------------------------


def mup() -> nn.Module:
    layers = {"fc_1": nn.Linear(40, 128), "fc_2": nn.Linear(128, 128), "up": nn.Linear(128, 256)}
    readout = kind("MuReadout", nn.Linear, in_features=256, out_features=10)
    return tree({**layers, "norm": nn.LayerNorm(128), "out": readout})


def torchscale(encoders: int, decoders: int) -> nn.Module:
    def layer(*attentions: str) -> dict[str, nn.Module]:
        parts: dict[str, nn.Module] = {"ffn.fc1": nn.Linear(D, WIDE), "ffn.fc2": nn.Linear(WIDE, D)}
        for name in attentions:
            parts[name] = kind("MultiheadAttention")
            parts |= {f"{name}.{one}_proj": nn.Linear(D, D) for one in ("k", "v", "q", "out")}
            parts[f"{name}_layer_norm"] = nn.LayerNorm(D)
        return parts

    def tokens() -> Any:
        return kind("TextEmbedding", nn.Embedding, num_embeddings=160, embedding_dim=D)

    positions = kind("PositionalEmbedding", nn.Embedding, num_embeddings=160, embedding_dim=D)
    parts: dict[str, nn.Module] = {}
    if encoders:
        parts |= {"encoder.embed_tokens": tokens(), "encoder.embed_positions": positions}
        parts |= blocks("encoder.layers", encoders, lambda: layer("self_attn"))
    if decoders:
        kinds = ("self_attn", "encoder_attn") if encoders else ("self_attn",)
        parts |= {"decoder.embed_tokens": tokens(), **blocks("decoder.layers", decoders, lambda: layer(*kinds))}
        parts["decoder.output_projection"] = nn.Linear(D, 160, bias=False)
    model = tree(parts)
    return tie(model, "decoder.output_projection.weight", "decoder.embed_tokens.weight") if decoders else model


TOKENS = {r"embed_tokens|output_projection": normal(D**-0.5)}
RESCALED = r"(fc1|fc2|out_proj|v_proj)"


def times(factor: float) -> Any:
    """torch's default times a factor."""

    def law(shape: tuple[int, ...], found: Any, owner: Any) -> Any:
        return uniform(factor / math.sqrt(owner.in_features))

    return law


def scaled(encoder: float, decoder: float, but: str = r"$^") -> Any:
    encoders, decoders = rf"encoder\.layers.*{RESCALED}", rf"decoder\.layers.*{RESCALED}"
    return laws({but: torch_default, encoders: times(encoder), decoders: times(decoder), **TOKENS, r"": torch_default})


def retnet() -> nn.Module:
    def layer() -> dict[str, nn.Module]:
        retention = {f"retention.{one}_proj": nn.Linear(D, D, bias=False) for one in ("q", "k", "v", "g", "out")}
        rest = {"ffn.fc1": nn.Linear(D, WIDE), "ffn.fc2": nn.Linear(WIDE, D)}
        return {"retention": kind("MultiScaleRetention"), **retention, **rest, "norm": kind("RMSNorm", weight=D)}

    tokens = kind("TextEmbedding", nn.Embedding, num_embeddings=160, embedding_dim=D)
    return tree({"decoder.embed_tokens": tokens, **blocks("decoder.layers", N, layer)})


def fixup(bottleneck: bool = False) -> nn.Module:
    """Of 2, 1 and 1 blocks, so their number is no product."""
    name = "FixupBottleneck" if bottleneck else "FixupBasicBlock"
    parts: dict[str, nn.Module] = {"conv1": nn.Conv2d(3, 16, 3, bias=False)}
    for stage, count in ((1, 2), (2, 1), (3, 1)):
        for index in range(count):
            path = f"layer{stage}.{index}"
            scalars: Any = dict.fromkeys(("bias1a", "bias1b", "bias2a", "scale", "bias2b"), 1)
            parts[path] = kind(name, **scalars)
            sizes = (1, 3, 1) if bottleneck else (3, 3)
            parts |= {f"{path}.conv{i}": nn.Conv2d(24, 24, k, bias=False) for i, k in enumerate(sizes, 1)}
    parts["layer2.0.downsample"] = nn.Conv2d(24, 24, 1, bias=False)
    return tree({**parts, "fc": nn.Linear(24, 10)}, kind("FixupResNet", bias1=1, bias2=1))


def fan_out(factor: float) -> Any:
    return lambda shape, *_: normal(math.sqrt(2 / (shape[0] * math.prod(shape[2:]))) * factor)


def rezero() -> nn.Module:
    def layer() -> dict[str, nn.Module]:
        return {
            "": kind("RZTXEncoderLayer", resweight=1),
            "self_attn": nn.MultiheadAttention(D, 4),
            "linear1": nn.Linear(D, WIDE),
            "linear2": nn.Linear(WIDE, D),
        }

    parts = {f"layers.{index}{'.' if name else ''}{name}": part for index in range(N) for name, part in layer().items()}
    return tree(parts)


DEPTH = (
    Case(
        preset="mup",
        model="MLP four times as wide as its base",
        build=mup,
        stated=laws(
            {
                r"norm\.weight": 1.0,
                r"norm\.bias": 0.0,
                r"fc_1": uniform(40**-0.5),
                r"(fc_2|up)\.weight": uniform(128**-0.5),
                r"(fc_2|up)\.bias": uniform(32**-0.5),
                r"out": uniform(64**-0.5),
            }
        ),
        overrides={"vars": {"width": 128, "base_width": 32}},
        mutations={"another base": {"vars": {"base_width": 64}}},
        seeds=40,
    ),
    Case(
        preset="spectral",
        model="three layers and an embedding",
        build=lambda: tree({"a": nn.Linear(64, 128), "b": nn.Linear(128, 40), "e": nn.Embedding(100, 64)}),
        stated=laws(
            {
                r"bias": 0.0,
                r"e\.weight": on_sphere(8.0, 64),
                r"": lambda shape, *_: Orthogonal(math.sqrt(shape[0] / shape[1])),
            }
        ),
    ),
    Case(
        preset="torchscale",
        model="torchscale, 2 and 3 layers of width 64",
        build=lambda: torchscale(N, M),
        stated=laws({**TOKENS, r"": torch_default}),
        seeds=8,
    ),
    Case(
        preset="deepnorm",
        model="torchscale, 2 and 3 layers of width 64",
        build=lambda: torchscale(N, M),
        stated=scaled(1.15 * (N**4 * M) ** -0.0625, (12 * M) ** -0.25),
        seeds=8,
    ),
    Case(
        preset="deepnorm",
        model="torchscale, encoder of 2 layers",
        build=lambda: torchscale(N, 0),
        stated=scaled((8 * N) ** -0.25, 0),
        seeds=8,
    ),
    Case(
        preset="deepnorm",
        model="torchscale, decoder of 3 layers",
        build=lambda: torchscale(0, M),
        stated=scaled(0, (8 * M) ** -0.25),
        seeds=8,
        slow=True,
    ),
    Case(
        preset="subln",
        model="torchscale, 2 and 3 layers of width 64",
        build=lambda: torchscale(N, M),
        stated=scaled(math.sqrt(math.log(3 * M) * math.log(2 * N) / 3), math.sqrt(math.log(3 * M)), r"encoder_attn\."),
        seeds=8,
    ),
    Case(
        preset="subln",
        model="torchscale, encoder of 2 layers",
        build=lambda: torchscale(N, 0),
        stated=scaled(math.sqrt(math.log(2 * N)), 0),
        seeds=8,
        slow=True,
    ),
    Case(
        preset="subln",
        model="torchscale, decoder of 3 layers",
        build=lambda: torchscale(0, M),
        stated=scaled(0, math.sqrt(math.log(2 * M))),
        seeds=8,
        slow=True,
    ),
    Case(
        preset="retnet",
        model="RetNet, 2 layers of width 64",
        build=retnet,
        stated=laws(
            {
                r"norm": 1.0,
                r"[qkvg]_proj": uniform(2**-2.5 * math.sqrt(6 / (2 * D))),
                r"out_proj": uniform(0.5 * math.sqrt(6 / (2 * D))),
                **TOKENS,
                r"": torch_default,
            }
        ),
        seeds=8,
    ),
    *(
        Case(
            preset="fixup",
            model=f"Fixup ResNet of 4 {'bottlenecks' if bottleneck else 'blocks'}",
            build=(lambda: fixup(bottleneck=True)) if bottleneck else fixup,
            stated=laws(
                {
                    r"layer.*\.conv3" if bottleneck else r"layer.*\.conv2": 0.0,
                    r"layer.*\.conv\d": fan_out(4**-0.25 if bottleneck else 4**-0.5),
                    r"downsample": fan_out(1),
                    r"^conv1": torch_default,
                    r"scale": 1.0,
                    r"": 0.0,
                }
            ),
            seeds=24,
            mutations={
                "no depth": {"rules": {"two_layers": {"init": {"weight": {"std": "sqrt(2 / (shape[0] * kernel))"}}}}}
            }
            if not bottleneck
            else {},
        )
        for bottleneck in (False, True)
    ),
    Case(
        preset="rezero",
        model="ReZero's Transformer, 2 layers of width 64",
        build=rezero,
        stated=laws({r"resweight": 0.0, r"": torch_default}),
        seeds=8,
        mutations={"a residual": {"rules": {"residual": {"init": {"resweight": 1}}}}},
    ),
)

# --- orthogonal and the like ----------------------------------------------------------------------


def plain() -> nn.Module:
    return tree({"a": nn.Conv2d(16, 32, 3), "b": nn.Conv2d(32, 24, 5), "c": nn.Linear(24, 40), "d": nn.Linear(40, 10)})


def centred(gain: Any) -> nn.Module:
    """At each kernel's centre gain times an orthogonal matrix, which every linear layer is; all else zero."""
    model = plain()
    layer: Any
    for layer in model.children():
        if layer.weight.is_meta:
            return model
        with torch.no_grad():
            matrix = nn.init.orthogonal_(torch.empty(layer.weight.shape[:2]), gain(*layer.weight.shape[:2]))
            layer.weight.zero_()[(..., *(size // 2 for size in layer.weight.shape[2:]))] = matrix
            layer.bias.zero_()
    return model


def pixels() -> nn.Module:
    """fastai's PixelShuffle_ICNR."""
    return tree({"up": kind("PixelShuffle_ICNR"), "up.0.0": nn.Conv2d(32, 64, 1), "last": nn.Conv2d(16, 8, 3)})


def replicated() -> nn.Module:
    """icnr_init, as fastai has it, over torch's defaults."""
    model = pixels()
    convolution: Any = model.get_submodule("up.0.0")
    if not convolution.weight.is_meta:
        small = nn.init.kaiming_normal_(torch.zeros(16, 32, 1, 1))
        with torch.no_grad():
            convolution.weight.copy_(small.repeat_interleave(4, dim=0))
            convolution.bias.zero_()
    return model


SQUARE = (
    Case(
        preset="delta_orthogonal",
        seeds=8,
        model="two convolutions and two layers",
        build=lambda: centred(lambda rows, columns: 1.0),
        rewritten=True,
    ),
    Case(
        preset="dks_tat",
        seeds=8,
        model="two convolutions and two layers",
        build=lambda: centred(lambda rows, columns: max(math.sqrt(rows / columns), 1)),
        rewritten=True,
    ),
    Case(
        preset="icnr",
        model="fastai's PixelShuffle_ICNR",
        build=replicated,
        rewritten=True,
        overrides={"vars": {"scale": 2}},
        mutations={"no copies": {"vars": {"scale": 1}}},
    ),
    Case(
        preset="lstm_forget_bias",
        model="LSTM of two layers",
        build=lambda: tree({"lstm": nn.LSTM(40, 32, num_layers=2), "head": nn.Linear(32, 10)}),
        stated=laws(
            {
                r"weight_[ih]h": Blocks(*(Orthogonal(),) * 4),
                r"bias_hh": Blocks(0.0, 1.0, 0.0, 0.0),
                r"": torch_default,
            }
        ),
        mutations={"no forget bias": {"rules": {"lstm": {"init": {"bias_hh*": 0}}}}},
    ),
    Case(
        preset="irnn",
        model="RNN of ReLU",
        build=lambda: tree({"rnn": nn.RNN(40, 64, nonlinearity="relu"), "head": nn.Linear(64, 10)}),
        stated=laws(
            {
                r"bias": 0.0,
                r"weight_hh": lambda shape, *_: numpy().eye(shape[0]),
                r"weight_ih": normal(0.001),
                r"head": glorot(64, 10),
            }
        ),
        mutations={
            "more than the identity": {
                "rules": {"irnn": {"init": {"weight_hh*": {"name": "formula", "value": "1.1 if i == j else 0"}}}}
            }
        },
    ),
    Case(
        preset="espcn",
        seeds=6,
        model="super_resolution",
        build=lambda: tree(
            {
                "conv1": nn.Conv2d(1, 64, 5),
                "conv2": nn.Conv2d(64, 64, 3),
                "conv3": nn.Conv2d(64, 32, 3),
                "conv4": nn.Conv2d(32, 4, 3),
            }
        ),
        stated=laws({r"bias": torch_default, r"conv4": Orthogonal(1), r"": Orthogonal(math.sqrt(2))}),
    ),
)

# --- pictures -------------------------------------------------------------------------------------


def siren() -> nn.Module:
    def linear(fan_in: int, fan_out: int) -> Any:
        return kind("BatchLinear", nn.Linear, in_features=fan_in, out_features=fan_out)

    return tree(
        {
            "net.net.0.0": linear(40, D),
            "net.net.1.0": linear(D, D),
            "net.net.2.0": linear(D, D),
            "net.net.3.0": linear(D, 3),
        }
    )


def nerf() -> nn.Module:
    sizes = {f"pts_linears.{i}": (63 if i == 0 else 319 if i == 5 else 256, 256) for i in range(4)}
    return tree({name: nn.Linear(*size) for name, size in {**sizes, "rgb": (128, 3)}.items()})


def fast() -> nn.Module:
    """fastai's ConvLayers and LinBnDrops, each activation after its layer."""
    body = nn.Sequential(
        *(nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3), nn.LeakyReLU(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        *(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 10)),
    )
    return tree({"body": body, "table": nn.Embedding(64, 40)})


def head() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, 96), nn.ReLU(), nn.BatchNorm1d(96), nn.Linear(96, 10))


def detectron() -> nn.Module:
    def conv(fan_in: int, fan_out: int, kernel: int, bias: bool = True) -> nn.Module:
        return nn.Conv2d(fan_in, fan_out, kernel, bias=bias)

    return tree(
        {
            "backbone.bottom_up.stem.conv1": conv(3, 32, 7, bias=False),
            "backbone.bottom_up.stem.conv1.norm": nn.BatchNorm2d(32),
            "backbone.bottom_up.res2.0.conv1": conv(32, 32, 1, bias=False),
            "backbone.bottom_up.res2.0.conv2_offset": conv(32, 18, 3),
            "backbone.bottom_up.res2.0.conv2": conv(32, 48, 3, bias=False),
            "backbone.fpn_lateral2": conv(48, D, 1),
            "backbone.fpn_output2": conv(D, 32, 3),
            "proposal_generator.rpn_head.conv": conv(32, 32, 3),
            "proposal_generator.rpn_head.objectness_logits": conv(32, 3, 1),
            "proposal_generator.rpn_head.anchor_deltas": conv(32, 12, 1),
            "roi_heads.box_head.fc1": nn.Linear(392, D),
            "roi_heads.box_predictor.cls_score": nn.Linear(D, 81),
            "roi_heads.box_predictor.bbox_pred": nn.Linear(D, 320),
            "roi_heads.mask_head.mask_fcn1": conv(32, 32, 3),
            "roi_heads.mask_head.deconv": nn.ConvTranspose2d(32, 32, 2),
            "roi_heads.mask_head.predictor": conv(32, 80, 1),
            "head.cls_subnet.0": conv(32, 32, 3),
            "head.bbox_subnet.0": conv(32, 32, 3),
            "head.cls_score": conv(32, 80, 3),
            "head.bbox_pred": conv(32, 36, 3),
        }
    )


DETECTRON = {
    r"stem\.conv1\.norm\.weight": 1.0,
    r"^head\.cls_score\.bias": -math.log(99),
    r"bias|conv2_offset": 0.0,
    r"rpn_head|^head|box_predictor\.cls_score": normal(0.01),
    r"box_predictor\.bbox_pred|mask_head\.predictor": normal(0.001),
    r"fpn|fc1": lambda shape, *_: uniform(math.sqrt(3 / fan(shape))),
    r"": fan_out(1),
}


def detr() -> nn.Module:
    def layer(*attentions: str) -> dict[str, nn.Module]:
        rest = {"linear1": nn.Linear(D, WIDE), "linear2": nn.Linear(WIDE, D), "norm1": nn.LayerNorm(D)}
        return {**{name: nn.MultiheadAttention(D, 4) for name in attentions}, **rest}

    return tree(
        {
            "backbone.0.body.conv1": nn.Conv2d(3, 8, 7, bias=False),
            "backbone.1.row_embed": nn.Embedding(50, 32),
            "backbone.1.col_embed": nn.Embedding(50, 32),
            **blocks("transformer.encoder.layers", N, lambda: layer("self_attn")),
            **blocks("transformer.decoder.layers", N, lambda: layer("self_attn", "multihead_attn")),
            "transformer.decoder.norm": nn.LayerNorm(D),
            "class_embed": nn.Linear(D, 92),
            "bbox_embed.layers.0": nn.Linear(D, D),
            "bbox_embed.layers.1": nn.Linear(D, 4),
            "query_embed": nn.Embedding(100, D),
            "input_proj": nn.Conv2d(32, D, 1),
        }
    )


HEADS, LEVELS, POINTS = 8, 2, 4


def deformable() -> nn.Module:
    def attention(name: str) -> dict[str, nn.Module]:
        numbers = {"d_model": D, "n_heads": HEADS, "n_levels": LEVELS, "n_points": POINTS}
        return {
            name: kind("MSDeformAttn", numbers=numbers),
            f"{name}.sampling_offsets": nn.Linear(D, HEADS * LEVELS * POINTS * 2),
            f"{name}.attention_weights": nn.Linear(D, HEADS * LEVELS * POINTS),
            f"{name}.value_proj": nn.Linear(D, D),
            f"{name}.output_proj": nn.Linear(D, D),
        }

    def layer(*names: str) -> dict[str, nn.Module]:
        parts = {"linear1": nn.Linear(D, WIDE), "linear2": nn.Linear(WIDE, D), "norm1": nn.LayerNorm(D)}
        return {**parts, **{path: part for name in names for path, part in attention(name).items()}}

    parts = {
        "transformer": kind("DeformableTransformer", level_embed=(LEVELS, D)),
        **blocks("transformer.encoder.layers", N, lambda: layer("self_attn")),
        **blocks(
            "transformer.decoder.layers", N, lambda: {**layer("cross_attn"), "self_attn": nn.MultiheadAttention(D, 4)}
        ),
        "transformer.reference_points": nn.Linear(D, 2),
        "query_embed": nn.Embedding(100, 2 * D),
        "input_proj.0.0": nn.Conv2d(32, D, 1),
        "input_proj.0.1": nn.GroupNorm(4, D),
        "backbone.0.body.conv1": nn.Conv2d(3, 8, 7, bias=False),
    }
    model = tree(parts)
    boxes = tree({"layers.0": nn.Linear(D, D), "layers.1": nn.Linear(D, D), "layers.2": nn.Linear(D, 4)})
    model.add_module("class_embed", nn.ModuleList([nn.Linear(D, 91)] * N))
    model.add_module("bbox_embed", nn.ModuleList([boxes] * N))
    return model


def ring(*_: Any) -> Any:
    np = numpy()
    angles = np.arange(HEADS) * 2 * np.pi / HEADS
    grid = np.stack([np.cos(angles), np.sin(angles)], -1)
    grid = grid / np.abs(grid).max(-1, keepdims=True)
    return (grid[:, None, None] * np.arange(1, POINTS + 1)[None, None, :, None] * np.ones((1, LEVELS, 1, 1))).ravel()


MATRICES = {r"^transformer.*weight$": lambda shape, *_: glorot(shape[1], shape[0]) if len(shape) > 1 else 1.0}

PICTURES = (
    Case(
        preset="siren",
        model="SIREN of width 64",
        build=siren,
        stated=laws(
            {
                r"bias": torch_default,
                r"net\.net\.0\.": lambda shape, *_: uniform(1 / shape[1]),
                r"": lambda shape, *_: uniform(math.sqrt(6 / shape[1]) / 30),
            }
        ),
    ),
    Case(
        preset="nerf",
        model="NeRF's MLP",
        build=nerf,
        stated=laws({r"bias": 0.0, r"": lambda shape, *_: glorot(shape[1], shape[0])}),
    ),
    Case(
        preset="fastai",
        model="ConvLayers and LinBnDrops",
        build=fast,
        traced=True,
        stated=laws(
            {
                r"body\.1\.weight": 1.0,
                r"body\.1\.bias": 0.001,
                r"bias": normal(0.01),
                r"body\.[03]\.": lambda shape, *_: uniform(math.sqrt(6 / fan(shape))),
                r"body\.[79]\.": lambda shape, *_: glorot(shape[1], shape[0]),
                r"body\.11\.": torch_default,
                r"table": folded(scale=0.01),
            }
        ),
        seeds=24,
    ),
    Case(
        preset="fastai_head",
        model="vision head",
        build=head,
        stated=laws({r"^[03]\.weight": 1.0, r"^[03]\.bias": 0.001, r"bias": 0.0, r"": he}),
    ),
    Case(
        preset="c2_fill",
        model="detectron2's layers",
        build=lambda: tree({"a": nn.Conv2d(16, 48, 3), "b": nn.Linear(100, 80), "n": nn.BatchNorm2d(8)}),
        stated=laws(
            {
                r"n\.weight": 1.0,
                r"bias": 0.0,
                r"a": normal(math.sqrt(2 / (48 * 9))),
                r"b": uniform(math.sqrt(3 / 100)),
            }
        ),
    ),
    Case(
        preset="detectron2",
        model="Mask R-CNN and RetinaNet, small",
        build=detectron,
        stated=laws(DETECTRON),
        mutations={"no prior": {"vars": {"prior": 0.5}}},
    ),
    Case(
        preset="detr",
        model="DETR, 2 and 2 layers of width 64",
        build=detr,
        stated=laws(
            {
                r"norm\d?\.weight": 1.0,
                r"row_embed|col_embed": uniform(1.0, 0.0),
                r"in_proj_weight": glorot(D, 3 * D),
                **MATRICES,
                r"": torch_default,
            }
        ),
        left_alone=r"backbone\.0\..*",
        seeds=8,
    ),
    Case(
        preset="deformable_detr",
        model="Deformable DETR, 2 and 2 layers of width 64",
        build=deformable,
        stated=laws(
            {
                r"norm\d?\.weight|input_proj\.0\.1\.weight": 1.0,
                r"sampling_offsets\.bias": ring,
                r"sampling_offsets|attention_weights": 0.0,
                r"(value_proj|output_proj|reference_points)\.bias": 0.0,
                r"level_embed": normal(1.0),
                r"in_proj_weight": glorot(D, 3 * D),
                r"^transformer\.reference_points\.weight": glorot(D, 2),
                **MATRICES,
                r"input_proj\.0\.0\.weight": glorot(32, D),
                r"input_proj.*bias": 0.0,
                r"class_embed.*bias": -math.log(99),
                r"layers\.2\.weight": 0.0,
                r"bbox_embed.*layers\.2\.bias": numpy().array([0.0, 0.0, -2.0, -2.0]),
                r"": torch_default,
            }
        ),
        left_alone=r"backbone\.0\..*",
        seeds=12,
        mutations={"no ring": {"rules": {"offsets": {"init": {"bias": 0}}}}},
    ),
)

# --- adapters, proteins, words --------------------------------------------------------------------


def lora() -> nn.Module:
    def linear(**given: Any) -> Any:
        return kind("Linear", nn.Linear, in_features=D, out_features=WIDE, **given)

    parts: dict[str, nn.Module] = {
        "q": linear(),
        "table": kind("Embedding", nn.Embedding, num_embeddings=160, embedding_dim=D),
        "base_layer": nn.Linear(D, D),
        "base_layer.lora_A.default": nn.Linear(D, 16, bias=False),
        "base_layer.lora_B.default": nn.Linear(16, D, bias=False),
    }
    model = tree(parts)
    model.requires_grad_(False)
    for path, a, b in (("q", (16, D), (WIDE, 16)), ("table", (16, 160), (D, 16))):
        model.get_submodule(path).register_parameter("lora_A", nn.Parameter(torch.zeros(a)))
        model.get_submodule(path).register_parameter("lora_B", nn.Parameter(torch.zeros(b)))
    for name in ("lora_A", "lora_B"):
        model.get_submodule(f"base_layer.{name}").requires_grad_(True)
    return model


def openfold() -> nn.Module:
    def linear(name: str, fan_in: int, fan_out: int, bias: bool = True) -> dict[str, nn.Module]:
        return {name: kind("Linear", nn.Linear, in_features=fan_in, out_features=fan_out, bias=bias)}

    return tree(
        {
            "msa_att_row.layer_norm_m": kind("LayerNorm", weight=D, bias=D),
            **{k: v for one in "qkv" for k, v in linear(f"msa_att_row.mha.linear_{one}", D, D, False).items()},
            **linear("msa_att_row.mha.linear_g", D, D),
            **linear("msa_att_row.mha.linear_o", D, D),
            **linear("msa_att_row.linear_z", D, 8, False),
            "transition": kind("PairTransition"),
            **linear("transition.linear_1", D, 4 * D),
            **linear("transition.linear_2", 4 * D, D),
            **linear("tri_mul_out.linear_a_p", D, D),
            **linear("tri_mul_out.linear_a_g", D, D),
            **linear("tri_mul_out.linear_z", D, D),
            "ipa": kind("InvariantPointAttention", head_weights=12),
        }
    )


def words(tied: bool) -> nn.Module:
    model = tree({"encoder": nn.Embedding(160, D), "rnn": nn.LSTM(D, D, 2), "decoder": nn.Linear(D, 160)})
    return tie(model, "encoder.weight", "decoder.weight") if tied else model


OTHERS = (
    Case(
        preset="lora",
        model="loralib's Linear and Embedding, peft's Linear",
        build=lora,
        stated=laws(
            {
                r"^q\.lora_A|lora_A\.default": uniform(D**-0.5),
                r"^table\.lora_B": normal(1.0),
                r"lora_": 0.0,
            }
        ),
        left_alone=r"(q|table|base_layer)\.(weight|bias)",
    ),
    Case(
        preset="alphafold_linear",
        model="OpenFold's attention, transition and triangle",
        build=openfold,
        stated=laws(
            {
                r"layer_norm_m\.weight": 1.0,
                r"head_weights": 0.541324854612918,
                r"linear_(g|a_g)\.bias": 1.0,
                r"bias|linear_(g|a_g|o|z|2)\.": 0.0,
                r"linear_[qkv]": glorot(D, D),
                r"linear_1": truncated(math.sqrt(2 / D), corrected=True),
                r"": truncated(math.sqrt(1 / D), corrected=True),
            }
        ),
        mutations={"no gate": {"rules": {"gating": {"init": {"bias": 0}}}}},
    ),
    *(
        Case(
            preset="word_language_model",
            model=f"word_language_model{', tied' if tied else ''}",
            build=(lambda: words(tied=True)) if tied else (lambda: words(tied=False)),
            stated=laws({r"decoder\.bias": 0.0, r"coder": uniform(0.1), r"": torch_default}),
        )
        for tied in (False, True)
    ),
)

CASES = (*DEPTH, *SQUARE, *PICTURES, *OTHERS)

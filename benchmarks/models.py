"""Models to initialize, each with one set of laws: as a policy, as a loop by hand, and as two peers would have them.

Where timm or transformers is installed, a model of theirs is taken, else one of the same shapes in plain torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init

__all__ = ["CASES", "Case", "Law", "mixture", "mixture_policy", "perceptron", "resnet50"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """What the parameters of one local name get in the modules of these classes, and under which names these are."""

    types: tuple[str, ...]
    local: str
    spec: Any
    """In a policy."""
    draw: Callable[[Tensor], object]
    """In torch."""
    names: str = ""
    """Regular expression on a module's name, where not all of them are meant."""
    mmengine: Mapping[str, Any] | None = None
    """Its configuration but for the layers; None where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model and its laws; of two that fit, the last one holds."""

    name: str
    build: Callable[[], nn.Module]
    """The constructor, with whatever it draws."""
    laws: tuple[Law, ...]
    vars: Mapping[str, float] = field(default_factory=dict)

    @property
    def policy(self) -> Mapping[str, Any]:
        rules = {
            f"law_{index}": {
                "match": {"type": list(law.types), **({"name": law.names} if law.names else {})},
                "init": {law.local: law.spec},
            }
            for index, law in enumerate(self.laws)
        }
        return {"name": self.name, "seed": 1, "vars": dict(self.vars), "rules": rules, "unused": "ignore"}


# --- by hand --------------------------------------------------------------------------------------


def _normal(std: float) -> Callable[[Tensor], object]:
    return partial(init.normal_, std=std)


def _per_gate(draw: Callable[[Tensor], object]) -> Callable[[Tensor], object]:
    @torch.no_grad()
    def each(tensor: Tensor) -> None:
        for gate in tensor.chunk(4):
            draw(gate)

    return each


def _constant(types: tuple[str, ...], local: str, value: float) -> Law:
    both = {"val": 1.0, "bias": 0.0} if local == "weight" else None  # mmengine sets a weight and its bias at once
    return Law(
        types=types,
        local=local,
        spec=value,
        draw=partial(init.constant_, val=value),
        mmengine=None if both is None else {"type": "Constant", **both},
    )


def _drawn(types: tuple[str, ...], std: float, *, local: str = "weight", names: str = "") -> Law:
    return Law(
        types=types,
        local=local,
        spec={"name": "normal", "std": std},
        draw=_normal(std),
        names=names,
        mmengine={"type": "Normal", "std": std, "bias": 0.0} if local == "weight" else None,
    )


# --- ResNet-50 ------------------------------------------------------------------------------------


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1, four times as wide at its end."""

    def __init__(self, wide: int, narrow: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(wide, narrow, 1, bias=False), nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.conv3, self.bn3 = nn.Conv2d(narrow, 4 * narrow, 1, bias=False), nn.BatchNorm2d(4 * narrow)
        self.relu = nn.ReLU()
        if stride != 1 or wide != 4 * narrow:
            conv = nn.Conv2d(wide, 4 * narrow, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * narrow))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(out)))))
        short = self.downsample(x) if hasattr(self, "downsample") else x
        return self.relu(out + short)  # type: ignore[no-any-return]  # a module gives Any


class ResNet50(nn.Module):
    """25.6 M parameters in 161 tensors, drawn twice when built, as torchvision's are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        layers, wide = [], 64
        for index, (narrow, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
            blocks = []
            for block in range(depth):
                blocks.append(Bottleneck(wide, narrow, 2 if index and not block else 1))
                wide = 4 * narrow
            layers.append(nn.Sequential(*blocks))
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(2048, 1000)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                init.constant_(module.weight, 1)
                init.constant_(module.bias, 0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.pool(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]  # a module gives Any


def resnet50() -> nn.Module:
    return ResNet50()


_RESNET = (
    Law(
        types=("Conv2d",),
        local="weight",
        spec={"name": "kaiming_normal", "mode": "fan_out", "nonlinearity": "relu"},
        draw=partial(init.kaiming_normal_, mode="fan_out", nonlinearity="relu"),
        mmengine={"type": "Kaiming", "mode": "fan_out", "nonlinearity": "relu"},
    ),
    _drawn(("Linear",), 0.01),
    _constant(("Linear",), "bias", 0.0),
    _constant(("BatchNorm2d",), "weight", 1.0),
    _constant(("BatchNorm2d",), "bias", 0.0),
)


# --- ViT-L ----------------------------------------------------------------------------------------


class Block(nn.Module):
    """Attention and a perceptron, each after a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)


class VisionTransformer(nn.Module):
    """304 M parameters in 296 tensors, drawn twice when built, as timm's are."""

    def __init__(self, width: int = 1024, depth: int = 24) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 16, 16)
        self.cls_token, self.pos_embed = (
            nn.Parameter(torch.zeros(1, 1, width)),
            nn.Parameter(torch.zeros(1, 197, width)),
        )
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)
        init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                init.trunc_normal_(module.weight, std=0.02)
                init.zeros_(module.bias)


def _vit() -> nn.Module:
    if find_spec("timm") is None:
        return VisionTransformer()
    import timm

    model: nn.Module = timm.create_model("vit_large_patch16_224", pretrained=False)
    return model


_FAR: Mapping[str, Any] = {"name": "trunc_normal", "std": 0.02, "a": -2, "b": 2, "bounds": "absolute"}
"""As timm has it: bounds a hundred standard deviations away. Where they are two away, torch takes ten times as long."""
_VIT = (
    Law(
        types=("Linear", "Conv2d"),
        local="weight",
        spec=_FAR,
        draw=partial(init.trunc_normal_, std=0.02),
        mmengine={"type": "TruncNormal", "std": 0.02, "a": -2, "b": 2, "bias": 0.0},
    ),
    _constant(("Linear", "Conv2d"), "bias", 0.0),
    _constant(("LayerNorm",), "weight", 1.0),
    _constant(("LayerNorm",), "bias", 0.0),
    Law(
        types=("VisionTransformer",),
        local="*",
        spec=_FAR,
        draw=partial(init.trunc_normal_, std=0.02),
    ),
)


# --- language models ------------------------------------------------------------------------------


class Decoder(nn.Module):
    """Blocks of attention and a perceptron between a table and a head that share their weight."""

    def __init__(self, width: int, depth: int, words: int, places: int, hidden: int, *, biased: bool) -> None:
        super().__init__()
        norm = nn.LayerNorm if biased else nn.RMSNorm
        self.wte, self.wpe = nn.Embedding(words, width), nn.Embedding(places, width)
        self.h = nn.ModuleList()
        for _ in range(depth):
            block = nn.ModuleDict({"ln_1": norm(width), "c_attn": nn.Linear(width, 3 * width, bias=biased)})
            block["c_proj"] = nn.Linear(width, width, bias=biased)
            block["ln_2"], block["c_fc"] = norm(width), nn.Linear(width, hidden, bias=biased)
            block["mlp_c_proj"] = nn.Linear(hidden, width, bias=biased)
            if not biased:
                block["gate"] = nn.Linear(width, hidden, bias=False)
            self.h.append(block)
        self.ln_f, self.lm_head = norm(width), nn.Linear(width, words, bias=False)
        self.lm_head.weight = self.wte.weight
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                init.zeros_(module.bias)


def _gpt2() -> nn.Module:
    if find_spec("transformers") is None:
        return Decoder(768, 12, 50_257, 1024, 3072, biased=True)
    from transformers import GPT2Config, GPT2LMHeadModel

    model: nn.Module = GPT2LMHeadModel(GPT2Config())
    return model


def _llama() -> nn.Module:
    """In bfloat16, which is what halves its 5 GB."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        if find_spec("transformers") is None:
            return Decoder(2048, 16, 128_256, 1, 8192, biased=False)
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=128_256,
            hidden_size=2048,
            intermediate_size=8192,
            num_hidden_layers=16,
            num_attention_heads=32,
            num_key_value_heads=8,
            tie_word_embeddings=True,
            dtype="bfloat16",
        )
        model: nn.Module = LlamaForCausalLM(config)
        return model
    finally:
        torch.set_default_dtype(before)


_GPT2 = (
    _drawn(("Linear", "Conv1D", "Embedding"), 0.02),
    _drawn(("Linear", "Conv1D"), 0.02 / math.sqrt(24), names="c_proj$"),
    _constant(("Linear", "Conv1D"), "bias", 0.0),
    _constant(("LayerNorm",), "weight", 1.0),
    _constant(("LayerNorm",), "bias", 0.0),
)
_LLAMA = (_drawn(("Linear", "Embedding"), 0.02), _constant(("*RMSNorm",), "weight", 1.0))


# --- recurrent ------------------------------------------------------------------------------------


class Tagger(nn.Module):
    """An LSTM of four layers between a table and a head: 19 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.rnn, self.head = nn.Embedding(20_000, 512), nn.LSTM(512, 512, 4), nn.Linear(512, 50)


def _tagger() -> nn.Module:
    return Tagger()


_LSTM = (
    _drawn(("Embedding", "Linear"), 0.02),
    _constant(("Linear",), "bias", 0.0),
    Law(
        types=("LSTM",),
        local="weight_ih*",
        spec={"name": "xavier_uniform", "split": "gates"},
        draw=_per_gate(init.xavier_uniform_),
    ),
    Law(
        types=("LSTM",),
        local="weight_hh*",
        spec={"name": "orthogonal", "split": "gates"},
        draw=_per_gate(init.orthogonal_),
    ),
    Law(types=("LSTM",), local="bias*", spec=0, draw=init.zeros_),
)

CASES: Sequence[Case] = (
    Case(name="ResNet-50", build=resnet50, laws=_RESNET),
    Case(name="ViT-L", build=_vit, laws=_VIT),
    Case(name="GPT-2", build=_gpt2, laws=_GPT2),
    Case(name="Llama 1 B", build=_llama, laws=_LLAMA),
    Case(name="LSTM", build=_tagger, laws=_LSTM),
)


# --- for planning ---------------------------------------------------------------------------------


def perceptron() -> nn.Module:
    """Three layers, 99,978 parameters."""
    return nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))


class Norm(nn.Module):
    """A scale, as language models write it themselves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), 1e-6


class Expert(nn.Module):
    """A gated perceptron, and a scale of its own."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down_proj, self.act = nn.Linear(hidden, width, bias=False), nn.SiLU()
        self.scale = nn.Parameter(torch.ones(width))


class Attention(nn.Module):
    """What is packed and what is not."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_heads = 8
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.kv, self.o_proj = nn.Linear(width, 2 * width), nn.Linear(width, width)


class Experts(nn.Module):
    """A router, its experts, and one that all tokens share."""

    def __init__(self, width: int, hidden: int, experts: int) -> None:
        super().__init__()
        self.num_experts, self.gate = experts, nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(Expert(width, hidden) for _ in range(experts))
        self.shared = Expert(width, hidden)


class Layer(nn.Module):
    """One of `mixture`."""

    def __init__(self, width: int, hidden: int, experts: int) -> None:
        super().__init__()
        self.input_norm, self.self_attn = Norm(width), Attention(width)
        self.post_norm, self.mlp = Norm(width), Experts(width, hidden, experts)


class Mixture(nn.Module):
    """A language model of sparse layers, as far as planning looks at it: it has no forward."""

    def __init__(self, layers: int, experts: int, width: int = 64, hidden: int = 32) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(1000, width, padding_idx=0)
        self.layers = nn.ModuleList(Layer(width, hidden, experts) for _ in range(layers))
        self.norm, self.lm_head = Norm(width), nn.Linear(width, 1000, bias=False)


def mixture(layers: int = 65, experts: int = 384) -> nn.Module:
    """On the meta device: 65 layers of 384 experts are 100,948 parameter tensors."""
    with torch.device("meta"):
        return Mixture(layers, experts)


_IN_EXPERT = r"layers\.(?P<layer>\d+)\.mlp\.experts\.(?P<expert>\d+)"


def mixture_policy() -> Mapping[str, Any]:
    """Twenty rules of every kind: types, globs, names with groups, inside, where, not, activations, formulas, split."""

    def normal(std: float | str) -> Mapping[str, Any]:
        return {"weight": {"name": "normal", "std": std}}

    linear = {"type": "Linear"}
    return {
        "name": "mixture",
        "seed": 1,
        "vars": {"std": 0.02, "width": 64},
        "activations": {r"experts\.\d+\.gate_proj$": "silu"},
        "exclude": [{"type": "Embedding", "where": "numel > 1e12"}],
        "rules": {
            "all": {"init": {"*": {"name": "normal", "std": "std"}}},
            "linear": {"match": linear, "init": {"weight": {"name": "trunc_normal", "std": "std"}, "bias": 0}},
            "norm": {"match": {"type": "*Norm*"}, "init": {"weight": 1}},
            "embed": {"match": {"type": "torch.nn.Embedding"}, "init": normal("1 / sqrt(embedding_dim)")},
            "attention": {"match": {**linear, "inside": "Attention"}, "init": {"weight": "xavier_uniform"}},
            "packed": {"match": {"name": r"\.kv$"}, "init": {"weight": {"name": "xavier_uniform", "split": 2}}},
            "out": {
                "match": {"inside": "Attention", "name": r"layers\.(?P<layer>\d+)\..*o_proj"},
                "init": normal("std / sqrt(2 * n_layer)"),
                "expect": "n_layer",
            },
            "router": {"match": {"name": r"mlp\.gate$", "inside": "Experts"}, "init": normal(0.006)},
            "up": {
                "match": {"name": rf"{_IN_EXPERT}\.up_proj"},
                "init": {"weight": {"name": "kaiming_normal", "nonlinearity": "linear"}},
            },
            "gate": {
                "match": {"name": rf"{_IN_EXPERT}\.gate_proj", "activation": "silu"},
                "init": {"weight": {"name": "kaiming_normal", "gain": "auto"}},
            },
            "down": {
                "match": {"name": rf"{_IN_EXPERT}\.down_proj"},
                "init": {"weight": {"name": "trunc_normal", "std": "std / sqrt(2 * (layer + 1))"}},
                "expect": "n_layer * n_expert",
            },
            "scale": {"match": {"type": "Expert"}, "init": {"scale": 1}},
            "shared": {"match": {**linear, "inside": "Expert", "name": "shared"}, "init": normal("std / 2")},
            "wide": {"match": {**linear, "where": "fan_out > 900 and ndim == 2"}, "init": normal("1 / sqrt(fan_in)")},
            "narrow": {
                "match": {**linear, "where": "fan_in < fan_out / 2", "not": {"name": "kv"}},
                "init": normal("std * 2"),
            },
            "late": {
                "match": {"name": r"layers\.(?P<layer>\d+)\.mlp\.gate$", "where": "layer >= n_layer / 2"},
                "init": normal("std / 4"),
            },
            "last": {"match": {"name": "^norm$"}, "init": {"weight": 1}},
            "head": {"match": {"name": "^lm_head$"}, "init": normal("width ** -0.5")},
            "biases": {"match": linear, "init": {"bias": {"name": "normal", "std": "1 / sqrt(weight_fan_in)"}}},
            "first": {"match": {**linear, "name": r"layers\.0\.", "not": {"inside": "Experts"}}, "init": normal("std")},
        },
    }

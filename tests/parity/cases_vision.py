"""Vision models whose own code is no installable package: their laws as their files state them, for small stand-ins.

ViT, Mixer, EfficientNet and NFNet of JAX and TensorFlow have no modules of torch: their laws are held on timm's.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from torch import nn

from parity.case import Array, Case, Rows, Stated, glorot, normal, truncated, uniform
from parity.cases_timm import efficientnet, mixer, nfnet, vit
from parity.vision import SIDE, BeitPretraining, ConvNeXt, DinoV2, Mae, MaeClassifier, Swin

__all__ = ["CASES", "COVERS"]

COVERS = {"vit_jax": ("vit_jax", "mixer_jax")}


def fans(value: Array) -> tuple[float, float]:
    """Of the matrix that a weight is when its dimensions after the first are flattened."""
    return math.prod(value.shape[1:]), value.shape[0]


def default(name: str, value: Array, owner: nn.Module) -> Stated:
    """torch's: what a file leaves alone."""
    if isinstance(owner, (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)):
        return float(name.endswith("weight"))
    assert isinstance(owner, (nn.Linear, nn.Conv2d)), name
    return uniform(1 / math.sqrt(math.prod(owner.weight.shape[1:])))


def plain(std: float, name: str, value: Array, owner: nn.Module) -> Stated:
    """N(0, std²) for weights of linear layers, their biases 0, the rest torch's."""
    if isinstance(owner, nn.Linear):
        return normal(std) if value.ndim == 2 else 0.0
    return default(name, value, owner)


def sines(width: int, first: str) -> Array:
    """get_2d_sincos_pos_embed (mae/util/pos_embed.py) and build_2d_sincos_position_embedding (moco-v3/vits.py).

    The former begins with the column (numpy's meshgrid), the latter with the row (torch's); the class token's is 0.
    """
    rate = 1 / 10000 ** (np.arange(width // 4) / (width / 4))
    row, column = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    parts = [row, column] if first == "row" else [column, row]
    angles = [np.outer(part.ravel(), rate) for part in parts]
    table = np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)], axis=1)
    return np.concatenate([np.zeros((1, width)), table])[None].astype(np.float32)


def mae(name: str, value: Array, owner: nn.Module, head: float = 2e-5) -> Stated:
    """models_mae.py::initialize_weights; main_finetune.py for the head."""
    if name.endswith("pos_embed"):
        return sines(value.shape[-1], "column")
    if name.endswith("_token"):
        return normal(0.02)
    if name.startswith("head"):
        return normal(head) if value.ndim == 2 else 0.0
    if isinstance(owner, nn.Linear):
        return glorot(*fans(value)) if value.ndim == 2 else 0.0
    return glorot(*fans(value)) if name == "patch_embed.proj.weight" else default(name, value, owner)


def moco(name: str, value: Array, owner: nn.Module) -> Stated:
    """vits.py::VisionTransformerMoCo."""
    if name == "pos_embed":
        return sines(value.shape[-1], "row")
    if name == "cls_token":
        return normal(1e-6)
    if isinstance(owner, (nn.Linear, nn.Conv2d)):
        fan_in, fan_out = fans(value)
        return (glorot(fan_in, fan_out / 3 if "qkv" in name else fan_out)) if value.ndim > 1 else 0.0
    return default(name, value, owner)


def vit_jax(name: str, value: Array, owner: nn.Module) -> Stated:
    """vit_jax/models_vit.py: nn.initializers.xavier_uniform() for attention and MLP, normal(1e-6) for MLP's biases."""
    if name in ("cls_token", "pos_embed"):
        return normal(0.02) if name == "pos_embed" else 0.0
    if name.startswith("head"):
        return 0.0
    if isinstance(owner, nn.Conv2d):
        return truncated(1 / math.sqrt(3 * 64), corrected=True) if value.ndim == 4 else 0.0
    if isinstance(owner, nn.Linear) and value.ndim == 2:
        fan_in, fan_out = fans(value)
        return glorot(fan_in, fan_out / 3 if "qkv" in name else fan_out)
    if isinstance(owner, nn.Linear):
        return normal(1e-6) if "mlp" in name else 0.0
    return default(name, value, owner)


def mixer_jax(name: str, value: Array, owner: nn.Module) -> Stated:
    """vit_jax/models_mixer.py: Flax's defaults, and a head of zeros."""
    if name.startswith("head"):
        return 0.0
    if isinstance(owner, (nn.Linear, nn.Conv2d)):
        return truncated(1 / math.sqrt(fans(value)[0]), corrected=True) if value.ndim > 1 else 0.0
    return default(name, value, owner)


def efficientnet_tf(name: str, value: Array, owner: nn.Module) -> Stated:
    """efficientnet_model.py::conv_kernel_initializer, dense_kernel_initializer; a depthwise kernel has one filter."""
    if isinstance(owner, nn.Conv2d):
        filters = 1 if owner.groups > 1 else value.shape[0]
        return normal(math.sqrt(2 / (math.prod(value.shape[2:]) * filters))) if value.ndim == 4 else 0.0
    if isinstance(owner, nn.Linear):
        return uniform(1 / math.sqrt(value.shape[0])) if value.ndim == 2 else 0.0
    return default(name, value, owner)


def convnext(name: str, value: Array, owner: nn.Module) -> Stated:
    """models/convnext.py::_init_weights."""
    if name.endswith("gamma"):
        return 1e-6
    if isinstance(owner, (nn.Linear, nn.Conv2d)):
        return normal(0.02) if value.ndim > 1 else 0.0
    return default(name, value, owner)


def beit(name: str, value: Array, owner: nn.Module) -> Stated:
    """beit/modeling_pretrain.py, with its own trunc_normal_ at one standard deviation; fix_init_weight."""
    if "gamma" in name:
        return 0.1
    if "bias" in name:
        return 0.0
    if isinstance(owner, nn.LayerNorm):
        return 1.0
    depth = int(name.split(".")[1]) + 1 if name.endswith(("attn.proj.weight", "fc2.weight")) else 0
    return truncated(0.02 / math.sqrt(2 * depth) if depth else 0.02, -1, 1)


def nfnet_deepmind(name: str, value: Array, owner: nn.Module) -> Stated:
    """nfnets/base.py::WSConv2D; skipinit_resnet.py."""
    if name.endswith("gain"):
        return 0.0 if "skipinit" in name else 1.0
    if isinstance(owner, nn.Conv2d) and value.ndim == 4:
        return normal(1 / math.sqrt(fans(value)[0]))
    return 0.0


def dino(name: str, value: Array, owner: nn.Module) -> Stated:
    """dinov2/models/vision_transformer.py::init_weights, layers/layer_scale.py."""
    if name in ("cls_token", "register_tokens"):
        return normal(1e-6)
    if name in ("pos_embed", "mask_token"):
        return normal(0.02) if name == "pos_embed" else 0.0
    if name.endswith("gamma"):
        return 1e-5
    if name == "dino_head.last_layer.weight":
        return Rows(uniform(1 / math.sqrt(value.shape[1])))
    return plain(0.02, name, value, owner)


def swin(name: str, value: Array, owner: nn.Module, version: int) -> Stated:
    """swin_transformer.py and swin_transformer_v2.py::_init_weights, _init_respostnorm."""
    if name.endswith(("relative_position_bias_table", "absolute_pos_embed")):
        return normal(0.02)
    if name.endswith("logit_scale"):
        return math.log(10)
    if name.endswith(("q_bias", "v_bias")):
        return 0.0
    if version == 2 and "blocks" in name and isinstance(owner, nn.LayerNorm):
        return 0.0
    return plain(0.02, name, value, owner)


CASES = (
    Case(
        preset="mae",
        model="models_mae.MaskedAutoencoderViT of three blocks",
        build=Mae,
        stated=mae,
        mutations={"rows before columns": {"rules": {"tokens": {"init": {"*pos_embed": {"value": "0"}}}}}},
    ),
    Case(preset="mae", model="models_vit.VisionTransformer for fine-tuning", build=MaeClassifier, stated=mae),
    Case(
        preset="mae",
        model="models_vit.VisionTransformer for a linear probe",
        build=MaeClassifier,
        stated=partial(mae, head=0.01),
        overrides={"vars": {"head_std": 0.01}},
        slow=True,
    ),
    Case(
        preset="vit_moco_v3",
        model="vits.VisionTransformerMoCo of two blocks",
        build=MaeClassifier,
        stated=moco,
        mutations={"q, k and v packed": {"rules": {"queries_keys_values": {"init": {"weight": {"split": None}}}}}},
    ),
    Case(
        preset="vit_jax",
        model="timm vit_tiny_patch16_224, by JAX's laws",
        build=vit(),
        stated=vit_jax,
        mutations={"q, k and v packed": {"rules": {"queries_keys_values": {"init": {"weight": {"split": None}}}}}},
    ),
    Case(preset="mixer_jax", model="timm MlpMixer, by JAX's laws", build=mixer("MixerBlock"), stated=mixer_jax),
    Case(
        preset="efficientnet_tf",
        model="timm efficientnet_b0, a quarter as wide, by TensorFlow's laws",
        build=partial(efficientnet, "_gen_efficientnet", "efficientnet_b0"),
        stated=efficientnet_tf,
    ),
    Case(preset="convnext_fb", model="convnext.ConvNeXt of two blocks", build=ConvNeXt, stated=convnext),
    Case(
        preset="beit_pretrain",
        model="modeling_pretrain.VisionTransformerForMaskedImageModeling of three blocks",
        build=BeitPretraining,
        stated=beit,
        mutations={"cut at two deviations": {"rules": {"weights": {"init": {"weight": {"a": -2, "b": 2}}}}}},
    ),
    Case(
        preset="nfnet_deepmind",
        model="timm NormFreeNet of two blocks, by DeepMind's laws",
        build=partial(nfnet, skipinit=True),
        stated=nfnet_deepmind,
    ),
    Case(preset="dinov2", model="DinoVisionTransformer of two blocks, DINOHead", build=DinoV2, stated=dino),
    Case(
        preset="swin_ms",
        model="SwinTransformer of four blocks",
        build=partial(Swin, 1),
        stated=partial(swin, version=1),
    ),
    Case(
        preset="swin_ms",
        model="SwinTransformerV2 of four blocks",
        build=partial(Swin, 2),
        stated=partial(swin, version=2),
        mutations={"norms of 1": {"rules": {"branch_norms": {"init": {"weight": 1}}}}},
    ),
)

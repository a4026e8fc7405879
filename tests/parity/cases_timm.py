"""timm's models, small, as they initialize themselves."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from zoo.operators import declare

from parity.case import Case
from parity.libraries import timm

__all__ = ["CASES"]


def vit(**given: Any) -> Callable[[], nn.Module]:
    """Two blocks of width 64."""
    size = {"img_size": 64, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 4, "num_classes": 10}
    return timm("vit_tiny_patch16_224", **{**size, **given})


def mixer(block: str, **given: Any) -> Callable[[], nn.Module]:
    """Two blocks of width 64; other classes of timm.models.mlp_mixer and timm.layers by name."""

    def build() -> nn.Module:
        declare()
        library = importlib.import_module("timm.models.mlp_mixer")
        parts = {key: getattr(library, value) if isinstance(value, str) else value for key, value in given.items()}
        made: nn.Module = library.MlpMixer(
            num_classes=10,
            img_size=64,
            patch_size=8,
            num_blocks=2,
            embed_dim=64,
            block_layer=getattr(library, block),
            **parts,
        )
        return made

    return build


def efficientnet(make: str, name: str) -> nn.Module:
    """A quarter as wide."""
    declare()
    library = importlib.import_module("timm.models.efficientnet")
    made: nn.Module = getattr(library, make)(name, channel_multiplier=0.25, depth_multiplier=0.5, num_classes=40)
    return made


def nfnet(**given: Any) -> nn.Module:
    declare()
    library = importlib.import_module("timm.models.nfnet")
    config = library.NfCfg(
        depths=(1, 1),
        channels=(32, 64),
        stem_type="3x3",
        group_size=8,
        attn_layer="se",
        attn_kwargs={"rd_ratio": 0.5},
        **given,
    )
    made: nn.Module = library.NormFreeNet(config, num_classes=40)
    return made


CASES = (
    Case(
        preset="vit_timm",
        model="vit_tiny_patch16_224, 2 blocks of width 64",
        build=vit(init_values=1e-5, reg_tokens=4, class_token=True),
        mutations={"token ten times as large": {"rules": {"tokens": {"init": {"cls_token": {"std": 1.0e-5}}}}}},
    ),
    Case(
        preset="vit_timm",
        model="vit_tiny_patch16_224, fix_init, 4 blocks of width 64",
        build=vit(fix_init=True, depth=4),
        overrides={"vars": {"fix_init": 1}},
        mutations={"no fix": {"vars": {"fix_init": 0}}},
    ),
    Case(
        preset="vit_timm",
        model="deit_tiny_distilled_patch16_224, 2 blocks of width 64",
        build=timm("deit_tiny_distilled_patch16_224", embed_dim=64, depth=2, num_heads=4, num_classes=10),
        slow=True,
    ),
    Case(
        preset="vit_timm",
        model="swin_tiny_patch4_window7_224, 2 stages of width 64",
        build=timm("swin_tiny_patch4_window7_224", embed_dim=64, depths=(2, 2), num_heads=(4, 4), num_classes=10),
        slow=True,
    ),
    Case(preset="vit_timm", model="vit_base_patch16_224", build=timm("vit_base_patch16_224"), seeds=1, slow=True),
    Case(preset="vit_timm_jax", model="vit_tiny_patch16_224, weight_init='jax'", build=vit(weight_init="jax")),
    Case(
        preset="vit_timm_jax",
        model="vit_tiny_patch16_224, weight_init='jax_nlhb'",
        build=vit(weight_init="jax_nlhb"),
        overrides={"vars": {"nlhb": 1}},
        mutations={"no bias": {"vars": {"nlhb": 0}}},
        slow=True,
    ),
    Case(
        preset="vit_timm_moco",
        model="vit_tiny_patch16_224, weight_init='moco'",
        build=vit(weight_init="moco"),
        mutations={
            "q, k and v packed": {"rules": {"queries_keys_values": {"init": {"weight": {"split": None}}}}},
        },
    ),
    Case(
        preset="mlp_mixer_timm",
        model="mlp_mixer.MlpMixer, Mixer, 2 blocks of width 64",
        build=mixer("MixerBlock"),
    ),
    Case(
        preset="mlp_mixer_timm",
        model="mlp_mixer.MlpMixer, gMLP, 2 blocks of width 64",
        build=mixer("SpatialGatingBlock", mlp_ratio=6, mlp_layer="GatedMlp"),
    ),
    Case(
        preset="mlp_mixer_timm",
        model="mlp_mixer.MlpMixer, ResMLP, 2 blocks of width 64",
        build=mixer("ResBlock", mlp_ratio=4, norm_layer="Affine"),
        slow=True,
    ),
    Case(
        preset="resnet_timm",
        model="resnet26 in groups, squeeze and excitation, narrow",
        build=timm(
            "resnet26", channels=(16, 16, 32, 32), layers=(1, 1, 1, 1), num_classes=20, block_args={"attn_layer": "se"}
        ),
        mutations={"last norm of 1": {"vars": {"last": 1}}},
    ),
    Case(preset="resnet_timm", model="resnet18", build=timm("resnet18", num_classes=20), slow=True),
    Case(
        preset="efficientnet_goog",
        model="efficientnet_b0, a quarter as wide",
        build=partial(efficientnet, "_gen_efficientnet", "efficientnet_b0"),
    ),
    Case(
        preset="efficientnet_goog",
        model="efficientnet_cc_b0_4e, a quarter as wide",
        build=partial(efficientnet, "_gen_efficientnet_condconv", "efficientnet_cc_b0_4e"),
        slow=True,
    ),
    Case(
        preset="convnext",
        model="convnext_atto, 4 blocks",
        build=timm("convnext_atto", depths=(1, 1, 1, 1), dims=(32, 32, 64, 64), num_classes=10, head_init_scale=0.5),
        overrides={"vars": {"head_init_scale": 0.5}},
    ),
    Case(
        preset="convnext",
        model="convnextv2_atto, 4 blocks",
        build=timm("convnextv2_atto", depths=(1, 1, 1, 1), dims=(32, 32, 64, 64), num_classes=10),
        slow=True,
    ),
    Case(
        preset="beit_timm",
        model="beit_base_patch16_224, 3 blocks of width 64",
        build=timm("beit_base_patch16_224", embed_dim=64, depth=3, num_heads=4, num_classes=10, use_abs_pos_emb=True),
    ),
    Case(
        preset="nfnet_timm",
        model="nfnet.NormFreeNet of two blocks, skipinit",
        build=lambda: nfnet(skipinit=True),
        mutations={"gain of 1.1": {"rules": {"gain": {"init": {"gain": 1.1}}}}},
    ),
    Case(preset="nfnet_timm", model="nfnet.NormFreeNet of two blocks", build=nfnet, slow=True),
)

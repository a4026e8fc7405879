"""The reference initializations that the presets were made from: every one is a preset, or has a reason why not."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import initpolicy as ip

__all__ = ["ENTRIES", "covered", "reasons"]

ENTRIES = (
    "torch_default_linear", "torch_default_conv", "torch_default_embedding", "torch_default_rnn", "torch_default_mha",
    "torch_default_transformer", "torch_default_norm", "torch_default_bilinear_prelu", "torch_nn_init",
    "keras_initializers", "keras_default", "jax_initializers", "flax_default", "equinox_default", "resnet", "vgg",
    "mobilenet", "densenet", "googlenet_inception", "efficientnet_tv", "convnext_tv", "swin_tv", "vit_tv",
    "torchvision_small_cnns", "retinanet_tv", "vit_timm", "vit_timm_jax", "vit_timm_moco", "vit_moco_v3", "vit_jax",
    "mlp_mixer_timm", "resnet_timm", "efficientnet_goog", "efficientnet_tf", "convnext", "convnext_fb", "beit_timm",
    "beit_pretrain", "mae", "nfnet_timm", "nfnet_deepmind", "dinov2", "swin_ms", "hf_generic", "llama", "gpt2",
    "gpt2_openai", "nanogpt", "bert", "bert_tf", "t5", "t5x", "whisper", "mamba_hf", "mamba", "vit_hf", "wav2vec2",
    "mixtral", "clip_hf", "clip_openai", "olmo_normal", "olmo_mitchell", "olmo_full_megatron", "open_lm", "olmo_core",
    "megatron", "llm_foundry", "torchtitan_llama3", "gpt_neox", "fairseq_transformer", "fairseq_other", "lingua",
    "nanochat", "modded_nanogpt", "mup", "spectral", "deepnorm", "subln", "retnet", "fixup", "t_fixup", "rezero",
    "lsuv", "delta_orthogonal", "dks_tat", "autoinit", "icnr", "ppo_cleanrl", "ppg_cleanrl", "ppo_sb3",
    "ppo_baselines", "dreamerv3", "dcgan", "cyclegan_pix2pix", "stylegan2_equalized", "edm", "adm_guided_diffusion",
    "dit", "biggan", "siren", "nerf", "fastai", "c2_fill", "detectron2", "detr", "deformable_detr",
    "lstm_forget_bias", "irnn", "lora", "alphafold_linear", "pyg", "siglip_hf", "word_language_model", "mimetic",
    "spectral_gaussian", "he_relu", "xavier_tanh", "lecun_selu",
)  # fmt: skip
"""Names of the facts that were gathered, in their order."""


def covered() -> dict[str, tuple[str, ...]]:
    """Entry -> the presets that it became."""
    stated = {name: presets for module in _modules() for name, presets in getattr(module, "COVERS", {}).items()}
    known = ip.list_policies()
    return {name: stated.get(name, (name,)) for name in ENTRIES if name in stated or name in known}


def reasons() -> dict[str, str]:
    """Entry -> why it is no preset."""
    return {name: why for module in _modules() for name, why in getattr(module, "NOT_MADE", {}).items()}


def _modules() -> Iterator[Any]:
    for path in sorted(Path(__file__).parent.glob("cases_*.py")):
        yield importlib.import_module(f"parity.{path.stem}")

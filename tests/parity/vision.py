"""Small stand-ins for vision models that are no installable packages, under the names of their own files."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["BeitPretraining", "ConvNeXt", "DinoV2", "Mae", "MaeClassifier", "Swin"]

WIDTH, HEADS, PATCH, SIDE = 64, 4, 8, 6
"""A square of SIDE by SIDE patches."""


class Attention(nn.Module):
    """Packed queries, keys and values; BEiT adds biases for two of them."""

    def __init__(self, width: int, window: int = 0, beit: bool = False) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=not beit)
        self.proj = nn.Linear(width, width)
        if beit:
            self.q_bias = nn.Parameter(torch.empty(width))
            self.v_bias = nn.Parameter(torch.empty(width))
        if window:
            self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, HEADS))


class Mlp(nn.Module):
    """Two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)


class LayerScale(nn.Module):
    """A factor for each channel."""

    def __init__(self, width: int, init_values: float) -> None:
        super().__init__()
        self.init_values = init_values
        self.gamma = nn.Parameter(torch.empty(width))


class Block(nn.Module):
    """A transformer's."""

    def __init__(self, width: int, *, beit: bool = False, scale: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, window=SIDE if beit else 0, beit=beit)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)
        if beit:
            self.gamma_1 = nn.Parameter(torch.empty(width))
            self.gamma_2 = nn.Parameter(torch.empty(width))
        if scale:
            self.ls1, self.ls2 = LayerScale(width, scale), LayerScale(width, scale)


class PatchEmbed(nn.Module):
    """One convolution."""

    def __init__(self, width: int, patch: int = PATCH) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)


def _positions(width: int, *, frozen: bool = False) -> nn.Parameter:
    return nn.Parameter(torch.empty(1, SIDE * SIDE + 1, width), requires_grad=not frozen)


def _token(width: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(1, 1, width))


class MaskedAutoencoderViT(nn.Module):
    """mae/models_mae.py."""

    def __init__(self, width: int = WIDTH, decoder: int = 48) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(width)
        self.cls_token = _token(width)
        self.pos_embed = _positions(width, frozen=True)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.decoder_embed = nn.Linear(width, decoder)
        self.mask_token = _token(decoder)
        self.decoder_pos_embed = _positions(decoder, frozen=True)
        self.decoder_blocks = nn.ModuleList([Block(decoder)])
        self.decoder_norm = nn.LayerNorm(decoder)
        self.decoder_pred = nn.Linear(decoder, 3 * PATCH * PATCH)


Mae = MaskedAutoencoderViT


class VisionTransformer(nn.Module):
    """moco-v3/vits.py, and mae's for fine-tuning: timm's, with a table of positions that is frozen."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(width)
        self.cls_token = _token(width)
        self.pos_embed = _positions(width, frozen=True)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 200)


MaeClassifier = VisionTransformer


class VisionTransformerForMaskedImageModeling(nn.Module):
    """unilm/beit/modeling_pretrain.py."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(width)
        self.cls_token, self.mask_token = _token(width), _token(width)
        self.pos_embed = _positions(width)
        self.blocks = nn.ModuleList(Block(width, beit=True) for _ in range(3))
        self.norm = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, 100)


BeitPretraining = VisionTransformerForMaskedImageModeling


class DINOHead(nn.Module):
    """dinov2/layers/dino_head.py; a norm for each row of the last layer, old style."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, 96), nn.GELU(), nn.Linear(96, 48))
        self.last_layer = nn.utils.parametrizations.weight_norm(nn.Linear(48, 300, bias=False))


class DinoVisionTransformer(nn.Module):
    """dinov2/models/vision_transformer.py, and DINO's head beside it."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.cls_token = _token(width)
        self.pos_embed = _positions(width)
        self.register_tokens = nn.Parameter(torch.empty(1, 4, width))
        self.mask_token = nn.Parameter(torch.empty(1, width))
        self.patch_embed = PatchEmbed(width)
        self.blocks = nn.ModuleList(Block(width, scale=1e-5) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.dino_head = DINOHead(width)


DinoV2 = DinoVisionTransformer


class ConvNeXtBlock(nn.Module):
    """ConvNeXt/models/convnext.py, where it is called Block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.empty(width))


ConvNeXtBlock.__name__ = "Block"


class ConvNeXt(nn.Module):
    """ConvNeXt/models/convnext.py."""

    def __init__(self) -> None:
        super().__init__()
        self.downsample_layers = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(3, 32, 4, stride=4), nn.LayerNorm(32)),
                nn.Sequential(nn.LayerNorm(32), nn.Conv2d(32, 64, 2, stride=2)),
            ]
        )
        self.stages = nn.ModuleList([nn.Sequential(ConvNeXtBlock(32)), nn.Sequential(ConvNeXtBlock(64))])
        self.norm = nn.LayerNorm(64)
        self.head = nn.Linear(64, 100)


class WindowAttention(nn.Module):
    """Swin-Transformer/models: V1 has a table, V2 a small network and a temperature."""

    def __init__(self, width: int, version: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=version == 1)
        self.proj = nn.Linear(width, width)
        if version == 1:
            self.relative_position_bias_table = nn.Parameter(torch.empty(13 * 13, HEADS))
        else:
            self.logit_scale = nn.Parameter(torch.empty(HEADS, 1, 1))
            self.cpb_mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, HEADS, bias=False))
            self.q_bias, self.v_bias = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(width))


class SwinTransformerBlock(nn.Module):
    """Of either version."""

    def __init__(self, width: int, version: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, version)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)


class PatchMerging(nn.Module):
    """Four patches to one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)


class BasicLayer(nn.Module):
    """One stage."""

    def __init__(self, width: int, version: int, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(SwinTransformerBlock(width, version) for _ in range(2))
        if not last:
            self.downsample = PatchMerging(width)


class SwinTransformer(nn.Module):
    """swin_transformer.py."""

    version = 1

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(width, 4)
        self.absolute_pos_embed = nn.Parameter(torch.empty(1, 49, width))
        stages = ((width, False), (2 * width, True))
        self.layers = nn.ModuleList(BasicLayer(size, self.version, last) for size, last in stages)
        self.norm = nn.LayerNorm(2 * width)
        self.head = nn.Linear(2 * width, 100)


class SwinTransformerV2(SwinTransformer):
    """swin_transformer_v2.py."""

    version = 2


def Swin(version: int) -> nn.Module:
    """Either."""
    return SwinTransformer() if version == 1 else SwinTransformerV2()

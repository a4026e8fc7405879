"""torchvision's models, small, as they initialize themselves."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn
from zoo.operators import declare

from parity.case import Array, Case, Stated, normal
from parity.libraries import torchvision

__all__ = ["CASES", "COVERS"]

COVERS = {
    "googlenet_inception": ("googlenet", "inception"),
    "torchvision_small_cnns": ("mnasnet_tv", "squeezenet_tv", "regnet_tv", "maxvit_tv"),
}


def library(module: str) -> Any:
    """A module of torchvision."""
    declare()
    return importlib.import_module(f"torchvision.{module}")


def together(**parts: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Several modules as one model."""
    return lambda: nn.ModuleDict({name: build() for name, build in parts.items()})


def resnet(block: str, widths: Mapping[str, Any]) -> nn.Module:
    models = library("models.resnet")
    made: nn.Module = models.ResNet(getattr(models, block), [1, 1, 1, 1], num_classes=30, **widths)
    return made


def efficientnet() -> nn.Module:
    models = library("models.efficientnet")
    settings = [models.MBConvConfig(1, 3, 1, 16, 32, 2, 1.0, 1.0), models.MBConvConfig(6, 5, 2, 32, 64, 2, 1.0, 1.0)]
    made: nn.Module = models.EfficientNet(settings, dropout=0.2, num_classes=40, last_channel=320)
    return made


def efficientnet_v2() -> nn.Module:
    models = library("models.efficientnet")
    settings = [models.FusedMBConvConfig(4, 3, 2, 16, 32, 2), models.MBConvConfig(4, 3, 2, 32, 64, 2, 1.0, 1.0)]
    made: nn.Module = models.EfficientNet(settings, dropout=0.2, num_classes=40, last_channel=320)
    return made


def convnext() -> nn.Module:
    models = library("models.convnext")
    made: nn.Module = models.ConvNeXt(
        [models.CNBlockConfig(32, 64, 2), models.CNBlockConfig(64, None, 2)], num_classes=10
    )
    return made


def swin(version: int) -> nn.Module:
    models = library("models.swin_transformer")
    parts = (models.SwinTransformerBlock, models.PatchMerging), (models.SwinTransformerBlockV2, models.PatchMergingV2)
    block, merging = parts[version - 1]
    made: nn.Module = models.SwinTransformer(
        [4, 4], 64, [2, 2], [4, 4], [7, 7], num_classes=10, block=block, downsample_layer=merging
    )
    return made


def vit(**given: Any) -> nn.Module:
    models = library("models.vision_transformer")
    made: nn.Module = models.VisionTransformer(32, 8, 2, 4, 64, 128, num_classes=10, **given)
    return made


def vit_with_stem() -> nn.Module:
    stem = library("models.vision_transformer").ConvStemConfig
    return vit(conv_stem_configs=[stem(32, 3, 4), stem(64, 3, 2)], representation_size=48)


def regnet() -> nn.Module:
    models = library("models.regnet")
    parameters = models.BlockParams.from_init_params(depth=4, w_0=24, w_a=24.0, w_m=2.5, group_width=8, se_ratio=0.25)
    made: nn.Module = models.RegNet(parameters, num_classes=40)
    return made


def maxvit() -> nn.Module:
    models = library("models.maxvit")
    made: nn.Module = models.MaxVit((56, 56), 16, 7, [32, 32], [1, 1], 16, 0.0, num_classes=10)
    return made


def mobilenet_v2() -> nn.Module:
    models = library("models.mobilenetv2")
    made: nn.Module = models.MobileNetV2(num_classes=40, inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2]])
    return made


def fast_rcnn_head(path: str, *args: Any) -> Callable[[], nn.Module]:
    return torchvision(f"models.detection.{path}", *args)


def vgg_law(name: str, value: Array, owner: nn.Module) -> Stated:
    """Whole classifiers of VGG have 120 million values; what the file says, for layers of its types."""
    if isinstance(owner, nn.Conv2d) and value.ndim == 4:
        return normal(math.sqrt(2 / (value.shape[0] * value.shape[2] * value.shape[3])))
    if isinstance(owner, nn.Linear) and value.ndim == 2:
        return normal(0.01)
    return 1.0 if name.endswith("weight") else 0.0


CASES = (
    Case(
        preset="resnet",
        model="resnet.ResNet of bottlenecks in 4 groups, one each stage",
        build=partial(resnet, "Bottleneck", {"groups": 4, "width_per_group": 8}),
        mutations={"zero_init_residual": {"vars": {"last": 0}}},
    ),
    Case(
        preset="resnet",
        model="resnet.ResNet of bottlenecks, zero_init_residual",
        build=partial(resnet, "Bottleneck", {"zero_init_residual": True, "width_per_group": 16}),
        overrides={"vars": {"last": 0}},
        slow=True,
    ),
    Case(
        preset="resnet",
        model="resnet18, zero_init_residual",
        build=torchvision("models.resnet18", num_classes=30, zero_init_residual=True),
        overrides={"vars": {"last": 0}},
        slow=True,
    ),
    Case(
        preset="vgg",
        model="vgg.VGG of three convolutions and norms",
        build=lambda: library("models.vgg").VGG(library("models.vgg").make_layers([16, "M", 32, 32], True), 10),
        seeds=1,
        slow=True,
    ),
    Case(
        preset="vgg",
        model="convolution, norms and linear layers by VGG's law",
        build=lambda: nn.Sequential(
            nn.Conv2d(16, 64, 3), nn.BatchNorm2d(64), nn.Conv2d(64, 32, 3), nn.GroupNorm(4, 32), nn.Linear(64, 50)
        ),
        stated=vgg_law,
    ),
    Case(preset="mobilenet", model="mobilenetv2.MobileNetV2 of three blocks", build=mobilenet_v2),
    Case(
        preset="mobilenet",
        model="mobilenet_v3_small",
        build=torchvision("models.mobilenet_v3_small", num_classes=10, width_mult=0.35),
        slow=True,
    ),
    Case(
        preset="densenet",
        model="densenet.DenseNet of two blocks",
        build=torchvision("models.densenet.DenseNet", 12, (2, 2), 32, num_classes=300),
    ),
    Case(preset="googlenet", model="googlenet.GoogLeNet", build=torchvision("models.googlenet.GoogLeNet", 10), seeds=2),
    Case(
        preset="inception",
        model="inception.Inception3",
        build=torchvision("models.inception.Inception3", 4000),
        seeds=1,
    ),
    Case(preset="efficientnet_tv", model="efficientnet.EfficientNet of four blocks", build=efficientnet),
    Case(
        preset="efficientnet_tv", model="efficientnet.EfficientNet V2 of four blocks", build=efficientnet_v2, slow=True
    ),
    Case(preset="convnext_tv", model="convnext.ConvNeXt of four blocks", build=convnext),
    Case(preset="swin_tv", model="swin_transformer.SwinTransformer V1 of four blocks", build=partial(swin, 1)),
    Case(preset="swin_tv", model="swin_transformer.SwinTransformer V2 of four blocks", build=partial(swin, 2)),
    Case(preset="vit_tv", model="vision_transformer.VisionTransformer of two blocks", build=vit),
    Case(preset="vit_tv", model="vision_transformer.VisionTransformer, stem and pre_logits", build=vit_with_stem),
    Case(preset="mnasnet_tv", model="mnasnet0_5", build=torchvision("models.mnasnet.MNASNet", 0.25, num_classes=10)),
    Case(
        preset="squeezenet_tv",
        model="squeezenet1_1",
        build=torchvision("models.squeezenet1_1", num_classes=40),
    ),
    Case(preset="regnet_tv", model="regnet.RegNet of four blocks with squeeze and excitation", build=regnet),
    Case(preset="maxvit_tv", model="maxvit.MaxVit of two blocks", build=maxvit),
    Case(
        preset="retinanet_tv",
        model="detection heads of RetinaNet, FCOS, RPN, SSD and SSDlite; feature pyramid",
        build=together(
            retina=torchvision("models.detection.retinanet.RetinaNetHead", 32, 3, 10),
            fcos=torchvision("models.detection.fcos.FCOSHead", 32, 3, 10, 2),
            rpn=torchvision("models.detection.rpn.RPNHead", 32, 3),
            ssd=torchvision("models.detection.ssd.SSDHead", [32, 48], [4, 6], 10),
            lite=lambda: library("models.detection.ssdlite").SSDLiteHead([32, 48], [4, 6], 10, nn.BatchNorm2d),
            pyramid=torchvision("ops.feature_pyramid_network.FeaturePyramidNetwork", [16, 32], 32),
            levels=torchvision("ops.feature_pyramid_network.LastLevelP6P7", 32, 32),
        ),
        mutations={"no prior": {"rules": {"class_logits": {"init": {"bias": 0}}}}},
    ),
    Case(
        preset="retinanet_tv",
        model="box, mask and keypoint heads of R-CNN",
        build=together(
            box=lambda: library("models.detection.faster_rcnn").FastRCNNConvFCHead((32, 7, 7), [32], [48]),
            two=torchvision("models.detection.faster_rcnn.TwoMLPHead", 64, 64),
            predictor=torchvision("models.detection.faster_rcnn.FastRCNNPredictor", 64, 30),
            mask=torchvision("models.detection.mask_rcnn.MaskRCNNHeads", 32, [32, 32], 1),
            masks=torchvision("models.detection.mask_rcnn.MaskRCNNPredictor", 32, 32, 10),
            keypoint=torchvision("models.detection.keypoint_rcnn.KeypointRCNNHeads", 32, [32, 32]),
            keypoints=torchvision("models.detection.keypoint_rcnn.KeypointRCNNPredictor", 32, 17),
        ),
    ),
    Case(
        preset="retinanet_tv",
        model="retinanet_resnet50_fpn",
        build=torchvision(
            "models.detection.retinanet_resnet50_fpn", weights=None, weights_backbone=None, num_classes=10
        ),
        seeds=1,
        slow=True,
    ),
)

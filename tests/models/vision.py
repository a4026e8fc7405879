"""Networks for images, cut down to one or two blocks each."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.case import Answer, Case, data
from models.topology import DropPath

__all__ = ["CASES"]

ADD = frozenset({"add"})


def conv_bn(inputs: int, outputs: int, size: int = 3, groups: int = 1, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc = double(3, 4)
        self.mid = double(4, 6)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.dec = double(8, 4)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        skip = self.enc(x)
        h = self.up(self.mid(F.max_pool2d(skip, 2)))
        return self.head(self.dec(torch.cat([skip, h], dim=1)))


class InvertedResidual(nn.Module):
    """MobileNetV2: expand, depthwise, project; no activation after the last."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.depthwise, self.project = conv_bn(4, 8, 1), conv_bn(8, 8, groups=8), conv_bn(8, 4, 1)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Any:
        return x + self.project(self.act(self.depthwise(self.act(self.expand(x)))))


class MobileNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 4, stride=2)
        self.blocks = nn.Sequential(InvertedResidual(), InvertedResidual())
        self.last = conv_bn(4, 10, 1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(10, 3))

    def forward(self, x: Tensor) -> Any:
        x = self.blocks(F.relu6(self.stem(x)))
        return self.classifier(F.relu6(self.last(x)).mean([2, 3]))


class MobileNetV3Block(nn.Module):
    """Hard swish, and squeeze-excite with a hard sigmoid after the depthwise activation."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.depthwise, self.project = conv_bn(4, 8, 1), conv_bn(8, 8, 5, groups=8), conv_bn(8, 4, 1)
        self.fc1, self.fc2 = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.act = nn.Hardswish(inplace=True)
        self.gate = nn.Hardsigmoid()
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        h = self.act(self.depthwise(self.act(self.expand(x))))
        h = h * self.gate(self.fc2(F.relu(self.fc1(h.mean((2, 3), keepdim=True)))))
        return self.head(self.project(h) + x)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7×7, LayerNorm and two Linears in (N, H, W, C), layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(4, 4, 7, padding=3, groups=4)
        self.norm = nn.LayerNorm(4, eps=1e-6)
        self.pwconv1 = nn.Linear(4, 12)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(12, 4)
        self.gamma = nn.Parameter(torch.full((4,), 1e-6))
        self.drop_path = DropPath(0.1)

    def forward(self, x: Tensor) -> Any:
        h = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        h = self.gamma * self.pwconv2(self.act(self.pwconv1(h)))
        return x + self.drop_path(h.permute(0, 3, 1, 2))


class SwinBlock(nn.Module):
    """Window attention with a shift and a table of relative positions."""

    index: Tensor

    def __init__(self, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.table = nn.Parameter(torch.randn(9, 2))
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 8))
        grid = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij")).flatten(1)
        distance = grid[:, :, None] - grid[:, None, :] + 1
        self.register_buffer("index", distance[0] * 3 + distance[1])

    def attention(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        logits = (q * 0.5) @ k.transpose(-2, -1)
        logits = logits + self.table[self.index.view(-1)].view(n, n, -1).permute(2, 0, 1).unsqueeze(0)
        h: Tensor = self.proj((logits.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c))
        return h

    def forward(self, x: Tensor) -> Any:
        b, h, w, c = x.shape
        y = torch.roll(self.norm1(x), (-self.shift, -self.shift), dims=(1, 2))
        y = y.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        y = self.attention(y).view(b, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        x = x + torch.roll(y, (self.shift, self.shift), dims=(1, 2))
        return x + self.mlp(self.norm2(x))


class Bottleneck(nn.Module):
    """ResNet's, with one functional relu written three times and a projected shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 3, 1, bias=False), nn.BatchNorm2d(3)
        self.conv2, self.bn2 = nn.Conv2d(3, 3, 3, 2, 1, bias=False), nn.BatchNorm2d(3)
        self.conv3, self.bn3 = nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.downsample = nn.Sequential(nn.Conv2d(4, 8, 1, 2, bias=False), nn.BatchNorm2d(8))

    def forward(self, x: Tensor) -> Any:
        h = F.relu(self.bn1(self.conv1(x)), inplace=True)
        h = F.relu(self.bn2(self.conv2(h)), inplace=True)
        h = self.bn3(self.conv3(h))
        h += self.downsample(x)
        return F.relu(h, inplace=True)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.block = Bottleneck()
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.block(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class DenseLayer(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 6, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(6), nn.Conv2d(6, 3, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Any:
        h = self.conv1(F.relu(self.norm1(torch.cat(features, 1))))
        return self.conv2(F.relu(self.norm2(h)))


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.layers = nn.ModuleList([DenseLayer(4), DenseLayer(7), DenseLayer(10)])
        self.norm = nn.BatchNorm2d(13)
        self.classifier = nn.Linear(13, 2)

    def forward(self, x: Tensor) -> Any:
        features = [self.stem(x)]
        for layer in self.layers:
            features.append(layer(features))
        h = F.relu(self.norm(torch.cat(features, 1)), inplace=True)
        return self.classifier(F.adaptive_avg_pool2d(h, (1, 1)).flatten(1))


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.b1 = conv_bn(3, 4, 1)
        self.b2a, self.b2b = conv_bn(3, 4, 1), conv_bn(4, 5)
        self.b3 = conv_bn(3, 2, 1)
        self.next = nn.Conv2d(11, 2, 1)

    def forward(self, x: Tensor) -> Any:
        a = F.relu(self.b1(x), inplace=True)
        b = F.relu(self.b2b(F.relu(self.b2a(x), inplace=True)), inplace=True)
        c = F.relu(self.b3(F.max_pool2d(x, 3, 1, 1)), inplace=True)
        return self.next(torch.cat([a, b, c], 1))


class MBConv(nn.Module):
    """EfficientNet's block: SiLU in place, squeeze-excite with SiLU and sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.depthwise, self.project = conv_bn(4, 8, 1), conv_bn(8, 8, groups=8), conv_bn(8, 4, 1)
        self.reduce, self.restore = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.act = nn.SiLU(inplace=True)
        self.head = conv_bn(4, 6, 1)

    def forward(self, x: Tensor) -> Any:
        h = self.act(self.depthwise(self.act(self.expand(x))))
        h = self.restore(self.act(self.reduce(h.mean((2, 3), keepdim=True)))).sigmoid() * h
        return self.act(self.head(self.project(h) + x))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 6, 4, 4)
        self.norm1, self.norm2, self.norm = nn.LayerNorm(6), nn.LayerNorm(6), nn.LayerNorm(6)
        self.token1, self.token2 = nn.Linear(4, 5), nn.Linear(5, 4)
        self.channel1, self.channel2 = nn.Linear(6, 12), nn.Linear(12, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.token2(F.gelu(self.token1(self.norm1(x).transpose(1, 2)))).transpose(1, 2)
        x = x + self.channel2(F.gelu(self.channel1(self.norm2(x))))
        return self.head(self.norm(x).mean(1))


class GMlp(nn.Module):
    """Spatial gating unit (Liu et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.proj_in = nn.Linear(6, 16)
        self.gate_norm = nn.LayerNorm(8)
        self.spatial = nn.Conv1d(5, 5, 1)
        self.proj_out = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Any:
        u, v = F.gelu(self.proj_in(self.norm(x))).chunk(2, dim=-1)
        return x + self.proj_out(u * self.spatial(self.gate_norm(v)))


class Fpn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1)
        self.lateral1, self.lateral2 = nn.Conv2d(4, 5, 1), nn.Conv2d(6, 5, 1)
        self.smooth1, self.smooth2 = nn.Conv2d(5, 5, 3, padding=1), nn.Conv2d(5, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        c1 = F.relu(self.c1(x))
        c2 = F.relu(self.c2(c1))
        p2 = self.lateral2(c2)
        p1 = self.lateral1(c1) + F.interpolate(p2, size=c1.shape[-2:], mode="nearest")
        return {"p1": self.smooth1(p1), "p2": self.smooth2(p2)}


class Detect(nn.Module):
    """YOLOv8's head: boxes by the mean of a softmax over bins, classes by a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.box = nn.Sequential(conv_bn(3, 6), nn.SiLU(), nn.Conv2d(6, 16, 1))
        self.cls = nn.Sequential(conv_bn(3, 6), nn.SiLU(), nn.Conv2d(6, 2, 1))
        self.dfl = nn.Conv2d(4, 1, 1, bias=False).requires_grad_(False)
        self.dfl.weight.data.copy_(torch.arange(4.0).view(1, 4, 1, 1))

    def forward(self, x: Tensor) -> Any:
        box, cls = self.box(x).flatten(2), self.cls(x).flatten(2)
        b, _, a = box.shape
        box = self.dfl(box.view(b, 4, 4, a).transpose(2, 1).softmax(1)).view(b, 4, a)
        return torch.cat((box * 8.0, cls.sigmoid()), 1)


class Upsampler(nn.Module):
    """ESPCN and EDSR: pixel shuffle before the activation, scaled residual, and a shuffle at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 4, 3, padding=1)
        self.conv1, self.conv2 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.up, self.shuffle, self.act = nn.Conv2d(4, 16, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()
        self.tail = nn.Conv2d(4, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        h = self.head(x)
        h = h + self.conv2(F.relu(self.conv1(h))) * 0.1
        h = self.act(self.shuffle(self.up(h)))
        return F.pixel_shuffle(self.tail(h), 2)


class ShuffleUnit(nn.Module):
    """ShuffleNetV2: half of the channels pass, the rest are transformed, then all are shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.pw1, self.dw, self.pw2 = conv_bn(4, 4, 1), conv_bn(4, 4, groups=4), conv_bn(4, 4, 1)
        self.last = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Any:
        a, b = x.chunk(2, dim=1)
        b = F.relu(self.pw2(self.dw(F.relu(self.pw1(b)))))
        h = torch.cat((a, b), dim=1)
        n, c, height, width = h.shape
        h = h.view(n, 2, c // 2, height, width).transpose(1, 2).reshape(n, c, height, width)
        return self.last(h)


class VisionTransformer(nn.Module):
    """Class token, learned positions, layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 8))
        self.pos_embed = nn.Parameter(torch.randn(1, 5, 8))
        self.norm1, self.norm2, self.norm = nn.LayerNorm(8), nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.fc1, self.fc2 = nn.Linear(8, 16), nn.Linear(16, 8)
        self.ls1, self.ls2 = nn.Parameter(torch.full((8,), 1e-5)), nn.Parameter(torch.full((8,), 1e-5))
        self.head = nn.Linear(8, 3)

    def attention(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        h: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))
        return h

    def forward(self, x: Tensor) -> Any:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        x = x + self.ls1 * self.attention(self.norm1(x))
        x = x + self.ls2 * self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return self.head(self.norm(x)[:, 0])


class Cbam(nn.Module):
    """Channel attention by two pools through one MLP, spatial attention by mean and max."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.fc1, self.fc2 = nn.Conv2d(4, 2, 1, bias=False), nn.Conv2d(2, 4, 1, bias=False)
        self.spatial = nn.Conv2d(2, 1, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)

    def mlp(self, x: Tensor) -> Any:
        return self.fc2(F.relu(self.fc1(x)))

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.conv(x))
        x = x * torch.sigmoid(self.mlp(F.adaptive_avg_pool2d(x, 1)) + self.mlp(F.adaptive_max_pool2d(x, 1)))
        maps = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], 1)
        return self.head(x * self.spatial(maps).sigmoid())


class Eca(nn.Module):
    """A convolution along the pooled channels (Wang et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.eca = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.bn(self.conv(x)))
        y = F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(-1, -2)
        y = self.eca(y).transpose(-1, -2).unsqueeze(-1)
        return self.head(x * y.sigmoid().expand_as(x))


class SeparableBlock(nn.Module):
    """Xception: nothing between depthwise and pointwise."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False)
        self.pointwise = nn.Conv2d(3, 4, 1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        return self.head(F.relu(self.bn(self.pointwise(self.depthwise(x)))))


class Detr(nn.Module):
    """Learned queries attend to the flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.input_proj = nn.Conv2d(3, 8, 1)
        self.queries = nn.Embedding(4, 8)
        self.self_attn, self.cross_attn = nn.MultiheadAttention(8, 2), nn.MultiheadAttention(8, 2)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(8), nn.LayerNorm(8), nn.LayerNorm(8)
        self.linear1, self.linear2 = nn.Linear(8, 12), nn.Linear(12, 8)
        self.class_embed = nn.Linear(8, 3)
        self.bbox_embed = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)])

    def forward(self, x: Tensor) -> Any:
        memory = self.input_proj(x).flatten(2).permute(2, 0, 1)
        pos = self.queries.weight.unsqueeze(1).repeat(1, x.shape[0], 1)
        h = torch.zeros_like(pos)
        h = self.norm1(h + self.self_attn(h + pos, h + pos, value=h)[0])
        h = self.norm2(h + self.cross_attn(query=h + pos, key=memory, value=memory)[0])
        h = self.norm3(h + self.linear2(F.relu(self.linear1(h))))
        box = h
        for i, layer in enumerate(self.bbox_embed):
            box = F.relu(layer(box)) if i < 2 else layer(box)
        return {"pred_logits": self.class_embed(h), "pred_boxes": box.sigmoid()}


def inverted(prefix: str, act: str) -> dict[str, Answer]:
    return {
        f"{prefix}expand.0.weight": act,
        f"{prefix}expand.1.weight": act,
        f"{prefix}depthwise.0.weight": act,
        f"{prefix}project.0.weight": "identity",
    }


CASES = (
    Case(
        name="unet",
        make=UNet,
        input=data(2, 3, 8, 8),
        following={
            **{f"{part}.{i}.weight": "relu" for part in ("enc", "mid", "dec") for i in (0, 1, 3, 4)},
            "up.weight": "identity",
            "head.weight": "identity",
        },
        preceding={
            "enc.0.weight": "identity",
            "enc.3.weight": "relu",
            "mid.0.weight": "relu",
            "up.weight": "relu",
            "dec.0.weight": "relu",
            "head.weight": "relu",
        },
        flags={"up.weight": frozenset({"cat", "-norm"}), "enc.3.weight": frozenset({"norm", "-cat"})},
        norm_before={"mid.0.weight": False},
    ),
    Case(
        name="mobilenet_v2",
        make=MobileNetV2,
        input=data(2, 3, 8, 8),
        following={
            "stem.0.weight": "relu6",
            **inverted("blocks.0.", "relu6"),
            **inverted("blocks.1.", "relu6"),
            "last.0.weight": "relu6",
            "classifier.1.weight": "identity",
        },
        preceding={
            "blocks.0.expand.0.weight": "relu6",
            "blocks.0.depthwise.0.weight": "relu6",
            "blocks.0.project.0.weight": "relu6",
            "classifier.1.weight": "relu6",
        },
        flags={"blocks.0.expand.0.weight": frozenset({"norm", "-add"})},
    ),
    Case(
        name="mobilenet_v3_block",
        make=MobileNetV3Block,
        input=data(2, 4, 6, 6),
        following={
            **inverted("", "hardswish"),
            "fc1.weight": "relu",
            "fc2.weight": "hardsigmoid",
            "head.weight": "identity",
        },
        preceding={
            "depthwise.0.weight": "hardswish",
            "project.0.weight": "hardswish",
            "fc1.weight": "hardswish",
            "fc2.weight": "relu",
        },
    ),
    Case(
        name="convnext",
        make=lambda: nn.Sequential(ConvNeXtBlock(), ConvNeXtBlock()),
        input=data(2, 4, 8, 8),
        following={
            f"{i}.{name}": answer
            for i in range(2)
            for name, answer in {
                "dwconv.weight": "identity",
                "norm.weight": "identity",
                "pwconv1.weight": "gelu",
                "pwconv2.weight": "identity",
                "gamma": "identity",
            }.items()
        },
        preceding={"0.pwconv1.weight": "identity", "0.pwconv2.weight": "gelu", "1.pwconv2.weight": "gelu"},
        flags={"0.dwconv.weight": frozenset({"norm", "-add"})},
        norm_before={"0.pwconv1.weight": True, "0.pwconv2.weight": False, "0.dwconv.weight": False},
    ),
    Case(
        name="swin",
        make=lambda: nn.Sequential(SwinBlock(0), SwinBlock(1)),
        input=data(2, 4, 4, 8),
        following={
            f"{i}.{name}": answer
            for i in range(2)
            for name, answer in {
                "qkv.weight": "identity",
                "proj.weight": "identity",
                "table": "identity|softmax",
                "mlp.0.weight": "gelu",
                "mlp.3.weight": "identity",
            }.items()
        },
        preceding={"0.mlp.3.weight": "gelu", "0.proj.weight": "identity"},
        norm_before={"0.qkv.weight": True, "1.qkv.weight": True, "1.mlp.0.weight": True, "0.proj.weight": False},
    ),
    Case(
        name="resnet",
        make=ResNet,
        input=data(2, 3, 16, 16),
        following={
            "conv1.weight": "relu",
            "bn1.weight": "relu",
            **{f"block.conv{i}.weight": "relu" for i in (1, 2, 3)},
            **{f"block.bn{i}.weight": "relu" for i in (1, 2, 3)},
            "block.downsample.0.weight": "relu",
            "block.downsample.1.weight": "relu",
            "fc.weight": "identity",
        },
        preceding={
            "conv1.weight": "identity",
            "block.conv1.weight": "relu",
            "block.conv3.weight": "relu",
            "block.downsample.0.weight": "relu",
            "fc.weight": "relu",
        },
        flags={
            "block.conv3.weight": frozenset({"norm", "add"}),
            "block.downsample.0.weight": ADD,
            "block.conv2.weight": frozenset({"-add"}),
        },
        norm_before={"block.conv1.weight": False, "fc.weight": False},
    ),
    Case(
        name="densenet",
        make=DenseNet,
        input=data(2, 3, 6, 6),
        following={
            "stem.weight": "relu",
            **{f"layers.{i}.conv{j}.weight": "relu" for i in range(3) for j in (1, 2)},
            **{f"layers.{i}.norm{j}.weight": "relu" for i in range(3) for j in (1, 2)},
            "norm.weight": "relu",
            "classifier.weight": "identity",
        },
        preceding={"layers.1.conv1.weight": "relu", "layers.1.conv2.weight": "relu", "classifier.weight": "relu"},
        flags={"layers.0.conv2.weight": frozenset({"cat", "norm"}), "layers.0.conv1.weight": frozenset({"-cat"})},
    ),
    Case(
        name="inception",
        make=Inception,
        input=data(2, 3, 6, 6),
        following={
            **{f"{name}.0.weight": "relu" for name in ("b1", "b2a", "b2b", "b3")},
            "next.weight": "identity",
        },
        preceding={"b1.0.weight": "identity", "b2b.0.weight": "relu", "next.weight": "relu"},
    ),
    Case(
        name="mbconv",
        make=MBConv,
        input=data(2, 4, 6, 6),
        following={
            **inverted("", "silu"),
            "reduce.weight": "silu",
            "restore.weight": "sigmoid",
            "head.0.weight": "silu",
        },
        preceding={"project.0.weight": "silu", "reduce.weight": "silu", "restore.weight": "silu"},
    ),
    Case(
        name="mixer",
        make=Mixer,
        input=data(2, 3, 8, 8),
        following={
            "patch.weight": "identity",
            "token1.weight": "gelu",
            "token2.weight": "identity",
            "channel1.weight": "gelu",
            "channel2.weight": "identity",
            "head.weight": "identity",
        },
        preceding={"token2.weight": "gelu", "channel2.weight": "gelu"},
        norm_before={"token1.weight": True, "token2.weight": False, "channel1.weight": True},
    ),
    Case(
        name="gmlp",
        make=GMlp,
        input=data(2, 5, 6),
        following={"proj_in.weight": "gelu", "spatial.weight": "identity", "proj_out.weight": "identity"},
        preceding={"spatial.weight": "gelu", "proj_out.weight": "gelu"},
        flags={"spatial.weight": frozenset({"mul"})},
        norm_before={"proj_in.weight": True, "spatial.weight": True},
    ),
    Case(
        name="fpn",
        make=Fpn,
        input=data(2, 3, 8, 8),
        following={
            "c1.weight": "relu",
            "c2.weight": "relu",
            "lateral1.weight": "identity",
            "lateral2.weight": "identity",
            "smooth1.weight": "identity",
            "smooth2.weight": "identity",
        },
        preceding={
            "c2.weight": "relu",
            "lateral1.weight": "relu",
            "lateral2.weight": "relu",
            "smooth2.weight": "identity",
        },
        flags={"lateral1.weight": ADD},
    ),
    Case(
        name="yolo_detect",
        make=lambda: Detect().eval(),
        input=data(2, 3, 6, 6),
        following={
            "box.0.0.weight": "silu",
            "box.2.weight": "softmax",
            "cls.0.0.weight": "silu",
            "cls.2.weight": "sigmoid",
            "dfl.weight": "identity",
        },
        preceding={"box.2.weight": "silu", "cls.2.weight": "silu"},
    ),
    Case(
        name="pixel_shuffle_upsampler",
        make=Upsampler,
        input=data(2, 3, 6, 6),
        following={
            "head.weight": "identity",
            "conv1.weight": "relu",
            "conv2.weight": "identity",
            "up.weight": "prelu",
            "tail.weight": "identity",
        },
        preceding={"conv1.weight": "identity", "conv2.weight": "relu", "tail.weight": "prelu"},
        flags={"conv2.weight": ADD},
    ),
    Case(
        name="shuffle_unit",
        make=ShuffleUnit,
        input=data(2, 8, 6, 6),
        following={
            "pw1.0.weight": "relu",
            "dw.0.weight": "identity",
            "pw2.0.weight": "relu",
            "last.weight": "identity",
        },
        preceding={"dw.0.weight": "relu", "pw2.0.weight": "identity", "last.weight": "relu"},
        norm_before={"pw2.0.weight": True, "dw.0.weight": False},
    ),
    Case(
        name="vision_transformer",
        make=VisionTransformer,
        input=data(2, 3, 8, 8),
        following={
            "patch.weight": "identity",
            "cls_token": "identity",
            "pos_embed": "identity",
            "qkv.weight": "identity",
            "proj.weight": "identity",
            "fc1.weight": "gelu",
            "fc2.weight": "identity",
            "ls1": "identity",
            "ls2": "identity",
            "head.weight": "identity",
        },
        preceding={"patch.weight": "identity", "fc2.weight": "gelu", "proj.weight": "identity"},
        norm_before={"qkv.weight": True, "fc1.weight": True, "head.weight": True, "fc2.weight": False},
    ),
    Case(
        name="cbam",
        make=Cbam,
        input=data(2, 3, 6, 6),
        following={
            "conv.weight": "relu",
            "fc1.weight": "relu",
            "fc2.weight": "sigmoid",
            "spatial.weight": "sigmoid",
            "head.weight": "identity",
        },
        preceding={"fc1.weight": "relu", "fc2.weight": "relu", "spatial.weight": "relu", "head.weight": "relu"},
        flags={"fc2.weight": ADD},
    ),
    Case(
        name="eca",
        make=Eca,
        input=data(2, 3, 6, 6),
        following={"conv.weight": "relu", "eca.weight": "sigmoid", "head.weight": "identity"},
        preceding={"eca.weight": "relu", "head.weight": "relu"},
    ),
    Case(
        name="separable",
        make=SeparableBlock,
        input=data(2, 3, 6, 6),
        following={"depthwise.weight": "identity", "pointwise.weight": "relu", "head.weight": "identity"},
        preceding={"pointwise.weight": "identity", "head.weight": "relu"},
        previous={"pointwise.weight": "depthwise"},
    ),
    Case(
        name="detr",
        make=Detr,
        input=data(2, 3, 4, 4),
        following={
            "input_proj.weight": "identity",
            "queries.weight": "identity",
            "self_attn.in_proj_weight": "identity",
            "self_attn.out_proj.weight": "identity",
            "cross_attn.in_proj_weight": "identity",
            "cross_attn.out_proj.weight": "identity",
            "linear1.weight": "relu",
            "linear2.weight": "identity",
            "class_embed.weight": "identity",
            "bbox_embed.0.weight": "relu",
            "bbox_embed.1.weight": "relu",
            "bbox_embed.2.weight": "sigmoid",
        },
        preceding={"linear2.weight": "relu", "bbox_embed.1.weight": "relu", "bbox_embed.2.weight": "relu"},
        norm_before={"linear1.weight": True, "class_embed.weight": True, "bbox_embed.0.weight": True},
    ),
)

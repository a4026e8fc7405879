"""Ways that branch, merge, share and skip."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.case import Case, data, several

__all__ = ["CASES", "DropPath", "RMSNorm"]


class PostActivation(nn.Module):
    """conv, bn, relu, conv, bn, add, relu."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Any:
        h = self.relu(self.bn1(self.conv1(x)))
        h = self.bn2(self.conv2(h))
        h += x
        return self.relu(h)


class PreActivation(nn.Module):
    """bn, relu, conv, bn, relu, conv, add; twice, then bn, relu, head."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1, self.bn2, self.bn3, self.bn4, self.bn5 = (nn.BatchNorm2d(4) for _ in range(5))
        self.conv1, self.conv2, self.conv3, self.conv4 = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        x = x + self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        x = x + self.conv4(F.relu(self.bn4(self.conv3(F.relu(self.bn3(x))))))
        return self.head(F.relu(self.bn5(x)).mean((2, 3)))


class ReluAndSkip(nn.Module):
    """The product goes to a relu and, past it, to the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 6)
        self.fc3 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        h = self.fc1(x)
        return self.fc3(h + self.fc2(F.relu(h)))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 2, 1)
        self.fc2 = nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor) -> Any:
        s = F.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(s))))


class SqueezeExciteNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.se = SqueezeExcite()
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.se(F.relu(self.conv(x))))


class SqueezeExciteBeforeAdd(nn.Module):
    """SE-ResNet: the pooled branch must not answer for conv2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(4)
        self.se = SqueezeExcite()

    def forward(self, x: Tensor) -> Any:
        h = self.se(self.bn2(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(h + x)


class DenseCat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(7)
        self.conv2 = nn.Conv2d(7, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        return self.conv2(F.relu(self.bn(torch.cat([x, self.conv1(x)], 1))))


class StackSum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 6)
        self.b = nn.Linear(4, 6)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        return self.out(F.relu(torch.stack([self.a(x), self.b(x)]).sum(0)))


class PoolFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Any:
        return self.fc(F.relu(F.max_pool2d(self.conv(x), 2)).flatten(1))


class GlobalPoolFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.fc(F.relu(self.pool(self.conv(x)).flatten(1)))


class HalvesSet(nn.Module):
    """Two layers write their halves of one buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)
        self.b = nn.Linear(4, 5)
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        h = x.new_empty(x.shape[0], 8)
        h[:, :3] = F.relu(self.a(x))
        h[:, 3:] = torch.tanh(self.b(x))
        return self.out(h)


class HalvesOfOne(nn.Module):
    """One product, its halves overwritten by different functions of themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 8)
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        h = self.fc(x)
        h[:, :3] = F.relu(h[:, :3])
        h[:, 3:] = torch.tanh(h[:, 3:])
        return self.out(h)


class SharedActivation(nn.Module):
    """One activation module registered first and used last, and between."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.Tanh()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 5)
        self.fc3 = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Any:
        return self.act(self.fc3(self.act(self.fc2(self.act(self.fc1(x))))))


class UsedTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.out(torch.tanh(self.fc(F.relu(self.fc(x)))))


class RowsSplit(nn.Module):
    """The rows of one weight make two products."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 4))
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        a = F.relu(F.linear(x, self.weight[:3]))
        b = torch.tanh(F.linear(x, self.weight[3:]))
        return self.out(torch.cat([a, b], -1))


class ProductSplit(nn.Module):
    """One product is cut in two."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        a, b = self.fc(x).split([3, 5], dim=-1)
        return self.out(torch.cat([a.relu(), b.tanh()], -1))


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.spare = nn.Linear(6, 6)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        return self.fc2(self.relu(self.fc1(x)))


class DropPath(nn.Module):
    """Drops whole samples in training (Huang et al. 2016)."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Any:
        if not self.training:
            return x
        kept = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(1 - self.rate)
        return x * kept.div_(1 - self.rate)


class DropPathNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.drop = DropPath()

    def forward(self, x: Tensor) -> Any:
        return F.relu(x + self.drop(self.conv2(F.relu(self.conv1(x)))))


class ChannelsFirstNorm(nn.Module):
    """LayerNorm over the channels of (N, C, H, W), written out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Any:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class HandLayerNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = ChannelsFirstNorm(4)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        return self.head(F.relu(self.norm(self.conv(x))))


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + ε), in float32 (Zhang and Sennrich 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Any:
        h = x.to(torch.float32)
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * h.to(x.dtype)


class HandRMSNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.norm = RMSNorm(6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        return self.fc2(self.norm(self.fc1(x)))


class TwoHeads(nn.Module):
    """A shared trunk without an activation at its end: its two readers disagree."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(4, 6)
        self.a = nn.Linear(6, 2)
        self.b = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Any:
        h = self.trunk(x)
        return torch.sigmoid(self.a(torch.tanh(h))), self.b(F.relu(h))


class ConcatReluInput(nn.Module):
    """CReLU: relu of the product and of its negative, side by side (Shang et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Any:
        h = self.conv(x)
        return self.head(F.relu(torch.cat([h, -h], 1)))


class NoisyInput(nn.Module):
    """Noise drawn in forward is a constant, not data."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        h = self.fc1(x)
        return self.fc2(F.relu(h + 0.1 * torch.randn_like(h)))


class WhereGate(nn.Module):
    """A mask picks between two products before the activation."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 6)
        self.b = nn.Linear(4, 6)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        return self.out(F.relu(torch.where(mask, self.a(x), self.b(x))))


class MaskedFill(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        h = self.fc1(x)
        h.masked_fill_(mask, 0.0)
        return self.fc2(F.elu(h))


class Dropouts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.drop2d = nn.Dropout2d(0.3)
        self.fc1 = nn.Linear(64, 6)
        self.alpha = nn.AlphaDropout(0.2)
        self.fc2 = nn.Linear(6, 5)
        self.drop = nn.Dropout(0.5, inplace=True)
        self.fc3 = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.drop2d(self.conv(x)))
        x = self.alpha(F.selu(self.fc1(x.flatten(1))))
        x = F.gelu(self.drop(self.fc2(x)))
        return self.fc3(F.dropout(x, 0.1, self.training))


class NestedLists(nn.Module):
    """Outputs in tuples, lists, dicts, beside None and numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.a = nn.Linear(6, 2)
        self.b = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Any:
        h = F.relu(self.fc1(x))
        return [{"a": (self.a(h), None)}, 3, torch.sigmoid(self.b(h))]


CASES = (
    Case(
        name="post_activation_residual",
        make=PostActivation,
        input=data(2, 4, 6, 6),
        following={"conv1.weight": "relu", "bn1.weight": "relu", "conv2.weight": "relu", "bn2.weight": "relu"},
        preceding={"conv1.weight": "identity", "conv2.weight": "relu"},
        flags={"conv1.weight": frozenset({"norm", "-add"}), "conv2.weight": frozenset({"norm", "add"})},
        norm_before={"conv2.weight": False},
    ),
    Case(
        name="pre_activation_residual",
        make=PreActivation,
        input=data(2, 4, 6, 6),
        following={
            **{f"conv{i}.weight": "relu" for i in range(1, 5)},
            **{f"bn{i}.weight": "relu" for i in range(1, 6)},
            "head.weight": "identity",
        },
        preceding={**{f"conv{i}.weight": "relu" for i in range(1, 5)}, "head.weight": "relu"},
        flags={"conv1.weight": frozenset({"norm", "-add"}), "conv2.weight": frozenset({"norm", "add"})},
        norm_before={"conv1.weight": False, "head.weight": False},
    ),
    Case(
        name="relu_and_a_skip",
        make=ReluAndSkip,
        input=data(2, 4),
        following={"fc1.weight": "relu", "fc2.weight": "identity", "fc3.weight": "identity"},
        preceding={"fc2.weight": "relu", "fc1.weight": "identity"},
        flags={"fc1.weight": frozenset({"-add"}), "fc2.weight": frozenset({"add"})},
    ),
    Case(
        name="squeeze_excite",
        make=SqueezeExciteNet,
        input=data(2, 3, 6, 6),
        following={
            "conv.weight": "relu",
            "se.fc1.weight": "relu",
            "se.fc2.weight": "sigmoid",
            "head.weight": "identity",
        },
        preceding={"se.fc1.weight": "relu", "se.fc2.weight": "relu", "head.weight": "relu"},
    ),
    Case(
        name="squeeze_excite_before_add",
        make=SqueezeExciteBeforeAdd,
        input=data(2, 4, 6, 6),
        following={
            "conv1.weight": "relu",
            "conv2.weight": "relu",
            "bn2.weight": "relu",
            "se.fc1.weight": "relu",
            "se.fc2.weight": "sigmoid",
        },
        preceding={"conv2.weight": "relu", "se.fc1.weight": "identity", "se.fc2.weight": "relu"},
        flags={"conv2.weight": frozenset({"norm", "add", "-pool"})},
    ),
    Case(
        name="dense_cat",
        make=DenseCat,
        input=data(2, 3, 6, 6),
        following={"conv1.weight": "relu", "bn.weight": "relu", "conv2.weight": "identity"},
        preceding={"conv1.weight": "identity", "conv2.weight": "relu"},
        flags={"conv1.weight": frozenset({"cat", "norm", "-add"})},
    ),
    Case(
        name="stack_sum",
        make=StackSum,
        input=data(2, 4),
        following={"a.weight": "relu", "b.weight": "relu", "out.weight": "identity"},
        preceding={"out.weight": "relu"},
    ),
    Case(
        name="pool_before_activation",
        make=PoolFirst,
        input=data(2, 3, 6, 6),
        following={"conv.weight": "relu", "fc.weight": "identity"},
        preceding={"fc.weight": "relu"},
        flags={"conv.weight": frozenset({"pool", "-norm"})},
    ),
    Case(
        name="global_pool_before_activation",
        make=GlobalPoolFirst,
        input=data(2, 3, 6, 6),
        following={"conv.weight": "relu", "fc.weight": "identity"},
        preceding={"fc.weight": "relu"},
        flags={"conv.weight": frozenset({"pool"})},
    ),
    Case(
        name="halves_set",
        make=HalvesSet,
        input=data(2, 4),
        following={"a.weight": "relu", "b.weight": "tanh", "out.weight": "identity"},
        preceding={"a.weight": "identity", "out.weight": several("relu", "tanh")},
    ),
    Case(
        name="halves_of_one",
        make=HalvesOfOne,
        input=data(2, 4),
        following={"fc.weight": several("relu", "tanh"), "out.weight": "identity"},
        preceding={"out.weight": several("relu", "tanh")},
    ),
    Case(
        name="one_activation_module_shared",
        make=SharedActivation,
        input=data(2, 4),
        following={"fc1.weight": "tanh", "fc2.weight": "tanh", "fc3.weight": "tanh"},
        preceding={"fc1.weight": "identity", "fc2.weight": "tanh", "fc3.weight": "tanh"},
        previous={"fc2.weight": "fc1", "fc3.weight": "fc2"},
    ),
    Case(
        name="layer_used_twice",
        make=UsedTwice,
        input=data(2, 4),
        following={"fc.weight": several("relu", "tanh"), "out.weight": "identity"},
        preceding={"fc.weight": ("relu",), "out.weight": "tanh"},
    ),
    Case(
        name="rows_split",
        make=RowsSplit,
        input=data(2, 4),
        following={"weight": several("relu", "tanh"), "out.weight": "identity"},
        preceding={"weight": "identity", "out.weight": several("relu", "tanh")},
    ),
    Case(
        name="product_split",
        make=ProductSplit,
        input=data(2, 4),
        following={"fc.weight": several("relu", "tanh"), "out.weight": "identity"},
        preceding={"fc.weight": "identity", "out.weight": several("relu", "tanh")},
    ),
    Case(
        name="unused",
        make=Unused,
        input=data(2, 4),
        following={"fc1.weight": "relu", "spare.weight": "unused", "fc2.weight": "identity"},
        preceding={"fc2.weight": "relu"},
        previous={"fc2.weight": "fc1"},
    ),
    Case(
        name="drop_path_in_training",
        make=lambda: DropPathNet().train(),
        input=data(2, 4, 6, 6),
        following={"conv1.weight": "relu", "conv2.weight": "relu"},
        preceding={"conv2.weight": "relu"},
        flags={"conv2.weight": frozenset({"add"})},
    ),
    Case(
        name="hand_written_layer_norm",
        make=HandLayerNorm,
        input=data(2, 3, 6, 6),
        following={"conv.weight": "relu", "norm.weight": "relu", "head.weight": "identity"},
        preceding={"head.weight": "relu"},
        flags={"conv.weight": frozenset({"norm"})},
        norm_before={"head.weight": False},
    ),
    Case(
        name="hand_written_rms_norm",
        make=HandRMSNorm,
        input=data(2, 4),
        following={"fc1.weight": "identity", "norm.weight": "identity", "fc2.weight": "identity"},
        preceding={"fc2.weight": "identity"},
        flags={"fc1.weight": frozenset({"norm"})},
        norm_before={"fc1.weight": False, "fc2.weight": True},
    ),
    Case(
        name="two_heads_of_one_trunk",
        make=TwoHeads,
        input=data(2, 4),
        following={"trunk.weight": several("tanh", "relu"), "a.weight": "sigmoid", "b.weight": "identity"},
        preceding={"trunk.weight": "identity", "a.weight": "tanh", "b.weight": "relu"},
    ),
    Case(
        name="concatenated_relu",
        make=ConcatReluInput,
        input=data(2, 3, 6, 6),
        following={"conv.weight": "relu", "head.weight": "identity"},
        preceding={"head.weight": "relu"},
        flags={"conv.weight": frozenset({"cat"})},
    ),
    Case(
        name="noise_is_constant",
        make=NoisyInput,
        input=data(2, 4),
        following={"fc1.weight": "relu", "fc2.weight": "identity"},
        preceding={"fc2.weight": "relu"},
        flags={"fc1.weight": frozenset({"-add"})},
    ),
    Case(
        name="where_between_products",
        make=WhereGate,
        input=lambda: (data(2, 4)(), torch.tensor([[True], [False]])),
        following={"a.weight": "relu", "b.weight": "relu", "out.weight": "identity"},
        preceding={"a.weight": "identity", "out.weight": "relu"},
    ),
    Case(
        name="masked_fill_in_place",
        make=MaskedFill,
        input=lambda: (data(2, 4)(), torch.tensor([[True], [False]])),
        following={"fc1.weight": "elu(alpha=1)", "fc2.weight": "identity"},
        preceding={"fc2.weight": "elu"},
    ),
    Case(
        name="dropouts",
        make=Dropouts,
        input=data(2, 3, 6, 6),
        following={"conv.weight": "relu", "fc1.weight": "selu", "fc2.weight": "gelu", "fc3.weight": "identity"},
        preceding={"fc1.weight": "relu", "fc2.weight": "selu", "fc3.weight": "gelu"},
    ),
    Case(
        name="nested_outputs",
        make=NestedLists,
        input=data(2, 4),
        following={"fc1.weight": "relu", "a.weight": "identity", "b.weight": "sigmoid"},
        preceding={"a.weight": "relu", "b.weight": "relu"},
    ),
)

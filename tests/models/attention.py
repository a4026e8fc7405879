"""Further attention, gating and recurrence: where products, gates and softmaxes stand in unusual places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.case import Case, data, ids, several

__all__ = ["CASES"]

LOGIT = frozenset({"attention logit"})
GATED = frozenset({"gated"})


class TalkingHeads(nn.Module):
    """Linear maps across heads before and after the softmax (Shazeer et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.before, self.after = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Any:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        w = (q * 0.5) @ k.transpose(-2, -1)
        w = self.before(w.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).softmax(dim=-1)
        w = self.after(w.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.proj((w @ v).transpose(1, 2).reshape(b, n, c))


class PairBias(nn.Module):
    """AlphaFold's gated attention with a bias from the pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.pair_norm = nn.LayerNorm(8), nn.LayerNorm(3)
        self.q, self.k, self.v = (nn.Linear(8, 8, bias=False) for _ in range(3))
        self.bias, self.gate, self.out = nn.Linear(3, 2, bias=False), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor, pair: Tensor) -> Any:
        h = self.norm(x)
        q, k, v = (p(h).unflatten(-1, (2, 4)) for p in (self.q, self.k, self.v))
        logits = torch.einsum("bqhc,bkhc->bhqk", q * 0.5, k) + self.bias(self.pair_norm(pair)).permute(0, 3, 1, 2)
        out = torch.einsum("bhqk,bkhc->bqhc", torch.softmax(logits, -1), v)
        return x + self.out((out * torch.sigmoid(self.gate(h)).view_as(out)).flatten(-2))


class SelectiveKernel(nn.Module):
    """SKNet: a softmax over branches picks between kernels (Li et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(3, 4, k, padding=k // 2) for k in (3, 5))
        self.reduce = nn.Linear(4, 3)
        self.select = nn.ModuleList(nn.Linear(3, 4) for _ in range(2))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        maps = torch.stack([F.relu(branch(x)) for branch in self.branches], 1)
        z = F.relu(self.reduce(maps.sum(1).mean((2, 3))))
        weights = torch.stack([fc(z) for fc in self.select], 1).softmax(1)
        return self.head((maps * weights[..., None, None]).sum(1))


class HandGru(nn.Module):
    """The new state's hidden part is gated before its tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.xr, self.hr = nn.Linear(4, 6), nn.Linear(6, 6)
        self.xz, self.hz = nn.Linear(4, 6), nn.Linear(6, 6)
        self.xn, self.hn = nn.Linear(4, 6), nn.Linear(6, 6)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        h = x.new_zeros(x.shape[0], 6)
        for step in x.unbind(1):
            r = torch.sigmoid(self.xr(step) + self.hr(h))
            z = torch.sigmoid(self.xz(step) + self.hz(h))
            n = torch.tanh(self.xn(step) + r * self.hn(h))
            h = (1 - z) * n + z * h
        return self.fc(h)


class ConvLstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gates, self.head = nn.Conv2d(7, 16, 3, padding=1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        h = c = torch.zeros(x.shape[0], 4, *x.shape[-2:])
        for t in range(x.shape[1]):
            i, f, o, g = torch.split(self.gates(torch.cat([x[:, t], h], dim=1)), 4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.head(h)


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.elman, self.rectified = (
            nn.LSTMCell(4, 6),
            nn.RNNCell(6, 5),
            nn.RNNCell(5, 4, nonlinearity="relu"),
        )
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        h, c = x.new_zeros(2, x.shape[0], 6).unbind(0)
        a, b = x.new_zeros(x.shape[0], 5), x.new_zeros(x.shape[0], 4)
        for step in x.unbind(1):
            h, c = self.lstm(step, (h, c))
            a = self.elman(h, a)
            b = self.rectified(a, b)
        return self.fc(b)


class FusedGate(nn.Module):
    """Gate and value from one product: f of one half times the other."""

    def __init__(self, function: Callable[[Tensor], Tensor], first: bool) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 12, bias=False), nn.Linear(6, 4, bias=False)
        self.function, self.first = function, first

    def forward(self, x: Tensor) -> Any:
        a, b = self.up(x).chunk(2, dim=-1)
        return self.down(self.function(a) * b if self.first else a * self.function(b))


class SplitGate(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 4)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.down(self.up(x) * self.function(self.gate(x)))


class Gumbel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.codes = nn.Linear(4, 5), nn.Parameter(torch.randn(5, 3))

    def forward(self, x: Tensor) -> Any:
        return F.gumbel_softmax(self.fc(x), tau=0.7, dim=-1) @ self.codes


class AdaptiveHead(nn.Module):
    """A softmax over frequent words and clusters of rare ones."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 8)
        self.out = nn.AdaptiveLogSoftmaxWithLoss(8, 12, [4], div_value=2.0)

    def forward(self, x: Tensor, target: Tensor) -> Any:
        return self.out(F.relu(self.fc(x)), target)


class GraphAttention(nn.Module):
    """Logits by leaky relu of two projections, normalized over neighbours (Velickovic et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.source, self.target = nn.Linear(4, 6, bias=False), nn.Linear(6, 1), nn.Linear(6, 1)

    def forward(self, x: Tensor, adjacency: Tensor) -> Any:
        h = self.w(x)
        logits = F.leaky_relu(self.source(h) + self.target(h).transpose(-2, -1), 0.2)
        logits = logits.masked_fill(adjacency == 0, -1e9)
        return F.elu(F.softmax(logits, dim=-1) @ h)


class MultiQuery(nn.Module):
    """One key and value head for all queries, norms on q and k, sigmoid gate at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.q_norm, self.k_norm = nn.LayerNorm(4), nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Any:
        q = self.q_norm(self.q(x).unflatten(-1, (2, 4)).transpose(1, 2))
        k, v = self.kv(x).unsqueeze(1).split(4, dim=-1)
        k = self.k_norm(k).expand_as(q)
        h = F.scaled_dot_product_attention(q, k, v.expand_as(q))
        return self.out(h.transpose(1, 2).flatten(2))


class KeyValueCache(nn.Module):
    """Decoding step by step; keys and values are kept on the module between calls."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def forward(self, tokens: Tensor) -> Any:
        self.keys.clear()
        self.values.clear()
        steps = []
        for t in range(tokens.shape[1]):
            x = self.embed(tokens[:, t])
            self.keys.append(self.k(x))
            self.values.append(self.v(x))
            k, v = torch.stack(self.keys, 1), torch.stack(self.values, 1)
            w = torch.softmax(torch.bmm(k, self.q(x).unsqueeze(-1)).squeeze(-1) / 8**0.5, -1)
            steps.append(self.out(torch.bmm(w.unsqueeze(1), v).squeeze(1)))
        return torch.stack(steps, 1)


class HandSoftmax(nn.Module):
    """exp(x − max)/Σ over keys, by hand, in attention."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: Tensor) -> Any:
        logits = torch.matmul(self.q(x), self.k(x).mT) * 8**-0.5
        weights = (logits - logits.amax(-1, keepdim=True)).exp()
        weights = weights / weights.sum(-1, keepdim=True)
        return self.out(weights @ self.v(x))


def fused(name: str, function: Callable[[Tensor], Tensor], answer: str, first: bool = True) -> Case:
    return Case(
        name=name,
        make=lambda: FusedGate(function, first),
        input=data(2, 4),
        following={"up.weight": answer, "down.weight": "identity"},
        preceding={"up.weight": "identity"},
    )


def gate(name: str, function: Callable[[Tensor], Tensor], answer: str, feeds: str) -> Case:
    return Case(
        name=name,
        make=lambda: SplitGate(function),
        input=data(2, 4),
        following={"gate.weight": answer, "up.weight": "identity", "down.weight": "identity"},
        preceding={"gate.weight": "identity", "up.weight": "identity", "down.weight": feeds},
        flags={"up.weight": GATED},
    )


CASES = (
    Case(
        name="talking_heads",
        make=TalkingHeads,
        input=data(2, 5, 8),
        following={
            "qkv.weight": "identity",
            "proj.weight": "identity",
            "before.weight": "softmax|identity",
            "after.weight": "identity",
        },
        preceding={"proj.weight": "identity"},
    ),
    Case(
        name="pair_bias_attention",
        make=PairBias,
        input=lambda: (data(2, 5, 8)(), data(2, 5, 5, 3)()),
        following={
            "q.weight": "identity",
            "k.weight": "identity",
            "v.weight": "identity",
            "bias.weight": "identity|softmax",
            "gate.weight": "sigmoid",
            "out.weight": "identity",
        },
        preceding={"out.weight": "identity"},
        flags={"q.weight": LOGIT, "k.weight": LOGIT, "v.weight": frozenset({"gated", "-attention logit"})},
        norm_before={"q.weight": True, "bias.weight": True, "gate.weight": True},
    ),
    Case(
        name="selective_kernel",
        make=SelectiveKernel,
        input=data(2, 3, 6, 6),
        following={
            "branches.0.weight": "relu",
            "branches.1.weight": "relu",
            "reduce.weight": "relu",
            "select.0.weight": "softmax",
            "select.1.weight": "softmax",
            "head.weight": "identity",
        },
        preceding={"reduce.weight": "relu", "select.0.weight": "relu", "head.weight": "relu"},
    ),
    Case(
        name="hand_gru",
        make=HandGru,
        input=data(2, 5, 4),
        following={
            **{f"{side}{name}.weight": "sigmoid" for side in "xh" for name in "rz"},
            "xn.weight": "tanh",
            "hn.weight": "tanh",
            "fc.weight": "identity",
        },
        preceding={"xr.weight": "identity", "hn.weight": "tanh", "fc.weight": "tanh"},
        flags={"xn.weight": frozenset({"add", "-mul"}), "hn.weight": frozenset({"add", "mul"})},
    ),
    Case(
        name="conv_lstm",
        make=ConvLstm,
        input=data(2, 3, 3, 5, 5),
        following={"gates.weight": several("sigmoid", "tanh"), "head.weight": "identity"},
        preceding={"head.weight": "tanh"},
    ),
    Case(
        name="cells",
        make=Cells,
        input=data(2, 3, 4),
        following={
            "lstm.weight_ih": "lstm",
            "lstm.weight_hh": "lstm",
            "elman.weight_ih": "tanh",
            "elman.weight_hh": "tanh",
            "rectified.weight_ih": "relu",
            "rectified.weight_hh": "relu",
            "fc.weight": "identity",
        },
        preceding={
            "lstm.weight_ih": "identity",
            "elman.weight_ih": "lstm",
            "rectified.weight_ih": "tanh",
            "fc.weight": "relu",
        },
    ),
    fused("fused_swiglu", F.silu, "silu|swiglu"),
    fused("fused_reglu", F.relu, "relu|reglu", first=False),
    fused("hand_glu", torch.sigmoid, "sigmoid|glu", first=False),
    fused("fused_without_activation", lambda x: x, "identity"),
    gate("split_reglu", F.relu, "relu", "relu"),
    gate("split_geglu_tanh", lambda x: F.gelu(x, approximate="tanh"), "gelu_tanh", "gelu_tanh"),
    gate("split_glu", torch.sigmoid, "sigmoid", "identity"),
    gate("split_softmax_gate", lambda x: x.softmax(-1), "softmax", "identity"),
    Case(
        name="gumbel",
        make=Gumbel,
        input=data(2, 4),
        following={"fc.weight": "softmax|gumbel_softmax", "codes": "identity"},
    ),
    Case(
        name="adaptive_log_softmax",
        make=AdaptiveHead,
        input=lambda: (data(3, 4)(), torch.tensor([0, 7, 11])),
        following={
            "fc.weight": "relu",
            "out.head.weight": "log_softmax",
            "out.tail.0.0.weight": "identity",
            "out.tail.0.1.weight": "log_softmax",
        },
        preceding={"out.head.weight": "relu", "out.tail.0.0.weight": "relu", "out.tail.0.1.weight": "identity"},
    ),
    Case(
        name="graph_attention",
        make=GraphAttention,
        input=lambda: (data(4, 4)(), torch.eye(4) + torch.eye(4).roll(1, 0)),
        following={
            "w.weight": "elu(alpha=1)",
            "source.weight": "leaky_relu(slope=0.2)",
            "target.weight": "leaky_relu(slope=0.2)",
        },
        preceding={"source.weight": "identity", "w.weight": "identity"},
    ),
    Case(
        name="multi_query_attention",
        make=MultiQuery,
        input=data(2, 5, 8),
        following={"q.weight": "identity", "kv.weight": "identity", "out.weight": "identity"},
        preceding={"q.weight": "identity", "out.weight": "identity"},
        flags={"q.weight": frozenset({"attention logit", "norm"})},
        norm_before={"q.weight": False, "out.weight": False},
    ),
    Case(
        name="key_value_cache",
        make=KeyValueCache,
        input=ids(2, 3),
        following={
            "embed.weight": "identity",
            **{f"{name}.weight": "identity" for name in ("q", "k", "v", "out")},
        },
        preceding={"q.weight": "identity", "out.weight": "identity"},
        flags={"q.weight": LOGIT, "k.weight": LOGIT, "v.weight": frozenset({"-attention logit"})},
    ),
    Case(
        name="softmax_by_hand_in_attention",
        make=HandSoftmax,
        input=data(2, 5, 8),
        following={f"{name}.weight": "identity" for name in ("q", "k", "v", "out")},
        preceding={"out.weight": "identity"},
        flags={"q.weight": LOGIT, "k.weight": LOGIT},
    ),
)

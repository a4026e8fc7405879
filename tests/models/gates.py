"""Gates, attention, recurrence."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.case import Case, data, ids, several

__all__ = ["CASES", "SwiGLU"]

LOGIT = frozenset({"attention logit"})
GATED = frozenset({"gated"})


class Glu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 12)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        return self.fc2(F.glu(self.fc1(x), dim=-1))


class SwiGLU(nn.Module):
    def __init__(self, width: int = 4, hidden: int = 6) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Any:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class FusedGeglu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(4, 12)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return self.out(value * F.gelu(gate))


class WaveNet(nn.Module):
    """tanh(filter) · sigmoid(gate), residual and skip (van den Oord et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Conv1d(3, 4, 1)
        self.filters = nn.ModuleList(nn.Conv1d(4, 5, 2, dilation=d) for d in (1, 2))
        self.gates = nn.ModuleList(nn.Conv1d(4, 5, 2, dilation=d) for d in (1, 2))
        self.residuals = nn.ModuleList(nn.Conv1d(5, 4, 1) for _ in range(2))
        self.skips = nn.ModuleList(nn.Conv1d(5, 6, 1) for _ in range(2))
        self.end1 = nn.Conv1d(6, 6, 1)
        self.end2 = nn.Conv1d(6, 3, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.start(x)
        total: Any = 0
        for i, (f, g) in enumerate(zip(self.filters, self.gates, strict=True)):
            padded = F.pad(x, (2**i, 0))
            h = torch.tanh(f(padded)) * torch.sigmoid(g(padded))
            total = total + self.skips[i](h)
            x = x + self.residuals[i](h)
        return self.end2(F.relu(self.end1(F.relu(total))))


class Highway(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 4)
        self.body = nn.Linear(4, 4)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        t = torch.sigmoid(self.gate(x))
        return self.out(t * F.relu(self.body(x)) + (1 - t) * x)


class DenseMoE(nn.Module):
    """Every expert sees every token; the router weighs them."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(4, 3, bias=False)
        self.experts = nn.ModuleList(SwiGLU() for _ in range(3))

    def forward(self, x: Tensor) -> Any:
        weights = F.softmax(self.router(x), dim=-1)
        outputs = torch.stack([expert(x) for expert in self.experts], dim=-1)
        return (outputs * weights.unsqueeze(-2)).sum(-1)


class EagerAttention(nn.Module):
    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        return x.view(b, n, self.heads, d // self.heads).transpose(1, 2)

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])

    def forward(self, x: Tensor) -> Any:
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        weights = F.softmax(self.logits(q, k), dim=-1)
        h = (weights @ v).transpose(1, 2).reshape(x.shape)
        return self.out(h)


class SoftcappedAttention(EagerAttention):
    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        return 50.0 * torch.tanh(super().logits(q, k) / 50.0)


class FusedAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.proj = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Any:
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 2, d // 2).permute(2, 0, 3, 1, 4).unbind(0)
        weights = ((q * (d // 2) ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, d))


class SdpaAttention(EagerAttention):
    def forward(self, x: Tensor) -> Any:
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(h.transpose(1, 2).reshape(x.shape))


class LinearAttention(nn.Module):
    """φ(q)(φ(k)ᵀv), φ = elu + 1 (Katharopoulos et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(8, 8)
        self.k = nn.Linear(8, 8)
        self.v = nn.Linear(8, 8)
        self.out = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Any:
        q, k, v = F.elu(self.q(x)) + 1, F.elu(self.k(x)) + 1, self.v(x)
        kv = torch.einsum("bnd,bne->bde", k, v)
        z = 1 / (torch.einsum("bnd,bd->bn", q, k.sum(1)) + 1e-6)
        return self.out(torch.einsum("bnd,bde,bn->bne", q, kv, z))


class AttentionPooling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 6)
        self.score = nn.Linear(6, 1)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        h = torch.tanh(self.fc(x))
        weights = F.softmax(self.score(h), dim=1)
        return self.out((weights * h).sum(1))


class ModuleAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return self.attn(x, x, x, need_weights=False)[0]


class CrossModuleAttention(nn.Module):
    """Different widths: three weights in place of one, and the weights are returned."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2, kdim=5, vdim=6)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Any:
        return self.attn(q, k, v)


class RecurrentHead(nn.Module):
    def __init__(self, rnn: nn.Module, width: int = 6) -> None:
        super().__init__()
        self.rnn = rnn
        self.fc = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Any:
        out, _ = self.rnn(x)
        return self.fc(out[:, -1])


class PackedLstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        self.fc = nn.Linear(6, 3)

    def forward(self, tokens: Tensor) -> Any:
        lengths = torch.tensor([5, 3])
        packed = pack_padded_sequence(self.embed(tokens), lengths, batch_first=True)
        out, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.fc(out)


class GruCellLoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 6)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        h = x.new_zeros(x.shape[0], 6)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.fc(h)


class HandRnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ih = nn.Linear(4, 6)
        self.hh = nn.Linear(6, 6, bias=False)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        h = torch.zeros(x.shape[0], 6)
        for t in range(x.shape[1]):
            h = torch.tanh(self.ih(x[:, t]) + self.hh(h))
        return self.fc(h)


class HandLstm(nn.Module):
    """All four gates in one product of (x, h)."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(10, 24)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        h = c = x.new_zeros(x.shape[0], 6)
        for t in range(x.shape[1]):
            i, f, g, o = self.gates(torch.cat([x[:, t], h], -1)).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.fc(h)


class MinGru(nn.Module):
    """h ← (1 − z)h + z·h̃, h̃ a plain product (Feng et al. 2024)."""

    def __init__(self) -> None:
        super().__init__()
        self.z = nn.Linear(4, 6)
        self.h = nn.Linear(4, 6)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        state = x.new_zeros(x.shape[0], 6)
        for t in range(x.shape[1]):
            z = torch.sigmoid(self.z(x[:, t]))
            state = (1 - z) * state + z * self.h(x[:, t])
        return self.fc(state)


class EinsumAttention(nn.Module):
    """Attention and MLP as einsums over bare parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.wq, self.wk, self.wv = (nn.Parameter(torch.randn(8, 2, 4)) for _ in range(3))
        self.wo = nn.Parameter(torch.randn(2, 4, 8))
        self.wi = nn.Parameter(torch.randn(8, 12))
        self.w2 = nn.Parameter(torch.randn(12, 8))

    def forward(self, x: Tensor) -> Any:
        q = torch.einsum("bnd,dhk->bhnk", x, self.wq)
        k = torch.einsum("bnd,dhk->bhnk", x, self.wk)
        v = torch.einsum("bnd,dhk->bhnk", x, self.wv)
        weights = torch.einsum("bhqk,bhsk->bhqs", q, k).div(2.0).softmax(-1)
        x = x + torch.einsum("bhqs,bhsk,hkd->bqd", weights, v, self.wo)
        return x + torch.einsum("bnf,fd->bnd", F.gelu(torch.einsum("bnd,df->bnf", x, self.wi)), self.w2)


class MaskedAttention(EagerAttention):
    """Causal mask by in-place masked_fill, learned temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(2, 1, 1))

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        logits = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.temperature
        mask = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
        return logits.masked_fill_(mask, float("-inf"))


class TopKMoE(nn.Module):
    """Mixtral's routing: softmax, top 2, renormalized; experts see their tokens only."""

    def __init__(self, biased: bool = False) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 4)
        self.experts = nn.ModuleList(SwiGLU() for _ in range(4))
        if biased:  # two experts win every token
            nn.init.zeros_(self.gate.weight)
            with torch.no_grad():
                self.gate.bias.copy_(torch.tensor([3.0, 2.0, -5.0, -5.0]))

    def forward(self, x: Tensor) -> Any:
        flat = x.reshape(-1, x.shape[-1])
        weights, chosen = torch.topk(F.softmax(self.gate(flat), dim=-1), 2, dim=-1)
        weights = weights / weights.sum(-1, keepdim=True)
        out = torch.zeros_like(flat)
        for index, expert in enumerate(self.experts):
            rows, slot = torch.where(chosen == index)
            if rows.numel():
                out.index_add_(0, rows, expert(flat[rows]) * weights[rows, slot, None])
        return out.view_as(x)


class RoutedResidual(nn.Module):
    """Gates normalized in place, and the layer that reads the combined experts."""

    def __init__(self, added: bool) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 4, bias=False)
        self.experts = nn.ModuleList(SwiGLU() for _ in range(4))
        self.out = nn.Linear(4, 3)
        self.added = added

    def forward(self, x: Tensor) -> Any:
        weights, chosen = torch.topk(F.softmax(self.gate(x), dim=-1, dtype=torch.float), 2, dim=-1)
        weights /= weights.sum(-1, keepdim=True) + 1e-9
        routed = torch.zeros_like(x)
        for index, expert in enumerate(self.experts):
            gate = (weights * (chosen == index)).sum(-1)
            routed.index_add_(0, torch.arange(x.shape[0]), expert(x) * gate[:, None])
        return self.out(x + routed if self.added else routed)


class Modulation(nn.Module):
    """A sum of contexts, each under a gate of one channel, the last of them a single number a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Conv2d(3, 3 + 16 + 3, 1)
        self.widen = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.h = nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> Any:
        q, context, gates = torch.split(self.f(x), [3, 16, 3], 1)
        total: Any = 0
        for level in range(2):
            context = F.gelu(self.widen(context))
            total = total + context * gates[:, level : level + 1]
        total = total + F.gelu(context.mean((2, 3), keepdim=True)) * gates[:, 2:]
        return q * self.h(total)


class QueryAndGate(nn.Module):
    """One projection for the query and the sigmoid gate of the attention's output; rotary positions."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(8, 16)
        self.k = nn.Linear(8, 8)
        self.v = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(4)
        self.out = nn.Linear(8, 8)

    def turned(self, x: Tensor) -> Tensor:
        angle = torch.arange(x.shape[-2]).float()[:, None] * torch.ones(4)
        first, second = x.chunk(2, dim=-1)
        return x * angle.cos() + torch.cat((-second, first), -1) * angle.sin()

    def forward(self, x: Tensor) -> Any:
        b, n, _ = x.shape
        query, gate = self.q(x).view(b, n, 2, 8).chunk(2, dim=-1)
        query = self.norm(query).transpose(1, 2)
        k, v = (layer(x).view(b, n, 2, 4).transpose(1, 2) for layer in (self.k, self.v))
        query = query[..., :4]
        h = F.scaled_dot_product_attention(self.turned(query), self.turned(k), v).transpose(1, 2).reshape(b, n, 8)
        return self.out(h * torch.sigmoid(gate.reshape(b, n, -1)[..., :8]))


class RunningSum(nn.Module):
    """Σ exp(k) v / Σ exp(k) step by step; the largest k so far keeps the exp small and cancels out."""

    def __init__(self) -> None:
        super().__init__()
        self.key = nn.Linear(4, 4)
        self.value = nn.Linear(4, 4)
        self.out = nn.Linear(4, 3)
        self.decay = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Any:
        keys, values, outputs = self.key(x), self.value(x), []
        above = below = torch.zeros_like(keys[:, 0])
        top = torch.zeros_like(above) - 1e38
        for t in range(x.shape[1]):
            k, v = keys[:, t], values[:, t]
            new = torch.maximum(top - self.decay, k)
            old, now = torch.exp(top - self.decay - new), torch.exp(k - new)
            above, below, top = old * above + now * v, old * below + now, new
            outputs.append(above / below)
        return self.out(torch.stack(outputs, dim=1))


class BahdanauDecoder(nn.Module):
    """GRU encoder, additive attention, GRU decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.encoder = nn.GRU(4, 6, batch_first=True)
        self.query = nn.Linear(6, 5)
        self.key = nn.Linear(6, 5)
        self.energy = nn.Linear(5, 1)
        self.decoder = nn.GRUCell(10, 6)
        self.out = nn.Linear(6, 10)

    def forward(self, source: Tensor, target: Tensor) -> Any:
        memory, final = self.encoder(self.embed(source))
        h, logits = final[-1], []
        for t in range(target.shape[1]):
            energy = self.energy(torch.tanh(self.query(h).unsqueeze(1) + self.key(memory))).squeeze(-1)
            context = torch.bmm(F.softmax(energy, -1).unsqueeze(1), memory).squeeze(1)
            h = self.decoder(torch.cat([self.embed(target[:, t]), context], -1), h)
            logits.append(self.out(h))
        return torch.stack(logits, 1)


def rnn(name: str, module: Callable[..., nn.Module], answer: str, **arguments: Any) -> Case:
    return Case(
        name=name,
        make=lambda: RecurrentHead(module(4, 6, batch_first=True, **arguments)),
        input=data(2, 5, 4),
        following={"rnn.weight_ih_l0": answer, "rnn.weight_hh_l0": answer, "fc.weight": "identity"},
        preceding={"rnn.weight_ih_l0": "identity", "fc.weight": answer},
    )


ATTENTION = {"q.weight": "identity", "k.weight": "identity", "v.weight": "identity", "out.weight": "identity"}
ATTENTION_FLAGS = {"q.weight": LOGIT, "k.weight": LOGIT, "v.weight": frozenset({"-attention logit"})}
LAYERS = ("weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1")


def attention(name: str, make: type[nn.Module]) -> Case:
    return Case(
        name=name,
        make=make,
        input=data(2, 5, 8),
        following={**ATTENTION, **({"temperature": "?"} if make is MaskedAttention else {})},
        preceding={"q.weight": "identity", "v.weight": "identity", "out.weight": "identity"},
        flags=ATTENTION_FLAGS,
    )


CASES = (
    Case(
        name="glu",
        make=Glu,
        input=data(2, 4),
        following={"fc1.weight": "glu", "fc2.weight": "identity"},
        preceding={"fc1.weight": "identity", "fc2.weight": "glu"},
    ),
    Case(
        name="swiglu",
        make=SwiGLU,
        input=data(2, 4),
        following={"gate.weight": "silu", "up.weight": "identity", "down.weight": "identity"},
        preceding={"gate.weight": "identity", "up.weight": "identity", "down.weight": "silu"},
        flags={"gate.weight": frozenset({"-mul"}), "up.weight": GATED},
    ),
    Case(
        name="fused_geglu",
        make=FusedGeglu,
        input=data(2, 4),
        following={"proj.weight": "gelu", "out.weight": "identity"},
        preceding={"out.weight": "gelu"},
    ),
    Case(
        name="wavenet",
        make=WaveNet,
        input=data(2, 3, 9),
        following={
            "start.weight": "identity",
            **{f"filters.{i}.weight": "tanh" for i in range(2)},
            **{f"gates.{i}.weight": "sigmoid" for i in range(2)},
            "residuals.0.weight": "identity",
            "residuals.1.weight": "unused|unresolved",
            **{f"skips.{i}.weight": "relu" for i in range(2)},
            "end1.weight": "relu",
            "end2.weight": "identity",
        },
        preceding={
            "filters.0.weight": "identity",
            "skips.0.weight": "tanh",
            "residuals.0.weight": "tanh",
            "end1.weight": "relu",
            "end2.weight": "relu",
        },
        flags={"skips.0.weight": frozenset({"add"})},
    ),
    Case(
        name="highway",
        make=Highway,
        input=data(2, 4),
        following={"gate.weight": "sigmoid", "body.weight": "relu", "out.weight": "identity"},
        preceding={"gate.weight": "identity", "body.weight": "identity", "out.weight": "relu"},
    ),
    Case(
        name="moe",
        make=DenseMoE,
        input=data(2, 4),
        following={
            "router.weight": "softmax",
            **{f"experts.{i}.gate.weight": "silu" for i in range(3)},
            **{f"experts.{i}.up.weight": "identity" for i in range(3)},
            **{f"experts.{i}.down.weight": "identity" for i in range(3)},
        },
        preceding={"router.weight": "identity", "experts.1.down.weight": "silu"},
        flags={"experts.0.up.weight": GATED, "router.weight": frozenset({"-attention logit"})},
    ),
    attention("eager_attention", EagerAttention),
    Case(
        name="fused_qkv_attention",
        make=FusedAttention,
        input=data(2, 5, 8),
        following={"qkv.weight": "identity", "proj.weight": "identity"},
        preceding={"qkv.weight": "identity", "proj.weight": "identity"},
    ),
    Case(
        name="linear_attention",
        make=LinearAttention,
        input=data(2, 5, 8),
        following={"q.weight": "elu", "k.weight": "elu", "v.weight": "identity", "out.weight": "identity"},
    ),
    attention("softcapped_attention", SoftcappedAttention),
    Case(
        name="attention_pooling",
        make=AttentionPooling,
        input=data(2, 5, 4),
        following={"fc.weight": "tanh", "score.weight": "softmax", "out.weight": "identity"},
        preceding={"score.weight": "tanh", "out.weight": "tanh"},
    ),
    Case(
        name="multihead_attention_module",
        make=ModuleAttention,
        input=data(2, 5, 8),
        following={
            "attn.in_proj_weight": "identity",
            "attn.in_proj_bias": "identity",
            "attn.out_proj.weight": "identity",
        },
    ),
    Case(
        name="multihead_attention_cross",
        make=CrossModuleAttention,
        input=lambda: (data(3, 2, 8)(), data(4, 2, 5)(), data(4, 2, 6)()),
        following={
            "attn.q_proj_weight": "identity",
            "attn.k_proj_weight": "identity",
            "attn.v_proj_weight": "identity",
            "attn.out_proj.weight": "identity",
        },
        flags={"attn.q_proj_weight": LOGIT, "attn.k_proj_weight": LOGIT},
    ),
    attention("functional_attention", SdpaAttention),
    Case(
        name="transformer_encoder_layer",
        make=lambda: nn.TransformerEncoderLayer(8, 2, 12, activation="gelu", batch_first=True),
        input=data(2, 5, 8),
        following={
            "self_attn.in_proj_weight": "identity",
            "self_attn.out_proj.weight": "identity",
            "linear1.weight": "gelu",
            "linear2.weight": "identity",
        },
        preceding={"linear2.weight": "gelu"},
        norm_before={"linear1.weight": True, "linear2.weight": False},
    ),
    rnn("lstm", nn.LSTM, "lstm"),
    Case(
        name="lstm_packed",
        make=PackedLstm,
        input=ids(2, 5),
        following={
            "embed.weight": "identity",
            "lstm.weight_ih_l0": "lstm",
            "lstm.weight_hh_l0": "lstm",
            "lstm.bias_ih_l0": "lstm",
            "fc.weight": "identity",
        },
        preceding={"fc.weight": "lstm"},
    ),
    rnn("gru", nn.GRU, "gru"),
    rnn("rnn_relu", nn.RNN, "relu", nonlinearity="relu"),
    rnn("rnn_tanh", nn.RNN, "tanh"),
    Case(
        name="gru_cell_loop",
        make=GruCellLoop,
        input=data(2, 5, 4),
        following={"cell.weight_ih": "gru", "cell.weight_hh": "gru", "fc.weight": "identity"},
        preceding={"fc.weight": "gru"},
    ),
    Case(
        name="hand_rnn",
        make=HandRnn,
        input=data(2, 5, 4),
        following={"ih.weight": "tanh", "hh.weight": "tanh", "fc.weight": "identity"},
        preceding={"ih.weight": "identity", "hh.weight": "tanh", "fc.weight": "tanh"},
    ),
    Case(
        name="hand_lstm",
        make=HandLstm,
        input=data(2, 5, 4),
        following={"gates.weight": several("sigmoid", "tanh"), "fc.weight": "identity"},
        preceding={"fc.weight": "tanh"},
    ),
    Case(
        name="min_gru",
        make=MinGru,
        input=data(2, 5, 4),
        following={"z.weight": "sigmoid", "h.weight": "identity", "fc.weight": "identity"},
        preceding={"z.weight": "identity", "h.weight": "identity"},
        flags={"h.weight": GATED},
    ),
    Case(
        name="lstm_bidirectional_projected",
        make=lambda: RecurrentHead(nn.LSTM(4, 6, 2, batch_first=True, bidirectional=True, proj_size=3), 6),
        input=data(2, 5, 4),
        following={
            **{f"rnn.{name}{way}": "lstm" for name in LAYERS for way in ("", "_reverse")},
            **{f"rnn.weight_hr_l{i}{way}": "lstm|identity" for i in range(2) for way in ("", "_reverse")},
            "fc.weight": "identity",
        },
        preceding={"fc.weight": "lstm"},
    ),
    Case(
        name="einsum_attention",
        make=EinsumAttention,
        input=data(2, 5, 8),
        following={
            "wq": "identity",
            "wk": "identity",
            "wv": "identity",
            "wo": "identity",
            "wi": "gelu",
            "w2": "identity",
        },
        preceding={"wq": "identity", "w2": "gelu"},
        flags={"wq": LOGIT, "wk": LOGIT},
    ),
    attention("cosine_masked_attention", MaskedAttention),
    Case(
        name="moe_top_2",
        make=TopKMoE,
        input=data(3, 4, 4),
        following={
            "gate.weight": "softmax",
            **{f"experts.{i}.gate.weight": "silu" for i in range(4)},
            **{f"experts.{i}.up.weight": "identity" for i in range(4)},
            **{f"experts.{i}.down.weight": "identity" for i in range(4)},
        },
        preceding={"experts.0.down.weight": "silu", "experts.0.up.weight": "identity"},
        flags={"experts.0.up.weight": GATED},
    ),
    *(
        Case(
            name=f"normalized_gates_{'and_a_skip' if added else 'alone'}",
            make=functools.partial(RoutedResidual, added),
            input=data(5, 4),
            following={
                "gate.weight": "softmax",
                **{f"experts.{i}.gate.weight": "silu" for i in range(4)},
                **{f"experts.{i}.up.weight": "identity" for i in range(4)},
                **{f"experts.{i}.down.weight": "identity" for i in range(4)},
                "out.weight": "identity",
            },
            preceding={"out.weight": "identity"},
        )
        for added in (False, True)
    ),
    *(
        Case(
            name=f"modulation_at_{size}",
            make=Modulation,
            input=data(1, 3, size, size),
            following={"f.weight": "identity", "widen.weight": "gelu", "h.weight": "identity"},
            preceding={"h.weight": "gelu"},
        )
        for size in (2, 4, 8)
    ),
    Case(
        name="query_and_gate_in_one",
        make=QueryAndGate,
        input=data(2, 5, 8),
        following={
            "q.weight": several("sigmoid", "identity"),
            "k.weight": "identity",
            "v.weight": "identity",
            "norm.weight": "identity",
            "out.weight": "identity",
        },
        preceding={"out.weight": "identity"},
        flags={"k.weight": LOGIT, "norm.weight": LOGIT},
    ),
    Case(
        name="a_running_maximum_cancels_out",
        make=RunningSum,
        input=data(2, 12, 4),
        following={"key.weight": "custom", "value.weight": "identity", "out.weight": "identity"},
        preceding={"key.weight": "identity", "value.weight": "identity"},
    ),
    Case(
        name="unrouted_expert",
        make=lambda: TopKMoE(biased=True),
        input=data(3, 4, 4),
        following={
            "gate.weight": "softmax",
            **{f"experts.{i}.gate.weight": "silu" for i in range(4)},
            **{f"experts.{i}.up.weight": "identity" for i in range(4)},
            **{f"experts.{i}.down.weight": "identity" for i in range(4)},
        },
        preceding={"experts.3.down.weight": "silu"},
        found_by={"experts.2.gate.weight": "experts", "experts.3.down.weight": "experts"},
    ),
    Case(
        name="seq2seq_additive_attention",
        make=BahdanauDecoder,
        input=lambda: (ids(2, 5)(), ids(2, 3)()),
        following={
            "embed.weight": "identity",
            "encoder.weight_ih_l0": "gru",
            "encoder.weight_hh_l0": "gru",
            "query.weight": "tanh",
            "key.weight": "tanh",
            "energy.weight": "softmax",
            "decoder.weight_ih": "gru",
            "decoder.weight_hh": "gru",
            "out.weight": "identity",
        },
        preceding={"query.weight": "gru", "key.weight": "gru", "energy.weight": "tanh", "out.weight": "gru"},
        flags={"query.weight": frozenset({"add"}), "energy.weight": frozenset({"-attention logit"})},
    ),
)

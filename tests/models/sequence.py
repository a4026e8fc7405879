"""Networks for text, sound and time, cut down to one or two blocks each."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from models.case import Case, data, ids
from models.handwritten import tanh_gelu
from models.topology import RMSNorm

__all__ = ["CASES"]

QKVO = {"q.weight": "identity", "k.weight": "identity", "v.weight": "identity", "o.weight": "identity"}


class Attention(nn.Module):
    """Multi-head attention through scaled_dot_product_attention; memory for cross attention."""

    def __init__(self, width: int = 8, bias: bool = True, memory: int = 8) -> None:
        super().__init__()
        self.q, self.o = nn.Linear(width, width, bias), nn.Linear(width, width, bias)
        self.k, self.v = nn.Linear(memory, width, bias), nn.Linear(memory, width, bias)

    def forward(self, x: Tensor, memory: Tensor | None = None, bias: Tensor | None = None) -> Any:
        memory = x if memory is None else memory
        q, k, v = (
            p(h).unflatten(-1, (2, -1)).transpose(1, 2) for p, h in ((self.q, x), (self.k, memory), (self.v, memory))
        )
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.o(h.transpose(1, 2).flatten(2))


class Albert(nn.Module):
    """One block used three times; the embedding is factorized; pooler at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.mapping = nn.Linear(4, 8)
        self.attn, self.norm1 = Attention(), nn.LayerNorm(8)
        self.ffn, self.ffn_output, self.norm2 = nn.Linear(8, 12), nn.Linear(12, 8), nn.LayerNorm(8)
        self.pooler = nn.Linear(8, 8)

    def forward(self, tokens: Tensor) -> Any:
        x = self.mapping(self.embed(tokens))
        for _ in range(3):
            x = self.norm1(x + self.attn(x))
            x = self.norm2(x + self.ffn_output(tanh_gelu(self.ffn(x))))
        return x, torch.tanh(self.pooler(x[:, 0]))


class T5(nn.Module):
    """RMS norms, no biases, gated GELU, relative positions added to the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Embedding(10, 8)
        self.relative = nn.Embedding(7, 2)
        self.norm1, self.norm2, self.norm3 = RMSNorm(8), RMSNorm(8), RMSNorm(8)
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8, bias=False) for _ in range(4))
        self.wi_0, self.wi_1 = nn.Linear(8, 12, bias=False), nn.Linear(8, 12, bias=False)
        self.wo = nn.Linear(12, 8, bias=False)

    def attention(self, x: Tensor) -> Any:
        b, n, d = x.shape
        q, k, v = (p(x).view(b, n, 2, d // 2).transpose(1, 2) for p in (self.q, self.k, self.v))
        scores = torch.matmul(q, k.transpose(3, 2))
        position = torch.arange(n)[None, :] - torch.arange(n)[:, None]
        scores += self.relative(position.clamp(-3, 3) + 3).permute(2, 0, 1).unsqueeze(0)
        weights = F.softmax(scores.float(), dim=-1).type_as(scores)
        return self.o(torch.matmul(weights, v).transpose(1, 2).contiguous().view(b, n, d))

    def forward(self, tokens: Tensor) -> Any:
        x = self.shared(tokens)
        x = x + self.attention(self.norm1(x))
        h = self.norm2(x)
        h = F.gelu(self.wi_0(h), approximate="tanh") * self.wi_1(h)
        x = x + self.wo(F.dropout(h, 0.1, self.training))
        return self.norm3(x) @ self.shared.weight.t()


class GptJ(nn.Module):
    """Attention and MLP side by side on one norm, summed with the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(2))
        self.attns = nn.ModuleList(Attention(bias=False) for _ in range(2))
        self.fc_in = nn.ModuleList(nn.Linear(8, 12) for _ in range(2))
        self.fc_out = nn.ModuleList(nn.Linear(12, 8) for _ in range(2))

    def forward(self, x: Tensor) -> Any:
        for norm, attn, fc_in, fc_out in zip(self.norms, self.attns, self.fc_in, self.fc_out, strict=True):
            h = norm(x)
            x = attn(h) + fc_out(tanh_gelu(fc_in(h))) + x
        return x


class Conv1D(nn.Module):
    """GPT-2's Linear, stored (in, out)."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Any:
        return torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], -1)


class Gpt2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(10, 8), nn.Embedding(6, 8)
        self.ln_1, self.ln_2, self.ln_f = nn.LayerNorm(8), nn.LayerNorm(8), nn.LayerNorm(8)
        self.c_attn, self.c_proj = Conv1D(24, 8), Conv1D(8, 8)
        self.c_fc, self.mlp_proj = Conv1D(32, 8), Conv1D(8, 32)
        self.lm_head = nn.Linear(8, 10, bias=False)
        self.lm_head.weight = self.wte.weight

    def attention(self, x: Tensor) -> Any:
        b, n, d = x.shape
        q, k, v = (h.view(b, n, 2, d // 2).transpose(1, 2) for h in self.c_attn(x).split(d, dim=2))
        w = q @ k.transpose(-1, -2) / 2.0
        w = torch.where(torch.ones(n, n, dtype=torch.bool).tril(), w, torch.finfo(w.dtype).min)
        return self.c_proj((F.softmax(w, -1) @ v).transpose(1, 2).reshape(b, n, d))

    def forward(self, tokens: Tensor) -> Any:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        x = x + self.attention(self.ln_1(x))
        x = x + self.mlp_proj(tanh_gelu(self.c_fc(self.ln_2(x))))
        return self.lm_head(self.ln_f(x))


class Mamba(nn.Module):
    """Selective scan (Gu and Dao 2023): dt by softplus, the branch z by SiLU."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = RMSNorm(4)
        self.in_proj = nn.Linear(4, 12, bias=False)
        self.conv1d = nn.Conv1d(6, 6, 3, padding=2, groups=6)
        self.x_proj = nn.Linear(6, 2 + 2 * 3, bias=False)
        self.dt_proj = nn.Linear(2, 6)
        self.A_log = nn.Parameter(torch.arange(1.0, 4.0).repeat(6, 1).log())
        self.D = nn.Parameter(torch.ones(6))
        self.out_proj = nn.Linear(6, 4, bias=False)

    def forward(self, x: Tensor) -> Any:
        n = x.shape[1]
        h, z = self.in_proj(self.norm(x)).chunk(2, dim=-1)
        h = F.silu(self.conv1d(h.transpose(1, 2))[..., :n].transpose(1, 2))
        dt, b, c = self.x_proj(h).split([2, 3, 3], dim=-1)
        dt = F.softplus(self.dt_proj(dt))
        decay = torch.exp(torch.einsum("bnd,ds->bnds", dt, -torch.exp(self.A_log)))
        drive = torch.einsum("bnd,bns,bnd->bnds", dt, b, h)
        state, ys = torch.zeros_like(decay[:, 0]), []
        for t in range(n):
            state = decay[:, t] * state + drive[:, t]
            ys.append(torch.einsum("bds,bs->bd", state, c[:, t]))
        y = torch.stack(ys, dim=1) + h * self.D
        return x + self.out_proj(y * F.silu(z))


class S4D(nn.Module):
    """A diagonal state space as a long convolution by FFT (Gu et al. 2022), then GELU, a Linear and GLU."""

    def __init__(self) -> None:
        super().__init__()
        self.C = nn.Parameter(torch.randn(4, 3, 2))
        self.log_dt = nn.Parameter(torch.rand(4) - 3.0)
        self.log_a = nn.Parameter(torch.full((4, 3), -0.7))
        self.a_imaginary = nn.Parameter(torch.arange(3.0).repeat(4, 1))
        self.D = nn.Parameter(torch.randn(4))
        self.output = nn.Conv1d(4, 8, 1)

    def kernel(self, n: int) -> Tensor:
        a = torch.complex(-torch.exp(self.log_a), self.a_imaginary)
        dta = a * torch.exp(self.log_dt)[:, None]
        c = torch.view_as_complex(self.C) * (torch.exp(dta) - 1.0) / a
        return 2 * torch.einsum("hn,hnl->hl", c, torch.exp(dta[..., None] * torch.arange(n))).real

    def forward(self, x: Tensor) -> Any:
        n = x.shape[-1]
        y = torch.fft.irfft(torch.fft.rfft(x, n=2 * n) * torch.fft.rfft(self.kernel(n), n=2 * n), n=2 * n)[..., :n]
        return F.glu(self.output(F.gelu(y + x * self.D.unsqueeze(-1))), dim=-2)


class RwkvChannelMix(nn.Module):
    """relu(key)², gated by a sigmoid of the receptance (Peng et al. 2023)."""

    def __init__(self) -> None:
        super().__init__()
        self.mix_k, self.mix_r = nn.Parameter(torch.rand(1, 1, 6)), nn.Parameter(torch.rand(1, 1, 6))
        self.key = nn.Linear(6, 12, bias=False)
        self.receptance = nn.Linear(6, 6, bias=False)
        self.value = nn.Linear(12, 6, bias=False)
        self.time_shift = nn.ZeroPad2d((0, 0, 1, -1))

    def forward(self, x: Tensor) -> Any:
        before = self.time_shift(x)
        xk = x * self.mix_k + before * (1 - self.mix_k)
        xr = x * self.mix_r + before * (1 - self.mix_r)
        k = torch.square(torch.relu(self.key(xk)))
        return x + torch.sigmoid(self.receptance(xr)) * self.value(k)


class Perceiver(nn.Module):
    """Learned latents attend to the input; GEGLU feed-forward."""

    def __init__(self) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(3, 8))
        self.norm_q, self.norm_kv, self.norm_ff = nn.LayerNorm(8), nn.LayerNorm(5), nn.LayerNorm(8)
        self.cross = Attention(bias=False, memory=5)
        self.ff1, self.ff2 = nn.Linear(8, 24), nn.Linear(12, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        z = self.latents.unsqueeze(0).expand(x.shape[0], -1, -1)
        z = z + self.cross(self.norm_q(z), self.norm_kv(x))
        h, gate = self.ff1(self.norm_ff(z)).chunk(2, dim=-1)
        z = z + self.ff2(h * F.gelu(gate))
        return self.head(z.mean(1))


class TemporalBlock(nn.Module):
    """TCN (Bai et al. 2018): weight-normed dilated convolutions, chomp, relu, dropout; relu of the sum."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.pad = 2 * dilation
        self.conv1 = weight_norm(nn.Conv1d(inputs, outputs, 3, padding=self.pad, dilation=dilation))
        self.conv2 = weight_norm(nn.Conv1d(outputs, outputs, 3, padding=self.pad, dilation=dilation))
        self.downsample = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else None
        self.relu, self.dropout = nn.ReLU(), nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Any:
        h = self.dropout(self.relu(self.conv1(x)[:, :, : -self.pad].contiguous()))
        h = self.dropout(self.relu(self.conv2(h)[:, :, : -self.pad].contiguous()))
        return self.relu(h + (x if self.downsample is None else self.downsample(x)))


class Tcn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(TemporalBlock(3, 4, 1), TemporalBlock(4, 4, 2))
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Any:
        return self.linear(self.network(x)[:, :, -1])


class ConformerConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.pointwise1 = nn.Conv1d(6, 12, 1)
        self.depthwise = nn.Conv1d(6, 6, 5, padding=2, groups=6)
        self.bn = nn.BatchNorm1d(6)
        self.act = nn.SiLU()
        self.pointwise2 = nn.Conv1d(6, 6, 1)
        self.ff = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Any:
        h = F.glu(self.pointwise1(self.norm(x).transpose(1, 2)), dim=1)
        h = self.pointwise2(self.act(self.bn(self.depthwise(h))))
        x = x + F.dropout(h.transpose(1, 2), 0.1, self.training)
        return x + 0.5 * F.silu(self.ff(x))


class BagOfWords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(10, 6, mode="mean")
        self.fc1, self.fc2 = nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, tokens: Tensor, offsets: Tensor) -> Any:
        return self.fc2(F.relu(self.fc1(self.bag(tokens, offsets))))


class RectifiedBag(nn.Module):
    """The embeddings' sum is rectified itself."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(10, 6, mode="sum")
        self.positions = nn.Embedding(5, 6)
        self.fc = nn.Linear(6, 2)

    def forward(self, tokens: Tensor) -> Any:
        return self.fc(F.relu(self.bag(tokens) + self.positions(torch.arange(5)).sum(0)))


class TextCnn(nn.Module):
    """Kim 2014: convolutions of several widths, relu, max over time, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4, padding_idx=0)
        self.convs = nn.ModuleList(nn.Conv2d(1, 3, (k, 4)) for k in (2, 3))
        self.fc = nn.Linear(6, 2)

    def forward(self, tokens: Tensor) -> Any:
        x = self.embed(tokens).unsqueeze(1)
        h = [F.relu(conv(x)).squeeze(3) for conv in self.convs]
        return self.fc(torch.cat([F.max_pool1d(i, i.size(2)).squeeze(2) for i in h], 1))


class WaveEncoder(nn.Module):
    """wav2vec 2.0: group norm and GELU after convolutions; a weight-normed convolution gives positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0, self.norm0 = nn.Conv1d(1, 4, 5, 2, bias=False), nn.GroupNorm(4, 4)
        self.conv1 = nn.Conv1d(4, 6, 3, 2, bias=False)
        self.norm1, self.project = nn.LayerNorm(6), nn.Linear(6, 8)
        self.positions = weight_norm(nn.Conv1d(8, 8, 4, padding=2, groups=2), dim=2)
        self.norm2, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, wave: Tensor) -> Any:
        h = F.gelu(self.norm0(self.conv0(wave[:, None])))
        h = F.gelu(self.conv1(h)).transpose(1, 2)
        h = self.project(self.norm1(h))
        p = F.gelu(self.positions(h.transpose(1, 2))[:, :, :-1]).transpose(1, 2)
        return self.head(self.norm2(h + p))


class BertHeads(nn.Module):
    """Masked-word head with its own norm and a tied decoder, and the pooled head."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions, self.types = nn.Embedding(10, 8), nn.Embedding(6, 8), nn.Embedding(2, 8)
        self.norm = nn.LayerNorm(8)
        self.attn, self.norm1 = Attention(), nn.LayerNorm(8)
        self.intermediate, self.output, self.norm2 = nn.Linear(8, 12), nn.Linear(12, 8), nn.LayerNorm(8)
        self.pooler, self.relation = nn.Linear(8, 8), nn.Linear(8, 2)
        self.transform, self.transform_norm = nn.Linear(8, 8), nn.LayerNorm(8)
        self.decoder = nn.Linear(8, 10)
        self.decoder.weight = self.words.weight

    def forward(self, input_ids: Tensor, token_type_ids: Tensor) -> Any:
        x = self.words(input_ids) + self.types(token_type_ids)
        x = F.dropout(self.norm(x + self.positions(torch.arange(input_ids.shape[1]))), 0.1, self.training)
        x = self.norm1(self.attn(x) + x)
        x = self.norm2(self.output(F.gelu(self.intermediate(x))) + x)
        pooled = torch.tanh(self.pooler(x[:, 0]))
        return self.decoder(self.transform_norm(F.gelu(self.transform(x)))), self.relation(pooled)


class Retrieval(nn.Module):
    """One encoder for both sides; the head reads their product."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5))
        self.head = nn.Linear(5, 1)

    def forward(self, a: Tensor, b: Tensor) -> Any:
        return torch.sigmoid(self.head(self.encoder(a) * self.encoder(b)))


def prefixed(prefix: str, answers: dict[str, str]) -> dict[str, str]:
    return {f"{prefix}{name}": answer for name, answer in answers.items()}


ATTN = prefixed("attn.", QKVO)
STACK = {
    "self_attn.in_proj_weight": "identity",
    "self_attn.out_proj.weight": "identity",
    "linear1.weight": "relu",
    "linear2.weight": "identity",
}
CROSS = {"multihead_attn.in_proj_weight": "identity", "multihead_attn.out_proj.weight": "identity"}

CASES = (
    Case(
        name="albert",
        make=Albert,
        input=ids(2, 5),
        following={
            "embed.weight": "identity",
            "mapping.weight": "identity",
            **ATTN,
            "ffn.weight": "gelu_tanh",
            "ffn_output.weight": "identity",
            "pooler.weight": "tanh",
        },
        preceding={"ffn_output.weight": "gelu_tanh", "mapping.weight": "identity"},
        norm_before={"ffn.weight": True, "pooler.weight": True, "ffn_output.weight": False},
    ),
    Case(
        name="t5",
        make=T5,
        input=ids(2, 5),
        following={
            "shared.weight": "identity",
            "relative.weight": "identity|softmax",
            **QKVO,
            "wi_0.weight": "gelu_tanh",
            "wi_1.weight": "identity",
            "wo.weight": "identity",
        },
        preceding={"wo.weight": "gelu_tanh", "o.weight": "identity"},
        flags={"wi_1.weight": frozenset({"gated"}), "q.weight": frozenset({"attention logit"})},
        norm_before={"wi_0.weight": True, "wi_1.weight": True, "q.weight": True, "wo.weight": False},
    ),
    Case(
        name="gptj",
        make=GptJ,
        input=data(2, 5, 8),
        following={
            **{
                f"{part}.{i}.{name}": answer
                for i in range(2)
                for part, answers in {
                    "attns": QKVO,
                    "fc_in": {"weight": "gelu_tanh"},
                    "fc_out": {"weight": "identity"},
                }.items()
                for name, answer in answers.items()
            }
        },
        preceding={"fc_out.0.weight": "gelu_tanh", "fc_out.1.weight": "gelu_tanh"},
        norm_before={"fc_in.0.weight": True, "attns.1.v.weight": True},
    ),
    Case(
        name="gpt2",
        make=Gpt2,
        input=ids(2, 5),
        following={
            "wte.weight": "identity",
            "wpe.weight": "identity",
            "lm_head.weight": "identity",
            "c_attn.weight": "identity",
            "c_proj.weight": "identity",
            "c_fc.weight": "gelu_tanh",
            "mlp_proj.weight": "identity",
        },
        preceding={"mlp_proj.weight": "gelu_tanh", "c_proj.weight": "identity"},
        norm_before={"c_attn.weight": True, "c_fc.weight": True, "mlp_proj.weight": False},
    ),
    Case(
        name="mamba",
        make=Mamba,
        input=data(2, 5, 4),
        following={
            "in_proj.weight": "silu",
            "conv1d.weight": "silu",
            "x_proj.weight": "identity",
            "dt_proj.weight": "softplus",
            "A_log": "?",
            "out_proj.weight": "identity",
        },
        preceding={"x_proj.weight": "silu", "dt_proj.weight": "identity", "conv1d.weight": "identity"},
        norm_before={"in_proj.weight": True},
    ),
    Case(
        name="s4d",
        make=S4D,
        input=data(2, 4, 9),
        following={
            "C": "gelu",
            "D": "gelu",
            "log_a": "gelu",
            "a_imaginary": "gelu",
            "output.weight": "glu",
        },
        preceding={"output.weight": "gelu"},
    ),
    Case(
        name="rwkv_channel_mix",
        make=RwkvChannelMix,
        input=data(2, 5, 6),
        following={
            "mix_k": "identity",
            "mix_r": "identity",
            "key.weight": "relu_squared",
            "receptance.weight": "sigmoid",
            "value.weight": "identity",
        },
        preceding={"value.weight": "relu_squared", "key.weight": "identity"},
        flags={"value.weight": frozenset({"gated"})},
    ),
    Case(
        name="perceiver",
        make=Perceiver,
        input=data(2, 6, 5),
        following={
            "latents": "identity",
            **prefixed("cross.", QKVO),
            "ff1.weight": "gelu",
            "ff2.weight": "identity",
            "head.weight": "identity",
        },
        preceding={"ff2.weight": "gelu"},
        norm_before={"cross.k.weight": True, "ff1.weight": True},
    ),
    Case(
        name="tcn",
        make=Tcn,
        input=data(2, 3, 9),
        following={
            **{f"network.{i}.conv{j}.weight": "relu" for i in range(2) for j in (1, 2)},
            "network.0.downsample.weight": "relu",
            "linear.weight": "identity",
        },
        preceding={
            "network.0.conv1.weight": "identity",
            "network.0.conv2.weight": "relu",
            "network.1.conv1.weight": "relu",
            "linear.weight": "relu",
        },
        flags={
            "network.0.downsample.weight": frozenset({"add"}),
            "network.0.conv2.weight": frozenset({"-add"}),
        },
    ),
    Case(
        name="conformer_conv",
        make=ConformerConv,
        input=data(2, 7, 6),
        following={
            "pointwise1.weight": "glu",
            "depthwise.weight": "silu",
            "pointwise2.weight": "identity",
            "ff.weight": "silu",
        },
        preceding={"depthwise.weight": "glu", "pointwise2.weight": "silu"},
        flags={"depthwise.weight": frozenset({"norm"})},
        norm_before={"pointwise1.weight": True, "pointwise2.weight": False},
    ),
    Case(
        name="embedding_bag",
        make=BagOfWords,
        input=lambda: (ids(7)(), torch.tensor([0, 3])),
        following={"bag.weight": "identity", "fc1.weight": "relu", "fc2.weight": "identity"},
        preceding={"fc1.weight": "identity", "fc2.weight": "relu"},
    ),
    Case(
        name="rectified_bag",
        make=RectifiedBag,
        input=ids(2, 5),
        following={"bag.weight": "relu", "positions.weight": "relu", "fc.weight": "identity"},
        preceding={"fc.weight": "relu"},
    ),
    Case(
        name="text_cnn",
        make=TextCnn,
        input=ids(2, 6),
        following={
            "embed.weight": "identity",
            "convs.0.weight": "relu",
            "convs.1.weight": "relu",
            "fc.weight": "identity",
        },
        preceding={"convs.0.weight": "identity", "fc.weight": "relu"},
    ),
    Case(
        name="wave_encoder",
        make=WaveEncoder,
        input=data(2, 40),
        following={
            "conv0.weight": "gelu",
            "conv1.weight": "gelu",
            "project.weight": "identity",
            "positions.weight": "gelu",
            "head.weight": "identity",
        },
        preceding={"conv1.weight": "gelu", "project.weight": "gelu", "positions.weight": "identity"},
        norm_before={"project.weight": True, "conv1.weight": False},
    ),
    Case(
        name="bert_heads",
        make=BertHeads,
        input=lambda: {"input_ids": ids(2, 5)(), "token_type_ids": ids(2, 5, high=2)()},
        following={
            "words.weight": "identity",
            "positions.weight": "identity",
            "types.weight": "identity",
            **ATTN,
            "intermediate.weight": "gelu",
            "output.weight": "identity",
            "pooler.weight": "tanh",
            "relation.weight": "identity",
            "transform.weight": "gelu",
            "decoder.weight": "identity",
        },
        preceding={"output.weight": "gelu", "relation.weight": "tanh"},
        norm_before={"intermediate.weight": True, "pooler.weight": True, "transform.weight": True},
    ),
    Case(
        name="retrieval",
        make=Retrieval,
        input=lambda: (data(2, 4)(), data(3, 4)()[:2]),
        following={"encoder.0.weight": "relu", "encoder.2.weight": "identity", "head.weight": "sigmoid"},
        preceding={"encoder.2.weight": "relu", "head.weight": "identity"},
        flags={"encoder.2.weight": frozenset({"mul"})},
    ),
    Case(
        name="transformer",
        make=lambda: nn.Transformer(8, 2, 2, 2, 12, batch_first=True),
        input=lambda: (data(2, 5, 8)(), data(2, 3, 8)()),
        following={
            **{f"encoder.layers.{i}.{name}": answer for i in range(2) for name, answer in STACK.items()},
            **{f"decoder.layers.{i}.{name}": answer for i in range(2) for name, answer in {**STACK, **CROSS}.items()},
        },
        preceding={"encoder.layers.0.linear2.weight": "relu", "decoder.layers.1.linear2.weight": "relu"},
        norm_before={"encoder.layers.1.linear1.weight": True, "decoder.layers.0.linear1.weight": True},
    ),
    Case(
        name="transformer_encoder_norm_first",
        make=lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 12, activation=F.silu, batch_first=True, norm_first=True),
            2,
            norm=nn.LayerNorm(8),
            enable_nested_tensor=False,
        ),
        input=lambda: {"src": data(2, 5, 8)(), "src_key_padding_mask": torch.zeros(2, 5, dtype=torch.bool)},
        following={
            f"layers.{i}.{name}": "silu" if name == "linear1.weight" else answer
            for i in range(2)
            for name, answer in STACK.items()
        },
        preceding={"layers.0.linear2.weight": "silu"},
        norm_before={"layers.0.self_attn.in_proj_weight": True, "layers.1.linear1.weight": True},
    ),
)

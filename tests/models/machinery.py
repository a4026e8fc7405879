"""Machinery around the operations: checkpoints, scripts, compilers, hooks, caches, threads, other libraries."""

from __future__ import annotations

import random
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from models.basic import FunctionalRelu
from models.case import Case, data, ids
from models.gates import SwiGLU
from models.topology import RMSNorm

__all__ = ["CASES", "COMPILED"]

COMPILED: list[str] = []
"""One entry for every graph that the compiler of these cases was given."""


def eager_and_noted(graph: torch.fx.GraphModule, examples: list[Tensor]) -> Callable[..., Any]:
    COMPILED.append(type(graph).__name__)
    return graph.forward


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)
        self.reentrant = reentrant

    def block(self, x: Tensor) -> Tensor:
        return F.relu(self.fc1(x))

    def forward(self, x: Tensor) -> Any:
        x = x if x.requires_grad else x.detach().requires_grad_()
        return self.fc2(checkpoint(self.block, x, use_reentrant=self.reentrant))


class CheckpointedSequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))

    def forward(self, x: Tensor) -> Any:
        return checkpoint_sequential(self.blocks, 2, x, use_reentrant=False)  # type: ignore[no-untyped-call]


def quietly_scripted(thing: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out, and its models are around
        return torch.jit.script(thing)


class Scriptable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class HoldsScript(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = quietly_scripted(Scriptable())
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(x))


def scripted_swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


class CallsScript(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)
        self.act = quietly_scripted(scripted_swish)

    def forward(self, x: Tensor) -> Any:
        return self.fc2(self.act(self.fc1(x)))


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def compiled_in_place() -> nn.Module:
    model = FunctionalRelu()
    model.compile(backend=eager_and_noted)
    return model


class HoldsCompiled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.compile(plain(), backend=eager_and_noted)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Any:
        return self.head(torch.tanh(self.body(x)))


class DataDependent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        h = self.fc1(x)
        if h.abs().max() > 0:
            h = F.relu(h)
        return self.fc2(h)


class ReadsItem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        longest = int(lengths.max().item())
        return self.fc2(F.relu(self.fc1(x[:, :longest])))


class Vmapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)

    def row(self, x: Tensor) -> Tensor:
        return F.relu(self.fc1(x))

    def forward(self, x: Tensor) -> Any:
        return self.fc2(torch.vmap(self.row)(x))


class Under(nn.Module):
    """fc1 and relu under a context, fc2 outside of it."""

    def __init__(self, context: Callable[[], AbstractContextManager[Any]]) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)
        self.context = context

    def forward(self, x: Tensor) -> Any:
        with self.context():
            h = F.relu(self.fc1(x))
        return self.fc2(h.float())


def bfloat16() -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def relu_hook(module: nn.Module, given: Any, output: Tensor) -> Tensor:
    return F.relu(output)


def doubled(module: nn.Module, given: Any) -> Any:
    return (given[0] * 2,)


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))
    model[0].register_forward_hook(relu_hook)
    model[1].register_forward_pre_hook(doubled)
    return model


class CachesState(nn.Module):
    """LeViT's habit: what is looked up once in eval mode is kept, and a table grows with the input."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)
        self.offset = nn.Parameter(torch.randn(5, 6))
        self.cache: dict[str, Tensor] = {}
        self.calls = 0
        self.seen: list[tuple[int, ...]] = []
        self.register_buffer("table", torch.zeros(0), persistent=False)

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        self.seen.append(tuple(x.shape))
        if "offset" not in self.cache and not self.training:
            self.cache["offset"] = self.offset[torch.arange(x.shape[1])]
        if self.table.shape[0] < x.shape[1]:
            self.table = torch.arange(x.shape[1], dtype=torch.float32, device=x.device)
        offset = self.cache.get("offset", self.offset[: x.shape[1]])
        return self.fc2(F.relu(self.fc1(x) + offset + self.table[: x.shape[1], None] / 10))


class Counts(nn.Module):
    """Running statistics of torch's norms and of the module's own, in training mode."""

    average: Tensor
    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 2, 1)
        self.register_buffer("average", torch.zeros(4))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Any:
        h = self.bn(self.conv(x))
        with torch.no_grad():
            self.average.mul_(0.9).add_(h.mean((0, 2, 3)), alpha=0.1)
            self.steps += 1
        return self.head(F.relu(h))


class Clip(nn.Module):
    """Two towers and a temperature that forward clamps in place."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 5))
        self.text = nn.Sequential(nn.Linear(3, 6), nn.GELU(), nn.Linear(6, 5))
        self.logit_scale = nn.Parameter(torch.tensor(9.0))

    def forward(self, image: Tensor, text: Tensor) -> Any:
        with torch.no_grad():
            self.logit_scale.clamp_(0.0, 4.6052)
        a = F.normalize(self.image(image), dim=-1)
        b = self.text(text)
        b = b / b.norm(dim=-1, keepdim=True)
        return self.logit_scale.exp() * a @ b.t()


class Uncopyable(nn.Module):
    """Holds a lock, which nothing can copy."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)
        self.lock = threading.Lock()

    def forward(self, x: Tensor) -> Any:
        with self.lock:
            return self.fc2(F.relu(self.fc1(x)))


class RefusesCopy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 3)

    def __deepcopy__(self, memo: Any) -> RefusesCopy:
        raise RuntimeError("this model is one of a kind")

    def forward(self, x: Tensor) -> Any:
        return F.relu(self.fc1(x))


class WorkerThread(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        with ThreadPoolExecutor(1) as pool:
            h = pool.submit(self.work, x).result()
        return self.fc2(h)

    def work(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return F.relu(self.fc1(x))


class ThroughNumpy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        h = np.maximum(self.fc1(x).detach().cpu().numpy(), 0.0)
        return torch.tanh(self.fc2(torch.from_numpy(h)))


class Box:
    """An object that shows nothing of what it holds."""

    __slots__ = ("_held",)

    def __init__(self, held: Tensor) -> None:
        self._held = held


class OpaqueOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        return Box(self.fc2(F.relu(self.fc1(x))))


class Rotary(nn.Module):
    """Causal attention with rotary positions, as in Llama."""

    inverse: Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.register_buffer("inverse", 1e4 ** (-torch.arange(0, self.size, 2) / self.size), persistent=False)

    def turn(self, x: Tensor, angles: Tensor) -> Tensor:
        half = self.size // 2
        turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
        return x * angles.cos() + turned * angles.sin()

    def forward(self, x: Tensor) -> Any:
        b, n, d = x.shape
        angles = torch.outer(torch.arange(n, device=x.device, dtype=torch.float32), self.inverse).repeat(1, 2)
        q, k, v = (p(x).view(b, n, self.heads, -1).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        h = F.scaled_dot_product_attention(self.turn(q, angles), self.turn(k, angles), v, is_causal=True)
        return self.o_proj(h.transpose(1, 2).reshape(b, n, d))


class LlamaBlock(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.attn = Rotary(width, heads)
        self.mlp = SwiGLU(width, hidden)

    def forward(self, x: Tensor) -> Any:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Llama(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, layers: int, words: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.layers = nn.ModuleList(LlamaBlock(width, heads, hidden) for _ in range(layers))
        self.norm = RMSNorm(width)
        self.lm_head = nn.Linear(width, words, bias=False)

    def forward(self, tokens: Tensor) -> Any:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


def llama_on_meta() -> nn.Module:
    with torch.device("meta"):
        return Llama(4096, 32, 11008, 32, 32000)


def llama_answers(layers: int) -> dict[str, str]:
    answers = {"embed.weight": "identity", "lm_head.weight": "identity"}
    for i in range(layers):
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            answers[f"layers.{i}.attn.{name}.weight"] = "identity"
        answers[f"layers.{i}.mlp.gate.weight"] = "silu"
        answers[f"layers.{i}.mlp.up.weight"] = "identity"
        answers[f"layers.{i}.mlp.down.weight"] = "identity"
    return answers


class DrawsElsewhere(nn.Module):
    """Layer drop by Python's random, jitter by NumPy's."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 4)
        self.fc2 = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        x = x + float(np.random.uniform(-0.01, 0.01))
        if not self.training or random.random() > 0.1:
            x = x + F.relu(self.fc1(x))
        return self.fc2(x)


@dataclass
class Batch:
    features: Tensor
    extra: dict[str, Tensor]


@dataclass
class Result:
    logits: Tensor
    hidden: tuple[Tensor, ...] = ()


class Dataclasses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(3, 6)
        self.out = nn.Linear(6, 2)

    def forward(self, batch: Batch) -> Any:
        h = F.relu(self.fc1(batch.features) + self.fc2(batch.extra["side"]))
        return Result(logits=self.out(h), hidden=(h,))


class NestedDicts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, batch: dict[str, Any], *, scale: float = 1.0) -> Any:
        h = self.embed(batch["text"]["ids"]) * batch["text"]["mask"].unsqueeze(-1)
        return {"logits": self.fc2(torch.tanh(self.fc1(h.sum(1)))) * scale, "nothing": None}


class KeywordsOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(3, 6)
        self.out = nn.Linear(6, 2)

    def forward(self, *, image: Tensor, text: Tensor | None = None, flag: bool = False) -> Any:
        h = self.fc1(image)
        if text is not None and flag:
            h = h * torch.sigmoid(self.fc2(text))
        return self.out(F.silu(h))


class ReturnsNone(nn.Module):
    """Keeps its loss for later and returns nothing, as training steps do."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)
        self.loss: Tensor | None = None

    def forward(self, x: Tensor) -> Any:
        self.loss = self.fc2(F.relu(self.fc1(x))).pow(2).mean()


class ConstantBuffers(nn.Module):
    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((3, 1, 1), 0.5))
        self.register_buffer("deviation", torch.full((3, 1, 1), 0.25))
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("scale", torch.full((4, 1, 1), 2.0))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        x = (x - self.mean) / self.deviation
        return self.head(F.relu(self.conv(x) * self.scale))


class InnerGrad(nn.Module):
    """An energy whose gradient with respect to the input is the output: forward needs autograd."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Any:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            energy = self.fc2(F.softplus(self.fc1(x)))
            (force,) = torch.autograd.grad(energy.sum(), x, create_graph=self.training)
        return energy, -force


class FunctionalCall(nn.Module):
    """Its own layer, called as a function of its own parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        h = torch.func.functional_call(self.fc1, dict(self.fc1.named_parameters()), (x,))
        return self.fc2(F.relu(h))


class Ensemble(nn.Module):
    """vmap over stacked weights."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.b1 = nn.Parameter(torch.randn(3, 6, 4)), nn.Parameter(torch.zeros(3, 6))
        self.w2 = nn.Parameter(torch.randn(3, 2, 6))

    def forward(self, x: Tensor) -> Any:
        def member(w1: Tensor, b1: Tensor, w2: Tensor) -> Tensor:
            return F.linear(torch.tanh(F.linear(x, w1, b1)), w2)

        return torch.vmap(member)(self.w1, self.b1, self.w2).mean(0)


class Patched(nn.Module):
    """A layer whose forward was replaced by a closure over the old one."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(6, 3)
        old = self.fc1.forward
        self.fc1.forward = lambda input: F.relu(old(input))  # type: ignore[method-assign]

    def forward(self, x: Tensor) -> Any:
        return self.fc2(self.fc1(x))


class Renormalized(nn.Module):
    """Looking a word up shrinks its row in place."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 6, max_norm=0.5)
        self.fc = nn.Linear(6, 3)

    def forward(self, tokens: Tensor) -> Any:
        return self.fc(torch.tanh(self.embed(tokens)))


class Reseeds(nn.Module):
    """Seeds every generator inside of forward."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        torch.manual_seed(1)
        np.random.seed(2)
        random.seed(3)
        return self.fc2(F.relu(self.fc1(x) + torch.randn(6)))


class SparseGraph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 6))
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor, adjacency: Tensor) -> Any:
        return self.fc(F.relu(torch.sparse.mm(adjacency, x @ self.weight)))


def sparse() -> Tensor:
    return torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.5], [2.0, 0.0, 0.0]]).to_sparse()


class ThroughList(nn.Module):
    """A detour through Python numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        return self.fc2(torch.tensor(self.fc1(x).tolist()))


class Losses(nn.Module):
    """Three heads, three losses."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 6)
        self.a, self.b, self.c = nn.Linear(6, 3), nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor, target: Tensor) -> Any:
        h = F.relu(self.body(x))
        whole = F.one_hot(target, 3).float()
        a = F.binary_cross_entropy_with_logits(self.a(h), whole)
        b = F.binary_cross_entropy(torch.sigmoid(self.b(h)), whole)
        return a + b + F.nll_loss(F.log_softmax(self.c(h), -1), target)


class PlainList(nn.Module):
    """Layers called through a plain list, a dict of functions and getattr."""

    def __init__(self) -> None:
        super().__init__()
        for i in range(3):
            setattr(self, f"fc{i}", nn.Linear(4, 4))
        self.order = ["fc2", "fc0", "fc1"]
        self.acts: dict[str, Callable[[Tensor], Tensor]] = {"fc0": F.relu, "fc1": torch.tanh, "fc2": F.silu}

    def forward(self, x: Tensor) -> Any:
        for name in self.order:
            x = self.acts[name](getattr(self, name)(x))
        return x


def under(name: str, context: Callable[[], AbstractContextManager[Any]]) -> Case:
    return Case(
        name=name,
        make=lambda: Under(context),
        input=data(2, 4),
        following={"fc1.weight": "relu", "fc2.weight": "identity"},
        preceding={"fc1.weight": "identity", "fc2.weight": "relu"},
    )


def simple(name: str, make: Callable[[], nn.Module], answer: str = "relu") -> Case:
    """fc1, one activation, fc2 to the output."""
    return Case(
        name=name,
        make=make,
        input=data(2, 4),
        following={"fc1.weight": answer, "fc2.weight": "identity"},
        preceding={"fc1.weight": "identity", "fc2.weight": answer},
    )


CASES = (
    simple("checkpoint_reentrant", lambda: Checkpointed(True)),
    simple("checkpoint", lambda: Checkpointed(False)),
    Case(
        name="checkpoint_sequential",
        make=CheckpointedSequence,
        input=data(2, 4),
        following={"blocks.0.weight": "silu", "blocks.2.weight": "tanh", "blocks.4.weight": "identity"},
        preceding={"blocks.2.weight": "silu", "blocks.4.weight": "tanh"},
    ),
    Case(
        name="script_module",
        make=HoldsScript,
        input=data(2, 3, 6, 6),
        following={"body.conv.weight": "relu", "head.weight": "identity"},
        preceding={"head.weight": "relu"},
    ),
    simple("script_function", CallsScript, "silu"),
    simple("compiled_in_place", compiled_in_place),
    Case(
        name="compiled_submodule",
        make=HoldsCompiled,
        input=data(2, 4),
        following={
            "body._orig_mod.0.weight": "relu",
            "body._orig_mod.2.weight": "tanh",
            "head.weight": "identity",
        },
        preceding={"body._orig_mod.2.weight": "relu", "head.weight": "tanh"},
    ),
    simple("data_dependent_if", DataDependent),
    Case(
        name="reads_item",
        make=ReadsItem,
        input=lambda: (data(2, 5, 4)(), torch.tensor([3, 2])),
        following={"fc1.weight": "relu", "fc2.weight": "identity"},
        preceding={"fc2.weight": "relu"},
    ),
    simple("vmapped", Vmapped),
    under("autocast", bfloat16),
    under("inference_mode", torch.inference_mode),
    under("no_grad", torch.no_grad),
    Case(
        name="activation_in_a_hook",
        make=hooked,
        input=data(2, 4),
        following={"0.weight": "relu", "1.weight": "identity"},
        preceding={"1.weight": "relu"},
    ),
    Case(
        name="cached_state",
        make=lambda: CachesState().eval(),
        input=data(2, 5, 4),
        following={"fc1.weight": "relu", "offset": "relu", "fc2.weight": "identity"},
        preceding={"fc2.weight": "relu"},
        flags={"fc1.weight": frozenset({"-add"})},
    ),
    Case(
        name="batch_norm_counters",
        make=lambda: Counts().train(),
        input=data(2, 3, 6, 6),
        following={"conv.weight": "relu", "bn.weight": "relu", "head.weight": "identity"},
        preceding={"head.weight": "relu"},
    ),
    Case(
        name="logit_scale_clamp",
        make=Clip,
        input=lambda: (data(2, 4)(), data(2, 3)()),
        following={
            "image.0.weight": "gelu",
            "image.2.weight": "identity",
            "text.0.weight": "gelu",
            "text.2.weight": "identity",
        },
        preceding={"image.2.weight": "gelu", "text.2.weight": "gelu"},
    ),
    Case(name="cannot_be_copied", make=Uncopyable, input=data(2, 4), following={}, fails=("copied",)),
    Case(name="refuses_to_be_copied", make=RefusesCopy, input=data(2, 4), following={}, fails=("copied", "kind")),
    Case(
        name="worker_thread",
        make=WorkerThread,
        input=data(2, 4),
        following={"fc1.weight": "relu|unresolved", "fc2.weight": "identity"},
    ),
    Case(
        name="through_numpy",
        make=ThroughNumpy,
        input=data(2, 4),
        following={"fc1.weight": "unresolved", "fc2.weight": "tanh"},
    ),
    Case(
        name="opaque_output",
        make=OpaqueOutput,
        input=data(2, 4),
        following={"fc1.weight": "relu", "fc2.weight": "unresolved"},
        preceding={"fc2.weight": "relu"},
    ),
    Case(
        name="meta_7b",
        make=llama_on_meta,
        input=lambda: torch.zeros(1, 8, dtype=torch.long, device="meta"),
        following=llama_answers(32),
        preceding={"layers.3.mlp.down.weight": "silu"},
        flags={
            "layers.7.attn.q_proj.weight": frozenset({"attention logit"}),
            "layers.7.mlp.up.weight": frozenset({"gated"}),
        },
        norm_before={"layers.1.mlp.gate.weight": True, "layers.1.attn.v_proj.weight": True, "lm_head.weight": True},
    ),
    Case(
        name="llama",
        make=lambda: Llama(8, 2, 12, 2, 10),
        input=ids(2, 5),
        following=llama_answers(2),
        preceding={"layers.0.mlp.down.weight": "silu", "layers.1.attn.o_proj.weight": "identity"},
        flags={
            "layers.0.attn.q_proj.weight": frozenset({"attention logit"}),
            "layers.0.attn.v_proj.weight": frozenset({"-attention logit"}),
            "layers.1.mlp.up.weight": frozenset({"gated"}),
        },
        norm_before={"layers.1.mlp.gate.weight": True, "layers.0.mlp.down.weight": False, "lm_head.weight": True},
    ),
    simple("draws_elsewhere", lambda: DrawsElsewhere().train()),
    Case(
        name="dataclass_in_and_out",
        make=Dataclasses,
        input=lambda: (Batch(features=data(2, 4)(), extra={"side": data(2, 3)()}),),
        following={"fc1.weight": "relu", "fc2.weight": "relu", "out.weight": "identity"},
        preceding={"out.weight": "relu"},
    ),
    Case(
        name="nested_dict_input",
        make=NestedDicts,
        input=lambda: ({"text": {"ids": ids(2, 5)(), "mask": torch.ones(2, 5)}},),
        following={"embed.weight": "identity", "fc1.weight": "tanh", "fc2.weight": "identity"},
        preceding={"fc2.weight": "tanh"},
    ),
    Case(
        name="keywords_only",
        make=KeywordsOnly,
        input=lambda: {"image": data(2, 4)(), "text": data(2, 3)(), "flag": True},
        following={"fc1.weight": "silu", "fc2.weight": "sigmoid", "out.weight": "identity"},
        preceding={"out.weight": "silu"},
    ),
    Case(
        name="returns_none",
        make=ReturnsNone,
        input=data(2, 4),
        following={"fc1.weight": "relu", "fc2.weight": "identity|unresolved"},
        preceding={"fc2.weight": "relu"},
    ),
    Case(
        name="constant_buffers",
        make=ConstantBuffers,
        input=data(2, 3, 6, 6),
        following={"conv.weight": "relu", "head.weight": "identity"},
        preceding={"conv.weight": "identity", "head.weight": "relu"},
        flags={"conv.weight": frozenset({"-add", "-gated", "-norm"})},
        norm_before={"conv.weight": False},
    ),
    Case(
        name="inner_gradient",
        make=InnerGrad,
        input=data(2, 4),
        following={"fc1.weight": "softplus", "fc2.weight": "identity"},
        preceding={"fc2.weight": "softplus"},
        also=("sigmoid", "custom"),
    ),
    simple("functional_call", FunctionalCall),
    Case(
        name="ensemble",
        make=Ensemble,
        input=data(2, 4),
        following={"w1": "tanh", "b1": "tanh", "w2": "identity"},
        preceding={"w1": "identity", "w2": "tanh"},
    ),
    simple("patched_forward", Patched),
    Case(
        name="embedding_max_norm",
        make=Renormalized,
        input=ids(2, 5),
        following={"embed.weight": "tanh", "fc.weight": "identity"},
        preceding={"fc.weight": "tanh"},
    ),
    simple("reseeds", Reseeds),
    Case(
        name="sparse_graph",
        make=SparseGraph,
        input=lambda: (data(3, 4)(), sparse()),
        following={"weight": "relu", "fc.weight": "identity"},
        preceding={"weight": "identity", "fc.weight": "relu"},
    ),
    Case(
        name="through_a_list",
        make=ThroughList,
        input=data(2, 4),
        following={"fc1.weight": "unresolved", "fc2.weight": "identity"},
    ),
    Case(
        name="losses",
        make=Losses,
        input=lambda: (data(2, 4)(), torch.tensor([0, 2])),
        following={
            "body.weight": "relu",
            "a.weight": "identity",
            "b.weight": "sigmoid",
            "c.weight": "log_softmax",
        },
        preceding={"a.weight": "relu", "b.weight": "relu", "c.weight": "relu"},
    ),
    Case(
        name="plain_list",
        make=PlainList,
        input=data(2, 4),
        following={"fc0.weight": "relu", "fc1.weight": "tanh", "fc2.weight": "silu"},
        preceding={"fc2.weight": "identity", "fc0.weight": "silu", "fc1.weight": "relu"},
        previous={"fc2.weight": None, "fc0.weight": "fc2", "fc1.weight": "fc0"},
    ),
    Case(
        name="data_parallel",
        make=lambda: nn.DataParallel(plain()),
        input=data(2, 4),
        following={"module.0.weight": "relu", "module.2.weight": "identity"},
        preceding={"module.2.weight": "relu"},
    ),
    Case(
        name="bfloat16",
        make=lambda: plain().to(torch.bfloat16),
        input=lambda: data(2, 4)().to(torch.bfloat16),
        following={"0.weight": "relu", "2.weight": "identity"},
        preceding={"2.weight": "relu"},
    ),
    Case(
        name="float64",
        make=lambda: plain().double(),
        input=lambda: data(2, 4)().double(),
        following={"0.weight": "relu", "2.weight": "identity"},
        preceding={"2.weight": "relu"},
    ),
    Case(
        name="channels_last",
        make=lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish(), nn.Conv2d(4, 2, 1)).to(
            memory_format=torch.channels_last  # type: ignore[call-overload]
        ),
        input=lambda: data(2, 3, 6, 6)().to(memory_format=torch.channels_last),
        following={"0.weight": "hardswish", "2.weight": "identity"},
        preceding={"2.weight": "hardswish"},
    ),
)

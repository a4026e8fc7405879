"""Small real models, and words for what was planned for them."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrizations

from initpolicy.facts.sequential import find_in_sequentials
from initpolicy.facts.survey import survey_model
from initpolicy.load import load_policy
from initpolicy.plan import Plan, make_plan
from initpolicy.records import ModelFacts

__all__ = [
    "Adapted",
    "Attention",
    "Cnn",
    "Experts",
    "Gpt",
    "Mlp",
    "Moe",
    "Tagger",
    "TiedLm",
    "decisions",
    "facts_of",
    "half_precision",
    "initializers_of",
    "normed",
    "plan",
    "planned",
    "random_state",
    "rule",
    "weights_of",
]


class Cnn(nn.Module):
    """A stem in a Sequential, a grouped and a transposed convolution, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, 8, 3, bias=False),
                bn1=nn.BatchNorm2d(8),
                act1=nn.ReLU(),
                conv2=nn.Conv2d(8, 8, 3, groups=4),
                act2=nn.LeakyReLU(0.2),
            )
        )
        self.up = nn.ConvTranspose2d(8, 4, 4, stride=2)
        self.fc = nn.Linear(4, 5)


class Tagger(nn.Module):
    """A lookup table with a padding row, a recurrent layer, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.tok = nn.Embedding(10, 6, padding_idx=0)
        self.rnn = nn.LSTM(6, 8)
        self.fc = nn.Linear(8, 3)


class TiedLm(nn.Module):
    """A language model whose head is its table."""

    def __init__(self, *, head_first: bool = False) -> None:
        super().__init__()
        tok, head = nn.Embedding(10, 6), nn.Linear(6, 10, bias=False)
        head.weight = tok.weight
        for name, module in reversed([("tok", tok), ("head", head)]) if head_first else [("tok", tok), ("head", head)]:
            self.add_module(name, module)
        self.norm = nn.LayerNorm(6)


class Experts(nn.Module):
    """Four experts in one tensor each way."""

    def __init__(self) -> None:
        super().__init__()
        self.num_experts = 4
        self.up = nn.Parameter(torch.zeros(4, 16, 8))
        self.down = nn.Parameter(torch.zeros(4, 8, 16))
        self.up_bias = nn.Parameter(torch.zeros(4, 16))


class Moe(nn.Module):
    """A router and its experts, and a scale that no module of torch owns."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(8, 4, bias=False)
        self.experts = Experts()
        self.scale = nn.Parameter(torch.ones(8))


class Attention(nn.Module):
    """Self-attention with queries, keys and values packed in one Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.proj = nn.Linear(8, 8)


class Block(nn.Module):
    """One layer of `Gpt`."""

    def __init__(self) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(8)
        self.attn = Attention()
        self.mlp = nn.Sequential(OrderedDict(fc=nn.Linear(8, 16), act=nn.GELU(), proj=nn.Linear(16, 8)))


class Gpt(nn.Module):
    """Three blocks in a list, under the names that GPT-2 has."""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(12, 8)
        self.h = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(8, 12, bias=False)


class Adapted(nn.Module):
    """A layer with low-rank adapters beside it: ``b`` starts at zero, so that nothing changes at first."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(8, 8)
        self.lora_a = nn.ModuleDict({"default": nn.Linear(8, 2, bias=False)})
        self.lora_b = nn.ModuleDict({"default": nn.Linear(2, 8, bias=False)})
        nn.init.zeros_(self.lora_b["default"].weight)  # type: ignore[arg-type]  # a Linear's


class Mlp(nn.Sequential):
    """Linear, ReLU, Linear: all activations are found."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def normed() -> nn.Module:
    """An `Mlp` whose first weight is a direction and a length."""
    model = Mlp()
    parametrizations.weight_norm(model[0])
    return model


def half_precision() -> nn.Module:
    """An `Mlp` in float16."""
    return Mlp().half()


# --- planning ------------------------------------------------------------------------------------


def rule(init: Mapping[str, Any] | str | float, expect: object = None, **match: Any) -> dict[str, Any]:
    """A rule as plain data; ``init`` that is one spec is for all parameters, ``not_`` is ``not``."""
    if "not_" in match:
        match["not"] = match.pop("not_")
    init = init if isinstance(init, Mapping) and not {"name", "call"} & init.keys() else {"*": init}
    return {"match": match, "init": init, **({} if expect is None else {"expect": expect})}


def facts_of(model: nn.Module) -> ModelFacts:
    """What a plan is made of, with activations as they are known without running the model."""
    return survey_model(model, find_in_sequentials(model))


def planned(model: nn.Module, policy: str | Mapping[str, Any], *, trusted: Sequence[str] = (), **rest: Any) -> Plan:
    """As `plan_policy`, from `facts_of` the model."""
    return make_plan(load_policy(policy), facts_of(model), trusted=tuple(trusted), **rest)


def plan(model: nn.Module, rules: Mapping[str, Any], **rest: Any) -> Plan:
    """The plan of a policy with these rules; what `planned` takes besides goes to it, all else to the policy."""
    given = {key: rest.pop(key) for key in ("initializers", "trusted") if key in rest}
    return planned(model, {"rules": rules, **rest}, **given)


def decisions(plan: Plan) -> dict[str, str]:
    """Name -> the rule that won, or else the status."""
    return {a.name: a.rule if a.status == "initialized" else a.status for a in plan.assignments}


def initializers_of(plan: Plan) -> dict[str, tuple[str, dict[str, object]]]:
    """Name -> initializer and its arguments, of what is initialized."""
    return {a.name: (a.initializer, dict(a.arguments)) for a in plan.assignments if a.status == "initialized"}


# --- what must not change ------------------------------------------------------------------------


def weights_of(model: nn.Module) -> dict[str, object]:
    """Every parameter and buffer by name: identity, type, and bytes."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: (id(tensor), str(tensor.dtype), tensor.device.type, _bytes(tensor)) for name, tensor in tensors}


def _bytes(tensor: Tensor) -> object:
    if isinstance(tensor, UninitializedParameter):
        return None
    if tensor.is_meta:
        return tuple(tensor.shape)
    flat = tensor.detach().reshape(-1).contiguous()
    return tuple(tensor.shape), flat.view(torch.uint8).numpy().tobytes()


def random_state() -> tuple[object, ...]:
    """The state of every generator of the process."""
    legacy: Any = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), legacy[1].tobytes(), legacy[2:], random.getstate()

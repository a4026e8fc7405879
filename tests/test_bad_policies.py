"""Broken policies: the whole message of each, and a model that is as it was, to the byte, after every one of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import torch
from planning_parts import (
    Attention,
    Cnn,
    Gpt,
    Mlp,
    Moe,
    Tagger,
    TiedLm,
    half_precision,
    normed,
    random_state,
    weights_of,
)
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrize

from initpolicy.api import apply_policy, plan_policy
from initpolicy.apply import write
from initpolicy.errors import ApplyError, InitPolicyError, PlanError, PolicyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A policy that is wrong, the model it is applied to, and all that is said of it."""

    id: str
    model: Callable[[], nn.Module] = Mlp
    rules: str = ""
    """YAML of ``rules``."""
    rest: str = ""
    """YAML of what stands beside them; parameters that are not matched are no matter unless it says so."""
    text: str | None = None
    """The whole file, instead."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    error: type[InitPolicyError]
    lines: list[str]
    """The message, without the policy's name before each line."""


def policy(rules: str, rest: str) -> str:
    """The file's text."""
    rest = rest if "unmatched" in rest else f"{rest}\nunmatched: keep"
    return f"seed: 7\nrules:\n{indent(rules, '  ')}\n{rest}\n"


TRUSTED: Mapping[str, Any] = {"trusted": ["users_code"]}


def brain_float() -> nn.Module:
    return Mlp().bfloat16()


def frozen() -> nn.Module:
    model = Cnn()
    model.stem.requires_grad_(False)
    return model


def quantized() -> nn.Module:
    model = Mlp()
    model[0].weight = nn.Parameter(torch.zeros(8, 4, dtype=torch.int8), requires_grad=False)
    return model


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(2))


def meta() -> nn.Module:
    with torch.device("meta"):
        return Mlp()


def spoilt() -> nn.Module:
    model: Any = Mlp()
    with torch.no_grad():
        model[0].bias[1] = math.nan
    return model  # type: ignore[no-any-return]  # an Mlp


class Doubled(nn.Module):
    """A parametrization of which no one knows the way back."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return 2 * weight


def one_way() -> nn.Module:
    model = Mlp()
    parametrize.register_parametrization(model[2], "weight", Doubled())
    return model


def lay_out(folder: Path) -> None:
    """The files that policies name."""
    (folder / "notes.pt").write_text("no tensors")
    save_file({"net.0.weight": torch.ones(4, 8)}, folder / "w.safetensors")


ROWS = (
    # reading: no model is asked
    Row(id="empty file", text="", error=PolicyError, lines=["is empty; a policy is a mapping with 'rules'"]),
    Row(
        id="comments alone",
        text="# rules: none\n",
        error=PolicyError,
        lines=["is empty; a policy is a mapping with 'rules'"],
    ),
    Row(
        id="no mapping",
        text="- he_relu\n",
        error=PolicyError,
        lines=["a policy is a mapping with 'rules'; this file holds a list"],
    ),
    Row(
        id="tabs",
        text=("rules:\n\tall: {init: {weight: 0}}\n"),
        error=PolicyError,
        lines=["line 2, column 1: is not YAML: found character '\\t' that cannot start any token; indent with spaces"],
    ),
    Row(
        id="a bracket too few",
        text="rules: {all: {init: {weight: 0}}\n",
        error=PolicyError,
        lines=["line 2, column 1: is not YAML: expected ',' or '}', but got '<stream end>'"],
    ),
    Row(
        id="an anchor that holds itself",
        text="rules: &a {all: *a}\n",
        error=PolicyError,
        lines=["line 1, column 8: an anchor here holds an alias of itself"],
    ),
    Row(
        id="an alias of nothing",
        text="rules: {all: {init: {weight: *std}}}\n",
        error=PolicyError,
        lines=["line 1, column 30: is not YAML: found undefined alias 'std'"],
    ),
    Row(
        id="the same key twice",
        text=("rules:\n  all: {init: {weight: 0}}\n  all: {init: {bias: 0}}\n"),
        error=PolicyError,
        lines=["line 3, column 3: is not YAML: found duplicate key all"],
    ),
    Row(
        id="a huge exponent",
        text="rules: {all: {init: {weight: 9**9**9}}}\n",
        error=PolicyError,
        lines=[
            "rules.all.init.weight: '9**9**9' is no initializer's name; a formula goes into {name: constant, value: …}"
        ],
    ),
    Row(
        id="a huge exponent in a formula",
        text='rules: {all: {init: {weight: {name: normal, std: "9**9**9"}}}}\n',
        error=PolicyError,
        lines=["rules.all.init.weight.std: is not a number: '9**9**9' has no finite value: 9 ** 9 ** 9"],
    ),
    Row(
        id="infinity",
        text="rules: {all: {init: {weight: .inf}}}\n",
        error=PolicyError,
        lines=["rules.all.init.weight: must be finite, not inf"],
    ),
    Row(
        id="no rules",
        text=("name: nothing\nseed: 3\n"),
        error=PolicyError,
        lines=["rules: is required: a mapping of rule names to rules"],
    ),
    Row(
        id="rules without rules",
        text="rules: {}\n",
        error=PolicyError,
        lines=["rules: is empty; write a mapping of rule names to rules"],
    ),
    Row(
        id="a list of rules",
        text="rules: [{init: {weight: 0}}]\n",
        error=PolicyError,
        lines=["rules: must be a mapping of rule names to rules, not a list"],
    ),
    Row(
        id="unknown keys at each level",
        text=("rule: {}\nrules: {stem: {match: {activaton: relu}, inits: {}, init: {weight: 0}}}\n"),
        error=PolicyError,
        lines=[
            "rule: unknown key; did you mean 'rules'?",
            "rules.stem.match.activaton: unknown key; did you mean 'activation'?",
            "rules.stem.inits: unknown key; did you mean 'init'?",
        ],
    ),
    Row(
        id="a rule without init",
        text="rules: {stem: {match: {type: Conv2d}}}\n",
        error=PolicyError,
        lines=["rules.stem.init: is required: a mapping such as {weight: kaiming_normal, bias: 0}"],
    ),
    Row(
        id="a regex that is none",
        text="rules: {stem: {match: {name: 'h.(?P<layer>\\d+'}, init: {weight: 0}}}\n",
        error=PolicyError,
        lines=[
            (
                "rules.stem.match.name: 'h.(?P<layer>\\\\d+' is not a regular expression: missing ), unterminated "
                "subpattern at position 2"
            )
        ],
    ),
    Row(
        id="a group that hides a fact",
        text="rules: {stem: {match: {name: '(?P<fan_in>\\d)'}, init: {weight: 0}}}\n",
        error=PolicyError,
        lines=["rules.stem.match.name: group 'fan_in' hides the fact of that name; name it otherwise"],
    ),
    Row(
        id="a formula that is none",
        text='rules: {stem: {match: {where: "fan_in = 3"}, init: {weight: 0}}}\n',
        error=PolicyError,
        lines=["rules.stem.match.where: 'fan_in = 3' is not a formula: write '==' to compare"],
    ),
    Row(
        id="an attribute in a formula",
        text='rules: {stem: {match: {where: "().__class__"}, init: {weight: 0}}}\n',
        error=PolicyError,
        lines=[
            (
                "rules.stem.match.where: '().__class__': attributes such as '.__class__' cannot be read in a "
                "formula; give it a name under 'vars'"
            )
        ],
    ),
    Row(
        id="words for switches",
        text=("rules: {stem: {init: {weight: 0}}}\nunused: warning\nfrozen: yes\nexclude: {type: Linear}\n"),
        error=PolicyError,
        lines=[
            "unused: must be one of ignore, warn, error, not 'warning'; did you mean 'warn'?",
            "frozen: must be one of skip, init, not true",
            "exclude: must be a list of matches, not a mapping; put a dash before it",
        ],
    ),
    Row(
        id="seeds",
        text=("rules: {stem: {init: {weight: 0}}}\nseed: -1\n"),
        error=PolicyError,
        lines=["seed: must be a whole number from 0 to 2**63 - 1, or null, not -1"],
    ),
    Row(
        id="a spec of nothing",
        text="rules: {stem: {init: {weight: , bias: []}}}\n",
        error=PolicyError,
        lines=[
            "rules.stem.init.weight: is empty; write an initializer's name, a number, a mapping, or keep",
            "rules.stem.init.bias: must be an initializer's name, a number or a mapping, not a list",
        ],
    ),
    Row(
        id="a target of Hydra's",
        text="rules: {stem: {init: {weight: {_target_: os.system, command: ls}}}}\n",
        error=PolicyError,
        lines=[
            (
                "rules.stem.init.weight: _target_ 'os.system': only torch.nn.init functions are read as "
                "initializers; for a function of your own write 'call' and trust its package in the program"
            )
        ],
    ),
    Row(
        id="an interpolation that is not there",
        text="rules: {stem: {init: {weight: '${std}'}}}\n",
        error=PolicyError,
        lines=["rules.stem.init.weight: '${std}' cannot be resolved: Interpolation key 'std' not found"],
    ),
    Row(
        id="blocks without parts",
        text="rules: {stem: {init: {weight: {name: blocks, split: 3}}}}\n",
        error=PolicyError,
        lines=["rules.stem.init.weight: blocks takes parts, dim and layout, not 'split'"],
    ),
    Row(
        id="defaults that are not there",
        text=("defaults: [he_rleu]\nrules: {stem: {init: {weight: 0}}}\n"),
        error=PolicyError,
        lines=["defaults.0: no policy 'he_rleu' beside policy.yaml; did you mean 'he_relu'?"],
    ),
    Row(
        id="YAML that would build objects",
        text="rules: !!python/object/apply:os.getcwd []\n",
        error=PolicyError,
        lines=["line 1, column 8: the tag !!python/object/apply:os.getcwd has no place in a policy"],
    ),
    # checking: initializers and their arguments, whatever the model
    Row(
        id="unknown initializer",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: kaming_normal}}",
        error=PolicyError,
        lines=["rules.x.init.weight: unknown initializer 'kaming_normal'; did you mean 'kaiming_normal'?"],
    ),
    Row(
        id="unknown initializer like none",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: zzz}}",
        error=PolicyError,
        lines=[
            (
                "rules.x.init.weight: unknown initializer 'zzz'; known are bernoulli, bilinear, blocks, constant, "
                "delta_orthogonal, dirac, exponential, eye, formula, gates, icnr, inherit, kaiming_normal, "
                "kaiming_uniform, keep, lecun_normal, lecun_uniform, log_normal, log_uniform, normal, "
                "normalized, ones, orthogonal, poisson, pretrained, sparse, trunc_normal, uniform, "
                "variance_scaling, xavier_normal, xavier_uniform, zeros"
            )
        ],
    ),
    Row(
        id="missing arguments",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: uniform}}",
        error=PolicyError,
        lines=[
            "rules.x.init.weight.a: is required: uniform(a, b)",
            "rules.x.init.weight.b: is required: uniform(a, b)",
        ],
    ),
    Row(
        id="unknown argument",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: normal, sdt: 0.02}}}",
        error=PolicyError,
        lines=["rules.x.init.weight.sdt: is unknown; did you mean 'std'?"],
    ),
    Row(
        id="argument of another",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: xavier_normal, mode: fan_out}}}",
        error=PolicyError,
        lines=["rules.x.init.weight.mode: is unknown; xavier_normal takes gain"],
    ),
    Row(
        id="ill-typed argument",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: normal, std: [0.02]}}}",
        error=PolicyError,
        lines=["rules.x.init.weight.std: must be a number, not [0.02]"],
    ),
    Row(
        id="a truth value for a number",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: normal, std: true}}}",
        error=PolicyError,
        lines=["rules.x.init.weight.std: must be a number, not true"],
    ),
    Row(
        id="argument out of range",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: bernoulli, p: 1.5}}}",
        error=PolicyError,
        lines=["rules.x.init.weight.p: must be at least 0 and at most 1, not 1.5"],
    ),
    Row(
        id="a std of zero",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: normal, std: 0}}}",
        error=PolicyError,
        lines=["rules.x.init.weight.std: must be above 0, not 0"],
    ),
    Row(
        id="llm-foundry's gain of zero",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: xavier_normal, gain: 0.0}}}",
        error=PolicyError,
        lines=["rules.x.init.weight.gain: must be above 0, not 0"],
    ),
    Row(
        id="bounds the wrong way round",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: uniform, a: 1, b: -1}}}",
        error=PolicyError,
        lines=["rules.x.init.weight.a: must be below b, not 1 with b=-1"],
    ),
    Row(
        id="bounds of no stated kind",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: trunc_normal, std: 0.02, a: -2, b: 2}}}",
        error=PolicyError,
        lines=[
            (
                "rules.x.init.weight.bounds: is required beside a or b: 'sigma' (in standard deviations from the "
                "mean) or 'absolute'"
            )
        ],
    ),
    Row(
        id="unknown nonlinearity",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: kaiming_normal, nonlinearity: rellu}}}",
        error=PolicyError,
        lines=[
            (
                "rules.x.init.weight.nonlinearity: 'rellu' is no known activation, nor one of following, "
                "preceding, theory; did you mean 'relu'?"
            )
        ],
    ),
    Row(
        id="inherit inside of blocks",
        model=Attention,
        rules="x: {match: {name: qkv}, init: {weight: {name: blocks, parts: [zeros, inherit]}}}",
        error=PolicyError,
        lines=[
            (
                "rules.x.init.weight: inherit takes the whole spec of the layer before, so it cannot be one block "
                "of several"
            )
        ],
    ),
    Row(
        id="mistakes in nested specs",
        model=Tagger,
        rules=(
            "x: {match: {type: LSTM}, init: {'bias*': {name: gates, i: zero, f: {name: normal, std: -1}, g: 0, o: 0}}}"
        ),
        error=PolicyError,
        lines=[
            "rules.x.init.bias*.i: unknown initializer 'zero'; did you mean 'zeros'?",
            "rules.x.init.bias*.f.std: must be above 0, not -1",
        ],
    ),
    Row(
        id="untrusted call",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {call: os.remove}}}",
        error=PolicyError,
        lines=["rules.x.init.weight: call 'os.remove': 'os' is not trusted; pass trusted=['os'] from your program"],
    ),
    Row(
        id="a call trusted by half its name",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {call: users_code.inits.fancy_}}}",
        arguments={"trusted": ["users"]},
        error=PolicyError,
        lines=[
            (
                "rules.x.init.weight: call 'users_code.inits.fancy_': 'users_code' is not trusted; pass "
                "trusted=['users_code'] from your program"
            )
        ],
    ),
    Row(
        id="a call of what is not there",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {call: users_code.nowhere.fancy_}}}",
        arguments=TRUSTED,
        error=PolicyError,
        lines=[
            (
                "rules.x.init.weight: call 'users_code.nowhere.fancy_' cannot be imported: No module named "
                "'users_code.nowhere'"
            )
        ],
    ),
    Row(
        id="a call of a module that raises",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {call: users_code.broken.fancy_}}}",
        arguments=TRUSTED,
        error=PolicyError,
        lines=[
            (
                "rules.x.init.weight: call 'users_code.broken.fancy_' cannot be imported: RuntimeError: no licence "
                "was found"
            )
        ],
    ),
    Row(
        id="a call of a misspelt function",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {call: users_code.inits.fancy}}}",
        arguments=TRUSTED,
        error=PolicyError,
        lines=[
            (
                "rules.x.init.weight: call 'users_code.inits.fancy': users_code.inits has no 'fancy'; did you mean "
                "'fancy_'?"
            )
        ],
    ),
    Row(
        id="a call of no function",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {call: users_code.inits.BOUND}}}",
        arguments=TRUSTED,
        error=PolicyError,
        lines=["rules.x.init.weight: call 'users_code.inits.BOUND' is a float, not a function"],
    ),
    Row(
        id="a call of a class",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {call: users_code.inits.Filler}}}",
        arguments=TRUSTED,
        error=PolicyError,
        lines=["rules.x.init.weight: call 'users_code.inits.Filler' is a class, not a function"],
    ),
    Row(
        id="several mistakes in order",
        model=Mlp,
        rules=(
            "b: {init: {weight: kaming_normal, bias: {name: normal, std: -1}}}\n"
            'a: {match: {type: Linear}, init: {"*": {call: os.remove}}}\n'
        ),
        error=PolicyError,
        lines=[
            "rules.b.init.weight: unknown initializer 'kaming_normal'; did you mean 'kaiming_normal'?",
            "rules.b.init.bias.std: must be above 0, not -1",
            "rules.a.init.*: call 'os.remove': 'os' is not trusted; pass trusted=['os'] from your program",
        ],
    ),
    # planning: shapes
    Row(
        id="kaiming on one dimension",
        model=Cnn,
        rules="x: {match: {type: BatchNorm2d}, init: {weight: kaiming_normal}}",
        error=PlanError,
        lines=["rules.x → stem.bn1.weight: kaiming_normal needs two or more dimensions, this is (8,)"],
    ),
    Row(
        id="xavier on one dimension",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {'*': xavier_uniform}}",
        error=PlanError,
        lines=[
            "rules.x → 0.bias: xavier_uniform needs two or more dimensions, this is (8,)",
            "rules.x → 2.bias: xavier_uniform needs two or more dimensions, this is (2,)",
        ],
    ),
    Row(
        id="orthogonal on one dimension",
        model=Tagger,
        rules="x: {match: {type: LSTM}, init: {'bias*': orthogonal}}",
        error=PlanError,
        lines=[
            "rules.x → rnn.bias_ih_l0: orthogonal needs two or more dimensions, this is (32,)",
            "rules.x → rnn.bias_hh_l0: orthogonal needs two or more dimensions, this is (32,)",
        ],
    ),
    Row(
        id="sparse on a convolution",
        model=Cnn,
        rules="x: {match: {type: Conv2d}, init: {weight: {name: sparse, sparsity: 0.5}}}",
        error=PlanError,
        lines=[
            "rules.x → stem.conv1.weight: sparse needs two dimensions, this is (8, 3, 3, 3)",
            "rules.x → stem.conv2.weight: sparse needs two dimensions, this is (8, 2, 3, 3)",
        ],
    ),
    Row(
        id="eye on a convolution",
        model=Cnn,
        rules="x: {match: {name: conv1}, init: {weight: eye}}",
        error=PlanError,
        lines=["rules.x → stem.conv1.weight: eye needs two dimensions, this is (8, 3, 3, 3)"],
    ),
    Row(
        id="dirac with groups that do not divide",
        model=Cnn,
        rules="x: {match: {name: conv1}, init: {weight: {name: dirac, groups: 3}}}",
        error=PlanError,
        lines=[
            "rules.x → stem.conv1.weight: dirac needs a first dimension that its 3 groups divide, this is (8, 3, 3, 3)"
        ],
    ),
    Row(
        id="delta_orthogonal on a Linear",
        model=Cnn,
        rules="x: {match: {type: Linear}, init: {weight: delta_orthogonal}}",
        error=PlanError,
        lines=[
            (
                "rules.x → fc.weight: delta_orthogonal needs a convolution's weight, three or more dimensions, "
                "this is (5, 4)"
            )
        ],
    ),
    Row(
        id="icnr with a scale that does not divide",
        model=Cnn,
        rules="x: {match: {name: conv1}, init: {weight: {name: icnr, scale: 3}}}",
        error=PlanError,
        lines=[
            "rules.x → stem.conv1.weight: icnr needs a first dimension divisible by scale**2 = 9, this is (8, 3, 3, 3)"
        ],
    ),
    Row(
        id="a split that does not divide",
        model=Attention,
        rules="x: {match: {name: qkv}, init: {weight: {name: xavier_uniform, split: 5}}}",
        error=PlanError,
        lines=["rules.x → qkv.weight: 5 equal blocks do not fit axis 0 of (24, 8)"],
    ),
    Row(
        id="blocks that do not divide",
        model=Attention,
        rules="x: {match: {name: qkv}, init: {weight: {name: blocks, parts: [0, 1, 2, 3, 4]}}}",
        error=PlanError,
        lines=["rules.x → qkv.weight: 5 equal blocks do not fit axis 0 of (24, 8)"],
    ),
    Row(
        id="a split along no axis",
        model=Attention,
        rules="x: {match: {name: qkv}, init: {weight: {name: xavier_uniform, split: 3, dim: 2}}}",
        error=PlanError,
        lines=["rules.x → qkv.weight: dim 2 is no axis of the shape (24, 8)"],
    ),
    Row(
        id="split gates of a Linear",
        model=Attention,
        rules="x: {match: {name: qkv}, init: {weight: {name: xavier_uniform, split: gates}}}",
        error=PlanError,
        lines=[
            "rules.x → qkv.weight: split: gates, but Linear packs no gates into this (24, 8); give a number of blocks"
        ],
    ),
    Row(
        id="gates of a Linear",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: gates, i: 0, f: 1, g: 0, o: 0}}}",
        error=PlanError,
        lines=[
            (
                "rules.x → 0.weight: gates: Linear packs no gates into this (8, 4); cut it with 'blocks' or "
                "'split: <number>'"
            ),
            (
                "rules.x → 2.weight: gates: Linear packs no gates into this (2, 8); cut it with 'blocks' or "
                "'split: <number>'"
            ),
        ],
    ),
    Row(
        id="names of no gates",
        model=Tagger,
        rules="x: {match: {type: LSTM}, init: {'bias_ih*': {name: gates, i: 0, f: 1, c: 0, o: 0}}}",
        error=PlanError,
        lines=["rules.x → rnn.bias_ih_l0: gates: LSTM has i, f, g, o, each to be named once; missing g; unknown 'c'"],
    ),
    Row(
        id="a gate left out",
        model=Tagger,
        rules="x: {match: {type: LSTM}, init: {'bias_ih*': {name: gates, f: 1}}}",
        error=PlanError,
        lines=["rules.x → rnn.bias_ih_l0: gates: LSTM has i, f, g, o, each to be named once; missing i, g, o"],
    ),
    Row(
        id="a layout too short",
        model=Cnn,
        rules="x: {match: {name: conv1}, init: {weight: {name: xavier_normal, layout: out in}}}",
        error=PlanError,
        lines=[
            (
                "rules.x → stem.conv1.weight: layout 'out in': names 2 axes, but the tensor has 4; a 'k' would "
                "stand for the rest"
            )
        ],
    ),
    Row(
        id="a layout of unknown words",
        model=Attention,
        rules="x: {match: {name: qkv}, init: {weight: {name: xavier_normal, layout: in outs}}}",
        error=PlanError,
        lines=["rules.x → qkv.weight: layout 'in outs': unknown axis 'outs'; did you mean 'out'?"],
    ),
    Row(
        id="a layout of experts for a Linear",
        model=Moe,
        rules="x: {match: {name: router}, init: {weight: {name: xavier_normal, layout: stack out in}}}",
        error=PlanError,
        lines=["rules.x → router.weight: layout 'stack out in': names 3 axes, but the tensor has 2"],
    ),
    Row(
        id="xavier on the biases of a parametrized model",
        model=normed,
        rules="x: {match: {type: Linear}, init: {'*': xavier_normal}}",
        error=PlanError,
        lines=[
            "rules.x → 0.bias: xavier_normal needs two or more dimensions, this is (8,)",
            "rules.x → 2.bias: xavier_normal needs two or more dimensions, this is (2,)",
        ],
    ),
    # planning: numbers
    Row(
        id="a formula with an unknown name",
        model=Gpt,
        rules="x: {match: {name: 'h\\.(?P<layer>\\d+).*proj'}, init: {weight: {name: normal, std: '0.02 / n_layers'}}}",
        error=PlanError,
        lines=[
            "rules.x → h.0.attn.proj.weight: std: '0.02 / n_layers': unknown name 'n_layers'; did you mean 'n_layer'?",
            "rules.x → h.0.mlp.proj.weight: std: '0.02 / n_layers': unknown name 'n_layers'; did you mean 'n_layer'?",
            "rules.x → h.1.attn.proj.weight: std: '0.02 / n_layers': unknown name 'n_layers'; did you mean 'n_layer'?",
            "rules.x → h.1.mlp.proj.weight: std: '0.02 / n_layers': unknown name 'n_layers'; did you mean 'n_layer'?",
            "rules.x → h.2.attn.proj.weight: std: '0.02 / n_layers': unknown name 'n_layers'; did you mean 'n_layer'?",
            "rules.x: 1 more parameter like these",
        ],
    ),
    Row(
        id="a formula with the count of a group that is not there",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: normal, std: 0.02 / sqrt(2 * n_layer)}}}",
        error=PlanError,
        lines=[
            (
                "rules.x → 0.weight: std: '0.02 / sqrt(2 * n_layer)': unknown name 'n_layer'; known here: e, "
                "fan_avg, fan_in, fan_out, groups, in_features, kernel, ndim, numel, out_features, pi, shape, "
                "weight_fan_in, weight_fan_out; a group (?P<layer>\\d+) in the rule's match.name would give n_layer"
            ),
            (
                "rules.x → 2.weight: std: '0.02 / sqrt(2 * n_layer)': unknown name 'n_layer'; known here: e, "
                "fan_avg, fan_in, fan_out, groups, in_features, kernel, ndim, numel, out_features, pi, shape, "
                "weight_fan_in, weight_fan_out; a group (?P<layer>\\d+) in the rule's match.name would give n_layer"
            ),
        ],
    ),
    Row(
        id="a formula with no value at one parameter",
        model=Gpt,
        rules="x: {match: {name: 'h\\.(?P<layer>\\d+).*proj'}, init: {weight: {name: normal, std: '0.02 / layer'}}}",
        error=PlanError,
        lines=[
            "rules.x → h.0.attn.proj.weight: std: '0.02 / layer' has no finite value at layer=0: 0.02 / layer",
            "rules.x → h.0.mlp.proj.weight: std: '0.02 / layer' has no finite value at layer=0: 0.02 / layer",
        ],
    ),
    Row(
        id="a formula of a negative root",
        model=Cnn,
        rules="x: {match: {type: Conv2d}, init: {weight: {name: normal, std: 'sqrt(3 - groups)'}}}",
        error=PlanError,
        lines=[
            "rules.x → stem.conv2.weight: std: 'sqrt(3 - groups)' has no finite value at groups=4: sqrt(3 - groups)"
        ],
    ),
    Row(
        id="a formula that leaves the range",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: normal, std: 'fan_in - 4'}}}",
        error=PlanError,
        lines=["rules.x → 0.weight: normal: std must be above 0, not 0, the value of 'fan_in - 4'"],
    ),
    Row(
        id="a formula that gives a condition",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: normal, std: 'fan_in > 1'}}}",
        error=PlanError,
        lines=[
            "rules.x → 0.weight: normal: std must be a number, not true, the value of 'fan_in > 1'",
            "rules.x → 2.weight: normal: std must be a number, not true, the value of 'fan_in > 1'",
        ],
    ),
    Row(
        id="a formula that gives a shape",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: normal, std: shape}}}",
        error=PlanError,
        lines=[
            "rules.x → 0.weight: std: 'shape' needs one element of shape, as in shape[0]",
            "rules.x → 2.weight: std: 'shape' needs one element of shape, as in shape[0]",
        ],
    ),
    Row(
        id="a gain that is not known",
        model=Attention,
        rules="x: {match: {name: proj}, init: {weight: {name: normal, std: gain / sqrt(fan_in)}}}",
        error=PlanError,
        lines=[
            (
                "rules.x → proj.weight: 'gain' is not known here: no following activation is known (unresolved); "
                "give an example_input, or state it under 'activations'"
            )
        ],
    ),
    Row(
        id="an elementwise formula with an unknown name",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: formula, value: zz * 2}}}",
        error=PlanError,
        lines=[
            "rules.x → 0.weight: formula 'zz * 2': unknown name 'zz'; did you mean 'z'?",
            "rules.x → 2.weight: formula 'zz * 2': unknown name 'zz'; did you mean 'z'?",
        ],
    ),
    Row(
        id="an elementwise formula without a value",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: formula, value: log(-i)}}}",
        error=PlanError,
        lines=[
            "rules.x → 0.weight: formula 'log(-i)' has no finite value at i=0: log(-i)",
            "rules.x → 2.weight: formula 'log(-i)' has no finite value at i=0: log(-i)",
        ],
    ),
    Row(
        id="an elementwise formula that divides by zero",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: formula, value: 1 / j}}}",
        error=PlanError,
        lines=[
            "rules.x → 0.weight: formula '1 / j' has no finite value at j=0: 1 / j",
            "rules.x → 2.weight: formula '1 / j' has no finite value at j=0: 1 / j",
        ],
    ),
    Row(
        id="an activation without a gain",
        model=Mlp,
        rules="x: {match: {name: ^0$}, init: {weight: {name: kaiming_normal, nonlinearity: softmax}}}",
        error=PlanError,
        lines=[
            (
                "rules.x → 0.weight: softmax has no gain: its outputs sum to a constant whatever the scale of its "
                "inputs; give a number as 'gain', or name an initializer that takes none"
            )
        ],
    ),
    Row(
        id="an activation that was not found",
        model=Attention,
        rules="x: {match: {name: proj}, init: {weight: {name: kaiming_normal, nonlinearity: following}}}",
        error=PlanError,
        lines=[
            (
                "rules.x → proj.weight: no following activation is known (unresolved); give an example_input, or "
                "state it under 'activations'"
            )
        ],
    ),
    Row(
        id="too large for float16",
        model=half_precision,
        rules="x: {match: {type: Linear}, init: {weight: 70000}}",
        error=PlanError,
        lines=[
            "rules.x → 0.weight: constant reaches 70000, past 65504, the largest float16 that is drawn",
            "rules.x → 2.weight: constant reaches 70000, past 65504, the largest float16 that is drawn",
        ],
    ),
    Row(
        id="too wide for float16",
        model=half_precision,
        rules="x: {match: {type: Linear}, init: {weight: {name: normal, std: 1e4}}}",
        error=PlanError,
        lines=[
            "rules.x → 0.weight: normal reaches 68000, past 65504, the largest float16 that is drawn",
            "rules.x → 2.weight: normal reaches 68000, past 65504, the largest float16 that is drawn",
        ],
    ),
    Row(
        id="too wide for bfloat16",
        model=brain_float,
        rules="x: {match: {type: Linear}, init: {weight: {name: normal, std: 1e38}}}",
        error=PlanError,
        lines=[
            "rules.x → 0.weight: normal reaches 6.8e+38, past 3.38953e+38, the largest bfloat16 that is drawn",
            "rules.x → 2.weight: normal reaches 6.8e+38, past 3.38953e+38, the largest bfloat16 that is drawn",
        ],
    ),
    Row(
        id="too wide for float32",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: normal, std: 1e300}}}",
        error=PlanError,
        lines=[
            "rules.x → 0.weight: normal reaches 6.8e+300, past 3.40282e+38, the largest float32 that is drawn",
            "rules.x → 2.weight: normal reaches 6.8e+300, past 3.40282e+38, the largest float32 that is drawn",
        ],
    ),
    Row(
        id="bounds with no number between",
        model=brain_float,
        rules="x: {match: {type: Linear}, init: {weight: {name: uniform, a: 1, b: 1.001}}}",
        error=PlanError,
        lines=[
            "rules.x → 0.weight: uniform cannot be drawn: no bfloat16 number lies strictly between 1 and 1.001",
            "rules.x → 2.weight: uniform cannot be drawn: no bfloat16 number lies strictly between 1 and 1.001",
        ],
    ),
    Row(
        id="an interval without mass",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {name: trunc_normal, a: 40, b: 41, bounds: sigma}}}",
        error=PlanError,
        lines=[
            (
                "rules.x → 0.weight: trunc_normal cannot be drawn: the interval (40, 41), in standard deviations "
                "from the mean, holds too little of the normal law to draw from: probability 0, the least is 1e-30"
            ),
            (
                "rules.x → 2.weight: trunc_normal cannot be drawn: the interval (40, 41), in standard deviations "
                "from the mean, holds too little of the normal law to draw from: probability 0, the least is 1e-30"
            ),
        ],
    ),
    # planning: files, ties, heirs
    Row(
        id="a file that is not there",
        model=Mlp,
        rules="x: {match: {name: ^0$}, init: {weight: {name: pretrained, path: nowhere/w.pt}}}",
        error=PlanError,
        lines=["rules.x → 0.weight: pretrained cannot read nowhere/w.pt: No such file or directory"],
    ),
    Row(
        id="a file that is none of torch's",
        model=Mlp,
        rules="x: {match: {name: ^0$}, init: {weight: {name: pretrained, path: notes.pt}}}",
        error=PlanError,
        lines=[
            (
                "rules.x → 0.weight: pretrained cannot read notes.pt as weights only: it is damaged, or no file of "
                "torch.save"
            )
        ],
    ),
    Row(
        id="a key that is not there",
        model=Mlp,
        rules="x: {match: {name: ^0$}, init: {weight: {name: pretrained, path: w.safetensors}}}",
        error=PlanError,
        lines=[
            "rules.x → 0.weight: pretrained finds no '0.weight' in w.safetensors; nearest of its 1 keys: 'net.0.weight'"
        ],
    ),
    Row(
        id="a shape that differs",
        model=Mlp,
        rules="x: {match: {name: ^0$}, init: {weight: {name: pretrained, path: w.safetensors, prefix: {'': net}}}}",
        error=PlanError,
        lines=[
            "rules.x → 0.weight: pretrained finds 'net.0.weight' in w.safetensors with shape (4, 8), this is (8, 4)"
        ],
    ),
    Row(
        id="two laws for a tied tensor",
        model=TiedLm,
        rules=(
            "table: {match: {type: Embedding}, init: {weight: {name: normal, std: 0.02}}}\n"
            "head: {match: {type: Linear}, init: {weight: zeros}}\n"
        ),
        error=PlanError,
        lines=[
            (
                "rules.head → head.weight, rules.table → tok.weight: one tied tensor is given two laws, zeros and "
                "{name: normal, std: 0.02}; claim both with one last rule, of match {name: '^(head|tok)$'} and a "
                "law that is the same at both, or spare one with not: {name: '^head$'}"
            )
        ],
    ),
    Row(
        id="one spec with two laws for a tied tensor",
        model=TiedLm,
        rules="x: {match: {type: [Embedding, Linear]}, init: {weight: xavier_normal}}",
        error=PlanError,
        lines=[
            (
                "rules.x → head.weight, tok.weight: one tied tensor is given two laws, xavier_normal of mean 0 and "
                "std 0.3536 as head.weight and xavier_normal of mean 0 and std 0.5345 as tok.weight; claim both "
                "with one last rule, of match {name: '^(head|tok)$'} and a law that is the same at both, or spare "
                "one with not: {name: '^head$'}"
            )
        ],
    ),
    Row(
        id="no layer before to inherit from",
        model=Attention,
        rules="x: {match: {name: proj}, init: {weight: inherit}}",
        error=PlanError,
        lines=[
            (
                "rules.x → proj.weight: inherit: no layer before proj is known (unresolved); give an "
                "example_input, or name an initializer"
            )
        ],
    ),
    Row(
        id="a layer before that no rule fills",
        model=Mlp,
        rules="x: {match: {name: ^2$}, init: {weight: inherit}}",
        error=PlanError,
        lines=["rules.x → 2.weight: inherit: no rule initializes 0.weight, the layer before; name an initializer"],
    ),
    # planning: counts
    Row(
        id="llama2.c's suffix",
        model=Gpt,
        rules="x: {match: {name: 'h\\.(?P<layer>\\d+).*attn.proj$'}, expect: 2 * n_layer, init: {weight: 0}}",
        error=PlanError,
        lines=[
            (
                "rules.x.expect: 2 * n_layer is 6, but the rule claims 3 parameters: h.0.attn.proj.weight, "
                "h.1.attn.proj.weight, h.2.attn.proj.weight"
            )
        ],
    ),
    Row(
        id="a count that is wrong",
        model=Mlp,
        rules="x: {match: {type: Linear}, expect: 3, init: {'*': 0}}",
        error=PlanError,
        lines=["rules.x.expect: is 3, but the rule claims 4 parameters: 0.weight, 0.bias, 2.weight, 2.bias"],
    ),
    Row(
        id="an expectation with an unknown name",
        model=Mlp,
        rules="x: {match: {type: Linear}, expect: 2 * n_layer, init: {'*': 0}}",
        error=PlanError,
        lines=[
            (
                "rules.x.expect: '2 * n_layer': unknown name 'n_layer'; known here: e, pi; a group (?P<layer>\\d+) "
                "in the rule's match.name would give n_layer"
            )
        ],
    ),
    Row(
        id="an expectation of what is not there",
        model=Mlp,
        rules="x: {match: {type: LSTM}, expect: 4, init: {'*': 0}}",
        error=PlanError,
        lines=[
            (
                "rules.x.expect: is 4, but the rule claims 0 parameters. No module has type LSTM (the model has "
                "Linear, Mlp, ReLU)"
            )
        ],
    ),
    Row(
        id="unused by type",
        model=Cnn,
        rules="x: {match: {type: Conv3d}, init: {weight: 0}}",
        error=PlanError,
        lines=["rules.x: claims no parameter. No module has type Conv3d (nearest: 'Conv2d')"],
    ),
    Row(
        id="unused by exact type",
        model=Cnn,
        rules="x: {match: {type: Module, exact: true}, init: {weight: 0}}",
        error=PlanError,
        lines=[
            (
                "rules.x: claims no parameter. No module has exactly the type Module; of classes derived from it "
                "are BatchNorm2d, Cnn, Conv2d, ConvTranspose2d, LeakyReLU, Linear, ReLU, Sequential"
            )
        ],
    ),
    Row(
        id="unused by name",
        model=Cnn,
        rules="x: {match: {type: Conv2d, name: ^con$}, init: {weight: 0}}",
        error=PlanError,
        lines=[
            (
                "rules.x: claims no parameter. 2 modules have type Conv2d; none is named like '^con$' (nearest: "
                "'stem.conv2')"
            )
        ],
    ),
    Row(
        id="unused by the name of another type",
        model=Cnn,
        rules="x: {match: {type: Conv2d, name: ^stem$}, init: {weight: 0}}",
        error=PlanError,
        lines=[
            (
                "rules.x: claims no parameter. 2 modules have type Conv2d; none is named like '^stem$' ('stem' is, "
                "of type Sequential)"
            )
        ],
    ),
    Row(
        id="unused by inside",
        model=Cnn,
        rules="x: {match: {type: Linear, inside: Sequential}, init: {weight: 0}}",
        error=PlanError,
        lines=[
            "rules.x: claims no parameter. 1 module has type Linear; none is inside Sequential (they are inside Cnn)"
        ],
    ),
    Row(
        id="unused as a container",
        model=Cnn,
        rules="x: {match: {type: Sequential}, init: {weight: 0}}",
        error=PlanError,
        lines=[
            (
                "rules.x: claims no parameter. 1 module has type Sequential; it holds no parameter itself; "
                "'inside: Sequential' takes what is in it"
            )
        ],
    ),
    Row(
        id="unused by activation",
        model=Cnn,
        rules="x: {match: {type: Conv2d, activation: tanh}, init: {weight: 0}}",
        error=PlanError,
        lines=[
            (
                "rules.x: claims no parameter. 2 modules have type Conv2d; none of the 2 parameters that fit is "
                "followed by tanh; found: leaky_relu ×1, relu ×1"
            )
        ],
    ),
    Row(
        id="unused as nothing is known",
        model=Cnn,
        rules="x: {match: {type: Linear, activation: relu}, init: {weight: 0}}",
        error=PlanError,
        lines=[
            (
                "rules.x: claims no parameter. 1 module has type Linear; the one parameter that fits is not "
                "followed by relu; what follows is not known: give an example_input, or state it under "
                "'activations'"
            )
        ],
    ),
    Row(
        id="unused by input activation",
        model=Cnn,
        rules="x: {match: {type: Conv2d, input_activation: tanh}, init: {weight: 0}}",
        error=PlanError,
        lines=[
            (
                "rules.x: claims no parameter. 2 modules have type Conv2d; none of the 2 parameters that fit is "
                "preceded by tanh; found: relu ×1, unknown ×1"
            )
        ],
    ),
    Row(
        id="unused by where",
        model=Cnn,
        rules="x: {match: {type: Conv2d, where: fan_in >= 1024}, init: {weight: 0}}",
        error=PlanError,
        lines=[
            (
                "rules.x: claims no parameter. 2 modules have type Conv2d; 'fan_in >= 1024' is false for all 2 "
                "parameters that fit; fan_in is 18 to 27"
            )
        ],
    ),
    Row(
        id="unused by not",
        model=Cnn,
        rules="x: {match: {type: Conv2d, not: {inside: Sequential}}, init: {weight: 0}}",
        error=PlanError,
        lines=["rules.x: claims no parameter. 2 modules have type Conv2d; 'not' takes away all 2 parameters that fit"],
    ),
    Row(
        id="unused by patterns",
        model=Cnn,
        rules="x: {match: {type: Conv2d}, init: {kernel: 0}}",
        error=PlanError,
        lines=[
            (
                "rules.x: claims no parameter. 2 modules have type Conv2d; none has a parameter named like kernel, "
                "only bias, weight"
            )
        ],
    ),
    Row(
        id="one pattern unused",
        model=Cnn,
        rules="x: {match: {type: Linear}, init: {wieght: 0, bias: 0}}",
        error=PlanError,
        lines=["rules.x.init.wieght: fits no parameter of the modules that the rule matches; did you mean 'weight'?"],
    ),
    Row(
        id="unused as all is frozen",
        model=frozen,
        rules="x: {match: {type: Conv2d}, init: {weight: 0}}",
        error=PlanError,
        lines=[
            "rules.x: claims no parameter. The 2 parameters that it names are frozen ('frozen: init' takes those too)"
        ],
    ),
    Row(
        id="unused as all is excluded",
        model=Cnn,
        rules="x: {match: {type: Conv2d}, init: {weight: 0}}",
        rest="exclude: [{type: Sequential}]",
        error=PlanError,
        lines=["rules.x: claims no parameter. The 2 parameters that it names are excluded by exclude.0"],
    ),
    Row(
        id="unused as it is no floating point",
        model=quantized,
        rules="x: {match: {name: ^0$}, init: {weight: 0}}",
        error=PlanError,
        lines=["rules.x: claims no parameter. The one parameter that it names is skipped: not floating point"],
    ),
    Row(
        id="unused by a tied tensor that is excluded",
        model=TiedLm,
        rules="x: {match: {type: Linear}, init: {weight: 0}}",
        rest="exclude: [{type: Embedding}]",
        error=PlanError,
        lines=["rules.x: claims no parameter. The one parameter that it names is excluded by exclude.0"],
    ),
    Row(
        id="unmatched",
        model=Moe,
        rules="x: {match: {type: Linear}, init: {weight: 0}}",
        rest="unmatched: error",
        error=PlanError,
        lines=[
            (
                "unmatched: 4 parameters claimed by no rule: scale, experts.up, experts.down, experts.up_bias; add "
                "a rule, 'keep' what is to stay, or exclude it"
            )
        ],
    ),
    # planning: words
    Row(
        id="unknown activation",
        model=Cnn,
        rules="x: {match: {type: Linear, activation: rellu}, init: {weight: 0}}",
        error=PlanError,
        lines=[
            "rules.x.match.activation: 'rellu' is no known activation and no class of this model; did you mean 'relu'?"
        ],
    ),
    Row(
        id="unknown activation in not",
        model=Cnn,
        rules="x: {match: {type: Linear, not: {input_activation: tahn}}, init: {weight: 0}}",
        error=PlanError,
        lines=[
            (
                "rules.x.match.not.input_activation: 'tahn' is no known activation and no class of this model; did "
                "you mean 'tanh'?"
            )
        ],
    ),
    Row(
        id="unknown variable in where",
        model=Cnn,
        rules="x: {match: {type: Linear, where: fan_inn > 3}, init: {weight: 0}}",
        error=PlanError,
        lines=["rules.x.match.where: no parameter of this model has a 'fan_inn'; did you mean 'fan_in'?"],
    ),
    Row(
        id="gain in where",
        model=Cnn,
        rules="x: {match: {type: Linear, where: gain > 1}, init: {weight: 0}}",
        error=PlanError,
        lines=["rules.x.match.where: 'gain' is known where an initializer is resolved, not while matching"],
    ),
    Row(
        id="no value in where",
        model=Cnn,
        rules="x: {match: {type: Linear, where: 1 / (ndim - 1) > 0}, init: {weight: 0, bias: 0}}",
        error=PlanError,
        lines=["rules.x.match.where → fc.bias: '1 / (ndim - 1) > 0' has no finite value at ndim=1: 1 / (ndim - 1)"],
    ),
    Row(
        id="unknown variable in exclude",
        model=Cnn,
        rules="x: {match: {type: Linear}, init: {weight: 0}}",
        rest="exclude: [{where: fan_im > 3}]",
        error=PlanError,
        lines=["exclude.0.where: no parameter of this model has a 'fan_im'; did you mean 'fan_in'?"],
    ),
    Row(
        id="unknown activation declared",
        model=Cnn,
        rules="x: {match: {type: Linear}, init: {weight: 0}}",
        rest="activations: {^fc$: rellu}",
        error=PlanError,
        lines=["activations.^fc$: 'rellu' is no known activation and no class of this model; did you mean 'relu'?"],
    ),
    Row(
        id="unknown argument declared",
        model=Cnn,
        rules="x: {match: {type: Linear}, init: {weight: 0}}",
        rest="activations: {^fc$: {name: leaky_relu, slop: 0.2}}",
        error=PlanError,
        lines=["activations.^fc$: leaky_relu takes slope, not 'slop'; did you mean 'slope'?"],
    ),
    Row(
        id="an activation declared nowhere",
        model=Cnn,
        rules="x: {match: {type: Linear}, init: {weight: 0}}",
        rest="activations: {^stm: relu}",
        error=PlanError,
        lines=["activations.^stm: finds no module with parameters (nearest: 'stem.conv1')"],
    ),
    # planning: models, arguments, everything at once
    Row(
        id="lazy parameters",
        model=lazy,
        rules="x: {match: {type: Linear}, init: {'*': 0}}",
        error=PlanError,
        lines=[
            (
                "0.weight, 0.bias, 2.weight, 2.bias are lazy parameters without a shape; call the model once on a "
                "batch first, or exclude them"
            )
        ],
    ),
    Row(
        id="no parameters",
        model=nn.ReLU,
        rules="x: {init: {'*': 0}}",
        error=PlanError,
        lines=["rules.x: claims no parameter. The model has no parameters"],
    ),
    Row(
        id="an initializer that is none",
        model=Mlp,
        rules="x: {init: {'*': mine}}",
        arguments={"initializers": {"mine": print}},
        error=PlanError,
        lines=[
            (
                "initializers.mine: must be an initpolicy.initializers.base.Initializer, not "
                "builtin_function_or_method; for a plain function write 'call' in the policy"
            )
        ],
    ),
    Row(
        id="a negative seed",
        model=Mlp,
        rules="x: {init: {'*': 0}}",
        arguments={"seed": -1},
        error=PolicyError,
        lines=["seed: must be a whole number from 0 to 2**63 - 1, not -1"],
    ),
    Row(
        id="a seed in quotes",
        model=Mlp,
        rules="x: {init: {'*': 0}}",
        arguments={"seed": "7"},
        error=PolicyError,
        lines=["seed: must be a whole number from 0 to 2**63 - 1, not '7'"],
    ),
    Row(
        id="several problems in the rules' order",
        model=Cnn,
        rules=(
            "c: {match: {type: Linear}, init: {weight: {name: normal, std: 1 / (kernel - 1)}}}\n"
            "b: {match: {type: Conv3d}, init: {weight: 0}}\n"
            'a: {match: {type: BatchNorm2d}, init: {"*": kaiming_normal}}\n'
            "d: {match: {type: Conv2d}, init: {weight: eye, bias: 0}, expect: 9}\n"
        ),
        rest="unmatched: error",
        error=PlanError,
        lines=[
            "rules.c → fc.weight: std: '1 / (kernel - 1)' has no finite value at kernel=1: 1 / (kernel - 1)",
            "rules.b: claims no parameter. No module has type Conv3d (nearest: 'Conv2d')",
            "rules.a → stem.bn1.weight: kaiming_normal needs two or more dimensions, this is (8,)",
            "rules.a → stem.bn1.bias: kaiming_normal needs two or more dimensions, this is (8,)",
            "rules.d → stem.conv1.weight: eye needs two dimensions, this is (8, 3, 3, 3)",
            "rules.d → stem.conv2.weight: eye needs two dimensions, this is (8, 2, 3, 3)",
            (
                "rules.d.expect: is 9, but the rule claims 3 parameters: stem.conv1.weight, stem.conv2.weight, "
                "stem.conv2.bias"
            ),
            (
                "unmatched: 3 parameters claimed by no rule: up.weight, up.bias, fc.bias; add a rule, 'keep' what "
                "is to stay, or exclude it"
            ),
        ],
    ),
    # applying: nothing was written yet
    Row(
        id="a call that raises",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {call: users_code.inits.raises_}}}",
        arguments=TRUSTED,
        error=ApplyError,
        lines=[
            "0.weight: users_code.inits.raises_: KeyError: 'alpha'",
            "2.weight: users_code.inits.raises_: KeyError: 'alpha'",
        ],
    ),
    Row(
        id="a call with an argument too many",
        model=Mlp,
        rules="x: {match: {type: Linear}, init: {weight: {call: users_code.inits.fancy_, beta: 2}}}",
        arguments=TRUSTED,
        error=ApplyError,
        lines=[
            "0.weight: users_code.inits.fancy_: TypeError: fancy_() got an unexpected keyword argument 'beta'",
            "2.weight: users_code.inits.fancy_: TypeError: fancy_() got an unexpected keyword argument 'beta'",
        ],
    ),
    Row(
        id="a call that returns another shape",
        model=Mlp,
        rules=("x: {init: {'*': 0}}\ny: {match: {name: ^2$}, init: {weight: {call: users_code.inits.flattens}}}\n"),
        arguments=TRUSTED,
        error=ApplyError,
        lines=["2.weight: users_code.inits.flattens: returned a tensor of shape (16,), not (2, 8)"],
    ),
    Row(
        id="a call that gives no numbers",
        model=Mlp,
        rules=("x: {init: {'*': 0}}\ny: {match: {name: ^2$}, init: {weight: {call: users_code.inits.spoils_}}}\n"),
        arguments=TRUSTED,
        error=ApplyError,
        lines=["2.weight: users_code.inits.spoils_: gave values that are not finite"],
    ),
    Row(
        id="numbers that are none and stay",
        model=spoilt,
        rules="x: {match: {type: Linear}, init: {weight: 0}}",
        error=ApplyError,
        lines=[
            (
                "0.bias: holds values that are not finite and would keep them: unmatched; add a rule for it, or, "
                "if they are meant, set its attribute _no_reinit to True"
            )
        ],
    ),
    Row(
        id="a parametrization that takes no such value",
        model=one_way,
        rules="x: {init: {'*': 0}}",
        error=ApplyError,
        lines=["2.weight: Doubled takes no such values (Doubled has no right_inverse); exclude it"],
    ),
    Row(
        id="meta parameters",
        model=meta,
        rules="x: {match: {name: ^0$}, init: {'*': 0}}",
        error=ApplyError,
        lines=[
            "0.weight: is on the meta device; initpolicy.materialize gives it memory and values in one pass",
            "0.bias: is on the meta device; initpolicy.materialize gives it memory and values in one pass",
            (
                "2.weight: is on the meta device and would stay there: unmatched; add a rule for it, or give it "
                "values first"
            ),
            "2.bias: is on the meta device and would stay there: unmatched; add a rule for it, or give it values first",
        ],
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_broken_policy_says_what_is_wrong_and_changes_nothing(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "policy.yaml"
    path.write_text(policy(row.rules, row.rest) if row.text is None else row.text, encoding="utf-8")
    model = row.model()
    before, state = weights_of(model), random_state()
    with pytest.raises(row.error) as error:
        apply_policy(model, path, **row.arguments)
    assert str(error.value).splitlines() == [f"policy: {line}" for line in row.lines]
    assert type(error.value) is row.error
    assert weights_of(model) == before
    assert random_state() == state


def test_there_are_enough_of_them() -> None:
    """Sixty were asked for; an id says what is wrong, so none is there twice."""
    assert len({row.id for row in ROWS}) == len(ROWS) >= 60


@pytest.mark.parametrize(
    ("model", "name"), [(3, "int"), (None, "NoneType"), (Mlp, "type"), (Mlp().state_dict(), "OrderedDict")]
)
def test_what_is_no_module(model: Any, name: str) -> None:
    with pytest.raises(PlanError) as error:
        apply_policy(model, "he_relu")
    assert str(error.value) == f"he_relu: model: must be a torch.nn.Module, not {name}"


def test_a_plan_for_another_model() -> None:
    plan = plan_policy(nn.Sequential(nn.Linear(3, 8)), {"rules": {"all": {"init": {"*": 0}}}}, seed=0)
    model = Mlp()
    before = weights_of(model)
    with pytest.raises(ApplyError) as error:
        write(plan, model, 0)
    assert str(error.value) == "policy: 0.weight: has shape (8, 4) now, but the plan was made for (8, 3); plan again"
    assert weights_of(model) == before

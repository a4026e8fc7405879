"""What is wrong with specs whatever the model: every mistake at its place, in the policy's order."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from initpolicy.calls import imported
from initpolicy.check import check_policy
from initpolicy.files import list_policies
from initpolicy.initializers import INITIALIZERS
from initpolicy.load import load_policy
from initpolicy.resolve import DIRECTIVES


def found(init: object, trusted: tuple[str, ...] = (), **policy: Any) -> list[str]:
    """Problems of a policy with one rule ``r``, without what comes before ``init``."""
    read = load_policy({"rules": {"r": {"init": init}}, **policy})
    return [str(problem).removeprefix("policy: rules.r.init.") for problem in check_policy(read, INITIALIZERS, trusted)]


UNKNOWN = "is no known activation, nor one of following, preceding, theory; did you mean"


@pytest.mark.parametrize(
    ("spec", "problems"),
    [
        ("kaiming_normal", []),
        ("he_normal", []),
        ("keep", []),
        ("inherit", []),
        (0, []),
        ({"name": "normal", "std": "0.02 / sqrt(2 * n_layer)"}, []),
        ({"name": "blocks", "parts": ["zeros", "keep", 1]}, []),
        ({"name": "gates", "i": "orthogonal", "f": 1}, []),
        ({"name": "normal", "std": None}, []),
        ("kaiming", ["w: unknown initializer 'kaiming'; did you mean 'kaiming_normal'?"]),
        ("Xavier_Normal", ["w: unknown initializer 'Xavier_Normal'; did you mean 'xavier_normal'?"]),
        ("inherits", ["w: unknown initializer 'inherits'; did you mean 'inherit'?"]),
        (
            "zzz",
            [f"w: unknown initializer 'zzz'; known are {', '.join(sorted({*INITIALIZERS, *DIRECTIVES}))}"],
        ),
        ("uniform", ["w.a: is required: uniform(a, b)", "w.b: is required: uniform(a, b)"]),
        ({"name": "zeros", "value": 1}, ["w.value: is unknown; zeros takes no arguments"]),
        ({"name": "normal", "sd": 1}, ["w.sd: is unknown; did you mean 'std'?"]),
        ({"name": "normal", "std": 0}, ["w.std: must be above 0, not 0"]),
        ({"name": "normal", "std": "0 * 1"}, ["w.std: must be above 0, not 0"]),
        ({"name": "normal", "std": "wide("}, ["w.std: is not a number: 'wide(' is not a formula: 1 '(' but 0 ')'"]),
        ({"name": "normal", "std": [0.02]}, ["w.std: must be a number, not [0.02]"]),
        ({"name": "dirac", "groups": 1.5}, ["w.groups: must be a whole number, not 1.5"]),
        ({"name": "kaiming_normal", "mode": "avg"}, ["w.mode: must be fan_in or fan_out, not 'avg'"]),
        ({"name": "kaiming_normal", "nonlinearity": "swich"}, [f"w.nonlinearity: 'swich' {UNKNOWN} 'swish'?"]),
        (
            {"name": "icnr", "scale": 2, "nonlinearity": "folowing"},
            [f"w.nonlinearity: 'folowing' {UNKNOWN} 'following'?"],
        ),
        ({"name": "kaiming_normal", "nonlinearity": "nn.ReLU"}, []),
        ({"name": "normal", "nonlinearity": "rellu"}, ["w.nonlinearity: is unknown; normal takes mean, std"]),
        ({"name": "formula", "value": "z **"}, ["w.value: 'z **' is not a formula: it ends too early"]),
        ({"name": "formula", "value": ["z"]}, ["w.value: must be a formula, not ['z']"]),
        ({"name": "pretrained"}, ["w.path: is required: pretrained(path, prefix=None, key=None)"]),
        (
            {"name": "pretrained", "path": "w.pt", "prefix": "net"},
            ["w.prefix: must be a mapping, not 'net'"],
        ),
        ({"name": "variance_scaling", "corrected": "yes"}, ["w.corrected: must be true or false, not 'yes'"]),
        ({"_target_": "torch.nn.init.normal"}, []),
        ({"_target_": "torch.nn.init.glorot_"}, ["w: unknown initializer 'glorot'; did you mean 'glorot_normal'?"]),
        (
            {"name": "blocks", "parts": ["zeros", {"name": "gates", "i": "uniform", "f": "zero"}]},
            [
                "w.parts.1.i.a: is required: uniform(a, b)",
                "w.parts.1.i.b: is required: uniform(a, b)",
                "w.parts.1.f: unknown initializer 'zero'; did you mean 'zeros'?",
            ],
        ),
        (
            {"name": "blocks", "parts": ["zeros", "inherit"]},
            ["w: inherit takes the whole spec of the layer before, so it cannot be one block of several"],
        ),
        (
            {"name": "blocks", "parts": ["zeros", {"name": "gates", "i": "inherit"}]},
            ["w.parts.1: inherit takes the whole spec of the layer before, so it cannot be one block of several"],
        ),
    ],
)
def test_specs(spec: object, problems: list[str]) -> None:
    assert found({"w": spec}) == problems


def test_every_mistake_of_every_rule_in_the_policys_order() -> None:
    rules = {
        "b": {"init": {"z": "one", "a": {"name": "sparse", "std": -1}}},
        "a": {"init": {"*": {"call": "os.remove"}}},
    }
    policy = load_policy({"rules": rules, "name": "three"})
    assert [str(problem) for problem in check_policy(policy, INITIALIZERS, ())] == [
        "three: rules.b.init.z: unknown initializer 'one'; did you mean 'ones'?",
        "three: rules.b.init.a.sparsity: is required: sparse(sparsity, std=0.01)",
        "three: rules.b.init.a.std: must be above 0, not -1",
        "three: rules.a.init.*: call 'os.remove': 'os' is not trusted; pass trusted=['os'] from your program",
    ]


@pytest.mark.parametrize("name", list_policies())
def test_every_preset_is_without_mistakes(name: str) -> None:
    assert check_policy(load_policy(name), INITIALIZERS, ()) == ()


# --- calls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "trusted", "why"),
    [
        ("os.remove", (), ": 'os' is not trusted; pass trusted=['os'] from your program"),
        ("os.remove", ("o", "os.r", "os.path"), ": 'os' is not trusted; pass trusted=['os'] from your program"),
        ("torch.nn.init.eye_", (), ": 'torch' is not trusted; for torch's own initializer write its name, eye"),
        ("users_code.none.f", ("users_code",), " cannot be imported: No module named 'users_code.none'"),
        ("users_code.broken.f", ("users_code",), " cannot be imported: RuntimeError: no licence was found"),
        ("users_code.inits.fancy", ("users_code",), ": users_code.inits has no 'fancy'; did you mean 'fancy_'?"),
        ("users_code.inits.zzz", ("users_code",), ": users_code.inits has no 'zzz'"),
        ("users_code.inits.BOUND", ("users_code",), " is a float, not a function"),
        ("users_code.inits.Filler", ("users_code.inits",), " is a class, not a function"),
    ],
)
def test_calls_that_are_refused(path: str, trusted: tuple[str, ...], why: str) -> None:
    message = f"call {path!r}{why}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        imported(path, trusted)
    assert found({"w": {"call": path}}, trusted) == [f"w: {message}"]


@pytest.mark.parametrize("trusted", [("users_code",), ("users_code.inits",), ("users_code.inits.fancy_",)])
def test_a_function_is_trusted_by_its_package_its_module_or_itself(trusted: tuple[str, ...]) -> None:
    from users_code.inits import fancy_

    assert imported("users_code.inits.fancy_", trusted) is fancy_


def test_what_is_not_trusted_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "users_code.broken", raising=False)
    monkeypatch.delitem(sys.modules, "users_code.inits", raising=False)
    call: Mapping[str, object] = {"call": "users_code.inits.fancy_", "alpha": 1}
    assert len(found({"w": call, "b": {"call": "users_code.broken.f"}}, ("users",))) == 2
    assert not {"users_code.inits", "users_code.broken"} & sys.modules.keys()

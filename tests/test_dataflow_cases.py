"""The tracer held against small real modules whose answers were read off their code; and that it leaves no mark."""

from __future__ import annotations

import dataclasses
import functools
import os
import random
import re
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from models import CASES, COMPILED, Answer, Case, call
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import _len_torch_dispatch_stack  # type: ignore[attr-defined]

from initpolicy.facts.dataflow import CannotTrace, trace
from initpolicy.records import Activation, Hit, Signal

pytestmark = [
    # Said by torch of modules that are here on purpose.
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning"),
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True:UserWarning"),
]

BY_NAME: Mapping[str, Case] = {case.name: case for case in CASES}
TRACED = tuple(case for case in CASES if not case.fails)
SPECIAL = ("unused", "unresolved")
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_traced = pytest.mark.parametrize("case", TRACED, ids=lambda case: case.name)


# --- the corpus itself ---------------------------------------------------------------------------


def effective(model: nn.Module) -> dict[str, int]:
    """Path of each effective parameter and its number of dimensions, as the answers name them."""
    found: dict[str, int] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, (parametrize.ParametrizationList, nn.ModuleDict)) and "parametrizations" in prefix:
            continue
        start = f"{prefix}." if prefix else ""
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            stored = re.fullmatch(r"(weight)_(g|v|orig)", name)  # old weight_norm and spectral_norm
            local = stored[1] if stored else name
            found[start + local] = 2 if stored else -1 if is_lazy(parameter) else parameter.ndim
        if parametrize.is_parametrized(module):
            assert isinstance(module.parametrizations, nn.ModuleDict)
            found |= {start + name: getattr(module, name).ndim for name in module.parametrizations}
    return found


def test_no_two_cases_share_a_name() -> None:
    assert len(BY_NAME) == len(CASES)


@each_case
def test_every_weight_has_an_answer(case: Case) -> None:
    """Of two or more dimensions; and no answer is about a parameter that is not there."""
    there = effective(case.make())
    stated = {*case.preceding, *case.flags, *case.norm_before, *case.previous, *case.found_by, *case.following}
    assert stated - there.keys() == set()
    if not case.fails:
        assert {path for path, ndim in there.items() if ndim > 1} - case.following.keys() == set()


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@each_case
def test_every_case_runs_for_real(case: Case, training: bool) -> None:
    if case.lazy:
        pytest.skip("running it would make its parameters")
    seed()
    model = case.make().train(training)
    with torch.no_grad():
        flat = contents(call(model, case.input()))
    assert "nan" not in str(flat)


@each_case
def test_every_case_is_the_same_when_made_again(case: Case) -> None:
    """What the comparison before and after tracing rests on."""
    if case.lazy:
        pytest.skip("running it would make its parameters")
    assert real_answer(case, seeded(case)) == real_answer(case, seeded(case))


@pytest.mark.parametrize("name", ["compiled_in_place", "compiled_submodule"])
def test_compiled_cases_compile_when_they_run(name: str) -> None:
    """So that nothing in the list of graphs after tracing means that nothing was compiled."""
    torch.compiler.reset()
    before = len(COMPILED)
    call(BY_NAME[name].make(), BY_NAME[name].input())
    assert len(COMPILED) > before


# --- what was done to a model --------------------------------------------------------------------


def seed() -> None:
    torch.manual_seed(11)
    np.random.seed(11)
    random.seed(11)


def seeded(case: Case) -> nn.Module:
    seed()
    return case.make()


def real_answer(case: Case, model: nn.Module) -> object:
    """What the model gives for the example, with the same chance each time, and what it is afterwards."""
    seed()
    with torch.no_grad():
        output = contents(call(model, case.input()))
    return output, [(name, contents(tensor)) for name, tensor in model.state_dict().items()]


def contents(thing: object, marks: bool = False, depth: int = 6) -> object:
    """All that can be compared of an object, tensors to the byte; with ``marks`` also which objects they are."""
    mark = (id(thing),) if marks else ()
    if isinstance(thing, Tensor):
        flags = (
            thing.requires_grad,
            thing.is_leaf,
            id(thing.grad) if marks and thing.is_leaf else 0,
            type(thing).__name__,
        )
        return ("tensor", *mark, *(flags if marks else ()), str(thing.dtype), _bytes(thing))
    if isinstance(thing, np.ndarray):
        return ("array", *mark, str(thing.dtype), thing.shape, thing.tobytes())
    if isinstance(thing, (str, bytes, int, float, complex, bool, type(None), torch.dtype, torch.device, torch.Size)):
        return repr(thing)
    if isinstance(thing, nn.Module) or callable(thing) or not depth:
        return (type(thing).__name__, *mark)
    if isinstance(thing, Mapping):
        pairs = [(repr(key) if isinstance(key, str) else str(key), value) for key, value in thing.items()]
        return (type(thing).__name__, *mark, [(key, contents(value, marks, depth - 1)) for key, value in pairs])
    if isinstance(thing, (list, tuple, deque)):
        return (type(thing).__name__, *mark, [contents(part, marks, depth - 1) for part in thing])
    if isinstance(thing, (set, frozenset)):
        return (type(thing).__name__, *mark, sorted(repr(part) for part in thing))
    slots = [name for cls in type(thing).__mro__ for name in getattr(cls, "__slots__", ()) if hasattr(thing, name)]
    held = {**{name: getattr(thing, name) for name in slots}, **getattr(thing, "__dict__", {})}
    return (type(thing).__name__, *mark, [(name, contents(part, marks, depth - 1)) for name, part in held.items()])


def _bytes(tensor: Tensor) -> object:
    if is_lazy(tensor):
        return "uninitialized"
    if tensor.is_meta:
        return tuple(tensor.shape)
    if tensor.is_sparse:
        return "sparse", _bytes(tensor._indices()), _bytes(tensor._values())
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    values = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    nan = bool(flat.isnan().any()) if flat.is_floating_point() else False
    return tuple(tensor.shape), "nan" if nan else "", values


def marks_of(model: nn.Module) -> dict[str, object]:
    """Everything of a model that tracing could change: each module's attributes, flags, hooks, tensors."""
    found: dict[str, object] = {}
    for path, module in model.named_modules():
        held = {name: value for name, value in vars(module).items() if not isinstance(module, torch.jit.ScriptModule)}
        found |= {f"{path}: {name}": contents(value, marks=True) for name, value in held.items()}
        found[f"{path}: in training"] = module.training
    for kind, tensors in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        found |= {f"{kind} {name}": (tensor.requires_grad, contents(tensor)) for name, tensor in tensors}
    return found


def marks_of_the_world() -> dict[str, object]:
    """Random state, modes, and what has been compiled."""
    hooks = torch.nn.modules.module
    return {
        "torch's random state": torch.get_rng_state().numpy().tobytes(),
        "NumPy's random state": str(np.random.get_state()),
        "Python's random state": random.getstate(),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": torch.is_autocast_enabled("cpu"),
        "function modes": torch._C._len_torch_function_stack(),
        "dispatch modes": _len_torch_dispatch_stack(),
        "defaults": (torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "global hooks": [
            len(vars(hooks)[name])
            for name in sorted(vars(hooks))
            if name.startswith("_global_") and "hooks" in name and isinstance(vars(hooks)[name], dict)
        ],
        "stance": torch._dynamo.eval_frame._stance.stance if "torch._dynamo" in sys.modules else "default",
        "compiled": len(COMPILED),
    }


_WRITTEN: list[str] | None = None
"""Files opened for writing while someone watches."""


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _WRITTEN is not None and event == "open":
        path, mode, flags = arguments
        written = set(str(mode or "")) & set("wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if written and "__pycache__" not in str(path) and str(path) != os.devnull:
            _WRITTEN.append(str(path))


sys.addaudithook(_watch)


@contextmanager
def watched_files() -> Iterator[list[str]]:
    global _WRITTEN
    tempfile.gettempdir()  # the standard library tries the folder by writing to it, once a process
    written: list[str] = []
    _WRITTEN = written
    try:
        yield written
    finally:
        _WRITTEN = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """One case, traced once for all tests that ask about it."""

    signals: Mapping[str, Signal]
    said: str
    """Why it could not be traced, or empty."""
    changed: tuple[str, ...]
    """What was not as before."""


@functools.cache
def traced(name: str) -> Traced:
    case = BY_NAME[name]
    model = seeded(case)
    given = case.input()
    before, world, inputs = marks_of(model), marks_of_the_world(), contents(given, marks=True)
    signals: Mapping[str, Signal] = {}
    said = ""
    with watched_files() as written:
        try:
            signals = trace(model, given).signals
        except CannotTrace as error:
            said = str(error)
    world_after = marks_of_the_world()
    after = marks_of(model)
    changed = [f"wrote {path}" for path in written]
    changed += [what for what in world if world[what] != world_after[what]]
    changed += [] if contents(given, marks=True) == inputs else ["the example input"]
    changed += [f"gone: {key}" for key in before if key not in after]
    changed += [key for key, value in after.items() if before.get(key, "new") != value]
    if not case.lazy and real_answer(case, model) != real_answer(case, seeded(case)):
        changed.append("a real forward afterwards")
    return Traced(signals=signals, said=said, changed=tuple(changed))


# --- the answers ---------------------------------------------------------------------------------


def parts(answer: Answer) -> tuple[str, ...]:
    """The answers that must all be there."""
    return (answer,) if isinstance(answer, str) else tuple(sorted(answer) if isinstance(answer, frozenset) else answer)


def fits(activation: Activation, wanted: str) -> bool:
    """Whether an activation is one of ``a|b(argument=value)``; arguments that are not stated may be anything."""
    for one in wanted.split("|"):
        name, _, inside = one.rstrip(")").partition("(")
        stated = dict(pair.split("=") for pair in inside.split(", ")) if inside else {}
        found = dict(activation.arguments)
        if activation.name == name and all(
            key in found and abs(found[key] - float(value)) <= 1e-6 for key, value in stated.items()
        ):
            return True
    return False


def wrong(what: str, hits: tuple[Hit, ...], found_by: str, answer: Answer) -> Iterator[str]:
    """What differs from the answer, in words."""
    wanted = parts(answer)
    shown = " | ".join(str(hit.activation) for hit in hits) or f"nothing ({found_by})"
    special = [word for word in wanted[0].split("|") if word in SPECIAL]
    if not hits and not any(found_by.startswith(word) for word in special):
        yield f"{what}: {answer!r} is right, {shown} was found"
    elif hits:
        primary = wanted if isinstance(answer, frozenset) else wanted[:1]
        missing = [one for one in wanted if not any(fits(hit.activation, one) for hit in hits)]
        if missing or not any(fits(hits[0].activation, one) for one in primary):
            yield f"{what}: {answer!r} is right, {shown} was found"


def with_biases(answers: Mapping[str, Answer], there: Mapping[str, Signal]) -> dict[str, Answer]:
    """A bias is added to the product that its weight makes (a norm's: to the scaled output)."""
    biases = {
        path.removesuffix("weight") + "bias": answer
        for path, answer in answers.items()
        if path == "weight" or path.endswith(".weight")
    }
    return {**{path: answer for path, answer in biases.items() if path in there}, **answers}


def differences(case: Case, signals: Mapping[str, Signal]) -> list[str]:
    """Every answer of a case that is not what the table says."""
    found: list[str] = []
    nothing = Signal(found_by="no row")
    for path, answer in with_biases(case.following, signals).items():
        signal = signals.get(path, nothing)
        if answer == "?":
            continue
        found += wrong(f"{path} following", signal.following, signal.found_by, answer)
        known = {"identity", *case.also, *(one.partition("(")[0] for part in parts(answer) for one in part.split("|"))}
        strange = {hit.activation.name for hit in signal.following} - known
        found += [f"{path} following: {', '.join(sorted(strange))} is not among the answers"] if strange else []
    for path, answer in case.preceding.items():
        signal = signals.get(path, nothing)
        found += wrong(f"{path} preceding", signal.preceding, signal.found_by, answer)
    for path, flags in case.flags.items():
        have = set(signals.get(path, nothing).following[0].flags) if signals.get(path, nothing).following else set()
        have |= {"mul"} if "gated" in have else set()
        bad = [flag for flag in sorted(flags) if (flag.removeprefix("-") in have) == flag.startswith("-")]
        found += [f"{path} flags: {', '.join(bad)} asked for, {sorted(have)} found"] if bad else []
    for path, norm in case.norm_before.items():
        if signals.get(path, nothing).norm_before is not norm:
            found.append(f"{path} norm_before: {norm} is right")
    for path, previous in case.previous.items():
        if signals.get(path, nothing).previous != previous:
            found.append(f"{path} previous: {previous!r} is right, {signals.get(path, nothing).previous!r} was found")
    for path, word in case.found_by.items():
        if word not in signals.get(path, nothing).found_by:
            found.append(f"{path} found_by: {word!r} is not in {signals.get(path, nothing).found_by!r}")
    return found


@each_traced
def test_another_answer_would_be_seen(case: Case) -> None:
    """The comparison fails for each row by itself, so that what it passes is right."""
    signals = traced(case.name).signals
    blank = dataclasses.replace(case, following={}, preceding={}, flags={}, norm_before={}, previous={}, found_by={})
    for path, answer in case.following.items():
        told = dataclasses.replace(blank, following={path: "rrelu(lower=9)"})
        assert answer == "?" or any(line.startswith(f"{path} following") for line in differences(told, signals))
    for path in case.preceding:
        told = dataclasses.replace(blank, preceding={path: "rrelu(lower=9)"})
        assert [line.partition(":")[0] for line in differences(told, signals)] == [f"{path} preceding"]
    for path in case.norm_before:
        both = [dataclasses.replace(blank, norm_before={path: way}) for way in (True, False)]
        assert sum(len(differences(told, signals)) for told in both) == 1
    for path, flags in case.flags.items():
        turned = frozenset(flag[1:] if flag.startswith("-") else f"-{flag}" for flag in flags)
        assert differences(dataclasses.replace(blank, flags={path: flags}), signals) != differences(
            dataclasses.replace(blank, flags={path: turned}), signals
        )
    for path in case.previous:
        assert differences(dataclasses.replace(blank, previous={path: "no such layer"}), signals) != []


@each_traced
def test_the_answers_are_right(case: Case) -> None:
    result = traced(case.name)
    assert result.said == ""
    assert differences(case, result.signals) == []


@pytest.mark.parametrize("case", [case for case in CASES if case.fails], ids=lambda case: case.name)
def test_what_cannot_be_traced_is_said(case: Case) -> None:
    result = traced(case.name)
    assert [word for word in case.fails if word not in result.said] == []
    assert not any(signal.following or signal.preceding for signal in result.signals.values())


@each_case
def test_tracing_leaves_no_mark(case: Case) -> None:
    assert traced(case.name).changed == ()


# --- swapping an activation ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """Another activation in one place of a case, and all the answers that change."""

    case: str
    place: str
    put: Callable[[], object]
    following: Mapping[str, str]
    preceding: Mapping[str, str]

    def made(self) -> nn.Module:
        model = seeded(BY_NAME[self.case])
        parent, _, name = self.place.rpartition(".")
        setattr(model.get_submodule(parent), name, self.put())
        return model


MBCONV = ("expand.0.weight", "expand.1.weight", "depthwise.0.weight", "depthwise.1.weight", "reduce.weight")
SWAPS = (
    Swap(
        case="post_activation_residual",
        place="relu",
        put=nn.Mish,
        following={f"{name}{i}.weight": "mish" for name in ("conv", "bn") for i in (1, 2)},
        preceding={"conv2.weight": "mish"},
    ),
    Swap(
        case="discriminator",
        place="1",
        put=lambda: nn.LeakyReLU(0.1),
        following={"0.weight": "leaky_relu(slope=0.1)"},
        preceding={"2.weight": "leaky_relu(slope=0.1)"},
    ),
    Swap(
        case="one_activation_module_shared",
        place="act",
        put=nn.SiLU,
        following={f"fc{i}.weight": "silu" for i in (1, 2, 3)},
        preceding={f"fc{i}.weight": "silu" for i in (2, 3)},
    ),
    Swap(
        case="mobilenet_v2",
        place="blocks.1.act",
        put=nn.Hardswish,
        following={f"blocks.1.{part}.{i}.weight": "hardswish" for part in ("expand", "depthwise") for i in (0, 1)},
        preceding={f"blocks.1.{part}.0.weight": "hardswish" for part in ("depthwise", "project")},
    ),
    Swap(
        case="convnext",
        place="0.act",
        put=nn.ReLU,
        following={"0.pwconv1.weight": "relu"},
        preceding={"0.pwconv2.weight": "relu"},
    ),
    Swap(
        case="mbconv",
        place="act",
        put=nn.GELU,
        following={**dict.fromkeys(MBCONV, "gelu"), "head.0.weight": "gelu", "head.1.weight": "gelu"},
        preceding=dict.fromkeys(("depthwise.0.weight", "project.0.weight", "reduce.weight", "restore.weight"), "gelu"),
    ),
    Swap(
        case="mobilenet_v3_block",
        place="gate",
        put=nn.Sigmoid,
        following={"fc2.weight": "sigmoid"},
        preceding={},
    ),
    Swap(
        case="pixel_shuffle_upsampler",
        place="act",
        put=lambda: nn.PReLU(init=0.6),
        following={"up.weight": "prelu(slope=0.6)"},
        preceding={"tail.weight": "prelu(slope=0.6)"},
    ),
    Swap(
        case="conformer_conv",
        place="act",
        put=nn.Identity,
        following={"depthwise.weight": "identity", "bn.weight": "identity"},
        preceding={"pointwise2.weight": "glu|identity"},
    ),
    Swap(
        case="unused",
        place="relu",
        put=lambda: nn.ELU(0.3),
        following={"fc1.weight": "elu(alpha=0.3)"},
        preceding={"fc2.weight": "elu(alpha=0.3)"},
    ),
    Swap(
        case="transformer_encoder_layer",
        place="activation",
        put=lambda: F.relu,
        following={"linear1.weight": "relu"},
        preceding={"linear2.weight": "relu"},
    ),
    Swap(
        case="coupling",
        place="scale.3",
        put=nn.Softsign,
        following={"scale.2.weight": "softsign"},
        preceding={},
    ),
)


@pytest.mark.parametrize("swap", SWAPS, ids=lambda swap: f"{swap.case}-{swap.place}")
def test_a_swapped_activation_changes_exactly_its_answers(swap: Swap) -> None:
    before = traced(swap.case).signals
    after = trace(swap.made(), BY_NAME[swap.case].input()).signals
    assert before.keys() == after.keys()
    weights = {path for path, ndim in effective(swap.made()).items() if ndim > 1}
    for side, answers, asked in (
        ("following", with_biases(swap.following, before), set(before)),
        ("preceding", swap.preceding, weights),
    ):
        changed = {path for path in asked if _shown(before[path], side) != _shown(after[path], side)}
        assert changed == answers.keys()
        for path, answer in answers.items():
            assert list(wrong(path, getattr(after[path], side), after[path].found_by, answer)) == []


def _shown(signal: Signal, side: str) -> list[str]:
    hits: tuple[Hit, ...] = getattr(signal, side)
    return [str(hit.activation) for hit in hits]

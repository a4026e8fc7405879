"""The tracer on models that others wrote: an answer for every parameter, no harm, and the right answers.

INITPOLICY_ZOO=1 runs all of the zoo, otherwise a few small models of each library stand for it.
"""

from __future__ import annotations

import functools
import os
import random
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import xxhash
from torch import Tensor, nn
from torch.nn.utils import parametrize

from initpolicy.facts.dataflow import CannotTrace, Traced, trace
from initpolicy.records import Hit, Signal
from zoo import hf_models, timm_models
from zoo.table import NOT_ASKED, Entry, agrees, row_of

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

pytestmark = [
    pytest.mark.zoo,
    # Of the libraries themselves, said while their models are made.
    pytest.mark.filterwarnings("ignore"),
]

ALL = os.environ.get("INITPOLICY_ZOO") == "1"
TIMM = tuple(entry for entry in timm_models.entries() if ALL or entry.name in timm_models.SMALL)
HF = tuple(entry for entry in hf_models.entries() if ALL or entry.name in hf_models.SMALL)
ENTRIES = (*TIMM, *HF)
BY_NAME = {entry.name: entry for entry in ENTRIES}
WRITTEN = tuple(entry for entry in ENTRIES if entry.table)


def named(entry: Entry) -> str:
    return entry.name


each = pytest.mark.parametrize("entry", ENTRIES, ids=named)
each_written = pytest.mark.parametrize("entry", WRITTEN, ids=named)


# --- one trace of each model, shared by all tests -------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one trace left behind."""

    signals: Mapping[str, Signal]
    weights: frozenset[str]
    """Effective parameters of two or more dimensions."""
    effective: frozenset[str]
    own: bool
    """Whether the model's own input was found."""
    refused: str
    harm: tuple[str, ...]
    """What was not the same after it."""


@functools.cache
def outcome(name: str) -> Outcome:
    entry = BY_NAME[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = entry.make()
        before, world = marks(model), randomness()
        traced, refused = attempt(model, entry)
        harm = (*differences(before, marks(model)), *(() if same(world, randomness()) else ("random state",)))
    tensors = effective(model)
    return Outcome(
        signals=dict(traced.signals),
        weights=frozenset(path for path, tensor in tensors.items() if tensor.ndim > 1),
        effective=frozenset(tensors),
        own=not refused,
        refused=refused,
        harm=harm,
    )


def attempt(model: nn.Module, entry: Entry) -> tuple[Traced, str]:
    """With the input that is found; failing that, with the one that is given."""
    try:
        return trace(model), ""
    except CannotTrace as error:
        if entry.example is None:
            raise
        return trace(model, entry.example()), str(error)


def effective(model: nn.Module) -> dict[str, Tensor]:
    """By the path in use: a parametrized weight under its own name."""
    found: dict[str, Tensor] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        if "parametrizations" in prefix.split("."):
            continue
        start = f"{prefix}." if prefix else ""
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            found[start + name] = parameter
        if parametrize.is_parametrized(module):
            assert isinstance(module.parametrizations, nn.ModuleDict)
            found |= {start + name: getattr(module, name).detach() for name in module.parametrizations}
    return found


def marks(model: nn.Module) -> dict[str, Any]:
    """All that a trace might touch: contents, flags, hooks, and which objects hang where."""
    found: dict[str, Any] = {}
    for path, tensor in (*model.named_parameters(), *model.named_buffers()):
        found[f"{path}: contents"] = contents(tensor)
        found[f"{path}: autograd"] = (tensor.requires_grad, tensor.is_leaf, tensor.grad is None, tensor._version)
    for path, module in model.named_modules():
        found[f"{path}: training"] = module.training
        found[f"{path}: attributes"] = {name: held(value) for name, value in vars(module).items()}
    return found


def held(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: id(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [id(item) for item in value]
    return id(value)


def contents(tensor: Tensor) -> Any:
    if tensor.is_meta:
        return (id(tensor), tensor.shape, tensor.dtype)
    whole = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    return (id(tensor), tensor.shape, tensor.dtype, tensor.data_ptr(), xxhash.xxh3_128_hexdigest(whole.numpy().data))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    yield from sorted(key for key in {*before, *after} if before.get(key) != after.get(key))


def randomness() -> tuple[Any, ...]:
    return torch.get_rng_state(), random.getstate(), np.random.get_state()


def same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (Tensor, np.ndarray)):
        return bool((one == other).all())
    return bool(one == other)


Say = Callable[[str, Mapping[str, str]], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Figures are shown whether a test passes or not."""

    def write(title: str, lines: Mapping[str, str]) -> None:
        with capsys.disabled():
            sys.stdout.write("\n".join([f"\n{title}", *(f"  {name}: {line}" for name, line in lines.items()), ""]))

    return write


# --- every model ----------------------------------------------------------------------------------


@each
def test_every_parameter_has_an_answer(entry: Entry) -> None:
    found = outcome(entry.name)
    assert found.signals.keys() == found.effective
    without = {path for path, s in found.signals.items() if not s.following and s.found_by != "unused"}
    assert without == {path for path in found.signals if re.fullmatch(entry.dead, path)}
    assert {found.signals[path].found_by for path in without} <= {"unresolved"}


@each
def test_no_harm(entry: Entry) -> None:
    assert outcome(entry.name).harm == ()


@each
def test_what_the_configuration_names_is_found(entry: Entry) -> None:
    """The activation of a transformers configuration; in timm, those whose modules the model holds."""
    found = names(outcome(entry.name).signals)
    assert "identity" in found
    for wanted in [entry.activation] if entry.activation else activations(entry):
        assert {wanted, *EQUAL.get(wanted, ())} & found, f"{wanted} is not in {sorted(found)}"


EQUAL = {"relu": ("relu_squared",)}
"""What a module's output may go on to: a square after relu is part of it."""


def names(signals: Mapping[str, Signal]) -> set[str]:
    return {hit.activation.name for s in signals.values() for hit in (*s.following, *s.preceding)}


MODULES: Mapping[type[nn.Module], str] = {
    nn.ReLU: "relu", nn.ReLU6: "relu6", nn.SiLU: "silu", nn.GELU: "gelu", nn.Hardswish: "hardswish", nn.Mish: "mish",
    nn.LeakyReLU: "leaky_relu", nn.ELU: "elu", nn.PReLU: "prelu",
}  # fmt: skip


def activations(entry: Entry) -> set[str]:
    """Of the modules of torch.nn that the model holds."""
    held = [module for module in entry.make().modules() if type(module) in MODULES]
    return {"gelu_tanh" if getattr(m, "approximate", "") == "tanh" else MODULES[type(m)] for m in held}


@pytest.mark.skipif(not ALL, reason="a share of a few models says nothing; INITPOLICY_ZOO=1 runs all of them")
def test_ninety_nine_of_a_hundred_are_traced_with_their_own_input(say: Say) -> None:
    refused = {entry.name: outcome(entry.name).refused for entry in ENTRIES if not outcome(entry.name).own}
    say(f"{len(ENTRIES)} models: {len(TIMM)} of timm, {len(HF)} of transformers", refused)
    assert len(refused) <= 0.01 * len(ENTRIES)


@pytest.mark.skipif(not ALL, reason="INITPOLICY_ZOO=1 runs all of them")
def test_the_zoo_is_as_large_as_promised() -> None:
    assert len(TIMM) >= 150
    assert len(HF) >= 60
    assert len(WRITTEN) >= 60


# --- weight by weight -----------------------------------------------------------------------------


@each_written
def test_the_table_is_whole(entry: Entry) -> None:
    """Every weight has its row, and asks something unless the code leaves it open."""
    missing = [path for path in outcome(entry.name).weights if row_of(entry.table, path) is None]
    assert missing == []


Question = tuple[str, str, str, tuple[Hit, ...], str]


def questions(entry: Entry, side: str) -> Iterator[Question]:
    """Path, what is right, the row, the answer, where it is from."""
    found = outcome(entry.name)
    for path in sorted(found.weights):
        row = row_of(entry.table, path)
        if row is not None and (right := getattr(row, side)) != NOT_ASKED:
            signal = found.signals[path]
            yield path, right, row.pattern.pattern, getattr(signal, side), signal.found_by


@pytest.mark.parametrize(("side", "least"), [("following", 0.995), ("preceding", 0.99)])
def test_share_of_weights_that_are_right(side: str, least: float, say: Say) -> None:
    """Every miss is printed; none is excused."""
    asked, misses = 0, Counter[tuple[str, str, str, str]]()
    for entry in WRITTEN:
        for _, right, row, hits, found_by in questions(entry, side):
            asked += 1
            if not agrees(right, hits):
                misses[entry.name, row, right, str(hits[0].activation) if hits else found_by] += 1
    wrong = sum(misses.values())
    say(
        f"{side}: {asked - wrong} of {asked} right ({1 - wrong / asked:.3%}) in {len(WRITTEN)} models",
        {f"{name} {row}": f"{answer}, not {right} ({n})" for (name, row, right, answer), n in misses.items()},
    )
    assert wrong <= (1 - least) * asked


# --- another activation ---------------------------------------------------------------------------

SWAPPED = tuple(entry for entry in ENTRIES if entry.swapped)


@pytest.mark.parametrize("entry", SWAPPED, ids=named)
def test_swapping_the_activation_changes_exactly_the_answers_it_should(entry: Entry) -> None:
    """Mish where the table has ``act_layer`` or ``hidden_act``, everywhere else the same answers as before."""
    before = outcome(entry.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        after = trace(entry.make(nn.Mish if entry in TIMM else "mish")).signals
    assert after.keys() == before.signals.keys()
    changed, wrong = 0, {}
    for path in before.weights:
        own, other = row_of(entry.table, path), row_of(entry.swapped, path)
        assert own is not None
        assert other is not None
        for side in ("following", "preceding"):
            was, now = (said(getattr(signals[path], side)) for signals in (before.signals, after))
            if (right := getattr(other, side)) == getattr(own, side):
                good = now == was
            else:
                good, changed = agrees(right, getattr(after[path], side)), changed + 1
            if not good:
                wrong[path, side] = (was, now)
    assert wrong == {}
    assert changed > 0


def said(hits: tuple[Hit, ...]) -> tuple[str, ...]:
    return tuple(str(hit.activation) for hit in hits)

"""The tracer's parts by themselves: names, storages, isolation, inputs, what is said; answers are tested by case."""

from __future__ import annotations

import functools
import inspect
import random
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from initpolicy import PlanError, survey
from initpolicy.facts.dataflow import CannotTrace, Traced, trace
from initpolicy.facts.dataflow.graph import Graph, Taint
from initpolicy.facts.dataflow.inputs import Given, as_call, candidates
from initpolicy.facts.dataflow.isolate import isolate
from initpolicy.facts.dataflow.operations import canonical
from initpolicy.facts.dataflow.run import run
from initpolicy.facts.dataflow.sites import effective_names
from initpolicy.facts.dataflow.tensors import Box
from initpolicy.facts.dataflow.trace import _first_that_runs
from initpolicy.facts.quiet import quiet
from initpolicy.facts.registered import NONE


class Calls(nn.Module):
    """fc1, a function, fc2."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 4), nn.Linear(4, 4)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.function(self.fc1(x)))
        return out


def x(*shape: int) -> Tensor:
    return torch.zeros(shape or (2, 4))


def following(traced: Traced, site: str) -> list[str]:
    return [str(hit.activation) for hit in traced.signals[site].following]


def graph_of(model: nn.Module, example: Tensor, kind: Any = "fake") -> Graph:
    with quiet():
        return run(isolate(model, kind), as_call(example, ""), [])[0]


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (torch.relu_, ("relu", False, True)),
        (F.relu, ("relu", False, False)),
        (Tensor.__add__, ("add", False, False)),
        (Tensor.__rsub__, ("sub", True, False)),
        (Tensor.__rtruediv__, ("div", True, False)),
        (Tensor.__imul__, ("mul", False, True)),
        (Tensor.__setitem__, ("setitem", False, True)),
        (Tensor.true_divide, ("div", False, False)),
        (torch.special.expit, ("sigmoid", False, False)),
        (torch.clip, ("clamp", False, False)),
        (torch.ops.aten._softmax.default, ("softmax", False, False)),
        (torch.ops.aten.max.other, ("maximum", False, False)),
        (torch.ops.aten.relu_.default, ("relu", False, True)),
        (inspect.getattr_static(Tensor, "T").__get__, ("T", False, False)),
        (Tensor.requires_grad_, ("requires_grad", False, False)),
    ],
)
def test_an_operation_has_one_name(func: Any, name: tuple[str, bool, bool]) -> None:
    assert canonical(func) == name


# --- storages ------------------------------------------------------------------------------------


@st.composite
def slices(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Two views of one storage of small numbers."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    base = torch.arange(int(np.prod(shape))).reshape(shape)
    views = []
    for _ in range(2):
        view = base
        for axis, size in enumerate(shape):
            start = draw(st.integers(0, size - 1))
            view = view.narrow(axis, start, draw(st.integers(1, size - start)))
        views.append(view.transpose(0, -1) if draw(st.booleans()) else view)
    return views[0], views[1]


@given(slices())
def test_what_a_view_covers_or_misses_is_so(pair: tuple[Tensor, Tensor]) -> None:
    first, second = (set(view.flatten().tolist()) for view in pair)
    a, b = Box.of(pair[0]), Box.of(pair[1])
    assert not a.covers(b) or second <= first
    assert not a.misses(b) or not first & second


def test_slices_side_by_side_do_not_touch() -> None:
    left, right = torch.zeros(3, 8).chunk(2, dim=1)
    assert Box.of(left).misses(Box.of(right))
    assert not Box.of(left).misses(Box.of(left[1:]))


def half(h: Tensor) -> Tensor:
    left, right = h.chunk(2, dim=1)
    left.tanh_()
    right.relu_()
    return h


def by_exp(h: Tensor) -> Tensor:
    e = torch.exp(h - h.amax(-1, True))
    return e / e.sum(-1, True)


def out_given(h: Tensor) -> Tensor:
    made = torch.empty_like(h)
    torch.sigmoid(h, out=made)
    return made


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        (lambda h: h.view(-1).relu_().view(2, 4), ["relu"]),
        (half, ["tanh", "relu"]),
        (out_given, ["sigmoid"]),
        (lambda h: torch.zeros_like(h).copy_(h).tanh_(), ["tanh"]),
        (lambda h: h.data.relu(), ["relu"]),
        (lambda h: torch.zeros(2, 8).index_copy_(1, torch.arange(4), h.relu())[:, :4], ["relu"]),
        (lambda h: h.clamp(-1e4, 1e4).relu(), ["relu"]),
        (lambda h: h.clamp(max=7.0) * torch.sigmoid(1.702 * h.clamp(max=7.0)), ["quick_gelu"]),
        (lambda h: h / (1e-6 + h.pow(2).mean(-1, keepdim=True)).sqrt(), ["identity"]),
        (by_exp, ["softmax"]),
        (lambda h: 2.0 * torch.tanh(h), ["tanh"]),
        (lambda h: h + torch.relu(h), ["relu"]),
        (lambda h: h.square().relu(), ["custom"]),
    ],
)  # fmt: skip
def test_a_value_is_followed(function: Callable[[Tensor], Tensor], answer: list[str]) -> None:
    found = following(trace(Calls(function), x()), "fc1.weight")
    assert sorted(found) == sorted(answer)


def test_custom_carries_its_gains() -> None:
    hit = trace(Calls(lambda h: h.square().relu()), x()).signals["fc1.weight"].following[0]
    assert hit.activation.exact == pytest.approx((3**-0.5, 0.5), rel=1e-6)  # E[z^4] = 3, E[(2z)^2] = 4


# --- taint ---------------------------------------------------------------------------------------


class Taints(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w, self.a = nn.Parameter(torch.zeros(4, 4)), nn.Parameter(torch.zeros(4, 4))
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> list[Tensor]:
        index = x[0].long()
        return [
            self.w.t() @ self.a,
            self.w[index],
            self.layer(self.w),
            self.layer(x),
            torch.zeros_like(x) + 1,
            torch.zeros(4) * self.layer(x),
            F.embedding(index, self.w),
        ]


def test_taint() -> None:
    model = Taints()
    values = [value for node in graph_of(model, x()).nodes for value in node.outputs if value.output]
    assert [value.taint for value in values] == [
        Taint.PARAM, Taint.GATHERED, Taint.DERIVED, Taint.DATA, Taint.CONST, Taint.CONST, Taint.DATA
    ]  # fmt: skip


# --- paths, flags, sites -------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x: Tensor) -> Any:
        return self.relu(x + self.bn1(self.conv1(x)))


def test_the_path_and_its_flags() -> None:
    hit = trace(Block(), x(1, 3, 4, 4)).signals["conv1.weight"].following[0]
    assert (hit.path, hit.flags) == (("conv1", "bn1", "add", "relu"), ("norm", "add"))


class Gate(nn.Module):
    """A leaf with a step of its own before its activation."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 4))

    def forward(self, x: Tensor) -> Any:
        return torch.relu(F.linear(x, self.weight))


def test_a_leaf_that_multiplies_and_bends_shows_both() -> None:
    hit = trace(nn.Sequential(Gate()), x()).signals["0.weight"].following[0]
    assert hit.path == ("0", "relu")


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc, self.head = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 9, bias=False)
        self.head.weight = self.embed.weight
        self.spare = nn.Embedding(9, 4)
        self.spare.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Any:
        return self.head(torch.relu(self.fc(self.embed(ids))))


def test_tied_sites_are_told_apart_by_who_executes() -> None:
    signals = trace(Tied(), torch.zeros(2, 3, dtype=torch.long)).signals
    assert signals["embed.weight"].previous is None
    assert signals["head.weight"].previous == "fc"
    assert [hit.activation.name for hit in signals["head.weight"].preceding] == ["relu"]
    assert signals["spare.weight"] == signals["embed.weight"]


def test_parametrized_weights_have_the_name_in_use() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    nn.utils.parametrizations.weight_norm(model[0])
    nn.utils.spectral_norm(model[1])
    assert effective_names(model) == {
        "0.bias": "0.bias",
        "0.parametrizations.weight.original0": "0.weight",
        "0.parametrizations.weight.original1": "0.weight",
        "1.bias": "1.bias",
        "1.weight_orig": "1.weight",
    }


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.spare = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        return torch.tanh(self.experts[1](x))


def test_what_never_ran_says_so() -> None:
    traced = trace(Experts(), x())
    assert following(traced, "experts.2.weight") == ["tanh"]
    assert traced.signals["experts.2.weight"].found_by == "sibling experts.1.weight"
    assert (following(traced, "spare.weight"), traced.signals["spare.weight"].found_by) == ([], "unused")


# --- isolation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fake", "real", "meta"])
def test_the_copy_shares_nothing(kind: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train()
    made = isolate(model, kind)
    own = {id(thing) for thing in (*model.modules(), *model.parameters(), *model.buffers())}
    copied = (*made.model.modules(), *made.model.parameters(), *made.model.buffers())
    assert not own & {id(thing) for thing in copied}
    assert (model.training, made.model.training) == (True, False)
    assert all(isinstance(parameter, nn.Parameter) for parameter in made.model.parameters())
    storages = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    assert kind != "real" or not storages & {t.untyped_storage().data_ptr() for t in made.model.state_dict().values()}


CACHE: dict[str, Any] = {}


@functools.lru_cache
def ramp(n: int) -> Tensor:
    return torch.arange(n).float()


@functools.cache
def pair(n: int) -> tuple[Tensor, Tensor]:
    return torch.ones(n), torch.ones(n)


class Caches(nn.Module):
    shared: dict[int, tuple[Tensor, ...]] = {}  # noqa: RUF012 - the mistake this is about
    kept: list[Tensor] = []  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        if 4 not in self.shared:
            self.shared[4] = (torch.ones(4),)
            self.kept.append(torch.ones(4))
        scale = CACHE.setdefault("scale", torch.ones(4))
        return torch.relu(self.fc(x) * scale + ramp(4) + pair(4)[1] + self.shared[4][0])


def test_no_cache_gives_back_a_fake_tensor_later() -> None:
    model = Caches()
    assert following(trace(model, x()), "fc.weight") == ["relu"]
    assert (CACHE, Caches.shared, Caches.kept, ramp.cache_info().currsize) == ({}, {}, [], 0)
    assert type(model(x())) is Tensor
    CACHE.clear()
    Caches.shared.clear()
    Caches.kept.clear()


class Reaches(nn.Module):
    """Its forward is a closure over the model itself: a copy still finds the original."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        weight = self.fc.weight
        self.work: Callable[[Tensor], Tensor] = lambda x: torch.relu(F.linear(x, weight.clamp_(-0.01, 0.01)))

    def forward(self, x: Tensor) -> Any:
        return self.work(x)


def test_what_reaches_past_the_copy_gets_twins() -> None:
    model = Reaches()
    before = model.fc.weight.detach().clone()
    traced = trace(model, x())
    assert torch.equal(model.fc.weight, before)
    assert following(traced, "fc.weight") == ["relu"]
    assert traced.notes == (
        "the forward reached the model's own tensors past the copy; copies were put in their place",
    )


def test_chance_is_as_before() -> None:
    def states() -> tuple[Any, ...]:
        return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())

    def draws(h: Tensor) -> Tensor:
        return torch.relu(h + torch.rand(4) + random.random() + float(np.random.rand()))

    model = Calls(draws)
    before = states()
    trace(model, x())
    assert states() == before


COMPILES = """
import sys, torch
from torch import nn
from initpolicy.facts.dataflow import trace

made = []

def backend(graph, inputs):
    made.append(graph)
    return graph.forward

class Late(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return torch.compile(lambda h: torch.relu(self.fc(h)), backend=backend)(x)

model, compile_ = Late(), torch.compile
assert "torch._dynamo" not in sys.modules
signals = trace(model, torch.zeros(2, 4)).signals
assert torch.compile is compile_
print(signals["fc.weight"].following[0].activation, len(made))
model(torch.zeros(2, 4))
print(len(made))
"""


def test_what_is_first_compiled_in_the_forward_is_not() -> None:
    """In a process that has not loaded what compiles; afterwards it compiles as ever."""
    done = subprocess.run([sys.executable, "-c", COMPILES], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.returncode) == (["relu", "0", "1"], 0), done.stderr


# --- what is said --------------------------------------------------------------------------------


class Positions(nn.Module):
    """A table that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.table = nn.Linear(4, 4), torch.ones(4)

    def forward(self, x: Tensor) -> Any:
        return torch.relu(self.fc(x) + self.table.detach().clone())


def test_a_tensor_kept_as_an_attribute_is_the_models_own() -> None:
    traced = trace(Positions(), x())
    assert (following(traced, "fc.weight"), traced.notes) == (["relu"], ())


def test_a_forward_on_real_numbers_is_announced() -> None:
    traced = trace(Calls(lambda h: torch.relu(h) if h.sum() > -1e9 else h), x())
    assert following(traced, "fc1.weight") == ["relu"]
    assert traced.notes == ("fake tensors could not run the forward: a full copy ran for real",)


def test_small_integers_need_no_real_forward() -> None:
    traced = trace(Calls(lambda h: torch.relu(h[:, : int(torch.arange(5).max())])), x())
    assert (following(traced, "fc1.weight"), traced.notes) == (["relu"], ())


def in_a_thread(h: Tensor) -> Tensor:
    found: list[Tensor] = []
    worker = threading.Thread(target=lambda: found.append(torch.relu(h)))
    worker.start()
    worker.join()
    return found[0]


def test_another_thread_is_noticed() -> None:
    traced = trace(Calls(in_a_thread), x())
    assert (following(traced, "fc1.weight"), traced.signals["fc1.weight"].found_by) == ([], "unresolved")
    assert traced.signals["fc2.weight"].preceding == ()
    assert traced.notes == ("part of the forward ran outside of torch or in another thread, where it cannot be seen",)


def test_lazy_parameters_are_named() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some versions of torch say that lazy modules are new
        model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(CannotTrace) as error:
        trace(model, x())
    assert str(error.value) == (
        "uninitialized (lazy) parameters: 0.weight, 0.bias; run the model once on real data before tracing it"
    )


@pytest.mark.parametrize(
    ("example", "why"),
    [
        ({"shape": [-1, 4]}, "RuntimeError: Trying to create tensor with negative dimension -1: [-1, 4]"),
        ({"shape": [1, 4], "dtype": "flaot32"}, "AttributeError: module 'torch' has no attribute 'flaot32'"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
    ids=["shape", "dtype", "function"],
)
def test_an_example_that_cannot_be_made(example: Any, why: str) -> None:
    with pytest.raises(PlanError) as caught:
        survey(nn.Linear(4, 4), example)
    assert str(caught.value) == f"survey: example_input: cannot be made: {why}"


def test_a_forward_that_fails_is_quoted() -> None:
    with pytest.raises(CannotTrace) as error:
        trace(nn.Linear(4, 4), x(2, 5))
    assert str(error.value) == (
        "trace of your example_input: RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x5 and 4x4)"
    )


class Refuses(nn.Module):
    """Has three kinds of input, and takes none; of its config there are many."""

    main_input_name = "input_ids"

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(vocab_size=11, is_encoder_decoder=False)
        self.example_input_array = torch.zeros(2, 4)
        self.fc = nn.Linear(4, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, pixel_values: Any = None) -> Any:
        if input_ids.is_floating_point():
            raise TypeError("words are integers")
        raise ValueError(f"no sentence of {input_ids.shape[1]} words")


def test_each_kind_of_input_has_one_reason() -> None:
    with pytest.raises(CannotTrace) as error:
        trace(Refuses())
    assert str(error.value) == (
        "trace of example_input_array: TypeError: words are integers; "
        "trace of inputs made from its config: ValueError: no sentence of 8 words; give an example_input"
    )


def test_nothing_says_what_it_takes() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))

    with pytest.raises(CannotTrace) as error:
        trace(Bare())
    assert str(error.value) == "nothing says what the model takes: give an example_input"


# --- inputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("example", "args", "kwargs"),
    [
        ({"shape": [1, 3]}, [((1, 3), torch.float32)], {}),
        ({"shape": [2], "dtype": "int64"}, [((2,), torch.int64)], {}),
        (
            [{"shape": [1]}, {"shape": [2], "dtype": "torch.float64"}],
            [((1,), torch.float32), ((2,), torch.float64)],
            {},
        ),
        ({"a": {"shape": [1]}, "b": {"shape": [2]}}, [], {"a": ((1,), torch.float32), "b": ((2,), torch.float32)}),
        (lambda: torch.zeros(3), [((3,), torch.float32)], {}),
        ((torch.zeros(1), torch.zeros(2)), [((1,), torch.float32), ((2,), torch.float32)], {}),
        ({"ids": torch.zeros(1, dtype=torch.long)}, [], {"ids": ((1,), torch.int64)}),
    ],
)
def test_an_example_is_read(example: Any, args: list[Any], kwargs: Mapping[str, Any]) -> None:
    call = as_call(example, "")
    assert [(tuple(part.shape), part.dtype) for part in call.args] == args
    assert {name: (tuple(part.shape), part.dtype) for name, part in call.kwargs.items()} == kwargs


class Configured(nn.Module):
    main_input_name = "input_ids"

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(vocab_size=11, is_encoder_decoder=False)
        self.embed, self.fc = nn.Embedding(11, 4), nn.Linear(4, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return torch.tanh(self.fc(self.embed(input_ids)))


def with_attribute(model: nn.Module, name: str, value: Any) -> nn.Module:
    setattr(model, name, value)
    return model


CNN = functools.partial(nn.Sequential, nn.Conv2d(3, 4, 3), nn.ReLU())
SAID = "no example_input was given: traced with a guess from the first layer, (1, 3, 64, 64)"


@pytest.mark.parametrize(
    ("make", "found_by", "notes"),
    [
        (lambda: with_attribute(CNN(), "example_input_array", x(1, 3, 8, 8)), "trace of example_input_array", ()),
        (lambda: with_attribute(CNN(), "default_cfg", {"input_size": (3, 9, 9)}), "trace of default_cfg", ()),
        (Configured, "trace of inputs made from its config (input_ids)", ()),
        (CNN, "trace of a guessed input", (SAID,)),
    ],
)
def test_inputs_come_in_order(make: Callable[[], nn.Module], found_by: str, notes: tuple[str, ...]) -> None:
    traced = trace(make())
    assert (traced.found_by, traced.notes) == (found_by, notes)
    assert {signal.found_by for signal in traced.signals.values()} == {found_by}


def convolutional(size: tuple[int, ...], flat: Callable[[int], nn.Module]) -> nn.Module:
    """Two convolutions, and a layer that takes their features at one size alone."""
    conv: Any = nn.Conv1d if len(size) == 1 else nn.Conv2d
    features = nn.Sequential(conv(3, 4, 3), nn.ReLU(), conv(4, 6, 3, stride=2), nn.Tanh())
    width = features(torch.zeros(1, 3, *size)).numel()
    return nn.Sequential(features, flat(width), nn.Linear(width, 3))


class Reshaped(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, self.width)


@pytest.mark.parametrize("flat", [lambda width: nn.Flatten(), Reshaped], ids=["flatten", "reshape"])
@pytest.mark.parametrize("size", [(28, 28), (32, 32), (17, 17), (84, 84), (100, 100), (160, 160), (9,), (1000,)])
def test_the_size_is_found_that_a_layer_after_flattening_takes(
    size: tuple[int, ...], flat: Callable[[int], nn.Module]
) -> None:
    traced = trace(convolutional(size, flat))
    assert following(traced, "0.2.weight") == ["tanh"]
    assert [hit.activation.name for hit in traced.signals["2.weight"].preceding] == ["tanh"]
    assert traced.found_by == "trace of a guessed input"


def test_the_size_that_was_found_is_said() -> None:
    sizes = (84, 85)  # the same features, by the stride
    said = {f"no example_input was given: traced with a guess from the first layer, (1, 3, {n}, {n})" for n in sizes}
    assert set(trace(convolutional((84, 84), lambda width: nn.Flatten())).notes) <= said


def test_a_width_that_no_size_gives_is_not_looked_for_without_end() -> None:
    """After an adaptive pool every size gives the same: the first refusal that repeats itself ends the search."""
    seen: list[tuple[int, ...]] = []

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.pool, self.fc = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(7), nn.Linear(512 * 49, 10)

        def forward(self, x: Tensor) -> Any:
            seen.append(tuple(x.shape[2:]))
            return self.fc(torch.relu(self.pool(self.conv(x))).flatten(1))

    why = "trace of a guessed input: RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x392 and 25088x10)"
    with pytest.raises(CannotTrace, match=re.escape(why)):
        trace(Pooled())
    assert max(max(size) for size in seen) <= 256


def test_every_input_that_follows_from_a_refusal_is_tried() -> None:
    """Inputs are told apart by identity, and those that failed must not leave theirs to the next."""
    wanted, tried = 200, list[int]()

    def of(size: int) -> Given:
        return Given((torch.zeros(1, size),), {}, "a search", again=lambda error: of(size + 1))

    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(wanted, 3)

        def forward(self, x: Tensor) -> Any:
            tried.append(x.shape[1])
            return torch.relu(self.fc(x))

    with quiet():
        found = _first_that_runs(Picky(), [of(150)], ("fake", "real"), [], [], given=False, own=NONE)
    assert tried == list(range(150, wanted + 1))
    assert following(found, "fc.weight") == ["relu"]


class MadeFor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.img_size = (40, 40)
        self.conv = nn.Conv2d(3, 4, 8, stride=8)

    def forward(self, x: Tensor) -> Any:
        if x.shape[2:] != self.img_size:
            raise ValueError("another size")
        return torch.relu(self.conv(x))


def test_the_size_is_the_one_that_a_module_says_it_was_made_for() -> None:
    traced = trace(MadeFor())
    assert traced.notes == ("no example_input was given: traced with a guess from the first layer, (1, 3, 40, 40)",)


class Captions(nn.Module):
    """Words and an image; as many words must stand for it as it has features."""

    main_input_name = "input_ids"

    def __init__(self, **counts: Any) -> None:
        super().__init__()
        vision = SimpleNamespace(image_size=32, patch_size=8, num_channels=3)
        self.config = SimpleNamespace(vocab_size=30, image_token_id=20, vision_config=vision, **counts)
        self.patches, self.merge = nn.Conv2d(3, 4, 8, stride=8), nn.AvgPool2d(2)
        self.embed, self.head = nn.Embedding(30, 4), nn.Linear(4, 30)

    def forward(self, input_ids: Tensor, pixel_values: Tensor | None = None) -> Any:
        x = self.embed(input_ids)
        if pixel_values is not None:
            image = self.merge(torch.tanh(self.patches(pixel_values))).flatten(2).transpose(1, 2)
            there = input_ids == self.config.image_token_id
            if x[there].shape[0] != image.shape[1]:
                raise ValueError(f"image tokens do not match, tokens: {there.sum()}, features: {image.shape[1]}")
            x = x.masked_scatter(there[..., None].expand_as(x), image)
        return self.head(x)


@pytest.mark.parametrize("counts", [{}, {"mm_tokens_per_image": 4}, {"spatial_merge_size": 2}])
def test_an_image_has_its_place_among_the_words(counts: Mapping[str, Any]) -> None:
    traced = trace(Captions(**counts))
    assert following(traced, "patches.weight") == ["tanh"]
    assert traced.notes == ()
    assert traced.found_by == "trace of inputs made from its config (input_ids, pixel_values)"


def test_an_example_is_the_only_candidate() -> None:
    model = with_attribute(CNN(), "default_cfg", {"input_size": (3, 9, 9)})
    assert [given.found_by for given in candidates(model, x(), "", "mine")] == ["mine"]


def test_a_model_on_meta_is_traced_as_it_is() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4))
    traced = trace(model, x())
    assert (following(traced, "0.weight"), traced.notes) == (["gelu"], ())
    assert all(parameter.is_meta for parameter in model.parameters())

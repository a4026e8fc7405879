"""What a model is: every parameter once, under every name, with what its owner is."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from surveyed import by_name, names, seen
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from initpolicy.facts.locate import locate
from initpolicy.facts.survey import survey_model
from initpolicy.matching import has_type
from initpolicy.records import Activation, Hit, Layout, Signal

SCRIPT = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
"""Old models are scripted, so this is tested as long as torch has it."""


# --- names, owners, order ------------------------------------------------------------------------


class Block(nn.Module):
    """A bare parameter beside layers, a list and a dictionary of them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)
        self.scale = nn.Parameter(torch.ones(4))
        self.table = nn.ParameterList([torch.zeros(2, 3), torch.zeros(5)])
        self.named = nn.ParameterDict({"a": nn.Parameter(torch.zeros(2))})


def test_hf30451_every_parameter_has_a_record_the_bare_ones_too() -> None:
    model = nn.Sequential(Block(), nn.ReLU(), nn.LSTM(2, 3))
    model.register_parameter("temperature", nn.Parameter(torch.tensor(1.0)))
    model.register_parameter("absent", None)
    model.register_module("gone", None)
    facts = survey_model(model)
    assert [param.name for param in facts.params] == [name for name, _ in model.named_parameters()]
    owners = {param.name: (param.sites[0].owner.name, param.sites[0].local) for param in facts.params}
    assert owners["temperature"] == ("", "temperature")
    assert owners["0.scale"] == ("0", "scale")
    assert owners["0.table.1"] == ("0.table", "1")
    assert owners["0.named.a"] == ("0.named", "a")
    assert owners["2.weight_ih_l0"] == ("2", "weight_ih_l0")


def test_modules_are_in_order_of_registration_and_know_their_parents() -> None:
    facts = survey_model(nn.Sequential(nn.Sequential(nn.Linear(1, 1)), nn.ReLU()))
    assert [(m.name, m.classes.simple, m.parent and m.parent.name) for m in facts.modules] == [
        ("", "Sequential", None), ("0", "Sequential", ""), ("0.0", "Linear", "0"), ("1", "ReLU", ""),
    ]  # fmt: skip
    assert facts.params[0].sites[0].owner is facts.modules[2]
    assert facts.modules[2].parent is facts.modules[1]


def test_one_record_says_all() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2, dtype=torch.bfloat16))
    param = survey_model(model).params[0]
    assert (param.name, param.aliases, param.path, param.shape) == ("0.weight", (), "0.weight", (6, 2, 3, 3))
    assert (param.dtype, param.device, param.trainable) == ("bfloat16", "cpu", True)
    assert (param.untouchable, param.padding_idx, param.parametrization) == ("", None, ())
    assert param.sites[0].layout == Layout(axes=("out", "in", "k", "k"), groups=2, kind="weight")
    assert param.sites[0].signal == Signal()


def test_a_frozen_parameter_is_not_trainable() -> None:
    model = nn.Linear(2, 2)
    model.weight.requires_grad_(False)
    assert [param.trainable for param in survey_model(model).params] == [False, True]


@pytest.mark.parametrize(
    ("table", "row"),
    [
        (nn.Embedding(10, 3), None),
        (nn.Embedding(10, 3, padding_idx=0), 0),
        (nn.Embedding(10, 3, padding_idx=-1), 9),
        (nn.EmbeddingBag(10, 3, padding_idx=4), 4),
        (parametrizations.weight_norm(nn.Embedding(10, 3, padding_idx=2)), 2),
    ],
)
def test_pt6411_the_padding_row_is_known(table: nn.Module, row: int | None) -> None:
    assert survey_model(table).params[0].padding_idx == row


def test_a_padding_index_set_later_counts_from_the_end_too() -> None:
    table = nn.Embedding(10, 3)
    table.padding_idx = -2
    assert survey_model(table).params[0].padding_idx == 8


def test_signals_come_by_the_path_in_the_real_tree() -> None:
    relu = Signal(following=(Hit(activation=Activation(name="relu")),), found_by="sequential")
    model = nn.DataParallel(nn.Sequential(nn.Linear(2, 3), parametrizations.weight_norm(nn.Linear(3, 2))))
    found = by_name(survey_model(model, {"module.0.weight": relu, "module.1.weight": relu}))
    assert {name: param.sites[0].signal == relu for name, param in found.items()} == {
        "0.weight": True, "0.bias": False, "1.weight": True, "1.bias": False,
    }  # fmt: skip


def test_a_place_that_the_model_no_longer_has() -> None:
    with pytest.raises(LookupError, match=r"^the model has no module at '0\.1'; plan again$"):
        locate(nn.Sequential(nn.Sequential(nn.Linear(1, 1))), "0.1.weight")


# --- one tensor, several names -------------------------------------------------------------------


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(7, 4, padding_idx=0)
        self.ln = nn.LayerNorm(4)
        self.lm_head = nn.Linear(4, 7, bias=False)
        self.lm_head.weight = self.wte.weight


def test_mup55_a_tied_weight_is_one_tensor_that_knows_both_its_owners() -> None:
    facts = survey_model(GPT())
    assert [(param.name, param.aliases) for param in facts.params] == [
        ("wte.weight", ("lm_head.weight",)), ("ln.weight", ()), ("ln.bias", ()),
    ]  # fmt: skip
    tied = facts.params[0]
    assert tied.key == "lm_head.weight"
    assert [site.owner.classes.simple for site in tied.sites] == ["Embedding", "Linear"]
    assert [site.layout for site in tied.sites] == [
        Layout(axes=("in", "out"), one_hot=True, kind="table"),
        Layout(axes=("out", "in"), kind="weight"),
    ]
    assert tied.padding_idx == 0


def test_the_padding_row_is_known_whichever_name_comes_first() -> None:
    table, head = nn.Embedding(7, 4, padding_idx=3), nn.Linear(4, 7, bias=False)
    head.weight = table.weight
    (param,) = survey_model(nn.ModuleList([head, table])).params
    assert (param.name, param.padding_idx) == ("0.weight", 3)


def test_a_module_registered_twice_gives_each_parameter_two_names() -> None:
    layer = nn.Linear(2, 2)
    model = nn.ModuleDict({"b": layer, "a": nn.Sequential(layer)})
    facts = survey_model(model)
    assert [(p.name, p.aliases, p.key) for p in facts.params] == [
        ("b.weight", ("a.0.weight",), "a.0.weight"), ("b.bias", ("a.0.bias",), "a.0.bias"),
    ]  # fmt: skip
    assert [module.name for module in facts.modules] == ["", "b", "a", "a.0"]
    assert facts.params[0].sites[1].owner.parent is facts.modules[2]


def test_equal_tensors_are_two_tensors() -> None:
    layer = nn.Linear(2, 2)
    assert len(survey_model(nn.Sequential(layer, copy.deepcopy(layer))).params) == 4


def test_a_parametrized_module_registered_twice_is_one_tensor() -> None:
    layer = parametrizations.weight_norm(nn.Linear(2, 2, bias=False))
    (param,) = survey_model(nn.Sequential(layer, layer)).params
    assert (param.name, param.aliases) == ("0.weight", ("1.weight",))


def test_parametrizations_over_one_tensor_do_not_confuse() -> None:
    first, second, third = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    second.weight = third.weight = first.weight
    parametrizations.spectral_norm(first)
    parametrizations.spectral_norm(second)
    facts = survey_model(nn.Sequential(first, second, third))
    assert [(param.name, param.aliases) for param in facts.params] == [("0.weight", ("1.weight",)), ("2.weight", ())]


def test_a_module_that_holds_itself_ends() -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    model.register_module("me", model)
    assert names(model) == ["0.weight", "0.bias"]


# --- classes -------------------------------------------------------------------------------------


class Linear2(nn.Linear):
    """``Linear`` by descent; its name contains another's."""


class LinearHead(nn.Module):
    """No ``Linear``, whatever its name."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = Linear2(2, 2)


def test_the_names_of_a_class() -> None:
    (module,) = survey_model(Linear2(1, 1)).modules
    assert module.classes.mro == (
        ("Linear2", f"{__name__}.Linear2"),
        ("Linear", "torch.nn.modules.linear.Linear", "torch.nn.Linear", "torch.nn.modules.Linear"),
        ("Module", "torch.nn.modules.module.Module", "torch.nn.Module", "torch.nn.modules.Module"),
    )
    assert (module.classes.simple, module.classes.qualified) == ("Linear2", f"{__name__}.Linear2")


def test_vid2vid11_types_match_by_class_and_never_by_substring() -> None:
    head, linear = survey_model(LinearHead()).modules
    answers = {
        name: (has_type(head, (name,)), has_type(linear, (name,)), has_type(linear, (name,), exact=True))
        for name in ("Linear", "torch.nn.Linear", "Linear2", "LinearHead", "Lin", "near", "Module", "object", "mlp")
    }
    assert answers == {
        "Linear": (False, True, False),
        "torch.nn.Linear": (False, True, False),
        "Linear2": (False, True, True),
        "LinearHead": (True, False, False),
        "Lin": (False, False, False),
        "near": (False, False, False),
        "Module": (True, True, False),
        "object": (False, False, False),
        "mlp": (False, False, False),
    }


def test_aliases_are_where_the_very_class_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package may hold another class of the name, or be no module at all."""
    net = type("Net", (nn.Module,), {"__module__": "shop.nets.small.core"})
    packages = {
        "shop": SimpleNamespace(Net=net),
        "shop.nets": SimpleNamespace(Net=nn.Linear),
        "shop.nets.small": None,
        "shop.nets.small.core": SimpleNamespace(Net=net),
    }
    for name, package in packages.items():
        monkeypatch.setitem(sys.modules, name, package)
    assert survey_model(net()).modules[0].classes.mro[0] == ("Net", "shop.nets.small.core.Net", "shop.Net")


def test_a_class_has_one_record_of_names() -> None:
    facts = survey_model(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1), parametrizations.weight_norm(nn.Linear(1, 1))))
    assert len({id(module.classes) for module in facts.modules[1:]}) == 1


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 3)
        self.conv = nn.ConvTranspose2d(4, 4, 3, stride=2, groups=2)
        self.again = self.fc
        self.table = nn.Embedding(4, 2, padding_idx=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(x)
        return y


@SCRIPT
def test_a_scripted_module_is_what_was_scripted() -> None:
    model = Scripted()
    scripted, expected = survey_model(torch.jit.script(model)), survey_model(model)
    assert seen(replace(scripted, modules=())) == seen(replace(expected, modules=()))
    assert [(m.name, m.classes) for m in scripted.modules] == [(m.name, m.classes) for m in expected.modules]
    assert scripted.modules[2].attributes["out_channels"] == 4
    assert locate(torch.jit.script(model), "again.bias")[1] == "bias"


@SCRIPT
def test_a_traced_module_keeps_its_class_and_forgets_its_numbers() -> None:
    facts = by_name(survey_model(torch.jit.trace(Scripted(), torch.zeros(1, 2))))  # type: ignore[no-untyped-call]
    assert facts["fc.weight"].sites[0].layout == Layout(axes=("out", "in"), kind="weight")
    assert facts["conv.weight"].sites[0].layout == Layout(axes=("out", "in", "k", "k"), kind="other", known=False)
    assert facts["conv.weight"].sites[0].owner.classes.simple == "ConvTranspose2d"


@SCRIPT
def test_a_scripted_module_whose_class_is_not_here_has_its_name() -> None:
    class Local(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    (module,) = survey_model(torch.jit.script(Local())).modules
    assert module.classes.mro[:2] == (
        ("Local", f"{__name__}.Local"),
        ("RecursiveScriptModule", "torch.jit._script.RecursiveScriptModule", "torch.jit.RecursiveScriptModule"),
    )


# --- attributes ----------------------------------------------------------------------------------


class Numbers(nn.Module):
    expansion = 4
    width = 1
    flag = True

    def __init__(self) -> None:
        super().__init__()
        self.width = 64
        self.dropout = 0.5
        self.eps = np.float32(0.25)
        self.heads = np.int64(8)
        self.bias = False
        self.truth = np.bool_(True)
        self.nothing = None
        self.limit = float("inf")
        self.missing = float("nan")
        self.pair = (1, 2)
        self.word = "7"
        self.turn = 1j
        self.huge = 10**400
        self._hidden = 3
        self.tensor = torch.tensor(2.0)

    @property
    def computed(self) -> int:
        raise AssertionError("a property was asked")


def test_attributes_are_the_public_finite_numbers() -> None:
    attributes = survey_model(Numbers()).modules[0].attributes
    assert attributes == {
        "expansion": 4, "width": 64, "dropout": 0.5, "eps": 0.25, "heads": 8, "huge": 10**400,
    }  # fmt: skip
    assert {name: type(value) for name, value in attributes.items()} == {
        "expansion": int, "width": int, "dropout": float, "eps": float, "heads": int, "huge": int,
    }  # fmt: skip


def test_attributes_of_torchs_own() -> None:
    assert survey_model(nn.LSTM(3, 5, num_layers=2)).modules[0].attributes == {
        "input_size": 3, "hidden_size": 5, "num_layers": 2, "dropout": 0.0, "proj_size": 0,
    }  # fmt: skip
    assert survey_model(nn.MultiheadAttention(8, 2)).modules[0].attributes == {
        "embed_dim": 8, "kdim": 8, "vdim": 8, "num_heads": 2, "dropout": 0.0, "head_dim": 4,
    }  # fmt: skip


# --- what must not be written --------------------------------------------------------------------


def marked(tensor: Tensor, mark: object = True) -> nn.Parameter:
    param = nn.Parameter(tensor, requires_grad=tensor.is_floating_point())
    param._no_reinit = mark  # type: ignore[attr-defined]  # as state-space models do
    return param


def of(dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(torch.empty(2, 2, dtype=dtype), requires_grad=False)


DRAWN = "is not drawn, only float64, float32, bfloat16, float16"


@pytest.mark.parametrize(
    ("param", "reason"),
    [
        (of(torch.float64), ""),
        (of(torch.float32), ""),
        (of(torch.bfloat16), ""),
        (of(torch.float16), ""),
        (of(torch.int8), "not floating point"),
        (of(torch.bool), "not floating point"),
        (of(torch.complex64), "complex numbers are not drawn"),
        (of(torch.float8_e4m3fn), f"float8_e4m3fn {DRAWN}"),
        (marked(torch.zeros(2)), "marked _no_reinit"),
        (marked(torch.zeros(2, dtype=torch.int8)), "marked _no_reinit"),
        (marked(torch.zeros(2), False), ""),
        (nn.UninitializedParameter(), "lazy"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.dtype}",
)
def test_hf39366_hf45591_why_a_parameter_must_not_be_written(param: nn.Parameter, reason: str) -> None:
    model = nn.Module()
    model.register_parameter("weight", param)
    assert survey_model(model).params[0].untouchable == reason


def test_hf45591_the_mark_holds_behind_a_parametrization() -> None:
    layer = nn.Linear(2, 2)
    layer.weight = marked(torch.zeros(2, 2))
    parametrizations.spectral_norm(layer)
    assert survey_model(layer).params[0].untouchable == "marked _no_reinit"


@pytest.mark.parametrize(
    ("module", "local", "axes"),
    [
        (nn.LazyLinear(4), "weight", ("out", "in")),
        (nn.LazyConv2d(4, 3, groups=2), "weight", ("out", "in", "k", "k")),
        (nn.LazyConvTranspose2d(4, 3), "weight", ("in", "out", "k", "k")),
        (nn.LazyBatchNorm2d(), "weight", ()),
    ],
    ids=str,
)
def test_pt125861_lazy_parameters_are_named_until_they_have_a_shape(
    module: nn.Module, local: str, axes: tuple[str, ...]
) -> None:
    before = by_name(survey_model(module))
    assert {(param.untouchable, param.shape, param.dtype) for param in before.values()} == {("lazy", (), "float32")}
    assert all(site.layout.known and not site.layout.axes for param in before.values() for site in param.sites)
    module(torch.zeros(2, 4) if isinstance(module, nn.Linear) else torch.zeros(2, 4, 8, 8))
    after = by_name(survey_model(module))[local]
    assert (after.untouchable, after.sites[0].layout.axes) == ("", axes)


def test_the_layer_before_goes_by_its_canonical_name() -> None:
    """A finder knows real paths; a policy, and `inherit`, only names without wrappers (Modalities PR#460)."""
    model = nn.Sequential(nn.DataParallel(nn.Linear(2, 2)), nn.Linear(2, 2))
    facts = survey_model(model, {"1.weight": Signal(previous="0.module")})
    assert {param.name: param.sites[0].signal.previous for param in facts.params if param.name.endswith("weight")} == {
        "0.weight": None,
        "1.weight": "0",
    }

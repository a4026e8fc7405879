"""Parametrized weights: one row under the name in use, found without computing anything of the model's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from surveyed import by_name
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from initpolicy.facts.locate import locate
from initpolicy.facts.survey import survey_model

OLD_WEIGHT_NORM = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
"""Old models have it, so it is tested as long as torch has it."""


class Twice(nn.Module):
    """A user's own: counts its calls, keeps a buffer, and draws."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.get_buffer("seen").add_(1)
        return 2 * x + 0 * torch.rand(())

    def right_inverse(self, x: Tensor) -> Tensor:
        return x / 2


class Negative(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return -x

    def right_inverse(self, x: Tensor) -> Tensor:
        return -x


class Symmetric(nn.Module):
    """A square matrix stored as its upper triangle."""

    def forward(self, x: Tensor) -> Tensor:
        n = int((8 * len(x) + 1) ** 0.5 - 1) // 2
        full = x.new_zeros(n, n)
        full[tuple(torch.triu_indices(n, n))] = x
        return full + full.triu(1).T

    def right_inverse(self, x: Tensor) -> Tensor:
        return x[tuple(torch.triu_indices(*x.shape))]


class Values(Symmetric):
    """Cannot do without values."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_meta:
            raise ValueError("no values")
        return super().forward(x)


class LowRank(nn.Module):
    """Has parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(3, 1))
        self.b = nn.Linear(2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.a @ self.b.weight

    def right_inverse(self, x: Tensor) -> Tensor:
        return x


class Dropped(nn.Module):
    """Of fewer rows in training."""

    def forward(self, x: Tensor) -> Tensor:
        return x[1:] if self.training else x


class Half(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.half()[:2]


class Moody(nn.Module):
    """Fails from the second call on."""

    def __init__(self) -> None:
        super().__init__()
        self.used = False

    def forward(self, x: Tensor) -> Tensor:
        if self.used:
            raise RuntimeError("not again")
        self.used = True
        return x


def own(layer: nn.Module, *modules: nn.Module, unsafe: bool = False) -> nn.Module:
    """The layer with parametrizations of a user's own over its weight."""
    for module in modules:
        parametrize.register_parametrization(layer, "weight", module, unsafe=unsafe)
    return layer


Kind = tuple[Callable[[], nn.Module], tuple[int, ...], tuple[str, ...]]
"""What makes the layer, the shape of the weight in use, what it goes through."""

KINDS: dict[str, Kind] = {
    "weight_norm": (lambda: parametrizations.weight_norm(nn.Linear(2, 3)), (3, 2), ("_WeightNorm",)),
    "weight_norm of columns": (
        lambda: parametrizations.weight_norm(nn.Conv2d(2, 3, 5), dim=1), (3, 2, 5, 5), ("_WeightNorm",)
    ),
    "spectral_norm": (lambda: parametrizations.spectral_norm(nn.Linear(2, 3)), (3, 2), ("_SpectralNorm",)),
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(2, 3)), (3, 2), ("_Orthogonal",)),
    "two of torch's": (
        lambda: parametrizations.spectral_norm(parametrizations.weight_norm(nn.Linear(2, 3))),
        (3, 2),
        ("_WeightNorm", "_SpectralNorm"),
    ),
    "own": (lambda: own(nn.Linear(2, 3), Twice()), (3, 2), ("Twice",)),
    "two own": (lambda: own(nn.Linear(2, 3), Twice(), Negative()), (3, 2), ("Twice", "Negative")),
    "own after torch's": (
        lambda: own(parametrizations.weight_norm(nn.Linear(2, 3)), Negative()), (3, 2), ("_WeightNorm", "Negative")
    ),
    "own of another shape": (lambda: own(nn.Linear(3, 3), Symmetric()), (3, 3), ("Symmetric",)),
    "old weight_norm": (lambda: nn.utils.weight_norm(nn.Linear(2, 3)), (3, 2), ("WeightNorm",)),
    "old weight_norm of all": (lambda: nn.utils.weight_norm(nn.Linear(2, 3), dim=None), (3, 2), ("WeightNorm",)),  # type: ignore[arg-type]  # None is documented
    "old spectral_norm": (lambda: nn.utils.spectral_norm(nn.Linear(2, 3)), (3, 2), ("SpectralNorm",)),
}  # fmt: skip


def state(model: nn.Module) -> list[object]:
    """All that looking could change: tensors by identity, version and bytes; modes, attributes, random state."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    found: list[object] = [
        (name, id(t), t._version, t.untyped_storage().data_ptr(), t.requires_grad, t.grad is None, t.tolist())
        for name, t in tensors
    ]
    for name, module in model.named_modules():
        plain = {key: value for key, value in vars(module).items() if isinstance(value, (bool, int, float, str))}
        found.append((name, type(module), module.training, plain, list(vars(module)), len(module._forward_pre_hooks)))
    return [*found, torch.get_rng_state().tolist()]


@OLD_WEIGHT_NORM
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_pt180968_a_parametrized_weight_is_one_row_under_the_name_in_use(kind: str, device: str) -> None:
    make, shape, through = KINDS[kind]
    layer = make()
    model = nn.ModuleDict({"conv": layer}).to(device)
    facts = survey_model(model)
    assert [(param.name, param.path) for param in facts.params] == [("conv.weight",) * 2, ("conv.bias",) * 2]
    weight, bias = facts.params
    assert (weight.shape, weight.dtype, weight.device, weight.parametrization) == (shape, "float32", device, through)
    assert (weight.sites[0].local, weight.sites[0].layout.known, weight.trainable) == ("weight", True, True)
    assert bias.parametrization == ()
    simple = "Conv2d" if len(shape) == 4 else "Linear"
    assert [module.classes.simple for module in facts.modules] == ["ModuleDict", simple]
    assert facts.notes == ()
    owner, local = locate(model, weight.path)
    assert owner is layer
    assert local == "weight"


@OLD_WEIGHT_NORM
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_pt180968_looking_changes_nothing(kind: str, training: bool) -> None:
    """Reading a spectrally normalized weight in training takes a step of its power iteration; a survey does not."""
    model = nn.ModuleDict({"conv": KINDS[kind][0]()}).train(training)
    before = state(model)
    survey_model(model)
    assert state(model) == before


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("spectral_norm", lambda conv: conv.weight),  # a step of the power iteration
        ("own", lambda conv: conv.weight),  # a call counted, a buffer, a draw
        ("orthogonal", lambda conv: torch.rand(1)),
        ("weight_norm", lambda conv: conv.eval()),
    ],
)
def test_the_check_for_changes_sees_them(kind: str, change: Callable[[nn.Module], object]) -> None:
    layer = KINDS[kind][0]()
    before = state(layer)
    change(layer)
    assert state(layer) != before


def test_a_parametrization_that_needs_values_gets_them() -> None:
    model = own(nn.Linear(3, 3), Values())
    before = state(model)
    facts = survey_model(model)
    assert [(param.name, param.shape) for param in facts.params] == [("weight", (3, 3)), ("bias", (3,))]
    assert (facts.notes, state(model)) == ((), before)


def test_a_parametrization_that_cannot_be_tried_is_said_once() -> None:
    layer = own(nn.Linear(2, 3), Moody())
    facts = survey_model(nn.Sequential(layer, own(nn.Linear(3, 3), Values()).to("meta")))
    assert [(param.name, param.shape) for param in facts.params if param.parametrization] == [
        ("0.weight", (3, 2)), ("1.weight", (6,)),
    ]  # fmt: skip
    assert facts.notes == (
        "0.weight: Moody could not be tried (RuntimeError: not again); shape taken as stored",
        "1.weight: Values could not be tried (ValueError: no values); shape taken as stored",
    )


def test_the_shape_and_the_dtype_are_those_in_use() -> None:
    weight = survey_model(own(nn.Linear(2, 3), Half(), unsafe=True)).params[0]
    assert (weight.shape, weight.dtype, weight.untouchable) == ((2, 2), "float16", "")


def test_a_parametrization_is_tried_in_evaluation_mode() -> None:
    assert survey_model(own(nn.Linear(2, 3), Dropped(), unsafe=True).train()).params[0].shape == (3, 2)


def test_parameters_of_a_parametrization_are_parameters() -> None:
    """Its containers are no modules of the model; what it is itself, and who owns it, can be asked for."""
    model = nn.Sequential(own(nn.Linear(2, 3), Negative(), LowRank()))
    facts = survey_model(model)
    assert [(param.name, param.path) for param in facts.params] == [
        (name, name)
        for name in ("0.weight", "0.bias", "0.parametrizations.weight.1.a", "0.parametrizations.weight.1.b.weight")
    ]
    assert [(m.name, m.classes.simple, m.parent and m.parent.name) for m in facts.modules] == [
        ("", "Sequential", None), ("0", "Linear", ""), ("0.parametrizations.weight.1", "LowRank", "0"),
        ("0.parametrizations.weight.1.b", "Linear", "0.parametrizations.weight.1"),
    ]  # fmt: skip
    owner, local = locate(model, facts.params[2].path)
    assert owner.get_parameter(local) is model.get_parameter(facts.params[2].path)


def test_a_frozen_weight_is_frozen_behind_its_parametrization() -> None:
    layer = nn.Linear(2, 3)
    layer.weight.requires_grad_(False)
    assert [param.trainable for param in survey_model(parametrizations.weight_norm(layer)).params] == [False, True]


def test_a_parametrized_buffer_is_no_parameter() -> None:
    layer = nn.BatchNorm1d(3)
    parametrize.register_parametrization(layer, "running_var", Negative())
    assert [param.name for param in survey_model(layer).params] == ["weight", "bias"]


def test_several_tensors_of_a_module_may_be_parametrized() -> None:
    lstm = nn.LSTM(2, 3)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        parametrizations.weight_norm(lstm, name)
    assert {param.name: (param.shape, param.parametrization) for param in survey_model(lstm).params} == {
        "weight_ih_l0": ((12, 2), ("_WeightNorm",)),
        "weight_hh_l0": ((12, 3), ("_WeightNorm",)),
        "bias_ih_l0": ((12,), ()),
        "bias_hh_l0": ((12,), ()),
    }
    assert by_name(survey_model(lstm))["weight_hh_l0"].sites[0].layout.blocks == ("i", "f", "g", "o")


@OLD_WEIGHT_NORM
def test_what_only_looks_like_a_parametrization_is_none() -> None:
    """Names alone hide nothing: a child ``parametrizations``, a parameter ``weight_g``, another hook."""
    model = nn.Module()
    model.parametrizations = nn.ModuleDict({"weight": nn.Linear(1, 1, bias=False)})
    model.weight_g = nn.Parameter(torch.zeros(1))
    model.register_forward_pre_hook(lambda module, inputs: None)
    assert [param.name for param in survey_model(model).params] == ["weight_g", "parametrizations.weight.weight"]
    torn = nn.utils.weight_norm(nn.Linear(1, 1))
    del torn.weight_g  # what is left makes no weight
    assert [param.name for param in survey_model(torn).params] == ["bias", "weight_v"]
    removed = nn.utils.remove_weight_norm(nn.utils.weight_norm(nn.Linear(1, 1)))
    assert [param.name for param in survey_model(removed).params] == ["bias", "weight"]

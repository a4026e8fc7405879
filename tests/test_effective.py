"""Parametrized weights: set through what stands between, checked by reading the weight in use, undone if refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from applying_parts import NORMAL, bits, by_name, everything, policy, refusal
from torch import Tensor, nn
from torch.nn.functional import conv1d
from torch.nn.utils import parametrizations as new
from torch.nn.utils import parametrize

from initpolicy import apply_policy
from initpolicy.effective import effective, remembered, set_effective, stored

OLD = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
"""Old models have it, so it is tested as long as torch has it."""
pytestmark = OLD


class Doubled(nn.Module):
    """A user's own; keeps count in a buffer, and draws."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("reads", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x + 0 * torch.rand(())

    def right_inverse(self, x: Tensor) -> Tensor:
        return x.div_(2)  # in place, as users do


class Symmetric(nn.Module):
    """A square matrix that is stored as the vector of its upper triangle."""

    def forward(self, x: Tensor) -> Tensor:
        n = int((8 * len(x) + 1) ** 0.5 - 1) // 2
        full = x.new_zeros(n, n)
        full[tuple(torch.triu_indices(n, n))] = x
        return full + full.triu(1).T

    def right_inverse(self, x: Tensor) -> Tensor:
        return x[tuple(torch.triu_indices(*x.shape))]


class Difference(nn.Module):
    """Stored as two tensors."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x - y

    def right_inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.clamp(min=0), (-x).clamp(min=0)


def own(layer: nn.Module, *modules: nn.Module, unsafe: bool = False) -> nn.Module:
    for module in modules:
        parametrize.register_parametrization(layer, "weight", module, unsafe=unsafe)
    return layer


def old_weight_norm(layer: nn.Module, dim: int | None = 0) -> nn.Module:
    made: nn.Module = nn.utils.weight_norm(layer, dim=dim)  # type: ignore[arg-type]  # None is documented
    return made


FAITHFUL: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    # what makes the layer, and its plain twin
    "weight_norm": (lambda: new.weight_norm(nn.Linear(40, 30)), lambda: nn.Linear(40, 30)),
    "weight_norm of columns": (lambda: new.weight_norm(nn.Conv1d(8, 6, 3), dim=1), lambda: nn.Conv1d(8, 6, 3)),
    "weight_norm of taps": (lambda: new.weight_norm(nn.Conv1d(8, 6, 3), dim=2), lambda: nn.Conv1d(8, 6, 3)),
    "weight_norm of all": (lambda: new.weight_norm(nn.Linear(8, 6), dim=None), lambda: nn.Linear(8, 6)),  # type: ignore[arg-type]
    "transposed": (lambda: new.weight_norm(nn.ConvTranspose1d(8, 6, 4)), lambda: nn.ConvTranspose1d(8, 6, 4)),
    "old weight_norm": (lambda: old_weight_norm(nn.Linear(40, 30)), lambda: nn.Linear(40, 30)),
    "old weight_norm of columns": (lambda: old_weight_norm(nn.Conv1d(8, 6, 3), 1), lambda: nn.Conv1d(8, 6, 3)),
    "old weight_norm of all": (lambda: old_weight_norm(nn.Linear(8, 6), None), lambda: nn.Linear(8, 6)),
    "a user's own": (lambda: own(nn.Linear(8, 6), Doubled()), lambda: nn.Linear(8, 6)),
    "two of them": (lambda: own(nn.Linear(8, 6), Doubled(), Doubled()), lambda: nn.Linear(8, 6)),
    "stored as two": (lambda: own(nn.Linear(8, 6), Difference()), lambda: nn.Linear(8, 6)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("make", "twin"), FAITHFUL.values(), ids=FAITHFUL.keys())
def test_the_weight_in_use_is_what_was_asked(
    make: Callable[[], nn.Module], twin: Callable[[], nn.Module], training: bool, dtype: torch.dtype
) -> None:
    layer, plain = make().to(dtype).train(training), twin().to(dtype)
    held = {name: (id(p), p.data_ptr(), p.untyped_storage().data_ptr()) for name, p in layer.named_parameters()}
    buffers = {name: (id(b), bits(b)) for name, b in layer.named_buffers()}
    modes = [module.training for module in layer.modules()]
    audit = apply_policy(nn.ModuleDict({"layer": layer}), policy(NORMAL))
    apply_policy(nn.ModuleDict({"layer": plain}), policy(NORMAL))
    used, asked = effective(layer, "weight").detach(), plain.get_parameter("weight").detach()
    room = {torch.float32: 1e-6, torch.float64: 1e-6, torch.bfloat16: 2.0**-6}[dtype]
    assert torch.allclose(used, asked, rtol=room, atol=0)
    assert held == {name: (id(p), p.data_ptr(), p.untyped_storage().data_ptr()) for name, p in layer.named_parameters()}
    assert buffers == {name: (id(b), bits(b)) for name, b in layer.named_buffers()}
    assert modes == [module.training for module in layer.modules()]
    row = by_name(audit)["layer.weight"]
    assert (row.status, row.verdict) == ("initialized", "ok")
    assert row.reason.startswith("set through ")
    assert row.std == pytest.approx(float(used.double().std(correction=0)), rel=1e-9)
    assert [row.name for row in audit.rows] == ["layer.weight", "layer.bias"]


@pytest.mark.parametrize("norm", [new.weight_norm, old_weight_norm], ids=["new", "old"])
def test_hifigan145_pt180968_init_after_weight_norm_is_not_lost(norm: Callable[[nn.Module], nn.Module]) -> None:
    """``m.weight.data.normal_()``, as HiFi-GAN has it, writes to a tensor that the next forward pass throws away."""
    layer = norm(nn.Conv1d(4, 3, 5))
    x = torch.randn(2, 4, 9)
    layer.eval()
    before = layer(x)
    lost: Any = layer
    lost.weight.data.normal_(0, 9)
    assert torch.equal(layer(x), before)
    audit = apply_policy(layer, policy({"weight": {"name": "normal", "std": 0.01}, "bias": 0}))
    plain = nn.Conv1d(4, 3, 5)
    apply_policy(plain, policy({"weight": {"name": "normal", "std": 0.01}, "bias": 0}))
    assert torch.allclose(layer(x), conv1d(x, plain.weight, plain.bias), atol=1e-7)
    assert audit.ok


def test_wav2vec2_the_positional_convolution() -> None:
    """A grouped convolution under a weight_norm of its taps, as Hugging Face has it: the weight in use is checked."""
    layer = new.weight_norm(nn.Conv1d(32, 32, 16, padding=8, groups=4), dim=2)
    std = 2 * (4 / (16 * 32)) ** 0.5
    audit = apply_policy(layer, policy({"weight": {"name": "normal", "std": std}, "bias": 0}))
    row = by_name(audit)["weight"]
    assert row.verdict == "ok"
    assert row.shape == (32, 8, 16)
    found = layer.weight.detach()
    assert isinstance(found, Tensor)
    assert row.std == pytest.approx(float(found.double().std(correction=0)), rel=1e-9)
    assert row.std == pytest.approx(std, rel=0.05)


def test_a_tensor_of_another_shape_is_stored() -> None:
    layer = own(nn.Linear(6, 6), Symmetric())
    place = layer.get_parameter("parametrizations.weight.original").data_ptr()
    audit = apply_policy(layer, policy({"weight": {"name": "formula", "value": "i + j"}}))
    used: Any = layer.weight
    assert used.tolist() == [[i + j for j in range(6)] for i in range(6)]
    assert layer.get_parameter("parametrizations.weight.original").data_ptr() == place
    assert by_name(audit)["weight"].verdict == "ok"
    random = by_name(apply_policy(layer, policy()))["weight"]
    assert random.reason == CHANGED.format("Symmetric")
    assert random.verdict == ""


CHANGED = "set through {}; which makes another tensor of its values; measured is the one in use"


def spectral_new() -> nn.Module:
    return new.spectral_norm(nn.Linear(8, 6))


def spectral_old() -> nn.Module:
    made: nn.Module = nn.utils.spectral_norm(nn.Linear(8, 6))
    return made


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("make", [spectral_new, spectral_old])
def test_spectral_norm_measures_what_is_in_use_and_leaves_its_vectors(
    make: Callable[[], nn.Module], training: bool
) -> None:
    layer = make().train(training)
    vectors = {name: (id(b), b._version, bits(b)) for name, b in layer.named_buffers()}
    assert len(vectors) == 2
    row = by_name(apply_policy(layer, policy(NORMAL)))["weight"]
    assert vectors == {name: (id(b), b._version, bits(b)) for name, b in layer.named_buffers()}
    kind = "_SpectralNorm" if make is spectral_new else "SpectralNorm"
    assert (row.reason, row.verdict) == (CHANGED.format(kind), "")
    plain = nn.Linear(8, 6)
    apply_policy(plain, policy(NORMAL))
    [kept] = [param for name, param in layer.named_parameters() if "bias" not in name]
    assert torch.equal(kept.detach(), plain.weight.detach())
    layer.eval()
    layer(torch.ones(1, 8))  # the old style computes the weight here
    used: Any = layer.weight
    assert row.std == pytest.approx(float(used.detach().double().std(correction=0)), rel=1e-6)


# --- orthogonal ----------------------------------------------------------------------------------

ORTHOGONAL = {"weight": {"name": "orthogonal"}}


@pytest.mark.parametrize("shape", [(6, 6), (8, 3), (3, 8)])
@pytest.mark.parametrize("way", ["matrix_exp", "cayley", "householder"])
def test_an_orthogonal_weight_takes_an_orthogonal_one(way: str, shape: tuple[int, int]) -> None:
    layers = []
    for state in (1, 2):
        torch.manual_seed(state)
        layer = new.orthogonal(nn.Linear(shape[1], shape[0]), orthogonal_map=way)
        base = layer.get_buffer("parametrizations.weight.0.base")
        place = (id(base), base.data_ptr())
        row = by_name(apply_policy(layer, policy(ORTHOGONAL)))["weight"]
        assert (row.reason, row.verdict) == ("set through _Orthogonal", "ok")
        base = layer.get_buffer("parametrizations.weight.0.base")
        assert (id(base), base.data_ptr()) == place  # a part of the weight lies there
        layers.append(layer)
    plain = nn.Linear(shape[1], shape[0])
    apply_policy(plain, policy(ORTHOGONAL))
    assert torch.allclose(layers[0].weight, plain.weight, atol=1e-6)  # type: ignore[arg-type]
    for layer in layers:
        del layer.bias
    assert everything(layers[0]) == everything(layers[1])  # its basis, too, follows from the seed alone


def test_an_orthogonal_weight_makes_an_orthogonal_one_of_any_other() -> None:
    layer = new.orthogonal(nn.Linear(6, 6))
    row = by_name(apply_policy(layer, policy({"weight": NORMAL})))["weight"]
    assert (row.reason, row.verdict) == (CHANGED.format("_Orthogonal"), "")
    assert torch.allclose(layer.weight @ layer.weight.T, torch.eye(6), atol=1e-5)  # type: ignore[operator]


def test_a_refusal_leaves_every_byte_also_of_what_was_set_before() -> None:
    model = nn.ModuleDict(
        {
            "plain": nn.Linear(4, 4),
            "normed": new.weight_norm(nn.Linear(4, 4)),
            "old": old_weight_norm(nn.Linear(4, 4)),
            "spectral": spectral_old(),
            "ortho": new.orthogonal(nn.Linear(4, 4)),
            "refuses": new.orthogonal(nn.Linear(4, 4), orthogonal_map="cayley", use_trivialization=False),
            "too": new.orthogonal(nn.Linear(4, 4), use_trivialization=False, orthogonal_map="matrix_exp"),
        }
    )
    objects = {name: id(tensor) for name, tensor in model.state_dict(keep_vars=True).items()}
    why = (
        "_Orthogonal takes no such values (NotImplementedError: It is not possible to assign to the matrix "
        "exponential or the Cayley parametrizations when use_trivialization=False.); exclude it"
    )
    assert refusal(model, policy({"weight": NORMAL})) == f"test: refuses.weight: {why}\ntest: too.weight: {why}"
    assert objects == {name: id(tensor) for name, tensor in model.state_dict(keep_vars=True).items()}
    spared = policy({"weight": NORMAL}, exclude=[{"name": "refuses|too"}])
    assert apply_policy(model, spared).totals == {"initialized": 5, "unmatched": 5, "excluded": 4}


class Forward(nn.Module):
    """Has no way back."""

    def forward(self, x: Tensor) -> Tensor:
        return x.abs()


class Sheared(Forward):
    def right_inverse(self, x: Tensor) -> Tensor:
        return x[:1] if x.any() else x


class Angry(Forward):
    def right_inverse(self, x: Tensor) -> Tensor:
        if float(x.sum()) != 0:
            raise RuntimeError("not these")
        return x


class Shrinking(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:1] if bool((x == 9).all()) else x

    def right_inverse(self, x: Tensor) -> Tensor:
        return x


REFUSALS: dict[str, tuple[Callable[[], nn.Module], Any, str]] = {
    "no way back": (
        lambda: own(nn.Linear(3, 2), Forward()), NORMAL,
        "Forward takes no such values (Forward has no right_inverse); exclude it",
    ),
    "another shape": (
        lambda: own(zero(nn.Linear(3, 2)), Sheared()), NORMAL,
        "Sheared takes no such values (right_inverse gives (1, 3) where (2, 3) is stored); exclude it",
    ),
    "an error": (
        lambda: own(zero(nn.Linear(3, 2)), Angry()), NORMAL,
        "Angry takes no such values (RuntimeError: not these); exclude it",
    ),
    "another shape in use": (
        lambda: own(nn.Linear(3, 2), Shrinking()), 9,
        "Shrinking makes (1, 3) of the (2, 3) it was given; exclude it",
    ),
    "zero has no direction": (
        lambda: new.weight_norm(nn.Linear(3, 2)), 0,
        "_WeightNorm makes values that are not finite of those it was given; exclude it",
    ),
    "nor has it in the old style": (
        lambda: old_weight_norm(nn.Linear(3, 2)), 0,
        "WeightNorm makes values that are not finite of those it was given; exclude it",
    ),
    "nothing is left to divide by": (
        spectral_new, 0, "_SpectralNorm makes values that are not finite of those it was given; exclude it",
    ),
}  # fmt: skip


def zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    return layer


@pytest.mark.parametrize(("make", "spec", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_a_parametrization_refuses(make: Callable[[], nn.Module], spec: Any, message: str) -> None:
    model = nn.ModuleDict({"first": new.weight_norm(nn.Linear(3, 2)), "odd": make(), "last": nn.Linear(3, 2)})
    asked = policy({"*": NORMAL})
    asked["rules"]["odd"] = {"match": {"name": "^odd$"}, "init": {"weight": spec}}
    assert refusal(model, asked) == f"test: odd.weight: {message}"


def test_what_cannot_be_read_is_refused_or_left() -> None:
    class Moody(nn.Module):
        used = False

        def forward(self, x: Tensor) -> Tensor:
            if self.used:
                raise RuntimeError("not again")
            return x

    model = nn.ModuleDict({"odd": own(nn.Linear(3, 2), moody := Moody()), "plain": nn.Linear(2, 2)})
    moody.used = True
    assert refusal(model, policy()) == (
        "test: odd.weight: cannot be read through Moody (RuntimeError: not again); exclude it"
    )
    row = by_name(apply_policy(model, policy(exclude=[{"name": "odd"}])))["odd.weight"]
    assert (row.status, row.mean) == ("excluded", None)


def test_a_row_of_zeros_under_weight_norm_is_refused() -> None:
    layer = new.weight_norm(nn.Embedding(5, 4, padding_idx=2))
    assert refusal(layer, policy()) == (
        "test: weight: _WeightNorm makes values that are not finite of those it was given; exclude it"
    )


# --- the functions themselves --------------------------------------------------------------------


def test_reading_changes_nothing() -> None:
    for make in (spectral_new, spectral_old, lambda: own(nn.Linear(8, 6), Doubled())):
        layer = make().train()
        before = everything(layer)
        versions = [tensor._version for tensor in layer.state_dict(keep_vars=True).values()]
        assert effective(layer, "weight").shape == (6, 8)
        assert everything(layer) == before
        assert versions == [tensor._version for tensor in layer.state_dict(keep_vars=True).values()]
        assert all(module.training for module in layer.modules())


def test_a_plain_parameter_is_itself() -> None:
    layer = nn.Linear(3, 2)
    assert effective(layer, "weight") is layer.weight
    assert stored(layer, "weight") == (layer.weight,)


def test_what_a_weight_is_made_of() -> None:
    def names(layer: nn.Module) -> list[str]:
        held = {id(param): name for name, param in layer.named_parameters()}
        return [held[id(param)] for param in stored(layer, "weight")]

    assert names(new.weight_norm(nn.Linear(3, 2))) == [
        "parametrizations.weight.original0", "parametrizations.weight.original1"
    ]  # fmt: skip
    assert names(own(nn.Linear(3, 2), Doubled())) == ["parametrizations.weight.original"]
    assert names(old_weight_norm(nn.Linear(3, 2))) == ["weight_g", "weight_v"]
    assert names(spectral_old()) == ["weight_orig"]


def test_the_cache_of_parametrizations_is_not_believed() -> None:
    layer = new.weight_norm(nn.Linear(8, 6))
    with parametrize.cached():
        stale: Any = layer.weight
        row = by_name(apply_policy(layer, policy(NORMAL)))["weight"]
        assert row.verdict == "ok"
        assert layer.weight is stale
    assert not torch.equal(layer.weight, stale)


def test_what_is_remembered_can_be_put_back() -> None:
    for make in (spectral_old, lambda: old_weight_norm(nn.Linear(8, 6)), lambda: new.orthogonal(nn.Linear(8, 6))):
        layer = make()
        before = everything(layer)
        put_back = remembered(layer, "weight")
        set_effective(layer, "weight", torch.randn(6, 8))
        assert everything(layer) != before
        put_back()
        assert everything(layer) == before

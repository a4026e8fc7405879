"""`materialize`: memory and values in one pass, the same objects, the same bytes; and all back if anything fails."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from applying_parts import NORMAL, bits, by_name, everything, policy
from meta_parts import MODELS, REMEDY, Rotary, on_meta, refused, tensors_of
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from initpolicy import ApplyError, PlanError, PolicyError, apply_policy, materialize
from initpolicy.facts.survey import DRAWN
from initpolicy.initializers import INITIALIZERS
from initpolicy.initializers.base import Initializer
from initpolicy.meta import storage
from initpolicy.records import Law

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.nn.utils.weight_norm.*is deprecated:FutureWarning")


# --- the same model as one that was built as usual -----------------------------------------------


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_the_bytes_are_those_of_apply_policy(make: Callable[[], nn.Module]) -> None:
    model, usual = on_meta(make), make()
    state = torch.get_rng_state()
    audit = materialize(model, policy())
    assert torch.equal(torch.get_rng_state(), state)
    expected = apply_policy(usual, policy())
    assert everything(model) == everything(usual)
    assert {name: (t.shape, t.stride(), t.dtype) for name, t in tensors_of(model).items()} == {
        name: (t.shape, t.stride(), t.dtype) for name, t in tensors_of(usual).items()
    }
    assert (audit.fingerprint, audit.ok, audit.totals) == (expected.fingerprint, True, expected.totals)
    assert [(row.name, row.device, row.digest, row.verdict) for row in audit.rows] == [
        (row.name, row.device, row.digest, row.verdict) for row in expected.rows
    ]


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_every_object_stays_and_takes_part_in_training(make: Callable[[], nn.Module]) -> None:
    model = on_meta(make)
    before = {name: (id(t), type(t), t.requires_grad, t.is_leaf) for name, t in tensors_of(model).items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    materialize(model, policy())
    after = {name: (id(t), type(t), t.requires_grad, t.is_leaf) for name, t in tensors_of(model).items()}
    assert after == before
    values = {name: param.detach().clone() for name, param in model.named_parameters()}
    sum(param.sum() for param in model.parameters()).backward()
    optimizer.step()
    for name, param in model.named_parameters():
        assert torch.equal(param.detach(), values[name] - 1)


def test_attributes_hooks_and_classes_stay() -> None:
    class Special(nn.Parameter):
        pass

    model: Any = nn.Module()
    model.weight = Special(torch.empty(3, device="meta"))
    model.spare = nn.Parameter(torch.empty(2, device="meta"), requires_grad=False)
    vars(model.weight)["decay"] = "none"
    seen: list[str] = []
    model.weight.register_hook(lambda grad: seen.append("gradient"))
    model.weight.register_post_accumulate_grad_hook(lambda param: seen.append("accumulated"))
    handle = model.weight.register_hook(lambda grad: seen.append("removed"))
    materialize(model, policy(frozen="init"))
    handle.remove()
    assert type(model.weight) is Special
    assert vars(model.weight)["decay"] == "none"
    assert not model.spare.requires_grad
    model.weight.sum().backward()  # type: ignore[no-untyped-call]
    assert seen == ["gradient", "accumulated"]


def test_ties_stay_ties() -> None:
    model = on_meta(MODELS["tied"])
    audit = materialize(model, policy())
    assert model["head"].weight is model["embed"].weight
    assert model["again"] is model["layer"]
    assert audit.totals == {"initialized": 3, "tied": 3}
    assert not bits(model.get_parameter("embed.weight"))[2 * 16 : 3 * 16].strip(b"\0")  # padding_idx


def test_each_tensor_gets_memory_once_and_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No ``to_empty`` first, no draw that is thrown away."""
    made: list[Tensor] = []
    given = storage.memory_for

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        made.append(given(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr("initpolicy.meta.realize.memory_for", counted)
    model = on_meta(MODELS["tied"])
    materialize(model, policy())
    params = list(model.parameters())
    assert [one.data_ptr() for one in made] == [param.data_ptr() for param in params]
    usual = MODELS["tied"]()
    versions = [param._version for param in usual.parameters()]
    apply_policy(usual, policy())
    written = [param._version - old for param, old in zip(usual.parameters(), versions, strict=True)]
    assert [param._version for param in params] == written


def test_what_has_memory_is_written_where_it_lies() -> None:
    model: Any = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    model[0].weight = nn.Parameter(torch.empty(4, 4, device="meta"))
    model[2].running_mean = torch.empty(4, device="meta")
    model[2].running_var.fill_(7)
    places = {name: tensor.data_ptr() for name, tensor in tensors_of(model).items() if not tensor.is_meta}
    usual: Any = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    usual[2].running_var.fill_(7)
    materialize(model, policy(exclude=[{"name": "^1$"}]))
    apply_policy(usual, policy(exclude=[{"name": "^1$"}]))
    assert {name: tensor.data_ptr() for name, tensor in tensors_of(model).items() if name in places} == places
    assert {name: b for name, b in everything(model).items() if name[0] != "1"} == {
        name: b for name, b in everything(usual).items() if name[0] != "1"
    }


class Picky(nn.Module):
    """A parametrization that looks at what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta and not torch.isfinite(x).all():
            raise ValueError("not finite")
        return x * 2

    def right_inverse(self, x: Tensor) -> Tensor:
        return x / 2


def test_nothing_reads_memory_that_nothing_was_written_to() -> None:
    """Deterministic torch fills new memory with NaN."""

    def make() -> nn.Module:
        layer = nn.Linear(3, 2)
        nn.utils.parametrize.register_parametrization(layer, "weight", Picky())
        return nn.Sequential(layer, *MODELS["norms"](), nn.LSTM(2, 2))

    model, usual = on_meta(make), make()
    apply_policy(usual, policy())
    torch.use_deterministic_algorithms(True)
    try:
        materialize(model, policy())
    finally:
        torch.use_deterministic_algorithms(False)
    assert everything(model) == everything(usual)


def test_a_model_without_meta_tensors_is_applied_to() -> None:
    model, usual = nn.Linear(3, 2), nn.Linear(3, 2)
    assert materialize(model, policy()) == apply_policy(usual, policy())
    assert everything(model) == everything(usual)


def test_a_dtype_is_for_all_floating_point_tensors_as_model_to_would() -> None:
    model, usual = on_meta(MODELS["norms"]), MODELS["norms"]().to(torch.bfloat16)
    audit = materialize(model, policy(), dtype=torch.bfloat16)
    apply_policy(usual, policy())
    assert everything(model) == everything(usual)
    assert {row.dtype for row in audit.rows} == {"bfloat16"}
    assert audit.ok
    assert model.get_buffer("1.running_var").dtype is torch.bfloat16
    assert model.get_buffer("1.num_batches_tracked").dtype is torch.int64


def test_inside_other_modes_of_torch() -> None:
    usual = MODELS["norms"]()
    apply_policy(usual, policy())
    modes: list[Callable[[], Any]] = [torch.no_grad, torch.inference_mode, lambda: torch.device("meta")]
    for mode in modes:
        with torch.device("meta"):
            model = MODELS["norms"]()
        with mode():
            materialize(model, policy())
        assert everything(model) == everything(usual)
        assert not any(tensor.is_inference() for tensor in tensors_of(model).values())


def test_weak_references_and_an_unreachable_graph_are_no_obstacle() -> None:
    model = on_meta(lambda: nn.Linear(3, 2))
    references = [weakref.ref(param) for param in model.parameters()]
    loop: list[Any] = [model.weight.view(-1)]
    loop.append(loop)
    del loop
    materialize(model, policy())
    assert [reference() is param for reference, param in zip(references, model.parameters(), strict=True)] == [True] * 2


def test_without_a_seed_one_is_drawn_and_recorded(caplog: pytest.LogCaptureFixture) -> None:
    model, usual = on_meta(MODELS["norms"]), MODELS["norms"]()
    torch.manual_seed(5)
    with caplog.at_level(logging.INFO, "initpolicy"):
        audit = materialize(model, policy(seed=None))
    torch.manual_seed(5)
    assert audit.seed == apply_policy(usual, policy(seed=None)).seed
    assert everything(model) == everything(usual)
    assert f"test: seed {audit.seed}" in caplog.text


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    model, usual = on_meta(MODELS["encoder"]), MODELS["encoder"]()
    audit = materialize(model, policy(), device="cuda")
    apply_policy(usual, policy())
    assert {row.device for row in audit.rows} == {"cuda:0"}
    assert {tensor.device.type for tensor in tensors_of(model).values()} == {"cuda"}
    assert everything(model) == everything(usual)
    lstm = on_meta(MODELS["lstm"])
    materialize(lstm, policy(), device="cuda")
    lstm(torch.zeros(2, 1, 3, device="cuda"))  # warns, and so fails, if its weights lie in several pieces


# --- everything goes back ------------------------------------------------------------------------


def _refuses(*_: object) -> Any:
    raise ValueError("no values today")


FAILS = {"fails": Initializer(name="fails", law=lambda *_: Law(kind="constant", mean=0, std=0), make=_refuses)}
"""Found out when values are made: after planning, before anything is written."""


def test_all_that_has_no_rule_is_named_and_all_stays_on_meta() -> None:
    model: Any = nn.Sequential(*[on_meta(lambda: nn.Linear(2, 2)) for _ in range(5)])
    model[1].requires_grad_(False)
    model[4].weight._no_reinit = True
    asked = policy({"weight": 0.5, "bias": "keep"}, exclude=[{"name": "^2$"}])
    asked["rules"]["all"]["match"] = {"not": {"name": "^3$"}}
    stay = "is on the meta device and would stay there: {}; {}, or give it values first"
    remedy = {"frozen": "set frozen: init in the policy"}
    status = {
        "0.bias": "kept", "1.weight": "frozen", "1.bias": "frozen", "2.weight": "excluded", "2.bias": "excluded",
        "3.weight": "unmatched", "3.bias": "unmatched", "4.weight": "skipped", "4.bias": "kept",
    }  # fmt: skip
    assert refused(model, asked) == "\n".join(
        f"test: {name}: {stay.format(word, remedy.get(word, 'add a rule for it'))}" for name, word in status.items()
    )


def test_parameters_buffers_and_what_lies_in_memory_are_refused_together() -> None:
    model: Any = nn.Sequential(on_meta(lambda: nn.Linear(2, 2)), on_meta(lambda: Rotary(4)), nn.Linear(2, 2))
    with torch.no_grad():
        model[2].bias.fill_(float("nan"))
    assert refused(model, policy({"weight": 0.5, "bias": "keep"})) == (
        "test: 0.bias: is on the meta device and would stay there: kept; add a rule for it, or give it values first\n"
        "test: 2.bias: holds values that are not finite and would keep them: kept; add a rule for it, or, if they are "
        "meant, set its attribute _no_reinit to True\n"
        "test: 1.inv_freq: is a buffer on the meta device which Rotary cannot rebuild: it has no reset_parameters()\n"
        f"test: buffers: {REMEDY.format('1.inv_freq')}"
    )


def _broken_off(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_late_error_and_ctrl_c_put_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = nn.Sequential(on_meta(MODELS["norms"]), nn.Linear(2, 2))
    asked = policy({"*": NORMAL, "bias": "fails"})
    assert refused(model, asked, initializers=FAILS) == "\n".join(
        f"test: {name}.bias: fails: no values today" for name in ("0.0", "0.1", "0.3", "1")
    )
    with monkeypatch.context() as patch:
        patch.setattr("initpolicy.meta.realize.settle", _broken_off)
        with pytest.raises(KeyboardInterrupt):
            materialize(model[0], policy())
    assert {tensor.device.type for tensor in tensors_of(model[0]).values()} == {"meta"}
    assert materialize(model, policy()).ok


def test_views_of_one_meta_memory_are_refused_as_they_are_elsewhere() -> None:
    model = on_meta(lambda: nn.ModuleDict({"embed": nn.Embedding(4, 3), "head": nn.Linear(3, 4, bias=False)}))
    model["head"].weight = nn.Parameter(model["embed"].weight.data)
    one_or = "make them one parameter, or give each its own by clone()"
    assert refused(model, policy()) == f"test: head.weight: shares memory with embed.weight; {one_or}"
    flat = torch.empty(12, device="meta")
    neighbours = nn.ParameterList([flat[:6].view(2, 3), flat[6:]])
    assert materialize(neighbours, policy()).ok


def test_memory_that_cannot_be_written_is_refused() -> None:
    model = nn.ParameterList([torch.empty(1, device="meta").expand(3)])
    why = "has elements that share memory, as expand() makes them; give it a clone() first"
    assert refused(model, policy()) == f"test: 0: {why}"


def test_a_tensor_that_something_holds_a_view_of_is_refused() -> None:
    model = on_meta(lambda: nn.Linear(3, 2))
    view = model.weight.view(-1)
    why = "cannot get memory and stay the same object while something holds a view or a graph of it; drop that"
    assert refused(model, policy()) == f"test: weight: {why}"
    del view
    assert materialize(model, policy()).ok


def test_values_that_overflow_are_refused_and_taken_back() -> None:
    overflowing = replace(
        INITIALIZERS["normal"], draw=None, recipe=None, make=lambda *_: np.full(6, 1e6, np.float32), fallible=False
    )
    model = on_meta(lambda: nn.Linear(3, 2, bias=False, dtype=torch.float16))
    message = refused(model, policy(), initializers={"normal": overflowing})
    assert message == "test: weight: normal: gave values that are not finite in float16"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"device": "meta"}, PlanError, "device: meta has no memory; name the device that the model is to run on"),
        (
            {"dtype": torch.int8},
            PlanError,
            f"dtype: must be one that can be drawn ({', '.join(map(str, DRAWN))}), not torch.int8",
        ),
        ({"seed": -1}, PolicyError, "seed: must be a whole number from 0 to 2**63 - 1, not -1"),
        (
            {"buffers": "build"},
            ApplyError,
            "buffers: must be 'construct', a mapping of names to tensors or a callable, not 'build'",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_that_make_no_sense(options: dict[str, Any], error: Any, message: str) -> None:
    assert refused(on_meta(MODELS["norms"]), policy(), error, **options) == f"test: {message}"


def test_a_device_that_is_not_there() -> None:
    message = refused(on_meta(MODELS["norms"]), policy(), PlanError, device="nowhere")
    assert message.startswith("test: device: no memory can be had on 'nowhere': ")
    assert "\n" not in message


def test_apply_policy_says_what_to_call_instead() -> None:
    with pytest.raises(ApplyError) as caught:
        apply_policy(on_meta(lambda: nn.Linear(2, 2, bias=False)), policy())
    assert str(caught.value) == (
        "test: weight: is on the meta device; initpolicy.materialize gives it memory and values in one pass"
    )


# --- torch's normalizations of weights -----------------------------------------------------------


def old_spectral(layer: nn.Module) -> nn.Module:
    made: nn.Module = nn.utils.spectral_norm(layer)
    return made


SPECTRAL: dict[str, Callable[[nn.Module], nn.Module]] = {
    "new": parametrizations.spectral_norm,
    "old": old_spectral,
}


@pytest.mark.parametrize("norm", SPECTRAL.values(), ids=SPECTRAL.keys())
def test_spectral_norm_starts_from_the_spectrum_of_the_weight(norm: Callable[[nn.Module], nn.Module]) -> None:
    def make() -> Any:
        return nn.Sequential(norm(nn.Linear(6, 9)))

    model, twin, usual = on_meta(make), on_meta(make), make()
    state = torch.get_rng_state()
    audit = materialize(model, policy())
    assert torch.equal(torch.get_rng_state(), state)
    materialize(twin, policy())
    apply_policy(usual, policy())
    assert everything(model) == everything(twin)
    stored = ("weight_orig", "parametrizations.weight.original")
    same = [name for name, _ in usual[0].named_parameters() if name in stored]
    assert len(same) == 1
    assert bits(model[0].get_parameter(same[0])) == bits(usual[0].get_parameter(same[0]))
    model.eval()
    model(torch.zeros(1, 6))
    largest = torch.linalg.svdvals(model[0].weight.detach())[0]
    assert largest == pytest.approx(1, abs=0.03)
    assert by_name(audit)["0.weight"].std == pytest.approx(float(model[0].weight.detach().std(correction=0)))


def test_an_orthogonal_weight_has_its_base_made() -> None:
    def make(wide: int = 4) -> Any:
        return parametrizations.orthogonal(nn.Linear(wide, 9 - wide))

    for wide in (4, 5):
        model, usual = on_meta(partial(make, wide)), make(wide)
        materialize(model, policy())
        apply_policy(usual, policy())
        assert torch.allclose(model.weight, usual.weight, atol=1e-6)
    square, full = (parametrizations.orthogonal(nn.Linear(4, 4)) for _ in range(2))
    square.to("meta")  # torch looks at the values of a square weight, and builds none on meta
    materialize(square, policy())
    apply_policy(full, policy())
    assert everything(square) == everything(full)


def test_normalized_weights_are_put_back_on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> nn.Module:
        return nn.Sequential(
            old_spectral(nn.Linear(3, 3)),
            nn.utils.weight_norm(nn.Linear(3, 3)),
            parametrizations.orthogonal(nn.Linear(3, 4)),
        )

    model = on_meta(make)
    assert refused(model, policy({"*": NORMAL, "bias": "keep"})) == "\n".join(
        f"test: {i}.bias: is on the meta device and would stay there: kept; add a rule for it, or give it values first"
        for i in range(3)
    )
    assert refused(model, policy({"*": NORMAL, "bias": "fails"}), initializers=FAILS) == "\n".join(
        f"test: {i}.bias: fails: no values today" for i in range(3)
    )
    with monkeypatch.context() as patch:
        patch.setattr("initpolicy.meta.realize.settle", _broken_off)
        with pytest.raises(KeyboardInterrupt):
            materialize(model, policy())
    assert {tensor.device.type for tensor in tensors_of(model).values()} == {"meta"}
    assert {vars(layer)["weight"].device.type for layer in (model[0], model[1])} == {"meta"}
    assert model[2].parametrizations.weight[0].base is None
    materialize(model, policy())
    assert {tensor.device.type for tensor in (*tensors_of(model).values(), model[0].weight)} == {"cpu"}

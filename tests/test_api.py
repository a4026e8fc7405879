"""The names that other code relies on, and the use cases behind them."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from applying_parts import NORMAL, everything, policy, refusal
from omegaconf import OmegaConf
from torch import nn

import initpolicy
from initpolicy import (
    ApplyError,
    Audit,
    AuditRow,
    InitPolicyError,
    Plan,
    PlanError,
    Policy,
    PolicyError,
    apply_policy,
    load_policy,
    plan_policy,
    survey,
)
from initpolicy.initializers.base import Argument, Initializer
from initpolicy.initializers.distributions import normal_law

NAMES = [
    "ApplyError", "Audit", "AuditRow", "InitPolicyCallback", "InitPolicyError", "Plan", "PlanError", "Policy",
    "PolicyError", "apply_policy", "list_policies", "load_policy", "materialize", "plan_policy",
    "skip_default_init", "survey",
]  # fmt: skip


def run(code: str) -> str:
    """What a fresh interpreter prints, with its warnings as errors."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- the package ---------------------------------------------------------------------------------


def test_importing_imports_nothing_heavy() -> None:
    """Hydra imports every plugin at start-up, and a program that only parses its arguments should be quick."""
    heavy = {
        "torch", "numpy", "pydantic", "lightning", "pytorch_lightning", "hydra", "omegaconf", "rich", "yaml", "xxhash",
        "safetensors",
    }  # fmt: skip
    loaded = run("import initpolicy, sys; dir(initpolicy); print(*sys.modules)").split()
    assert not heavy & set(loaded)
    assert [name for name in loaded if name.startswith("initpolicy")] == ["initpolicy"]


def test_policies_are_read_without_torch() -> None:
    code = "import initpolicy as ip, sys; ip.load_policy(ip.list_policies()[0]); print(*sys.modules)"
    assert not {"torch", "lightning", "pytorch_lightning"} & set(run(code).split())


def test_models_are_initialized_without_lightning_or_hydra() -> None:
    code = """if True:
        import sys, torch, initpolicy as ip
        ip.apply_policy(torch.nn.Linear(3, 2), {"rules": {"all": {"init": {"*": 0}}}})
        print(*sys.modules)
    """
    assert not {"hydra", "lightning", "pytorch_lightning"} & set(run(code).split())


def test_the_public_names() -> None:
    assert initpolicy.__all__ == sorted(initpolicy.__all__) == NAMES
    assert set(NAMES) <= set(dir(initpolicy))
    assert dir(initpolicy) == sorted(dir(initpolicy))
    for name in NAMES:
        value = getattr(initpolicy, name)
        assert value.__name__ == name
        assert inspect.getdoc(value)
        assert getattr(initpolicy, name) is value


def test_a_star_import_brings_them_all() -> None:
    names: dict[str, Any] = {}
    exec("from initpolicy import *", names)
    assert set(NAMES) == names.keys() - {"__builtins__"}


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"^module 'initpolicy' has no attribute 'aply_policy'$"):
        initpolicy.aply_policy  # noqa: B018  # asking is the test
    with pytest.raises(ImportError, match=r"^cannot import name 'aply_policy' from 'initpolicy'"):
        exec("from initpolicy import aply_policy")
    assert not hasattr(initpolicy, "__wrapped__")


def test_the_errors_are_one_family() -> None:
    for name in ("ApplyError", "PlanError", "PolicyError"):
        assert getattr(initpolicy, name).__bases__ == (InitPolicyError,)
    assert InitPolicyError.__bases__ == (Exception,)


def test_the_signatures_that_other_code_relies_on() -> None:
    planning = ["example_input", "seed", "initializers", "activations", "trusted", "trace"]
    for function, keywords in ((plan_policy, planning), (apply_policy, [*planning, "progress"])):
        signature = inspect.signature(function)
        assert list(signature.parameters) == ["model", "policy", *keywords]
        assert all(signature.parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in keywords)
        defaults = [None, None, None, None, (), "auto", "auto"][: len(keywords)]
        assert [signature.parameters[name].default for name in keywords] == defaults
    assert list(inspect.signature(survey).parameters) == ["model", "example_input", "activations"]
    assert list(inspect.signature(initpolicy.InitPolicyCallback.__init__).parameters)[1:] == [
        "policy", "module", "example_input", "seed", "activations", "trusted", "log", "progress"
    ]  # fmt: skip


def test_the_fields_of_a_row() -> None:
    """The list of columns in its order, gain_from beside gain; the ways came later, and stand last."""
    asked = (
        "name, aliases, shape, dtype, device, module_type, status, reason, rule, shadowed, initializer, arguments, "
        "activation, input_activation, found_by, fan_in, fan_out, gain, gain_from, expected_mean, expected_std, low, "
        "high, mean, std, min, max, verdict, seed, digest, path, flags, other_hits, input_path, input_flags, "
        "other_input_hits"
    )
    assert [field.name for field in dataclasses.fields(AuditRow)] == asked.split(", ")
    plan = plan_policy(nn.Linear(3, 2), policy())
    measured = {"mean", "std", "min", "max", "verdict", "seed", "digest"}
    for assignment in plan.assignments:
        for name in set(asked.split(", ")) - measured:
            getattr(assignment, name)


def test_records_are_frozen() -> None:
    audit = apply_policy(nn.Linear(3, 2), policy())
    plan = plan_policy(nn.Linear(3, 2), policy())
    for record in (audit, audit.rows[0], audit.header, plan, plan.assignments[0], plan.assignments[0].facts):
        for field in dataclasses.fields(record):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(record, field.name, None)
        assert not hasattr(record, "__dict__")
    assert isinstance(audit.rows, tuple)
    assert isinstance(plan.assignments, tuple)


# --- the use cases -------------------------------------------------------------------------------


def sources(folder: Path) -> list[Any]:
    data = policy()
    path = folder / "mine.yaml"
    OmegaConf.save(OmegaConf.create(data), path)
    return [data, OmegaConf.create(data), path, str(path), load_policy(data)]


def test_a_policy_may_come_as_anything_that_holds_one(tmp_path: Path) -> None:
    audits = []
    for source in sources(tmp_path):
        torch.manual_seed(0)
        audits.append(apply_policy(nn.Linear(3, 2), source))
    assert all(audit == audits[0] for audit in audits)
    assert isinstance(load_policy(policy()), Policy)
    assert apply_policy(nn.Linear(3, 2), "he_relu").header.policy == "he_relu"


def test_a_plan_says_what_applying_does() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    plan = plan_policy(model, "he_relu", seed=3)
    audit = apply_policy(model, "he_relu", seed=3)
    assert isinstance(plan, Plan)
    assert isinstance(audit, Audit)
    blank = {"mean": None, "std": None, "min": None, "max": None, "verdict": "", "digest": ""}
    assert tuple(dataclasses.replace(row, **blank) for row in audit.rows) == plan.rows  # type: ignore[arg-type]
    assert audit.header == plan.header
    assert audit.fingerprint == plan.fingerprint
    assert str(plan).splitlines()[0] == f"he_relu: seed 3, fingerprint {plan.fingerprint}"


def test_a_plan_of_meta_tensors_is_the_plan_of_real_ones() -> None:
    def net() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 3), nn.LSTM(3, 5), nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))

    with torch.device("meta"):
        model = net()
    on_meta, real = plan_policy(model, "recommended", seed=1), plan_policy(net(), "recommended", seed=1)
    assert on_meta.fingerprint == real.fingerprint
    assert [dataclasses.replace(row, device="cpu") for row in on_meta.rows] == list(real.rows)
    assert all(param.is_meta for param in model.parameters())


def test_from_meta_to_memory_to_values() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    message = "is on the meta device; initpolicy.materialize gives it memory and values in one pass"
    with pytest.raises(initpolicy.ApplyError) as caught:
        apply_policy(model, policy())
    names = ("0.weight", "0.bias", "1.weight", "1.bias")
    assert str(caught.value) == "\n".join(f"test: {name}: {message}" for name in names)
    model = model.to_empty(device="cpu")
    assert apply_policy(model, policy()).ok
    real = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    apply_policy(real, policy())
    assert everything(model) == everything(real)


def test_an_initializer_is_an_argument() -> None:
    """Extension without a registry: a pair of pure functions under a name of the caller's."""
    halves = Initializer(
        name="half_normal",
        arguments=(Argument(name="std", default=1.0),),
        law=lambda block, arguments: None,
        make=lambda stream, block, arguments: abs(arguments["std"] * spread(stream, block)),
    )
    model = nn.Linear(40, 30)
    asked = policy({"weight": {"name": "halves", "std": 0.1}})
    audit = apply_policy(model, asked, initializers={"halves": halves})
    assert float(model.weight.detach().min()) >= 0
    assert (audit.rows[0].initializer, audit.rows[0].arguments, audit.rows[0].verdict) == ("halves", {"std": 0.1}, "")
    with pytest.raises(PolicyError, match=r"^test: rules.all.init.weight: unknown initializer 'halves'"):
        apply_policy(model, asked)


def spread(stream: Any, block: Any) -> Any:
    from initpolicy.streams import normal

    return normal(stream, 0, block.numel).reshape(block.shape)


def test_an_initializer_may_take_the_place_of_ours() -> None:
    ours = Initializer(
        name="normal",
        arguments=(Argument(name="mean", default=0.0), Argument(name="std", default=1.0)),
        law=lambda block, a: normal_law(block, a["mean"], 2 * a["std"]),
        make=lambda stream, block, a: 2 * a["std"] * spread(stream, block) + a["mean"],
    )
    model = nn.Linear(40, 30)
    [row, _] = apply_policy(model, policy({"weight": NORMAL}), initializers={"normal": ours}).rows
    assert (row.expected_std, row.verdict) == (0.5, "ok")


WRONG: dict[str, tuple[Callable[[], Any], dict[str, Any], type[InitPolicyError], str]] = {
    "a class": (lambda: nn.Linear, {}, PlanError, "test: model: must be a torch.nn.Module, not type"),
    "a tensor": (lambda: torch.zeros(2), {}, PlanError, "test: model: must be a torch.nn.Module, not Tensor"),
    "parameters": (
        lambda: list(nn.Linear(2, 2).parameters()), {}, PlanError,
        "test: model: must be a torch.nn.Module, not list",
    ),
    "a seed below zero": (
        lambda: nn.Linear(2, 2), {"seed": -1}, PolicyError,
        "test: seed: must be a whole number from 0 to 2**63 - 1, not -1",
    ),
    "a seed of 64 bits": (
        lambda: nn.Linear(2, 2), {"seed": 2**63}, PolicyError,
        f"test: seed: must be a whole number from 0 to 2**63 - 1, not {2**63}",
    ),
    "a seed in text": (
        lambda: nn.Linear(2, 2), {"seed": "7"}, PolicyError,
        "test: seed: must be a whole number from 0 to 2**63 - 1, not '7'",
    ),
    "a seed that is true": (
        lambda: nn.Linear(2, 2), {"seed": True}, PolicyError,
        "test: seed: must be a whole number from 0 to 2**63 - 1, not True",
    ),
    "half a seed": (
        lambda: nn.Linear(2, 2), {"seed": 0.5}, PolicyError,
        "test: seed: must be a whole number from 0 to 2**63 - 1, not 0.5",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "options", "error", "message"), WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("function", [plan_policy, apply_policy])
def test_wrong_arguments(
    function: Callable[..., Any], make: Callable[[], Any], options: Any, error: type[InitPolicyError], message: str
) -> None:
    with pytest.raises(error) as caught:
        function(make(), policy(), **options)
    assert str(caught.value) == message
    assert type(caught.value) is error


def test_the_largest_seed() -> None:
    audit = apply_policy(nn.Linear(3, 2), policy(), seed=2**63 - 1)
    assert audit.seed == 2**63 - 1


def test_one_trusted_package_may_be_given_as_text() -> None:
    asked = policy({"*": {"call": f"{__name__}.zero_"}})
    assert apply_policy(nn.Linear(3, 2), asked, trusted=__name__).ok
    untrusted = f"call '{__name__}.zero_': {__name__!r} is not trusted; pass trusted=[{__name__!r}] from your program"
    assert refusal(nn.Linear(3, 2), asked, PolicyError) == f"test: rules.all.init.*: {untrusted}"


def zero_(tensor: torch.Tensor) -> None:
    tensor.zero_()


def test_a_model_without_parameters() -> None:
    audit = apply_policy(nn.Sequential(nn.ReLU()), policy())
    assert audit.rows == ()
    assert audit.ok
    assert "0 parameters, 0 values" in str(audit)


def test_a_survey_writes_nothing() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    before = everything(model)
    facts = survey(model, example_input=torch.zeros(1, 4))
    assert [param.name for param in facts.params] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert facts.params[0].sites[0].signal.following[0].activation.name == "relu"
    assert everything(model) == before


def test_an_error_gives_back_the_seed_that_was_drawn() -> None:
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.bias.fill_(torch.nan)
    before = torch.get_rng_state()
    rules = {"w": {"init": {"weight": {"name": "normal", "std": 1}}}}
    with pytest.raises(ApplyError):
        apply_policy(model, {"unmatched": "keep", "rules": rules})
    assert torch.equal(torch.get_rng_state(), before)

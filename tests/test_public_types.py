"""What a user writes, for mypy to check: every public name with the types that it promises. Runs as a test, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from typing_extensions import assert_type

import initpolicy as ip
from initpolicy.records import Assignment, Header, ModelFacts, Status, Verdict


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def test_three_lines() -> None:
    model = Net()
    audit = ip.apply_policy(model, "he_relu", seed=0)
    assert_type(audit, ip.Audit)
    assert_type(str(audit), str)


def test_policies_from_anywhere(tmp_path: Path) -> None:
    assert_type(ip.list_policies(), tuple[str, ...])
    plain: dict[str, Any] = {"name": "mine", "rules": {"all": {"init": {"*": 0}}}}
    config: DictConfig = OmegaConf.create(plain)
    path = tmp_path / "mine.yaml"
    OmegaConf.save(config, path)
    policy = ip.load_policy("he_relu")
    assert_type(policy, ip.Policy)
    for source in (plain, config, path, str(path), policy):
        assert_type(ip.load_policy(source), ip.Policy)
        assert_type(ip.plan_policy(Net(), source), ip.Plan)
        assert_type(ip.apply_policy(Net(), source), ip.Audit)


def test_every_option_is_typed() -> None:
    model, example = Net(), torch.zeros(1, 4)
    plan = ip.plan_policy(model, "he_relu", example_input=example, seed=1, initializers={}, trusted=["my_package"])
    assert_type(plan.seed, int | None)
    assert_type(plan.fingerprint, str)
    assert_type(plan.assignments, tuple[Assignment, ...])
    assert_type(plan.rows, tuple[ip.AuditRow, ...])
    assert_type(plan.assignments[0].arguments, Mapping[str, object])
    audit = ip.apply_policy(model, "he_relu", example_input=(example,), seed=None, initializers=None, trusted=())
    assert_type(audit.header, Header)


def test_an_audit_is_typed(tmp_path: Path) -> None:
    audit = ip.apply_policy(Net(), "he_relu", seed=2)
    assert_type(audit.ok, bool)
    assert_type(audit.seed, int | None)
    assert_type(audit.fingerprint, str)
    assert_type(audit.totals, Mapping[str, int])
    assert_type(audit.rules, Mapping[str, int])
    audit.save(tmp_path / "init_audit.csv")
    audit.save(str(tmp_path / "init_audit.md"))
    for row in audit.rows:
        assert_type(row, ip.AuditRow)
        assert_type(row.name, str)
        assert_type(row.shape, tuple[int, ...])
        assert_type(row.status, Status)
        assert_type(row.verdict, Verdict)
        assert_type(row.std, float | None)
        assert_type(row.gain, float | None)


def test_materialize_and_skip_default_init_are_typed() -> None:
    def ones(name: str, owner: nn.Module, buffer: Tensor) -> Tensor:
        return torch.ones(buffer.shape)

    with torch.device("meta"):
        models = [Net() for _ in range(3)]
    assert_type(ip.materialize(models[0], "he_relu", device=torch.device("cpu"), dtype=torch.float16, seed=1), ip.Audit)
    assert_type(ip.materialize(models[1], "he_relu", device="cpu", buffers="construct"), ip.Audit)
    assert_type(ip.materialize(models[2], "he_relu", example_input=torch.zeros(1, 4), buffers=ones), ip.Audit)
    with ip.skip_default_init() as nothing:
        assert_type(nothing, None)
        assert_type(ip.apply_policy(Net(), "he_relu", seed=1).ok, bool)


def test_a_survey_is_typed() -> None:
    facts = ip.survey(Net(), example_input=torch.zeros(1, 4))
    assert_type(facts, ModelFacts)
    assert_type(facts.params[0].name, str)
    assert_type(facts.notes, tuple[str, ...])


def test_errors_are_caught_by_their_base() -> None:
    places: list[str] = []
    for spec in ("he_rellu", {"name": "normal", "std": -1}):
        try:
            ip.apply_policy(Net(), {"rules": {"all": {"init": {"*": spec}}}})
        except ip.InitPolicyError as error:
            places += [assert_type(problem.place, str) for problem in error.problems]
    assert places == ["rules.all.init.*", "rules.all.init.*.std"]


def test_the_callback_is_typed() -> None:
    callback = ip.InitPolicyCallback("he_relu", module="net", example_input=None, seed=3, trusted=("mine",), log=False)
    assert_type(callback.policy, ip.Policy)
    assert_type(callback.audit, ip.Audit | None)


def test_a_tensor_is_still_a_tensor() -> None:
    model = nn.Linear(3, 2)
    ip.apply_policy(model, {"rules": {"all": {"init": {"*": 0.5}}}}, seed=0)
    weight: Tensor = model.weight
    assert weight.tolist() == [[0.5] * 3] * 2

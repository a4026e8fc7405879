"""The command line: what it says, on which stream, with which exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from typer.testing import CliRunner, Result

import initpolicy as ip
from initpolicy.cli.app import app

NETS = """
import torch
from torch import nn

def mlp(depth=2, act=nn.ReLU):
    layers = [layer for i in range(depth) for layer in (nn.Linear(32 if i == 0 else 64, 64), act())]
    return nn.Sequential(*layers, nn.Linear(64, 10))

def sigmoid():
    return mlp(4, nn.Sigmoid)

def batch():
    return torch.zeros(8, 32)

def draws():
    return nn.Linear(4, int(torch.ones(1).item()))

number = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own with a module in it, at 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path


def run(*words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, words, input=given)


def said(*words: str, status: int = 0, given: str | None = None) -> str:
    """Standard output; nothing on standard error."""
    result = run(*words, given=given)
    assert (result.exit_code, result.stderr) == (status, "")
    return result.stdout


def refused(*words: str, status: int, given: str | None = None) -> str:
    """Standard error; nothing on standard output."""
    result = run(*words, given=given)
    assert (result.exit_code, result.stdout) == (status, "")
    return result.stderr.removesuffix("\n")


# --- policies ------------------------------------------------------------------------------------


def test_list_has_every_preset_with_what_it_does() -> None:
    lines = said("list").splitlines()
    assert [line.split()[0] for line in lines] == list(ip.list_policies())
    assert "he_relu" + "He for what feeds a rectifier, Xavier for the rest, zero biases." in {
        "".join(line.split(maxsplit=1)) for line in lines
    }
    assert json.loads(said("list", "--json"))[0] == {
        "name": (first := ip.list_policies()[0]),
        "description": ip.load_policy(first).description,
    }


def test_show_reads_back_as_the_same_policy_and_names_the_files_of_each_rule() -> None:
    text = said("show", "he_relu")
    assert ip.load_policy(yaml.safe_load(text)) == ip.load_policy("he_relu")
    above = {
        later.strip(): Path(line.strip().removeprefix("# ")).name
        for line, later in zip(text.splitlines(), text.splitlines()[1:], strict=False)
        if line.startswith("  # ")
    }
    assert above["linear_like:"] == "xavier_normal.yaml"
    assert above["rectified:"] == "he_relu.yaml"


def test_show_with_overrides_from_a_pipe_into_a_file() -> None:
    changed = said("show", "he_relu", "rules.rectified.init.weight.mode=fan_out", "~rules.attention", "seed=3")
    policy = ip.load_policy(yaml.safe_load(changed))
    assert policy.seed == 3
    assert "attention" not in policy.rules
    assert policy.rules["rectified"].init["weight"].arguments["mode"] == "fan_out"
    assert yaml.safe_load(said("show", "-", "seed=4", given=changed))["seed"] == 4


def test_schema_is_the_shipped_one(root: Path) -> None:
    assert json.loads(said("schema")) == json.loads((root / "conf" / "schema.json").read_text())


# --- a policy on a model -------------------------------------------------------------------------


def test_plan_is_the_librarys_table() -> None:
    made = said("plan", "nets:mlp", "he_relu", "seed=5", "--arg", "depth=1", "--input", "8,32")
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10)).to("meta")
    plan = ip.plan_policy(model, "he_relu", seed=5, example_input={"shape": [8, 32]})
    assert made == f"{plan}\n"
    assert max(map(len, made.splitlines())) <= 80
    document = json.loads(said("plan", "nets:mlp", "he_relu", "seed=5", "--arg", "depth=1", "--json"))
    assert document["header"]["fingerprint"] == plan.fingerprint
    assert [row["device"] for row in document["rows"]] == ["meta"] * 4


def test_plan_says_why() -> None:
    told = said("plan", "nets:mlp", "he_relu", "--input", "nets:batch", "--why", "2.weight").splitlines()
    assert told[0] == "2.weight: 64×64 float32 on meta, of Linear"
    assert "  rule          rectified, the last of 2 that claim it, after linear_like" in told
    assert "  follows       relu, found by trace of your example_input" in told
    wrong = refused("plan", "nets:mlp", "he_relu", "--why", "2.wieght", status=2)
    assert wrong == "no parameter is named '2.wieght'; did you mean '2.weight'?"


def test_a_model_of_a_hydra_config(folder: Path) -> None:
    (folder / "conf").mkdir()
    (folder / "conf" / "main.yaml").write_text("net: {_target_: nets.mlp, depth: 1}\n")
    words = ("plan", "main", "he_relu", "--config-dir", "conf", "--json")
    deep = json.loads(said(*words, "--model-key", "net", "--arg", "net.depth=3"))
    assert [row["name"] for row in deep["rows"] if row["name"].endswith("weight")] == [
        f"{i}.weight" for i in (0, 2, 4, 6)
    ]
    assert refused(*words, status=2) == "--model-key model: main has no such key; it has net"


WRONG = {
    "no colon": (
        ("plan", "nets", "he_relu"),
        2,
        "nets: must be package.module:callable, as in torchvision.models:resnet18",
    ),
    "no module": (
        ("plan", "nots:mlp", "he_relu"),
        2,
        "nots:mlp: no module named 'nots'; run from the folder that holds it, or install it",
    ),
    "no name": (("plan", "nets:nlp", "he_relu"), 2, "nets:nlp: module 'nets' has no attribute 'nlp'"),
    "no callable": (("plan", "nets:number", "he_relu"), 2, "nets:number: is a int, which cannot be called"),
    "no module made": (("plan", "nets:batch", "he_relu"), 2, "nets:batch gives a Tensor, not a torch.nn.Module"),
    "not on meta": (
        ("plan", "nets:draws", "he_relu"),
        2,
        (
            "nets:draws could not be built: RuntimeError: Tensor.item() cannot be called on meta tensors; "
            "if it cannot be built on meta, add --device cpu"
        ),
    ),
    "an argument": (
        ("plan", "nets:mlp", "he_relu", "--arg", "depth"),
        2,
        "--arg depth: must be name=value, as in --arg depth=50",
    ),
    "an input": (
        ("plan", "nets:mlp", "he_relu", "--input", "a,b"),
        2,
        "--input a,b: must be sizes (1,3,224,224), sizes with a dtype (1,128:int64), or package.module:callable",
    ),
    "an override": (
        ("plan", "nets:mlp", "he_relu", "seed"),
        2,
        "seed: an override is key=value or ~key, as in seed=3",
    ),
    "nothing to remove": (
        ("plan", "nets:mlp", "he_relu", "~rules.none"),
        2,
        "~rules.none: there is no rules.none to remove",
    ),
    "a preset": (
        ("plan", "nets:mlp", "he_rleu"),
        1,
        "he_rleu: no preset has this name, and it is no path of a .yaml file; did you mean 'he_relu'?",
    ),
    "a policy": (
        ("plan", "nets:mlp", "he_relu", "rules.linear_like.match.typ=Linear"),
        1,
        "he_relu: rules.linear_like.match.typ: unknown key; did you mean 'type'?",
    ),
    "a bare checkpoint": (
        ("verify", "weights.pt", "he_relu"),
        2,
        "weights.pt holds names and numbers only: say of which --model they are",
    ),
    "no checkpoint": (("verify", "w.pt", "he_relu", "--model", "nets:mlp"), 2, "w.pt: no such file"),
}


@pytest.mark.parametrize(("words", "status", "message"), WRONG.values(), ids=WRONG)
def test_wrong_use_in_a_line_without_a_traceback(words: tuple[str, ...], status: int, message: str) -> None:
    assert refused(*words, status=status) == message


def test_a_traceback_where_it_is_asked_for() -> None:
    result = run("plan", "nets:mlp", "he_rleu", "--debug")
    assert isinstance(result.exception, ip.PolicyError)


# --- lint, diff, verify --------------------------------------------------------------------------


def test_lint_ends_with_1_where_there_is_something_to_say() -> None:
    assert said("lint", "he_relu", "nets:mlp", "--input", "8,32") == "nothing to remark\n"
    assert said("lint", "he_relu") == "nothing to remark; with a MODEL its laws are looked at too\n"
    told = said("lint", "simple_normal", "nets:sigmoid", "--input", "8,32", status=1)
    assert told.splitlines()[0].startswith(
        "rules.weights → 0.weight: pre-activations of standard deviation 5.66 before"
    )
    assert max(map(len, told.splitlines())) <= 80
    record = json.loads(said("lint", "simple_normal", "nets:sigmoid", "--input", "8,32", "--json", status=1))[0]
    assert record["parameters"] == ["0.weight"]
    assert record["source"] == "Glorot & Bengio 2010, section 4.2.1"


def test_lint_reads_a_broken_policy_to_its_end() -> None:
    broken = "rules: {a: {init: {weight: nromal}}, b: {match: {tpye: Linear}, init: {weight: 0}}}"
    told = json.loads(said("lint", "-", "nets:mlp", "--json", given=broken, status=1))
    assert [one["place"] for one in told] == ["rules.b.match.tpye"]


def test_mlcommons_logging220_80_diff_ends_with_1_where_two_policies_differ() -> None:
    told = said("diff", "he_relu", "xavier_normal", "nets:mlp", "--input", "8,32", status=1)
    assert told.splitlines()[:3] == [
        "0.weight",
        "  - he_relu: initialized: kaiming_normal(mode=fan_in, gain=1.414), std 0.25",
        "  + xavier_normal: initialized: xavier_normal(gain=1), std 0.1443",
    ]
    assert told.splitlines()[-1] == "2 parameters differ"
    assert said("diff", "he_relu", "he_relu", "nets:mlp") == "0 parameters differ\n"
    document = json.loads(said("diff", "he_relu", "xavier_normal", "nets:mlp", "--input", "8,32", "--json", status=1))
    assert [one["name"] for one in document] == ["0.weight", "2.weight"]


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_verify_a_checkpoint(folder: Path, suffix: str) -> None:
    model: Any = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    ip.apply_policy(model, "he_relu", seed=1, example_input=torch.zeros(2, 32))
    save(model.state_dict(), folder / f"w{suffix}")
    words = ("verify", f"w{suffix}", "he_relu", "--model", "nets:mlp", "--input", "8,32")
    assert said(*words) == "6 parameters: 6 ok (chance of any false alarm 0.001)\n"
    with torch.no_grad():
        model[2].weight.mul_(1.1)
    save(model.state_dict(), folder / f"w{suffix}")
    told = said(*words, status=1)
    assert told.startswith("2.weight: off: ")
    assert told.splitlines()[-1] == "6 parameters: 5 ok, 1 off (chance of any false alarm 0.001)"


def save(tensors: dict[str, Any], path: Path) -> None:
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors}, path)


def test_verify_a_model_as_its_constructor_leaves_it() -> None:
    torch.manual_seed(0)
    assert said("verify", "nets:mlp", "torch_default").startswith("6 parameters: 6 ok")
    assert run("verify", "nets:mlp", "he_relu", "--input", "8,32").exit_code == 1


# --- the program itself --------------------------------------------------------------------------


def test_the_installed_program_in_a_pipe(folder: Path) -> None:
    """Exit status, streams and output of a real process."""
    program = Path(sys.executable).with_name("initpolicy")
    done = subprocess.run(
        [program, "show", "he_relu", "seed=9"], capture_output=True, text=True, timeout=120, check=True
    )
    assert yaml.safe_load(done.stdout)["seed"] == 9
    assert "\x1b" not in done.stdout
    failed = subprocess.run(
        [program, "plan", "nets:mlp", "none"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (failed.returncode, failed.stdout) == (1, "")
    wrong = subprocess.run([program, "pln"], capture_output=True, text=True, timeout=120, check=False)
    assert wrong.returncode == 2


@pytest.mark.parametrize("command", ["list", "show", "schema", "plan", "lint", "diff", "verify"])
def test_help_shows_an_example(command: str) -> None:
    text = " ".join(said(command, "--help").split())
    assert f"Example: initpolicy {command}" in text

"""The command line: what it says, on which stream, with which exit status."""

from __future__ import annotations

import json
import os
import pickle
import pty
import subprocess
import sys
from collections.abc import Mapping
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

def talks():
    print("building")
    return mlp(1)

def leaves():
    raise SystemExit(3)

def sizes(n, m=1):
    return nn.Linear(n, m)

def no_batch():
    raise ValueError("no data\\nhere")

class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("red\\x1b[31m", nn.Linear(4, 4))

    def forward(self, x):
        return x

built = nn.Linear(3, 3)
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
    (tmp_path / "broken.py").write_text("def mlp(:\n")
    (tmp_path / "ends.py").write_text("raise SystemExit('bye')\n")
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
            "to build it on the CPU, add --device cpu"
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
    "a rule that is not there": (
        ("plan", "nets:mlp", "he_relu", "rules.rectfied.init.weight=zeros"),
        2,
        (
            "rules.rectfied.init.weight=zeros: there is no rule 'rectfied'; did you mean 'rectified'?; "
            "+rules.rectfied.init.weight adds it"
        ),
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
    "a file for a module": (
        ("plan", "./nets:mlp", "he_relu"),
        2,
        "./nets:mlp: a module is named in full, from the folder that holds it: package.module:callable",
    ),
    "a module that does not parse": (
        ("plan", "broken:mlp", "he_relu"),
        2,
        "broken:mlp: broken cannot be imported: SyntaxError: invalid syntax (broken.py, line 1)",
    ),
    "a module that ends the program": (
        ("plan", "ends:mlp", "he_relu"),
        2,
        "ends:mlp: ends cannot be imported: SystemExit: bye",
    ),
    "a model that ends the program": (
        ("plan", "nets:leaves", "he_relu", "--device", "cpu"),
        2,
        "nets:leaves could not be built: SystemExit: 3",
    ),
    "a model that is there already": (
        ("plan", "nets:built", "he_relu"),
        2,
        "nets:built: is a Linear that is built already; name its class or a function that builds it",
    ),
    "an argument that is missing": (
        ("plan", "nets:sizes", "he_relu"),
        2,
        "nets:sizes: missing a required argument: 'n'; arguments are given by --arg name=value",
    ),
    "an argument too many": (
        ("plan", "nets:sizes", "he_relu", "--arg", "n=3", "--arg", "k=3"),
        2,
        "nets:sizes: got an unexpected keyword argument 'k'; arguments are given by --arg name=value",
    ),
    "an argument that is not YAML": (
        ("plan", "nets:sizes", "he_relu", "--arg", "n=[3"),
        2,
        "--arg n=[3: is not YAML: expected ',' or ']', but got '<stream end>'",
    ),
    "an input of a negative size": (
        ("plan", "nets:mlp", "he_relu", "--input", "-1,32"),
        2,
        "--input -1,32: a size must be from 0 to 2**31 - 1",
    ),
    "an input of a huge size": (
        ("plan", "nets:mlp", "he_relu", "--input", "99999999999999999999,32"),
        2,
        "--input 99999999999999999999,32: a size must be from 0 to 2**31 - 1",
    ),
    "an input of no dtype": (
        ("plan", "nets:mlp", "he_relu", "--input", "8,32:nn"),
        2,
        "--input 8,32:nn: torch has no dtype 'nn'; write int64, float32, bfloat16 or another of its",
    ),
    "an input that cannot be made": (
        ("plan", "nets:mlp", "he_relu", "--input", "nets:no_batch"),
        2,
        "--input nets:no_batch: cannot be called: ValueError: no data here",
    ),
    "an override that is not YAML": (
        ("plan", "nets:mlp", "he_relu", "seed=[3"),
        2,
        "seed=[3: is not YAML: expected ',' or ']', but got '<stream end>'",
    ),
    "an override of nothing": (
        ("plan", "nets:mlp", "he_relu", "rules.linear_like.init.weight=${none}"),
        2,
        "rules.linear_like.init.weight=${none}: Interpolation key 'none' not found",
    ),
    "two policies, both wrong": (
        ("diff", "he_rleu", "xavier_norml", "nots:mlp"),
        1,
        (
            "he_rleu: no preset has this name, and it is no path of a .yaml file; did you mean 'he_relu'?\n"
            "xavier_norml: no preset has this name, and it is no path of a .yaml file; did you mean 'xavier_normal'?"
        ),
    ),
    "one standard input for two": (
        ("diff", "-", "-", "nets:mlp"),
        2,
        "-: standard input is read once; give the other policy as a file",
    ),
    "a file for a model": (
        ("verify", "nets.py", "he_relu"),
        2,
        "nets.py holds names and numbers only: say of which --model they are",
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


GIVEN = {
    "nothing": ("", "policy: is empty; a policy is a mapping with 'rules'"),
    "a number": ("3", "policy: a policy is a mapping with 'rules'; this file holds '3'"),
    "no rules": ("{}", "policy: rules: is required: a mapping of rule names to rules"),
    "no YAML": ("a: b: c", "policy: line 1, column 5: is not YAML: mapping values are not allowed here"),
    "a loop": ("a: &a {b: *a}", "policy: line 1, column 4: an anchor here holds an alias of itself"),
    "deep": ("- " * 20_000, "policy: is nested more than 50 deep"),
    "code": (
        "rules: !!python/name:os.system {}",
        "policy: line 1, column 8: the tag !!python/name:os.system has no place in a policy",
    ),
    "no such preset": (
        "defaults: [he_rleu]",
        "policy: defaults.0: no policy 'he_rleu' beside policy.yaml; did you mean 'he_relu'?",
    ),
}


@pytest.mark.parametrize(("given", "message"), GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("words", [("show", "-"), ("plan", "nets:mlp", "-")], ids=lambda words: words[0])
def test_standard_input_is_read_as_a_file_is(words: tuple[str, ...], given: str, message: str) -> None:
    assert refused(*words, status=1, given=given) == message


def test_standard_input_may_extend_a_preset() -> None:
    made = said("plan", "nets:mlp", "-", "seed=5", "--json", given="defaults: [he_relu]\n")
    assert made == said("plan", "nets:mlp", "he_relu", "seed=5", "--json")


def test_a_file_keeps_its_name_under_overrides(folder: Path) -> None:
    (folder / "conf").mkdir()
    (folder / "conf" / "mine.yaml").write_text("rules: {all: {init: {'*': 0}}}\n")
    plain, changed = (
        json.loads(said("plan", "nets:mlp", "conf/mine.yaml", *overrides, "--json"))["header"]
        for overrides in ((), ("unused=ignore",))
    )
    assert plain["policy"] == "mine"
    assert changed == plain


def test_what_a_model_prints_is_not_in_the_output() -> None:
    result = run("plan", "nets:talks", "he_relu", "--input", "8,32", "--json")
    assert (result.exit_code, result.stderr) == (0, "building\n")
    assert len(json.loads(result.stdout)["rows"]) == 4


def test_a_hydra_config_without_a_model(folder: Path) -> None:
    (folder / "conf").mkdir()
    (folder / "conf" / "main.yaml").write_text("number: 3\nopen: ???\nlost: ${nowhere}\n")
    words = ("plan", "main", "he_relu", "--config-dir", "conf", "--model-key")
    assert refused(*words, "number", status=2) == "--model-key number: has no _target_, which says what to build"
    assert refused(*words, "open", status=2) == "--model-key open: Missing mandatory value: open"
    assert refused(*words, "lost", status=2) == "--model-key lost: Interpolation key 'nowhere' not found"


def test_escapes_in_names_do_not_reach_the_terminal() -> None:
    told = said("diff", "simple_normal", "constant", "nets:Odd", status=1)
    assert told.splitlines()[0] == r"red\x1b[31m.weight"
    assert refused("plan", "nets:mlp", "he_relu", "\x1b[31m", status=2) == (
        r"\x1b[31m: an override is key=value or ~key, as in seed=3"
    )


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


def test_lint_without_a_model_knows_the_initializers() -> None:
    spec = "rules: {a: {init: {weight: nromal, bias: {name: normal, sdt: 1}}}}"
    assert said("lint", "-", given=spec, status=1) == (
        "rules.a.init.weight: unknown initializer 'nromal'; did you mean 'normal'?\n"
        "rules.a.init.bias.sdt: is unknown; did you mean 'std'?\n"
    )


def test_lint_names_a_policy_that_is_not_there() -> None:
    assert said("lint", "none.yaml", status=1) == "none.yaml: no such file\n"


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


class Code:
    """What a file must not be able to do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("done",)


SAFE = "where only tensors and plain containers are read, as code can hide in others; save model.state_dict()"
NAMES = "(0.weight, 0.bias, 2.weight and 3 more)"
CHECKPOINTS: dict[str, tuple[Any, str]] = {
    "nothing": (b"", "w.pt: cannot be read: it is damaged, or no file of weights (EOFError)"),
    "code": (
        {"state_dict": Code()},
        f"w.pt: cannot be read: it holds posix.mkdir, {SAFE}",
    ),
    "a pickle": (
        pickle.dumps(Code(), protocol=2),
        f"w.pt: cannot be read: it holds posix.mkdir, {SAFE}",
    ),
    "a model": (
        nn.Linear(3, 3),
        f"w.pt: cannot be read: it holds torch.nn.modules.linear.Linear, {SAFE}",
    ),
    "a list": ([1], "w.pt: holds no tensors by name; it is a list; save model.state_dict() or {'state_dict': it}"),
    "empty": ({}, "w.pt: holds no tensors by name; it is empty; save model.state_dict() or {'state_dict': it}"),
    "under another key": (
        {"weights": {"0.weight": torch.zeros(3)}, "step": 3},
        "w.pt: holds no tensors by name; its keys are weights, step; save model.state_dict() or {'state_dict': it}",
    ),
    "another model's": (
        {"head.weight": torch.zeros(3)},
        f"w.pt: has none of the model's parameters {NAMES} but head.weight; it is of another --model",
    ),
    "a wrapper's": (
        {"module.2.bias": torch.zeros(64)},
        f"w.pt: has none of the model's parameters {NAMES} but module.2.bias; say --prefix module",
    ),
}


@pytest.mark.parametrize(("held", "message"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_what_is_no_checkpoint_of_the_model(folder: Path, held: Any, message: str) -> None:
    if isinstance(held, bytes):
        (folder / "w.pt").write_bytes(held)
    else:
        torch.save(held, folder / "w.pt")
    words = ("verify", "w.pt", "he_relu", "--model", "nets:mlp", "--input", "8,32")
    assert refused(*words, status=2) == message
    assert not (folder / "done").exists()


def test_a_prefix_is_taken_away(folder: Path) -> None:
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
    ip.apply_policy(model, "he_relu", seed=1, example_input=torch.zeros(2, 32))
    weights = {f"net.model.{name}": tensor for name, tensor in model.state_dict().items()}
    save({**weights, "loss.weight": torch.zeros(3)}, folder / "w.pt")
    words = ("verify", "w.pt", "he_relu", "--model", "nets:mlp", "--arg", "depth=1", "--input", "8,32")
    for prefix in ("net.model", "net.model."):
        assert said(*words, "--prefix", prefix) == "4 parameters: 4 ok (chance of any false alarm 0.001)\n"


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


PROGRAM = Path(sys.executable).with_name("initpolicy")


@pytest.mark.parametrize("words", [("list",), ("schema",), ("show", "he_relu", "--json")], ids=lambda words: words[0])
def test_a_reader_that_goes_away_is_no_error(words: tuple[str, ...]) -> None:
    """Ended in silence, with the status that a shell gives a program that SIGPIPE ends."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([PROGRAM, *words], stdout=writing, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_streams_that_are_closed_or_full() -> None:
    shell = {
        "list >&-": (0, ""),
        "list > /dev/full": (2, "standard output: cannot be written: No space left on device\n"),
        "show - <&-": (2, "-: standard input is closed; pipe a policy's YAML into it\n"),
    }
    for words, expected in shell.items():
        done = subprocess.run(
            ["/bin/sh", "-c", f"'{PROGRAM}' {words}"], capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stderr) == expected, words


def on_a_terminal(words: tuple[str, ...], **environment: str) -> str:
    """What the program writes to a terminal, of either stream."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [PROGRAM, *words], stdout=theirs, stderr=theirs, env={**os.environ, **environment}
    ) as process:
        os.close(theirs)
        told = b""
        try:
            while part := os.read(ours, 4096):
                told += part
        except OSError:  # Linux's word for its end
            pass
        process.wait(120)
    os.close(ours)
    return told.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_terminals_width_is_kept_and_no_colour_is_used(columns: int) -> None:
    told = on_a_terminal(("list",), COLUMNS=str(columns), NO_COLOR="1", TERM="xterm-256color")
    assert "\x1b" not in told
    assert columns - 20 < max(map(len, told.splitlines())) <= columns
    assert " ".join(told.split()).count("He for what feeds a rectifier, Xavier for the rest, zero biases.") == 1
    wrong = on_a_terminal(("lits",), COLUMNS=str(columns), NO_COLOR="1", TERM="xterm-256color")
    assert "\x1b" not in wrong
    assert "No such command 'lits'" in wrong


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_table_is_as_wide_as_asked(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    plan = said("plan", "nets:mlp", "he_relu", "--input", "8,32")
    lint = said("lint", "simple_normal", "nets:sigmoid", "--input", "8,32", status=1)
    assert max(map(len, [*plan.splitlines(), *lint.splitlines()])) <= columns


COMPLETED: dict[str, tuple[Mapping[str, str], set[str]]] = {
    "commands": ({"COMP_WORDS": "initpolicy li", "COMP_CWORD": "1"}, {"list", "lint"}),
    "presets": ({"COMP_WORDS": "initpolicy show he_", "COMP_CWORD": "2"}, {"he_leaky_relu", "he_relu", "he_uniform"}),
    "a second": ({"COMP_WORDS": "initpolicy diff he_relu xavier_t", "COMP_CWORD": "3"}, {"xavier_tanh"}),
    "after a model": ({"COMP_WORDS": "initpolicy plan nets:mlp xavier_t", "COMP_CWORD": "3"}, {"xavier_tanh"}),
    "options": ({"COMP_WORDS": "initpolicy verify a b --fa", "COMP_CWORD": "4"}, {"--false-alarms"}),
}


@pytest.mark.parametrize(("typed", "completed"), COMPLETED.values(), ids=COMPLETED)
def test_completion(typed: Mapping[str, str], completed: set[str]) -> None:
    asked = {**os.environ, **typed, "_INITPOLICY_COMPLETE": "complete_bash"}
    done = subprocess.run([PROGRAM], env=asked, capture_output=True, text=True, timeout=120, check=True)
    assert set(done.stdout.split()) == completed


def test_the_shells_script_is_shown() -> None:
    done = subprocess.run(
        [PROGRAM, "--show-completion", "bash"], capture_output=True, text=True, timeout=120, check=False
    )
    assert "_INITPOLICY_COMPLETE=complete_bash" in done.stdout


def test_questions_about_policies_bring_no_torch() -> None:
    """They are answered in the time that Python and OmegaConf take."""
    program = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from initpolicy.cli.app import app\n"
        "for words in (['--help'], ['list'], ['show', 'he_relu', 'seed=3'], ['schema'], ['lint', 'he_relu']):\n"
        "    assert CliRunner().invoke(app, words).exit_code == 0, words\n"
        "    print(*words, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == [
        "--help False", "list False", "show he_relu seed=3 False", "schema False", "lint he_relu False",
    ]  # fmt: skip

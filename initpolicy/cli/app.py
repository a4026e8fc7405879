"""The program ``initpolicy``: a command for each question.

Exit status 0: fine, 1: the policy does not hold, 2: wrong use.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from initpolicy.cli.say import Failed, emit, fail
from initpolicy.errors import InitPolicyError, PolicyError, Problem

__all__ = ["app"]

app = typer.Typer(
    name="initpolicy",
    help="Weight initialization for PyTorch as a policy in YAML: planned, applied and audited.",
    epilog="Exit status: 0 fine, 1 the policy does not hold, 2 wrong use.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _presets(incomplete: str) -> list[str]:
    """For the shell's completion; where none starts so, it completes paths."""
    from initpolicy.files import list_policies

    return [name for name in list_policies() if name.startswith(incomplete)]


Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="package.module:callable, or with --config-dir a Hydra config's name.")
]
PolicyName = Annotated[
    str,
    typer.Argument(metavar="POLICY", help="A preset, a YAML file, or - for standard input.", autocompletion=_presets),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[OVERRIDES]...", help="seed=3 rules.head.init.weight.std=0.02 ~rules.lstm"),
]
Arg = Annotated[
    list[str] | None,
    typer.Option("--arg", help="depth=50: an argument of the callable; with --config-dir a Hydra override."),
]
ConfigDir = Annotated[Path | None, typer.Option(help="Folder of a Hydra config; MODEL is then the config's name.")]
ModelKey = Annotated[str, typer.Option(help="Where in the Hydra config the model is.")]
Device = Annotated[str, typer.Option(help="Where the model is built; meta takes no memory and draws nothing.")]
Input = Annotated[
    str | None, typer.Option("--input", help="1,3,224,224 or 1,128:int64 or package.module:callable: one input.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Debug = Annotated[bool, typer.Option("--debug", help="Errors with their traceback.")]


@contextmanager
def _reported(debug: bool) -> Iterator[None]:
    """Errors of the library and its use in a line each, without a traceback unless asked for."""
    try:
        yield
    except InitPolicyError as error:
        if debug:
            raise
        fail(str(error))
    except typer.BadParameter as error:
        if debug:
            raise
        fail(str(error.message), status=2)
    except Failed:
        raise typer.Exit(1) from None


def _model(model: str, arg: list[str] | None, config_dir: Path | None, model_key: str, device: str) -> Any:
    from initpolicy.cli.models import ModelSource, build

    return build(
        ModelSource(model=model, arguments=arg or (), config_dir=config_dir, model_key=model_key, device=device)
    )


# --- policies ------------------------------------------------------------------------------------


@app.command("list", epilog="Example: initpolicy list")
def list_(json: Json = False, debug: Debug = False) -> None:
    """The presets, each with what it does."""
    from initpolicy.cli.say import listed
    from initpolicy.files import described

    with _reported(debug):
        rows = [{"name": name, "description": description} for name, description in described().items()]
        emit(rows, listed(rows), as_json=json)


@app.command(epilog="Example: initpolicy show he_relu rules.rectified.init.weight.mode=fan_out > conf/init/mine.yaml")
def show(policy: PolicyName, overrides: Overrides = None, json: Json = False, debug: Debug = False) -> None:
    """A policy as it is after all that it extends, each rule with the files that it comes from."""
    from omegaconf import OmegaConf

    from initpolicy.cli.policies import configured, policy_of
    from initpolicy.cli.say import with_origins
    from initpolicy.files import files_of
    from initpolicy.load import load_policy

    with _reported(debug):
        config = configured(policy, overrides or ())
        if policy == "-":  # either says all that is wrong with it
            load_policy(config)
        else:
            policy_of(policy, overrides or ())
        files = () if policy == "-" else files_of(policy)
        origins = {
            str(rule): [str(path) for path, rules in files if rule in rules] for rule in (config.get("rules") or {})
        }
        plain = OmegaConf.to_container(config, resolve=False)
        emit({"policy": plain, "origins": origins}, with_origins(OmegaConf.to_yaml(config), origins), as_json=json)


@app.command(epilog="Example: initpolicy schema > conf/schema.json")
def schema() -> None:
    """The JSON Schema of policies, for editors."""
    from initpolicy.schema import policy_schema

    emit(policy_schema(), (), as_json=True)


# --- a policy on a model -------------------------------------------------------------------------


@app.command(
    epilog="Example: initpolicy plan torchvision.models:resnet50 he_relu --input 1,3,224,224 --why conv1.weight"
)
def plan(
    model: Model,
    policy: PolicyName,
    overrides: Overrides = None,
    arg: Arg = None,
    config_dir: ConfigDir = None,
    model_key: ModelKey = "model",
    device: Device = "meta",
    input_: Input = None,
    why: Annotated[
        str | None, typer.Option(help="One parameter in full: which rules matched, which won and why.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """What every parameter would get; nothing is written, and no memory is taken for the weights."""
    from initpolicy.cli.say import out
    from initpolicy.render import explain
    from initpolicy.render import json as as_text

    with _reported(debug):
        read = _policy(policy, overrides)
        made = _planned(_model(model, arg, config_dir, model_key, device), read, input_)
        if why is not None:
            try:
                said = explain(made.rows, why)
            except ValueError as error:
                raise typer.BadParameter(str(error)) from error
            row = next(row for row in made.rows if row.name == why)
            emit(row, [said], as_json=json)
        elif json:
            out(as_text(made.header, made.rows).removesuffix("\n"))
        else:
            emit(None, [str(made)], as_json=False)


@app.command(epilog="Example: initpolicy lint my_policy.yaml my_package.models:Net --input 8,32")
def lint(
    policy: PolicyName,
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="package.module:callable, or a Hydra config's name.")
    ] = None,
    overrides: Overrides = None,
    arg: Arg = None,
    config_dir: ConfigDir = None,
    model_key: ModelKey = "model",
    device: Device = "meta",
    input_: Input = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Mistakes, rules that can never win, and laws that fight their activation, each with a reason and a source."""
    from initpolicy.cli.say import finding
    from initpolicy.lint import Finding
    from initpolicy.lint import lint as look

    with _reported(debug):
        try:
            read = _policy(policy, overrides)
            found: tuple[Finding, ...] = ()
            if model is None:
                _checked(read)
            else:
                built = _model(model, arg, config_dir, model_key, device)
                found = look(_planned(built, read, input_), _classes(built))
        except InitPolicyError as error:
            found = tuple(
                Finding(place=one.place or one.source, parameters=(), message=one.message) for one in error.problems
            )
        nothing = ["nothing to remark" if model else "nothing to remark; with a MODEL its laws are looked at too"]
        emit(found, map(finding, found) if found else nothing, as_json=json)
        if found:
            raise Failed


@app.command(epilog="Example: initpolicy diff he_relu mine.yaml torchvision.models:resnet18")
def diff(
    one: Annotated[str, typer.Argument(metavar="POLICY", help="A preset or a YAML file.", autocompletion=_presets)],
    other: Annotated[str, typer.Argument(metavar="POLICY", help="The other.", autocompletion=_presets)],
    model: Model,
    arg: Arg = None,
    config_dir: ConfigDir = None,
    model_key: ModelKey = "model",
    device: Device = "meta",
    input_: Input = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Each parameter that two policies would give different values under one seed; exit status 1 if there is any."""
    from initpolicy.cli.say import differing
    from initpolicy.difference import differences
    from initpolicy.rows import row_of

    with _reported(debug):
        left, right = _both(one, other)
        built = _model(model, arg, config_dir, model_key, device)
        found = tuple(differences(_planned(built, left, input_), _planned(built, right, input_)))
        rows = [
            {
                "name": difference.name,
                "one": difference.one and row_of(difference.one, None),
                "other": difference.other and row_of(difference.other, None),
            }
            for difference in found
        ]
        emit(rows, differing(found, one, other), as_json=json)
        if found:
            raise Failed


@app.command(epilog="Example: initpolicy verify weights.safetensors gpt2 --model my_package:GPT --arg n_layer=12")
def verify(
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT|MODEL", help="A .safetensors or torch file; or a MODEL, built on the CPU."),
    ],
    policy: PolicyName,
    overrides: Overrides = None,
    model: Annotated[str | None, typer.Option("--model", help="MODEL that the checkpoint is of.")] = None,
    arg: Arg = None,
    config_dir: ConfigDir = None,
    model_key: ModelKey = "model",
    input_: Input = None,
    prefix: Annotated[str, typer.Option(help="What stands before the model's names in the checkpoint: model.")] = "",
    false_alarms: Annotated[float, typer.Option(min=1e-12, max=0.5, help="Chance of any false alarm.")] = 1e-3,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Whether weights follow a policy: a test for each parameter, one stated rate of false alarms for all of them."""
    from initpolicy.cli.say import checks
    from initpolicy.cli.weights import below, read, strange
    from initpolicy.verify import verify as test

    with _reported(debug):
        kinds = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
        if model is None and (Path(checkpoint).suffix.lower() in kinds or Path(checkpoint).is_file()):
            raise typer.BadParameter(f"{checkpoint} holds names and numbers only: say of which --model they are")
        wanted = _policy(policy, overrides)
        weights = below(read(Path(checkpoint)), prefix) if model else {}
        built = _model(model or checkpoint, arg, config_dir, model_key, "meta" if model else "cpu")
        made = _planned(built, wanted, input_)
        if model and (why := strange(weights, [row.name for row in made.rows])):
            raise typer.BadParameter(f"{checkpoint}: {why}")
        found = test(made, weights if model else dict(built.named_parameters()), false_alarms=false_alarms)
        emit(found, checks(found, false_alarms), as_json=json)
        if any(check.verdict in ("off", "missing") for check in found):
            raise Failed


def _policy(policy: str, overrides: list[str] | None) -> Any:
    from initpolicy.cli.policies import policy_of

    return policy_of(policy, overrides or ())


def _both(one: str, other: str) -> tuple[Any, Any]:
    """Two policies, or what is wrong with either."""
    if one == other == "-":
        raise typer.BadParameter("-: standard input is read once; give the other policy as a file")
    read, problems = [], list[Problem]()
    for policy in (one, other):
        try:
            read.append(_policy(policy, None))
        except PolicyError as error:
            problems += error.problems
    if problems:
        raise PolicyError(*problems)
    return read[0], read[1]


def _checked(policy: Any) -> None:
    """What a plan would say of it, whatever the model."""
    from initpolicy.check import check_policy
    from initpolicy.initializers import INITIALIZERS

    problems = check_policy(policy, INITIALIZERS, ())
    if problems:
        raise PolicyError(*problems)


def _planned(model: Any, policy: Any, input_: str | None) -> Any:
    from initpolicy.api import plan_policy
    from initpolicy.cli.models import aside, example

    given = example(input_)
    with aside():
        return plan_policy(model, policy, example_input=given)


def _classes(model: Any) -> Any:
    from initpolicy.facts.survey import survey_model

    return survey_model(model)


if __name__ == "__main__":
    sys.exit(app())

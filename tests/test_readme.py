"""The README runs: its blocks in order, in one folder, and what it shows is what they print.

- ``yaml`` whose first line is ``# path`` is written there; what has rules is loaded as a policy.
- ``python`` whose first line is ``# path`` is written there; any other is run, all in one namespace.
- ``sh`` of ``python …`` and of ``initpolicy …`` is run (exit status 1, of what does not hold, is an answer too); of
  ``make …`` names targets that there are. ``console`` is not run.
- ``text`` is what the blocks since the last one printed.
- A comment that begins with ``<!-- python`` is run too: what a reader has and need not see.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from preset_kinds import GENERIC
from pydantic import BaseModel

import initpolicy as ip
from initpolicy.formula import FUNCTIONS
from initpolicy.initializers import INITIALIZERS
from initpolicy.initializers.base import signature
from initpolicy.policy import FACTS, Match, Policy

BLOCK = re.compile(r"^```(?P<kind>\S*)\n(?P<text>.*?)^```$|^<!-- (?P<hidden>\w+)\n(?P<unseen>.*?)^-->$", re.M | re.S)
WIDTH = 80


@dataclass(frozen=True)
class Piece:
    """A block of code: its language, its text, the line it starts at."""

    kind: str
    text: str
    line: int

    @property
    def path(self) -> str | None:
        found = re.match(r"# (\S+\.(?:py|yaml))\n", self.text)
        return found[1] if found else None


def pieces(text: str) -> Iterator[Piece]:
    for found in BLOCK.finditer(text):
        kind, body = found["kind"] or found["hidden"], found["text"] or found["unseen"] or ""
        yield Piece(kind, body, text.count("\n", 0, found.start()) + 1)


def run(readme: Sequence[Piece], folder: Path, told: Callable[[Piece, str], None]) -> None:
    """Runs the blocks in the folder, which is the current one, and tells what comes before each ``text``."""
    names: dict[str, Any] = {"__name__": "readme"}
    out = StringIO()
    for piece in readme:
        if piece.kind in ("python", "yaml") and piece.path:
            target = folder / piece.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(piece.text)
        if piece.kind == "python" and not piece.path:
            with redirect_stdout(out):
                exec(compile(piece.text, f"README.md:{piece.line}", "exec"), names)
        elif piece.kind == "sh":
            out.write("".join(shell(line, folder) for line in piece.text.splitlines()))
        elif piece.kind == "text":
            told(piece, "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines()))
            out = StringIO()
    assert not out.getvalue(), "what the last block printed is not shown"


def shell(line: str, folder: Path) -> str:
    """What one command prints, without times; ``make`` is for other tests."""
    program, *arguments = shlex.split(line, comments=True)
    if program == "make":
        return ""
    assert program in ("python", "initpolicy"), line
    words = arguments if program == "python" else ["-m", "initpolicy", *arguments]
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or (program == "initpolicy" and done.returncode == 1 and not done.stderr), done.stderr
    return re.sub(r"^\[[\d-]+ [\d:,]+\]", "[…]", done.stdout, flags=re.M)


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text()


def test_what_it_shows_is_what_it_prints(readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    shown = []

    def compare(piece: Piece, printed: str) -> None:
        assert piece.text == printed, f"README.md, line {piece.line}"
        shown.append(piece)

    run(list(pieces(readme)), tmp_path, compare)
    assert len(shown) > 5
    assert (tmp_path / "init_audit.csv").is_file()


def test_a_wrong_block_is_caught(readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    first_screen = list(pieces(readme.partition("\n## ")[0]))
    told: list[bool] = []
    run(first_screen, tmp_path, lambda piece, printed: told.append(piece.text.replace("ok", "off") == printed))
    assert told == [False]


def test_every_block_is_of_a_kind_that_is_checked(readme: str) -> None:
    kinds = {piece.kind for piece in pieces(readme)}
    assert kinds == {"console", "python", "sh", "text", "yaml"}
    assert readme.count("\n```") == 2 * sum(1 for _ in re.finditer(r"^```\w+\n.*?^```$", readme, re.M | re.S))


def test_every_yaml_is_yaml_and_every_policy_a_policy(readme: str, tmp_path: Path) -> None:
    policies = []
    for piece in pieces(readme):
        if piece.kind == "yaml":
            content = yaml.safe_load(piece.text)
            if "rules" in content:
                path = tmp_path / "policy.yaml"
                path.write_text(piece.text)
                policies.append(ip.load_policy(path).name)
    assert policies == ["readme", "mine", "gpt"]


def test_the_first_screen(readme: str) -> None:
    """One sentence, two commands, a policy of six lines, three lines of Python, and what they print."""
    screen = readme.partition("\n## ")[0]
    commands, policy, hidden, python, text = pieces(screen)
    assert [line.split("  ")[0] for line in commands.text.splitlines()] == ["make train", "make test"]
    assert len(policy.text.splitlines()) - 1 == 6
    assert len(python.text.splitlines()) == 3
    assert hidden.kind == "python"
    assert text.text.startswith("readme: seed 1, fingerprint ")
    assert max(map(len, text.text.splitlines())) <= WIDTH
    assert len(screen.splitlines()) < 65


def test_the_targets_it_names_are_in_the_makefile(readme: str, root: Path) -> None:
    makefile = (root / "Makefile").read_text()
    contributing = (root / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"\bmake ([a-z]+)", f"{readme}\n{contributing}"))
    assert {"train", "test", "check", "wheel"} <= named
    assert named <= set(re.findall(r"^([a-z]+):", makefile, re.M))


# --- the tables ----------------------------------------------------------------------------------


def rows(readme: str, section: str, head: str) -> list[list[str]]:
    """The cells of the table with this first column under a heading; escaped pipes as pipes."""
    [text] = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", readme, re.M | re.S)
    [table] = re.findall(rf"^\| {head} \|.*\n\|[ |-]+\n((?:\|.*\n)+)", text, re.M)
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()]
    return [[cell.strip().replace("\\|", "|") for cell in line] for line in lines]


def plain(text: str) -> str:
    """A docstring's markup as Markdown's."""
    return text.replace("``", "`")


def test_the_table_of_initializers(readme: str) -> None:
    expected = [[f"`{signature(entry)}`", plain(entry.doc)] for entry in INITIALIZERS.values()]
    assert rows(readme, "Initializers", "initializer") == expected


def test_the_table_of_presets(readme: str) -> None:
    expected = [[f"`{name}`", ip.load_policy(name).description] for name in GENERIC]
    assert rows(readme, "Presets", "preset") == expected


def described(noun: type[BaseModel]) -> Iterator[list[str]]:
    """Of each field the name, the default (of the words it may be) and the meaning."""
    for name, field in noun.model_fields.items():
        words = [f"`{word}`" for word in get_args(field.annotation)] if get_origin(field.annotation) is Literal else []
        default = {True: "required", False: ""}[field.is_required()]
        if isinstance(field.default, str) and field.default:
            others = [word for word in words if word != f"`{field.default}`"]
            default = f"`{field.default}`" + (f", or {', '.join(others)}" if others else "")
        yield [f"`{name}`", default, plain(field.description or "")]


def test_the_table_of_the_policys_fields(readme: str) -> None:
    assert rows(readme, "The language", "field") == list(described(Policy))


def test_the_table_of_match_keys(readme: str) -> None:
    expected = {f"`{field.alias or name}`" for name, field in Match.model_fields.items()}
    found = [row[0] for row in rows(readme, "The language", "key")]
    assert len(found) == len(expected)
    assert set(found) == expected


def test_the_table_of_specs_has_specs(readme: str) -> None:
    for spec, _ in rows(readme, "The language", "spec"):
        policy = {"rules": {"all": {"init": {"*": yaml.safe_load(spec.strip("`"))}}}}
        assert ip.load_policy(policy).rules["all"].init["*"]


def test_the_table_of_columns(readme: str) -> None:
    named = [name for row in rows(readme, "The audit", "column") for name in re.findall(r"`(\w+)`", row[0])]
    assert named == [field.name for field in fields(ip.AuditRow)]


def test_formulas_have_the_names_that_it_says(readme: str) -> None:
    [sentence] = re.findall(r"^Formulas have (.*?):\n", readme, re.M | re.S)
    assert f"`{' '.join(FUNCTIONS)}`" in " ".join(sentence.split())
    assert f"`{' '.join(FACTS)}`" in " ".join(sentence.split())

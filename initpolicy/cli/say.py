"""What commands show: text to read, or one JSON document; errors on standard error."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import TextWrapper
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from initpolicy.render.json import compact
from initpolicy.render.numbers import short
from initpolicy.render.words import asked, counted, visible

if TYPE_CHECKING:  # at run time they bring torch, which not every command needs
    from initpolicy.difference import Difference
    from initpolicy.lint import Finding
    from initpolicy.records import Assignment
    from initpolicy.verify import Check

__all__ = ["Failed", "checks", "differing", "emit", "fail", "finding", "listed", "out", "with_origins"]


class Failed(Exception):
    """The policy does not hold; what there is to say has been said."""


def fail(message: str, status: int = 1) -> NoReturn:
    """The message on standard error, and the exit status."""
    typer.echo("\n".join(map(visible, message.splitlines())), err=True)
    raise typer.Exit(status)


def out(text: str) -> None:
    """Text on standard output; a reader that has gone away ends the program as SIGPIPE does others, in silence."""
    try:
        typer.echo(text)
    except BrokenPipeError:
        _let_go()
        raise typer.Exit(141) from None
    except OSError as error:
        _let_go()
        fail(f"standard output: cannot be written: {error.strerror}", status=2)


def _let_go() -> None:
    """What is still in the buffer goes nowhere, lest Python complain of it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def emit(document: object, lines: Iterable[str], *, as_json: bool) -> None:
    """Either of the two on standard output."""
    if as_json:
        out(compact(_plain(document)))
        return
    for line in lines:
        out(line)


def _plain(value: Any) -> Any:
    """Records as mappings, whatever they are in."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


# --- the lines of each command -------------------------------------------------------------------


def listed(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Names and descriptions in two columns, wrapped on a terminal; in a pipe a line each, for grep."""
    wide = max(len(row["name"]) for row in rows)
    for row in rows:
        label = f"{row['name']:<{wide}}  "
        if sys.stdout is None or not sys.stdout.isatty():
            yield f"{label}{row['description']}"
            continue
        wrapper = _wrapper(label)
        if 2 * len(label) <= wrapper.width:
            wrapper.subsequent_indent = " " * len(label)
        else:  # no room for two columns
            wrapper.initial_indent = f"{row['name']}  "
        yield from wrapper.wrap(row["description"])


def with_origins(text: str, origins: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """YAML, with a comment above each rule that says which files it comes from."""
    inside = False
    for line in text.rstrip().splitlines():
        inside = line == "rules:" or (inside and line.startswith(" "))
        rule = line.strip().removesuffix(":")
        if inside and line.startswith("  ") and line[2:3] != " " and rule in origins and origins[rule]:
            yield f"  # {', '.join(origins[rule])}"
        yield line


def finding(one: Finding) -> str:
    """``rules.all → fc1.weight: why (and 3 more parameters) [source]``, wrapped to the terminal."""
    more = len(one.parameters) - 1
    told = f"{one.place}: {one.message}"
    told += f" (and {counted(more, 'more parameter')})" if more > 0 else ""
    told += f" [{one.source}]" if one.source else ""
    return "\n".join(_wrapper("").wrap(visible(told)))


def differing(found: Sequence[Difference], one: str, other: str) -> Iterator[str]:
    """A parameter a block: what either asks for."""
    for difference in found:
        yield visible(difference.name)
        for sign, name, side in (("-", one, difference.one), ("+", other, difference.other)):
            yield from _wrapper(f"  {sign} {name}: ").wrap(_side(side))
    yield f"{counted(len(found), 'parameter')} differ" if len(found) != 1 else "1 parameter differs"


def _side(assignment: Assignment | None) -> str:
    from initpolicy.rows import row_of

    if assignment is None:
        return "not known"
    row = row_of(assignment, None)
    done = asked(row, full=True) or assignment.reason
    expected = "" if row.expected_std is None else f", std {short(row.expected_std)}"
    return f"{row.status}: {done}{expected}" if done else row.status


def checks(found: Sequence[Check], rate: float) -> Iterator[str]:
    """What does not hold, one line each; then the count and the rate of false alarms."""
    for check in found:
        if check.verdict in ("off", "missing"):
            yield from _wrapper("").wrap(visible(f"{check.name}: {check.verdict}: {check.reason}"))
    tally = {verdict: sum(check.verdict == verdict for check in found) for verdict in ("ok", "off", "missing", "")}
    told = ", ".join(f"{count} {verdict or 'not compared'}" for verdict, count in tally.items() if count)
    yield f"{counted(len(found), 'parameter')}: {told} (chance of any false alarm {rate:g})"


def _wrapper(indent: str) -> TextWrapper:
    return TextWrapper(
        width=max(40, shutil.get_terminal_size().columns),
        initial_indent=indent,
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )

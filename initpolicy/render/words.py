"""The small phrases that text and markdown share."""

from __future__ import annotations

from collections.abc import Mapping

from initpolicy.records import AuditRow
from initpolicy.render.numbers import short

__all__ = ["asked", "counted", "listed", "shape", "visible"]

_USUAL = (("mean", 0), ("mode", "fan_in"))


def visible(text: str) -> str:
    """The text on one line: what cannot be printed (newlines, escapes, half surrogates) as its escape.

    >>> visible("a\\nb")
    'a\\\\nb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, noun: str) -> str:
    """``1 parameter``, ``1,234 parameters``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: list[str], most: int = 3) -> str:
    """The first names, and how many more."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(visible, names[:most])) + more


def shape(sizes: tuple[int, ...]) -> str:
    """``64×3×7×7``; a tensor without axes is a ``scalar``."""
    return "×".join(map(str, sizes)) or "scalar"


def asked(row: AuditRow, *, gain: bool = True, full: bool = False) -> str:
    """The initializer as a call: ``trunc_normal(std=0.02, a=-2, b=2, sigma)``.

    Words speak for themselves and lose their key, as a constant's value does; a zero mean and
    ``fan_in`` go without saying. Where a tensor is filled in parts, an argument that
    differs shows every part's: ``constant(value=0|1|0|0)``. ``gain=False`` leaves out a gain that the
    row itself repeats; ``full`` leaves out no argument and no key.
    """
    if not row.initializer:
        return ""
    arguments = dict(row.arguments)
    parts = arguments.get("parts")
    if isinstance(parts, list | tuple) and all(isinstance(part, Mapping) for part in parts):
        del arguments["parts"]
        arguments |= _side_by_side(parts)
    if not gain and arguments.get("gain") == row.gain:
        arguments.pop("gain", None)
    shown = {key: value for key, value in arguments.items() if full or (key, value) not in _USUAL}
    inner = ", ".join(f"{key}={_value(value)}" if full else _argument(key, value) for key, value in shown.items())
    return visible(f"{row.initializer}({inner})" if inner else row.initializer)


def _side_by_side(parts: list[Mapping[str, object]] | tuple[Mapping[str, object], ...]) -> dict[str, object]:
    """Each argument once: its value where the parts agree, else all of them (``–`` where one has none)."""
    keys = dict.fromkeys(key for part in parts for key in part)
    shown = {key: [_value(part[key]) if key in part else "–" for part in parts] for key in keys}
    return {key: values[0] if len(set(values)) == 1 else "|".join(values) for key, values in shown.items()}


def _argument(key: str, value: object) -> str:
    speaks = key == "value" or (isinstance(value, str) and value.isidentifier())
    return _value(value) if speaks else f"{key}={_value(value)}"


def _value(value: object) -> str:
    if isinstance(value, int | float):
        return short(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)

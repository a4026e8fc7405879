"""What a decision is to whoever looks: its row in the audit, and all that its values follow from."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from initpolicy.collector import paused
from initpolicy.records import Assignment, AuditRow, Part

__all__ = ["asks", "fingerprint", "row_of", "used"]


def fingerprint(name: str, seed: int | None, assignments: tuple[Assignment, ...]) -> str:
    """16 hex digits that two plans share when they ask for the same values under the same seed."""
    with paused():
        asked = [
            [sorted(site.name for site in a.facts.sites), a.shape, a.facts.padding_idx, asks(a)] for a in assignments
        ]
    text = json.dumps([name, seed, sorted(asked, key=lambda entry: str(entry[0]))], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def asks(assignment: Assignment) -> list[list[object]]:
    """All that the parameter's values follow from, besides the seed; equal lists, equal values."""
    return list(map(_asked, assignment.parts))


def _asked(part: Part) -> list[object]:
    """All that the part's values follow from, besides the seed."""
    block, fans = part.block, (part.block.fan_in, part.block.fan_out)
    return [part.region, part.initializer, dict(part.arguments), block.name, fans, block.groups, used(part)]


def used(part: Part) -> dict[str, Any]:
    """The variables that the part's formulas for each element use, with their values here."""
    known = part.block.variables
    if not known:
        return {}
    texts = [text for text in part.arguments.values() if isinstance(text, str)]
    words = {word for text in texts for word in re.findall(r"[^\W\d]\w*", text)}
    return {name: known[name] for name in sorted(words & known.keys())}


def row_of(assignment: Assignment, seed: int | None) -> AuditRow:
    """The row of one decision, measured columns blank."""
    a = assignment
    return AuditRow(
        name=a.name,
        aliases=a.aliases,
        shape=a.shape,
        dtype=a.dtype,
        device=a.device,
        module_type=a.module_type,
        status=a.status,
        reason=a.reason,
        rule=a.rule,
        shadowed=a.shadowed,
        initializer=a.initializer,
        arguments=a.arguments,
        activation=a.activation,
        input_activation=a.input_activation,
        found_by=a.found_by,
        fan_in=a.fan_in,
        fan_out=a.fan_out,
        gain=a.gain,
        gain_from=a.gain_from,
        expected_mean=a.expected_mean,
        expected_std=a.expected_std,
        low=a.low,
        high=a.high,
        seed=seed if a.status == "initialized" else None,
        path=a.path,
        flags=a.flags,
        other_hits=a.other_hits,
        input_path=a.input_path,
        input_flags=a.input_flags,
        other_input_hits=a.other_input_hits,
    )

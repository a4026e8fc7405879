"""The parity report: `make parity` writes it to docs/parity.md, from the full suite.

From the top of a checkout: ``INITPOLICY_PARITY=1 PYTHONPATH=tests python -m parity.report > docs/parity.md``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import torch
from zoo.operators import declare

from parity.case import Case, cases
from parity.compare import ALL, ENOUGH, FAMILY, LEVEL, law_of
from parity.entries import ENTRIES, covered, reasons
from parity.outcome import Outcome, caught, outcome

__all__ = ["HEAD", "main", "row"]

HEAD = ("preset", "model", "reference", "parameters", "compared", "smallest p", "wrong constants", "verdict")
METHOD = (
    "Each model is built by its library, which initializes it, with several seeds; a copy built on the meta device "
    "(on the CPU where a constructor needs values) and given storage full of one mark is initialized by the preset "
    "with as many. Every parameter is compared, by itself and together with all of its law. Constants and tables are "
    "equal; random values pass a two-sample Kolmogorov–Smirnov test, a t test of the means, an F test of the "
    "variances with effective degrees of freedom, and a test of the extremes, so that truncation is at the same "
    "place; orthogonal matrices have equal singular values. Where the reference is no package that can be installed, "
    "the model is a small stand-in with its names, and the law is stated by formula from its file (`stated law`): the"
    " tests are those for one sample."
)
PACKAGES = ("torch", "torchvision", "timm", "transformers")


def main() -> int:
    """Print the report; 1 where a preset is not its reference or a wrong constant is not caught."""
    torch.set_num_threads(1)
    declare()
    rows, began = [], time.monotonic()
    for case in cases():
        if ALL or not case.slow:
            start = time.monotonic()
            found, tried = outcome(case), tuple(caught(case, ALL))
            rows.append((case, found, tried))
            sys.stderr.write(f"{time.monotonic() - start:6.1f} s  {verdict(found, tried)}  {case.name}\n")
    sys.stdout.write("\n".join(page(rows)) + "\n")
    sys.stderr.write(f"{time.monotonic() - began:6.0f} s in all\n")
    return int(any(verdict(found, tried) != "equal" for _, found, tried in rows))


Tried = Sequence[tuple[str, bool]]


def page(rows: Sequence[tuple[Case, Outcome, Tried]]) -> Iterator[str]:
    """The whole page, line by line."""
    comparisons = sum(len(found.findings) for _, found, _ in rows)
    presets, covers = {case.preset for case, _, _ in rows}, covered()
    versions = ", ".join(f"{name} {version(name).split('+')[0]}" for name in PACKAGES)
    yield "# Parity"
    yield ""
    yield from wrapped(
        f"Made by `make parity`, which see for how; {versions}. {len(presets)} presets on {len(rows)} models, "
        f"{comparisons:,} comparisons, {sum(len(tried) for _, _, tried in rows)} wrong constants. "
        f"{len(covers)} of {len(ENTRIES)} reference initializations are presets."
    )
    yield ""
    yield from wrapped(METHOD)
    yield ""
    yield from wrapped(
        f"Had the seeds been others, right presets would have failed anywhere below with probability {FAMILY:g} at "
        f"most: each model has {LEVEL:g} of that, divided by the number of its comparisons (Bonferroni), by which "
        f"`smallest p` is multiplied. A law's pool has {ENOUGH:,} values or more as far as seeds go, so that a tenth "
        "more spread is nine standard errors. `wrong constants` counts those that the same comparison caught, of those "
        "tried: each rule's spread times 1.1, truncation dropped at equal spread, rules that scale by depth left out, "
        "and what a model adds (`no forget bias`)."
    )
    yield ""
    yield from table(HEAD, [row(*one) for one in rows])
    yield ""
    yield "## Reference initializations"
    yield ""
    why = reasons()
    told = [[name, ", ".join(f"`{one}`" for one in covers[name]) if name in covers else why[name]] for name in ENTRIES]
    yield from table(("entry", "preset, or why there is none"), told)


def row(case: Case, found: Outcome, tried: Tried) -> list[str]:
    """One model's cells, in the order of HEAD."""
    seen = sum(good for _, good in tried)
    alone = f", {found.left_alone} left alone" if found.left_alone else ""
    return [
        f"`{case.preset}`",
        case.model,
        case.reference,
        f"{found.parameters}{alone}",
        f"{len(found.findings)}: {law_of(found.findings)}; {found.seeds} seeds",
        f"{found.worst:.2g}",
        f"{seen} of {len(tried)}",
        verdict(found, tried),
    ]


def verdict(found: Outcome, tried: Tried) -> str:
    """``equal``; ``differs``; ``blind`` where a wrong constant passes."""
    if found.failures:
        return "differs"
    return "equal" if tried and all(good for _, good in tried) else "blind"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Markdown's."""
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for cells in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def wrapped(text: str, width: int = 120) -> Iterator[str]:
    """Lines of at most so many characters."""
    line = ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > width:
            yield line
            line = ""
        line = f"{line} {word}".strip()
    yield line


if __name__ == "__main__":
    sys.exit(main())

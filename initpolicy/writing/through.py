"""Parametrized weights: set through what stands between, and all put back if one is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from initpolicy.effective import remembered, set_effective
from initpolicy.initializers.base import Initializer
from initpolicy.streams import stream_for
from initpolicy.writing.fill import Held, fill
from initpolicy.writing.pieces import pieces_of
from initpolicy.writing.prepare import Prepared, Problems, said
from initpolicy.writing.targets import Target
from initpolicy.writing.usable import all_finite

__all__ = ["write_through"]

_KEPT = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 2.0**-7, torch.bfloat16: 2.0**-4}
"""How far a parametrization's own arithmetic may move a value, as a share of the largest."""


def write_through(
    targets: list[Target],
    initializers: Mapping[str, Initializer],
    prepared: Prepared,
    seed: int,
    refuse: Callable[[Problems], None],
) -> dict[str, str]:
    """Set the effective weights; if any is refused, put back all of them.

    Args:
        refuse: raises where there are problems.

    Returns:
        Parameter -> a remark, where the parametrization made something else of what it was given.
    """
    changed: dict[str, str] = {}
    problems: Problems = []
    with _undone_on_error([remembered(target.owner, target.local) for target in targets]):
        for target in targets:
            asked = target.tensor().clone()
            fill([Held(assignment=target.assignment, pieces=pieces_of(asked))], initializers, prepared, seed)
            _seed(target, seed)
            try:
                set_effective(target.owner, target.local, asked)
                made = target.tensor()
            except Exception as error:  # a user's right_inverse may raise anything
                problems.append((target.name, f"{target.through} takes no such values ({said(error)}); exclude it"))
                continue
            if made.shape != asked.shape:
                why = f"{target.through} makes {tuple(made.shape)} of the {tuple(asked.shape)} it was given; exclude it"
                problems.append((target.name, why))
            elif not all_finite(made):
                why = f"{target.through} makes values that are not finite of those it was given; exclude it"
                problems.append((target.name, why))
            elif not _alike(made, asked):
                changed[target.name] = "which makes another tensor of its values; measured is the one in use"
        refuse(problems)
    return changed


def _seed(target: Target, seed: int) -> None:
    """Some parametrizations complete a basis by chance, with a generator that the parameter's stream determines."""
    key = stream_for(seed, target.assignment.facts.key).key
    torch.default_generator.manual_seed(key)
    for device in {tensor.device for tensor in target.stored if tensor.device.type == "cuda"}:
        torch.cuda.default_generators[device.index].manual_seed(key)


def _alike(made: Tensor, asked: Tensor) -> bool:
    return not asked.numel() or bool((made - asked).abs().max() <= _KEPT[asked.dtype] * asked.abs().max())


@contextmanager
def _undone_on_error(put_back: list[Callable[[], None]]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for restore in put_back:
            restore()
        raise

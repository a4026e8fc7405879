"""Fake tensors that outlived the trace: what the forward put into caches that the copy does not own.

A function's ``lru_cache`` or a dictionary of a module would give them back in a later real forward.
"""

from __future__ import annotations

import functools
import gc
import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor

__all__ = ["forget"]


def forget(made: Iterable[weakref.ref[Tensor]]) -> int:
    """Take tensors that are still alive out of the caches that hold them; how many there were."""
    made = list(made)
    if all(ref() is None for ref in made):
        return 0
    gc.collect()  # a copy of a model that holds itself
    alive = [tensor for ref in made if (tensor := ref()) is not None]
    ours = {id(tensor) for tensor in alive}
    for thing in gc.get_objects():
        if type(thing) is functools._lru_cache_wrapper and _holds(thing, ours, 3):
            thing.cache_clear()
    for holder in gc.get_referrers(*alive):  # asked once: each call looks at every object there is
        _take_out(holder, ours, alive)
    return len(alive)


def _holds(thing: Any, ours: set[int], depth: int) -> bool:
    return any(
        id(part) in ours
        or (depth > 0 and isinstance(part, (dict, list, tuple)) and _holds(part, ours, depth - 1))
        or (depth > 0 and type(part).__name__ == "_lru_list_elem" and _holds(part, ours, depth - 1))
        for part in gc.get_referents(thing)
    )


def _take_out(holder: Any, ours: set[int], own: list[Tensor]) -> None:
    """Entries of dictionaries and lists; other holders (frames, this module's own list) stay as they are."""
    if holder is own:
        return
    if type(holder) is dict and "__builtins__" not in holder:
        for key in [key for key, value in holder.items() if id(value) in ours]:
            del holder[key]
    elif type(holder) is list:
        holder[:] = [part for part in holder if id(part) not in ours]
    elif type(holder) is tuple:
        for outer in gc.get_referrers(holder):
            if type(outer) is dict and "__builtins__" not in outer:
                for key in [key for key, value in outer.items() if value is holder]:
                    del outer[key]

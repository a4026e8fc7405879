"""The one place where something that a policy names is imported: a function, if the program trusts its package."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

__all__ = ["imported"]


def imported(path: str, trusted: Sequence[str]) -> Callable[..., object]:
    """The function that ``call`` names.

    Raises:
        ValueError: if the program does not trust its package, or there is no such function.
    """
    package = path.partition(".")[0]
    if not any(path == name or path.startswith(f"{name}.") for name in trusted):
        raise ValueError(f"call {path!r}: {package!r} is not trusted; pass trusted=[{package!r}] from your program")
    module, _, name = path.rpartition(".")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"call {path!r} cannot be imported: {error}") from None
    if not callable(function):
        raise ValueError(f"call {path!r} is not a function")
    return function  # type: ignore[no-any-return]  # callable, as just checked

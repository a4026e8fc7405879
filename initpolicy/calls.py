"""The one place where something that a policy names is imported: a function, if the program trusts its package."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence

from initpolicy.errors import meant

__all__ = ["imported"]


def imported(path: str, trusted: Sequence[str]) -> Callable[..., object]:
    """The function that ``call`` names.

    Raises:
        ValueError: if the program does not trust its package, or there is no such function.
    """
    package = path.partition(".")[0]
    where, _, name = path.rpartition(".")
    if not any(path == name or path.startswith(f"{name}.") for name in trusted):
        remedy = f"pass trusted=[{package!r}] from your program"
        if where == "torch.nn.init":
            remedy = f"for torch's own initializer write its name, {name.removesuffix('_')}"
        raise ValueError(f"call {path!r}: {package!r} is not trusted; {remedy}")
    try:
        module = importlib.import_module(where)
    except Exception as error:  # the user's module may raise anything
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise ValueError(f"call {path!r} cannot be imported: {kind}{error}") from error
    try:
        function = getattr(module, name)
    except AttributeError:
        raise ValueError(f"call {path!r}: {where} has no {name!r}{meant(name, vars(module))}") from None
    if inspect.isclass(function) or not callable(function):
        kind = "a class" if inspect.isclass(function) else f"a {type(function).__name__}"
        raise ValueError(f"call {path!r} is {kind}, not a function")
    return function  # type: ignore[no-any-return]  # callable, as just checked

"""One callback for both names that Lightning is published under, importing neither before its user does.

`pytorch_lightning` and `lightning.pytorch` hold the same code twice: each Trainer knows the `Callback` of its own.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar, cast

__all__ = ["NAMESPACES", "Callback", "callback_bases"]

NAMESPACES = ("pytorch_lightning", "lightning.pytorch")
"""The first is the one this package depends on, so it comes first where the user has imported neither."""

_Self = TypeVar("_Self", bound="_Adapting")


def callback_bases() -> tuple[type, ...]:
    """`Callback` of every namespace imported so far; of the first installed one if none is.

    Raises:
        ModuleNotFoundError: if neither is installed.
    """
    used = [name for name in NAMESPACES if name in sys.modules]
    installed = used or [name for name in NAMESPACES if find_spec(name.partition(".")[0])][:1]
    if not installed:
        raise ModuleNotFoundError("InitPolicyCallback needs Lightning; remedy: pip install pytorch-lightning")
    return tuple(import_module(name).Callback for name in installed)


class _Adapting:
    """Instances are callbacks of a namespace imported after the class was defined, too."""

    def __new__(cls: type[_Self], *args: object, **kwargs: object) -> _Self:
        made: _Self = object.__new__(_adapted(cast(Any, cls), callback_bases()))
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        # By the name of the class as it was defined: the process that reads this adapts it to what it has imported.
        return _blank, (getattr(type(self), "_defined", type(self)),), self.__getstate__()

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))


@cache
def _adapted(cls: Any, bases: tuple[type, ...]) -> Any:
    """``cls``, or a class of its name that derives from the missing ``bases`` too."""
    missing = tuple(base for base in bases if not issubclass(cls, base))
    if not missing:
        return cls
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls, *missing), {**names, "_defined": cls})


def _blank(cls: type[_Self]) -> _Self:
    return cls.__new__(cls)


if TYPE_CHECKING:
    import lightning.pytorch
    import pytorch_lightning

    # The two name one Trainer and one LightningModule twice, so every signature seems to contradict the other.
    class Callback(_Adapting, pytorch_lightning.Callback, lightning.pytorch.Callback):  # type: ignore[misc]
        """A callback that the Trainer of either namespace accepts."""

else:
    Callback = type("Callback", (_Adapting, *callback_bases()), {"__doc__": "Accepted by either Trainer."})

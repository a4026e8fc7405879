"""The reference libraries, imported where a model is made: nothing is downloaded."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from typing import Any

from torch import nn
from zoo.operators import declare

__all__ = ["timm", "torchvision", "transformers"]

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")


def timm(name: str, **given: Any) -> Callable[[], nn.Module]:
    """``timm.create_model(name, …)``, when it is called."""

    def build() -> nn.Module:
        declare()
        made: nn.Module = importlib.import_module("timm").create_model(name, **given)
        return made

    return build


def torchvision(path: str, *args: Any, **given: Any) -> Callable[[], nn.Module]:
    """``torchvision.<path>(…)``, when it is called: ``models.resnet18``, ``models.detection.rpn.RPNHead``."""

    def build() -> nn.Module:
        declare()
        module, _, name = f"torchvision.{path}".rpartition(".")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: nn.Module = getattr(importlib.import_module(module), name)(*args, **given)
        return made

    return build


def transformers(model: str, config: str, **given: Any) -> Callable[[], nn.Module]:
    """``transformers.<model>(transformers.<config>(…))``, initialized as the library does, when it is called."""

    def build() -> nn.Module:
        declare()
        library = importlib.import_module("transformers")
        made: nn.Module = getattr(library, model)(getattr(library, config)(**given))
        return made

    return build

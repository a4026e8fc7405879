"""What importing timm and transformers needs: where they lie, and torchvision's operators on a torch for the CPU."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

__all__ = ["declare"]

BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@functools.cache
def declare() -> tuple[Any, ...]:
    """Make them importable, from the environment or from the folder that the Makefile keeps for them.

    Torchvision's wheel is built against CUDA, and importing it registers shape functions for two operators by name.
    They are declared, unless its extension can be loaded and does so itself; what is returned keeps that alive. Then
    it is imported, so that whatever imports it later (Lightning does, where it can be found) finds it done.
    """
    aside = Path(sys.prefix) / "parity"
    if aside.is_dir() and find_spec("torchvision") is None:
        sys.path.append(str(aside))
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return ()
    for extension in sorted(Path(spec.origin).parent.glob("_C*.so")):
        with contextlib.suppress(OSError):
            torch.ops.load_library(str(extension))  # type: ignore[no-untyped-call]
    made = []
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
            library.define(f"{name}{BOXES}")
            made.append(library)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its image codecs, which cannot be loaded either
        importlib.import_module("torchvision")
    return tuple(made)

"""What timm's import needs of torchvision where torch is built for the CPU alone."""

from __future__ import annotations

import contextlib
import functools
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

__all__ = ["declare"]

BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@functools.cache
def declare() -> tuple[Any, ...]:
    """Declare two operators that torchvision's extension declares, unless it can be loaded and does so itself.

    Its wheel is built against CUDA, and importing it registers shape functions for these two by name. What is
    returned keeps the declarations alive.
    """
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
    return tuple(made)

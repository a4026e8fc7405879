"""What timm's import needs of torchvision where torch is built for the CPU alone."""

from __future__ import annotations

import functools
from typing import Any

import torch

__all__ = ["declare"]

BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@functools.cache
def declare() -> tuple[Any, ...]:
    """Declare the operators that torchvision's extension declares, so that the rest of it can be imported without it.

    Its wheel is built against CUDA, and importing it registers shape functions for these two by name. What is
    returned keeps the declarations alive.
    """
    made = []
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
            library.define(f"{name}{BOXES}")
            made.append(library)
    return tuple(made)

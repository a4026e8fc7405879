"""What all processes of a run must agree on."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["agreed"]


def agreed(number: int) -> int:
    """Process 0's number, by one broadcast, which every process must join; outside torch.distributed this one."""
    dist: Any = torch.distributed
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return number
    holder = [number]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]

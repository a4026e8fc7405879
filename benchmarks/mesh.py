"""One process of a large mesh, pretended: a model of a trillion parameters on meta, planned and in part drawn.

``python benchmarks/mesh.py [WORLD ...]`` prints one markdown table. torch's fake process group stands in for the other
processes: its collectives do nothing, and applying a policy asks for none. Each world size has a process of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

# In the place of this folder, whose trace.py has the name of a module of the standard library.
sys.path[:1] = [str(Path(__file__).resolve().parent.parent)]

WORLDS = (8, 1024)
WIDTH, LAYERS, TENSOR = 25_600, 128, 8
"""12 WIDTH² parameters a layer; tensor parallelism over 8 processes, full sharding over the others."""
ROUNDS = 5

POLICY = {
    "name": "mesh",
    "seed": 1,
    "rules": {
        "linear": {"match": {"type": "Linear"}, "init": {"weight": {"name": "trunc_normal", "std": 0.02}}},
        "out": {
            "match": {"name": r"layers\.(?P<layer>\d+)\.(out|down)$"},
            "init": {"weight": {"name": "trunc_normal", "std": "0.02 / sqrt(2 * n_layer)"}},
        },
        "norm": {"match": {"type": "RMSNorm"}, "init": {"weight": 1}},
    },
}
SAMPLE = {**POLICY, "unused": "ignore"}


def measured(world: int) -> str:
    """A row of the table: what process ``world - 1`` of so many does."""
    import torch
    import torch.distributed as dist
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
    from torch.testing._internal.distributed.fake_pg import FakeStore

    from initpolicy import apply_policy, plan_policy

    def block() -> Any:
        made: Any = nn.Module()
        made.norm = nn.RMSNorm(WIDTH)
        made.qkv, made.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        made.up, made.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)
        made.forward = lambda x: x  # never called
        return made

    dist.init_process_group("fake", store=FakeStore(), rank=world - 1, world_size=world)
    mesh = init_device_mesh("cpu", (world // TENSOR, TENSOR), mesh_dim_names=("data", "tensor"))
    with torch.device("meta"):
        model: Any = nn.Module()
        model.layers = nn.ModuleList(block() for _ in range(LAYERS))
    styles: Any = {
        "qkv": ColwiseParallel(),
        "up": ColwiseParallel(),
        "out": RowwiseParallel(),
        "down": RowwiseParallel(),
    }
    for layer in model.layers:
        parallelize_module(layer, mesh["tensor"], styles)
        fully_shard(layer, mesh=mesh["data"])
    whole = sum(param.numel() for param in model.parameters())
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        plan = plan_policy(model, POLICY)
        seconds.append(time.perf_counter() - start)
    planned = getrusage(RUSAGE_SELF).ru_maxrss / 1024
    assert all(assignment.status == "initialized" for assignment in plan.assignments)

    sample: nn.Module = model.layers[0].out.to_empty(device="cpu")
    held = sum(param.to_local().numel() for param in sample.parameters())  # type: ignore[attr-defined]
    start = time.perf_counter()
    audit = apply_policy(sample, SAMPLE)
    drawn = time.perf_counter() - start
    assert audit.ok
    most = getrusage(RUSAGE_SELF).ru_maxrss / 1024
    of = sum(param.numel() for param in sample.parameters())
    cells = (
        f"{world:,}",
        f"{whole / 1e12:.2f} T",
        f"{len(plan.assignments):,}",
        f"{statistics.median(seconds):.2f}",
        f"{planned:,.0f}",
        f"{held:,} of {of:,}",
        f"{drawn:.2f}",
        f"{most - planned:,.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main(worlds: tuple[int, ...]) -> None:
    sys.stdout.write(
        "| processes | parameters | tensors | plan, s | peak, MB | sample: held here | drawn, s | more, MB |\n"
    )
    sys.stdout.write("| --- " * 8 + "|\n")
    for world in worlds:
        command = [sys.executable, "-W", "ignore", __file__, "--one", str(world)]
        sys.stdout.write(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        sys.stdout.write(measured(int(sys.argv[2])) + "\n")
    else:
        main(tuple(map(int, sys.argv[1:])) or WORLDS)

"""How many values a second: NumPy, torch's own generator and Numba, on one thread and on two. Prints markdown.

    python benchmarks/draw.py [--values 16777216] [--repeats 7]

All take turns in one run, so that what else the machine does falls on all alike; a figure is the best of its turns.
What two threads could gain is what two processes do that draw by themselves at the same time, on the same machine,
between the turns; a shared machine may have less than two whole cores.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

# In the place of this folder, whose trace.py has the name of a module of the standard library.
sys.path[:1] = [str(Path(__file__).resolve().parent.parent)]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from rich.console import Console  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from initpolicy import streams  # noqa: E402
from initpolicy.streams import Recipe, backends, compiled, stream_for  # noqa: E402
from initpolicy.writing.drawing import Order, draw_all  # noqa: E402
from initpolicy.writing.pieces import Piece  # noqa: E402

BOUND = streams.clamp(-0.04, 0.04, "float32")
RECIPES: Mapping[str, Recipe] = {
    "normal": Recipe(law="normal", scale=0.02),
    "uniform": Recipe(law="centred", scale=0.04, least=BOUND[0], most=BOUND[1]),
    "trunc_normal": Recipe(
        law="truncated", interval=streams.interval(-2.0, 2.0), scale=0.02, least=BOUND[0], most=BOUND[1]
    ),
}
TORCH: Mapping[str, Callable[[Tensor], object]] = {
    "normal": lambda tensor: tensor.normal_(0, 0.02),
    "uniform": lambda tensor: tensor.uniform_(-0.04, 0.04),
    "trunc_normal": lambda tensor: nn.init.trunc_normal_(tensor, 0, 0.02, -0.04, 0.04),
}
DTYPES = ("float32", "bfloat16", "float16")
NAMES = ("NumPy", "torch", "Numba", "with statistics", "two threads", "two processes")


def order_of(law: str, memory: Tensor, *, measured: bool) -> Order:
    piece = Piece(memory=memory, box=((0, memory.numel()),))
    shape = (memory.numel(),)
    return Order(name=law, piece=piece, shape=shape, recipe=RECIPES[law], stream=stream_for(1, law), measured=measured)


def numba(law: str, memory: Tensor, threads: int, *, measured: bool) -> None:
    backends.MANY = 0
    torch.set_num_threads(threads)
    draw_all([order_of(law, memory, measured=measured)])
    torch.set_num_threads(1)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def process(pipe: Connection, law: str, dtype: str, count: int) -> None:
    """Draws by itself whenever it is told to, and answers with the seconds."""
    torch.set_num_threads(1)
    memory = torch.zeros(count, dtype=getattr(torch, dtype))
    numba(law, memory, 1, measured=True)
    while pipe.recv():
        pipe.send(seconds(lambda: numba(law, memory, 1, measured=True)))


def measured(law: str, dtype: str, count: int, repeats: int) -> dict[str, float]:
    """Contender -> values a second, at its best turn."""
    memory = torch.zeros(count, dtype=getattr(torch, dtype))
    few, key = count // 16, stream_for(1, law)
    contenders: dict[str, tuple[int, Callable[[], object]]] = {
        "NumPy": (few, lambda: memory[:few].copy_(torch.from_numpy(streams.values(RECIPES[law], key, 0, few)))),
        "torch": (few, lambda: TORCH[law](memory[:few])),
        "Numba": (count, partial(numba, law, memory, 1, measured=False)),
        "with statistics": (count, partial(numba, law, memory, 1, measured=True)),
        "two threads": (count, partial(numba, law, memory, 2, measured=True)),
    }  # fmt: skip
    best = dict.fromkeys(NAMES, 0.0)
    spawn = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(2):
        ours, theirs = spawn.Pipe()
        pipes.append(ours)
        processes.append(spawn.Process(target=process, args=(theirs, law, dtype, count), daemon=True))
        processes[-1].start()
    for _ in range(repeats):
        for name, (values, work) in contenders.items():
            best[name] = max(best[name], values / seconds(work))
        for pipe in pipes:
            pipe.send(True)
        longest = max(pipe.recv() for pipe in pipes)
        best["two processes"] = max(best["two processes"], 2 * count / longest)
    for pipe, worker in zip(pipes, processes, strict=True):
        pipe.send(False)
        worker.join()
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=int, default=2**24)
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=200, highlight=False)
    out = partial(console.print, markup=False)
    out(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, NumPy {np.__version__}, "
        f"load {os.getloadavg()[0]:.1f}; million values a second, best of {asked.repeats}\n")  # fmt: skip
    out(f"| law | dtype | {' | '.join(NAMES)} | statistics cost | gain of threads / of processes |")
    out("|---|---|" + "---:|" * (len(NAMES) + 2))
    for law in RECIPES:
        for dtype in DTYPES:
            best = measured(law, dtype, asked.values, asked.repeats)
            cost = best["Numba"] / best["with statistics"] - 1
            gain = best["two threads"] / best["two processes"]
            figures = " | ".join(f"{best[name] / 1e6:,.0f}" for name in NAMES)
            out(f"| {law} | {dtype} | {figures} | {cost:.0%} | {gain if math.isfinite(gain) else 0:.2f} |")


assert compiled.KINDS  # it is compiled, or read from disk, before anything is timed

if __name__ == "__main__":
    main()

"""How long planning takes, and how it grows: survey and plan, without a trace and without memory for weights.

    python benchmarks/plan.py [--repeats 3]

Each size of the mixture of experts runs in a process of its own, which says what it took at most. Prints markdown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# In the place of this folder, whose trace.py has the name of a module of the standard library.
sys.path[:1] = [str(Path(__file__).resolve().parent.parent)]

import torch  # noqa: E402

import initpolicy as ip  # noqa: E402
from benchmarks import bench, models  # noqa: E402
from initpolicy.audit import audit_of  # noqa: E402
from initpolicy.facts.survey import survey_model  # noqa: E402
from initpolicy.load import load_policy  # noqa: E402
from initpolicy.plan import make_plan  # noqa: E402
from initpolicy.render.csv import csv  # noqa: E402
from initpolicy.render.text import text  # noqa: E402

LAYERS = (7, 20, 65)
"""Of 384 experts: 11 k, 31 k and 101 k parameter tensors."""
SECONDS, BYTES = 10.0, 1.5e9


def mixture(layers: int) -> dict[str, float]:
    """Seconds of each stage, and bytes; in the process that is asked."""
    with bench.high_water() as most:
        model = models.mixture(layers)
        found = {"bytes of the model": float(most())}
        policy = load_policy(models.mixture_policy())
        facts, found["survey"] = _timed(lambda: survey_model(model))
        plan, found["plan"] = _timed(lambda: make_plan(policy, facts))
        found["bytes"] = float(most())
    found["tensors"] = len(plan.assignments)
    audit, found["audit"] = _timed(lambda: audit_of(plan, {}, 1))
    _, found["table"] = _timed(lambda: text(audit.header, audit.rows, width=120))
    _, found["csv"] = _timed(lambda: csv(audit.header, audit.rows))
    return found


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    made = work()
    return made, time.perf_counter() - start


def grown(repeats: int) -> str:
    """The mixtures of experts."""
    rows, each = [], []
    for layers in LAYERS:
        runs = [json.loads(bench.child(__file__, "--mixture", str(layers))) for _ in range(repeats)]
        found = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        both = found["survey"] + found["plan"]
        each.append(both / found["tensors"])
        rows.append(
            [
                f"{found['tensors']:,.0f}",
                *(f"{found[key]:.2f}" for key in ("survey", "plan")),
                f"**{both:.2f}**",
                f"{1e6 * both / found['tensors']:.0f}",
                *(f"{found[key] / 1e6:,.0f}" for key in ("bytes of the model", "bytes")),
                *(f"{found[key]:.2f}" for key in ("audit", "table", "csv")),
            ]
        )
    heads = ["tensors", "survey, s", "plan, s", "both, s", "µs a tensor", "the model, MB", "most, MB"]
    grows = f"largest against smallest: {each[-1] / each[0]:.2f} times as long a tensor"
    title = f"Planning a mixture of experts, 20 rules (at 100,000: at most {SECONDS:g} s and {BYTES / 1e6:,.0f} MB)"
    return f"{bench.table(title, [*heads, 'audit, s', 'table, s', 'csv, s'], rows)}\n\n{grows}"


def small(repeats: int) -> str:
    """What is done at the start of most programs, warm; the first turn, with what it imports and compiles, apart."""
    resnet, net = models.resnet50(), models.perceptron()
    policy, example = load_policy("xavier_normal"), torch.zeros(1, 256)
    work: dict[str, tuple[Callable[[], object], float | None]] = {
        "plan ResNet-50, no trace": (lambda: ip.plan_policy(resnet, "he_relu", seed=1, trace=False), 0.030),
        "plan ResNet-50, no trace, policy read": (lambda: ip.plan_policy(resnet, policy, seed=1), 0.030),
        "apply to 100 k values": (lambda: ip.apply_policy(net, "xavier_normal", seed=1), 0.020),
        "apply to 100 k values, traced": (
            lambda: ip.apply_policy(net, "he_relu", seed=1, example_input=example),
            0.020,
        ),
        "read a preset": (lambda: load_policy("he_relu"), None),
    }
    contenders = [bench.Contender(name=name, run=run) for name, (run, _) in work.items()]
    taken = bench.turns(contenders, repeats=repeats, seconds=60)
    rows = [
        [
            name,
            bench.milliseconds(taken[name].first),
            f"**{bench.milliseconds(taken[name].median)}**",
            "" if most is None else bench.milliseconds(most),
        ]
        for name, (_, most) in work.items()
    ]
    numba = "imported" if "numba" in sys.modules else "not imported"
    title = f"Small work (Numba: {numba})"
    return bench.table(title, ["", "first, ms", "median, ms", "at most, ms"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time planning.")
    parser.add_argument("--repeats", type=int, default=3, help="processes for each size")
    parser.add_argument("--mixture", type=int, metavar="LAYERS", help="one size, in this process, as JSON")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.mixture:
        sys.stdout.write(json.dumps(mixture(asked.mixture)) + "\n")
        return
    for part in (small(20), grown(asked.repeats), bench.machine()):
        sys.stdout.write(f"{part}\n\n")


if __name__ == "__main__":
    main()

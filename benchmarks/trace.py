"""How long a trace takes, beside torch.export and, where it is installed, AnyInit: all in one run, on one machine.

    python benchmarks/trace.py [--repeats 5] [--threads 2] [--only resnet50]

Each contender takes its turn on each model, so that what else the machine does falls on all of them alike; a median
is of the runs after the first. AnyInit has no tracing of its own to call: its time is that of a whole initialization,
from the model alone, which is its fastest way (given the input's shape as well, it runs a validation on top).
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# In the place of this folder, whose trace.py has the name of a module of the standard library.
sys.path[:1] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from torch import Tensor, nn  # noqa: E402

Give = Callable[[nn.Module, Mapping[str, Any]], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model, the keyword arguments of its forward, and what is promised of it."""

    name: str
    make: Callable[[], nn.Module]
    given: Callable[[], Mapping[str, Any]]
    promise: float
    """Seconds that a trace may take, once the process is warm."""


# --- models ---------------------------------------------------------------------------------------


def _timm(name: str) -> nn.Module:
    from zoo.operators import declare

    declare()
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False)
    return model


def _transformers(kind: str) -> nn.Module:
    from zoo.operators import declare

    declare()
    from transformers import CONFIG_MAPPING, AutoModel

    auto: Any = AutoModel
    model: nn.Module = auto.from_config(CONFIG_MAPPING[kind]())
    return model


def _llama() -> nn.Module:
    """The default configuration: 7 B, without memory."""
    with torch.device("meta"):
        return _transformers("llama")


def _image() -> Mapping[str, Tensor]:
    return {"x": torch.zeros(1, 3, 224, 224)}


def _tokens(device: str = "cpu") -> Mapping[str, Any]:
    ids = torch.zeros((1, 16), dtype=torch.int64, device=device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


CASES = (
    Case(name="resnet50", make=lambda: _timm("resnet50"), given=_image, promise=0.5),
    Case(name="vit_base", make=lambda: _timm("vit_base_patch16_224"), given=_image, promise=3.0),
    Case(name="bert_base", make=lambda: _transformers("bert"), given=_tokens, promise=0.5),
    Case(
        name="llama_7b_meta",
        make=_llama,
        given=lambda: {**_tokens("meta"), "use_cache": False},
        promise=1.0,
    ),
)

# --- contenders: each returns how many operations it saw, 0 where it does not say -----------------


def _ours(model: nn.Module, given: Mapping[str, Any]) -> int:
    from initpolicy.facts.dataflow import trace

    return trace(model, given).operations


def _export(model: nn.Module, given: Mapping[str, Any]) -> int:
    program = torch.export.export(model, (), kwargs=dict(given), strict=False)
    return sum(node.op == "call_function" for node in program.graph.nodes)


def _anyinit(model: nn.Module, given: Mapping[str, Any]) -> int:
    import anyinit

    anyinit.initialize(model, seed=0)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What is timed; ``writes``: it changes the model, so it gets a copy, made before the clock starts."""

    name: str
    run: Give
    writes: bool = False

    def takes(self, model: nn.Module) -> bool:
        """What writes weights needs memory for them."""
        return not (self.writes and any(parameter.is_meta for parameter in model.parameters()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds; None where there are none, and why."""

    first: float | None = None
    median: float | None = None
    processor: float | None = None
    """Median of the processor's time, which a busy machine stretches less."""
    operations: int = 0
    why: str = ""


def contenders() -> tuple[Contender, ...]:
    chosen = [Contender(name="initpolicy", run=_ours), Contender(name="torch.export", run=_export)]
    try:
        import anyinit  # noqa: F401
    except ImportError:
        pass
    else:
        chosen.append(Contender(name="anyinit", run=_anyinit, writes=True))
    return tuple(chosen)


def measure(case: Case, repeats: int, against: tuple[Contender, ...]) -> dict[str, Timing]:
    """The contenders take turns; one that fails once is not asked again."""
    model, given = case.make().eval(), case.given()
    times: dict[str, list[tuple[float, float]]] = {contender.name: [] for contender in against}
    operations: dict[str, int] = {}
    failed = {contender.name: "not run without memory" for contender in against if not contender.takes(model)}
    for _ in range(repeats + 1):
        for contender in against:
            if contender.name in failed:
                continue
            chosen = copy.deepcopy(model) if contender.writes else model
            start = time.perf_counter(), time.process_time()
            try:
                operations[contender.name] = contender.run(chosen, given)
            except Exception as error:  # a contender may not take every model
                failed[contender.name] = f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"
            else:
                times[contender.name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return {
        name: Timing(why=failed[name])
        if name in failed
        else Timing(
            first=taken[0][0],
            median=statistics.median(wall for wall, _ in taken[1:]),
            processor=statistics.median(busy for _, busy in taken[1:]),
            operations=operations[name],
        )
        for name, taken in times.items()
    }


# --- the table ------------------------------------------------------------------------------------


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _ratio(other: float | None, ours: float | None) -> str:
    return f"{other / ours:.1f} ×" if other and ours else ""


def report(results: Mapping[str, Mapping[str, Timing]], against: tuple[Contender, ...]) -> Table:
    table = Table(title="seconds a trace: median of the warm runs, and how many times ours")
    table.add_column("model")
    for heading in ("ops", "first", "median", "cpu", "ms/op", "promised"):
        table.add_column(heading, justify="right")
    for contender in against[1:]:
        for heading in (contender.name, "ratio", "cpu", "ratio"):
            table.add_column(heading, justify="right")
    for case in CASES:
        if case.name not in results:
            continue
        ours = results[case.name]["initpolicy"]
        each = "" if not ours.median else f"{1000 * ours.median / max(ours.operations, 1):.2f}"
        times = [_seconds(ours.first), _seconds(ours.median), _seconds(ours.processor)]
        cells = [case.name, str(ours.operations), *times, each, f"{case.promise}"]
        for contender in against[1:]:
            other = results[case.name][contender.name]
            cells += [_seconds(other.median), _ratio(other.median, ours.median)]
            cells += [_seconds(other.processor), _ratio(other.processor, ours.processor)]
        table.add_row(*cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description="Time a trace beside what else one could use.")
    parser.add_argument("--repeats", type=int, default=5, help="warm runs of each contender on each model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=[case.name for case in CASES], action="append")
    asked = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(asked.threads)
    console, against = Console(width=150), contenders()
    results = {
        case.name: measure(case, asked.repeats, against) for case in CASES if not asked.only or case.name in asked.only
    }
    console.print(report(results, against))
    for name, found in results.items():
        for contender, timing in found.items():
            if timing.why:
                console.print(f"{contender} on {name}: {timing.why}", markup=False)
    load = os.getloadavg()[0]
    console.print(f"torch {torch.__version__}, {asked.threads} threads, {os.cpu_count()} cores, load {load:.1f}")


if __name__ == "__main__":
    main()

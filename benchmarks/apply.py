"""How long it takes to initialize a model, beside what one would use instead: all in one run, in turns.

    python benchmarks/apply.py [--only ViT-L] [--repeats 5] [--threads 2]

by hand        torch.nn.init on each parameter, with the same laws; which parameter gets which is known beforehand
constructor    the model's own, with all that it draws
mmengine, skorch    their configuration of the same laws, as far as they have one
transformers   init_weights of a model of theirs
anyinit        its own choice of laws

A model's largest tensor is zero before each turn, so that a contender who writes nothing is found out. Peaks of memory
are measured in processes of their own. Prints markdown.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# In the place of this folder, whose trace.py has the name of a module of the standard library.
ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

import initpolicy as ip  # noqa: E402
from benchmarks import bench  # noqa: E402
from benchmarks.bench import Contender, Taken  # noqa: E402
from benchmarks.models import CASES, Case, Law  # noqa: E402
from initpolicy.load import load_policy  # noqa: E402

SECONDS = 60.0
"""The longest turn."""
OURS, HAND, CONSTRUCTOR, META = "initpolicy", "by hand", "constructor", "materialize"
PEERS = ("mmengine", "skorch", "transformers", "anyinit")


class NotThere(Exception):
    """Why a contender cannot take part."""


# --- contenders -----------------------------------------------------------------------------------


def pairs(case: Case, model: nn.Module) -> dict[str, Law]:
    """Parameter -> its law, the last that fits."""
    seen: dict[Tensor, str] = {}
    found: dict[str, Law] = {}
    for path, module in model.named_modules():
        for local, param in module.named_parameters(recurse=False):
            name = seen.setdefault(param, f"{path}.{local}" if path else local)
            for law in case.laws:
                if _fits(law, path, module, local):
                    found[name] = law
    return found


def _fits(law: Law, path: str, module: nn.Module, local: str) -> bool:
    classes = [cls.__name__ for cls in type(module).__mro__]
    typed = any(fnmatch.fnmatchcase(name, wanted) for name in classes for wanted in law.types)
    return typed and fnmatch.fnmatchcase(local, law.local) and bool(re.search(law.names, path))


def by_hand(case: Case, model: nn.Module) -> Callable[[], None]:
    params, laws = dict(model.named_parameters()), pairs(case, model)
    work = [(params[name], law.draw) for name, law in laws.items()]

    def run() -> None:
        for param, draw in work:
            draw(param)

    return run


def initpolicy(case: Case, model: nn.Module) -> Callable[[], object]:
    policy = load_policy(case.policy)
    return lambda: ip.apply_policy(model, policy)


def constructor(case: Case, model: nn.Module) -> Callable[[], object]:
    return case.build


def mmengine(case: Case, model: nn.Module) -> Callable[[], object]:
    package = _imported("mmengine.model")
    logging.getLogger("mmengine").setLevel(logging.ERROR)
    covered = [law for law in pairs(case, model).values() if law.mmengine is not None or law.local == "bias"]
    if len(covered) < len(list(model.parameters())) / 2:
        raise NotThere("has no initializer for most of it")
    classes = {type(module).__name__ for module in model.modules()}
    configs = [
        {**law.mmengine, "layer": [name for name in classes if any(fnmatch.fnmatchcase(name, t) for t in law.types)]}
        for law in case.laws
        if law.mmengine is not None and not law.names
    ]
    configs = [config for config in configs if config["layer"]]
    return lambda: package.initialize(model, configs)


def skorch(case: Case, model: nn.Module) -> Callable[[], object]:
    callbacks, package = _imported("skorch.callbacks"), _imported("skorch")
    laws = pairs(case, model)
    by_law: dict[int, tuple[Law, set[str]]] = {}
    for name, law in laws.items():
        by_law.setdefault(id(law), (law, set()))[1].add(name)
    asked = [callbacks.Initializer(names.__contains__, fn=law.draw).initialize() for law, names in by_law.values()]
    net = package.NeuralNet(model, criterion=nn.MSELoss, train_split=None, callbacks=None).initialize()
    net.history.new_epoch()

    def run() -> None:
        for callback in asked:
            callback.on_epoch_begin(net)

    return run


def transformers(case: Case, model: nn.Module) -> Callable[[], object]:
    package = _imported("transformers")
    if not isinstance(model, package.PreTrainedModel):
        raise NotThere("takes its own models only")

    def run() -> None:
        for held in (*model.modules(), *model.parameters()):
            held._is_hf_initialized = False  # what marks a thing as done
        model.init_weights()

    return run


def anyinit(case: Case, model: nn.Module) -> Callable[[], object]:
    package = _imported("anyinit")
    return lambda: package.initialize(model, seed=0)


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a package that is there may fail in many ways
        raise NotThere(f"not there: {type(error).__name__}: {str(error)[:80]}") from error


MADE: Mapping[str, Callable[[Case, nn.Module], Callable[[], object]]] = {
    OURS: initpolicy,
    HAND: by_hand,
    CONSTRUCTOR: constructor,
    "mmengine": mmengine,
    "skorch": skorch,
    "transformers": transformers,
    "anyinit": anyinit,
}


def contenders(case: Case, model: nn.Module) -> Iterator[Contender | tuple[str, str]]:
    """Those that can take part, and (name, why not) of the others."""
    largest = max(model.parameters(), key=lambda param: param.numel())

    @torch.no_grad()
    def blank() -> None:
        largest.zero_()

    @torch.no_grad()
    def check() -> str:
        return "" if bool(largest.flatten()[:1000].any()) else "wrote nothing"

    for name, make in MADE.items():
        try:
            run = make(case, model)
        except NotThere as why:
            yield name, str(why)
            continue
        if name == CONSTRUCTOR:
            yield Contender(name=name, run=run)
        else:
            yield Contender(name=name, run=run, prepare=blank, check=check)
    box: list[nn.Module] = []

    def build() -> None:
        with torch.device("meta"):
            box[:] = [case.build()]

    policy = load_policy(case.policy)
    yield Contender(
        name=META, run=lambda: ip.materialize(box[0], policy, buffers=_as_built(case, model)), prepare=build
    )


def _as_built(case: Case, model: nn.Module) -> Mapping[str, Tensor]:
    """Buffers that no reset makes: a benchmark may take them from the model that is there."""
    return {name: buffer for name, buffer in model.named_buffers() if "inv_freq" in name or name.endswith(".bias")}


# --- tables ---------------------------------------------------------------------------------------


def timed(case: Case, repeats: int) -> tuple[list[str], list[str], list[str]]:
    """A row of times, a row of ratios, and what must be said."""
    model = case.build()
    known = list(contenders(case, model))
    able = [one for one in known if isinstance(one, Contender)]
    taken = {
        **{name: Taken(why=why) for name, why in (one for one in known if isinstance(one, tuple))},
        **bench.turns(able, repeats=repeats, seconds=SECONDS),
    }
    values = sum(param.numel() for param in model.parameters())
    title = f"{case.name}, {values / 1e6:,.0f} M"
    ours = taken[OURS].median
    names = [HAND, *PEERS, CONSTRUCTOR]
    times = [title, f"**{bench.milliseconds(ours)}**", *(bench.milliseconds(taken[name].median) for name in names)]
    times.append(f"**{bench.milliseconds(taken[META].median)}**")
    against = [bench.ratio(ours, taken[name].median) for name in names]
    ratios = [title, *against, bench.ratio(taken[META].median, taken[CONSTRUCTOR].median)]
    said = [f"- {case.name}, {name}: {one.why}" for name, one in taken.items() if one.why]
    return times, ratios, said


def peak(case: Case, way: str) -> dict[str, float]:
    """Bytes, in the process that is asked: of the weights, and by how much it grew beyond them at most."""
    policy = load_policy(case.policy)
    if way == OURS:
        model = case.build()
        with bench.high_water() as most:
            ip.apply_policy(model, policy)
            beyond = most()
    else:
        buffers = dict(_as_built(case, case.build()))
        with torch.device("meta"):
            model = case.build()
        with bench.high_water() as most:
            ip.materialize(model, policy, buffers=buffers)
            beyond = most() - _bytes(model)
    return {"weights": float(_bytes(model)), "beyond": float(beyond)}


def _bytes(model: nn.Module) -> int:
    return sum(param.numel() * param.element_size() for param in model.parameters())


def peaks(cases: Sequence[Case]) -> str:
    rows = []
    for case in cases:
        found = [bench.child(__file__, "--peak", way, "--only", case.name) for way in (OURS, META)]
        cells = [_beyond(each) for each in found]
        weights = next((json.loads(each)["weights"] for each in found if each.startswith("{")), None)
        rows.append([case.name, "–" if weights is None else f"{weights / 1e6:,.0f}", *cells])
    heads = ["model", "weights, MB", "apply_policy: beyond them, MB", "materialize: beyond them, MB"]
    return bench.table("Peak memory beyond the weights (at most 300 MB)", heads, rows)


def _beyond(found: str) -> str:
    return f"{json.loads(found)['beyond'] / 1e6:,.0f}" if found.startswith("{") else found[:80]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time initialization beside what one would use instead.")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each contender beside a warm-up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=[case.name for case in CASES], action="append")
    parser.add_argument("--peak", choices=[OURS, META], help="one peak of memory, in this process, as JSON")
    asked = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(asked.threads)
    _declare()
    cases = [case for case in CASES if not asked.only or case.name in asked.only]
    if asked.peak:
        sys.stdout.write(json.dumps(peak(cases[0], asked.peak)) + "\n")
        return
    times, ratios, said = [], [], []
    for case in cases:
        one, other, notes = timed(case, asked.repeats)
        times.append(one)
        ratios.append(other)
        said += notes
    names = [HAND, *PEERS, CONSTRUCTOR]
    title = "Milliseconds for one initialization, ours with its audit (medians)"
    parts = [
        bench.table(title, ["model", OURS, *names, META], times),
        bench.table(
            "Our share of their time (by hand on ViT-L: at most 0.40; materialize on ViT-L: at most 0.12)",
            ["model", *names, f"{META} / {CONSTRUCTOR}"],
            ratios,
        ),
        "\n".join(said),
        peaks(cases),
        bench.machine(),
    ]
    sys.stdout.write("\n\n".join(filter(None, parts)) + "\n")


def _declare() -> None:
    """What timm's import needs of torchvision where torch is built for the CPU alone."""
    from zoo.operators import declare

    declare()


if __name__ == "__main__":
    main()

"""One of several processes: ``torchrun … -m distributed.worker FOLDER`` runs every check for its world size.

What each process saw goes to FOLDER/WORLD.RANK.json, for the tests to judge: check -> what it returned, or its error.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Partial, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.distributed.tensor.placement_types import _StridedShard
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.parametrizations import weight_norm

import initpolicy.apply
from distributed.bench import STYLES, Mlp, one_of, policy_of, sha, shas
from initpolicy import ApplyError, Audit, apply_policy, materialize, plan_policy, survey
from initpolicy.audit import audit_of
from initpolicy.facts.shards import local_of
from initpolicy.integrations.distributed import gathered
from initpolicy.streams import recipes
from initpolicy.streams.blocks import draw_table
from initpolicy.writing.pieces import Piece, pieces_of

Check = Callable[[], Any]

NORMAL = {"name": "x", "seed": 5, "unmatched": "keep", "rules": {"all": {"init": {"*": "normal"}}}}
INPUT = {"shape": [2, 8]}


def local(param: Any) -> torch.Tensor:
    """The shard."""
    found: torch.Tensor = local_of(param.detach())
    return found


def local_shas(model: nn.Module) -> dict[str, str]:
    return {name: sha(local(param)) for name, param in model.named_parameters()}


def rows(audit: Audit) -> list[tuple[str, str, str, str]]:
    return [(row.name, row.status, row.verdict, row.reason) for row in audit.rows]


# --- the same weights ----------------------------------------------------------------------------


def same_weights(style: str) -> Check:
    """Every initializer, under one way of sharding."""

    def check() -> Any:
        model = one_of(style)
        held = {name: id(param) for name, param in model.named_parameters()}
        with CommDebugMode() as calls:  # type: ignore[no-untyped-call]  # torch's
            audit = apply_policy(model, policy_of(WEIGHTS), example_input=None)
        assert {name: id(param) for name, param in model.named_parameters()} == held
        return {
            "whole": shas(model),
            "local": local_shas(model),
            "calls": calls.get_total_counts(),
            "fingerprint": audit.fingerprint,
            "rows": rows(audit),
        }

    return check


def strided() -> Any:
    """Shards of two stretches, which torch makes of even sizes only; and what fully_shard makes of any sizes."""
    found: dict[str, Any] = {}
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    for spec in ("normal", "orthogonal"):
        model = nn.Linear(8, 16, bias=False)
        on = [_StridedShard(0, split_factor=2), Shard(1)]
        model.weight = nn.Parameter(distribute_tensor(model.weight.detach(), mesh, on))
        audit = apply_policy(model, {**NORMAL, "rules": {"all": {"init": {"*": spec}}}})
        found[spec] = {"whole": shas(model), "rows": rows(audit)}
    for size in (5, 6, 7, 9, 11):
        model = nn.Linear(3, size, bias=False)
        parallelize_module(model, mesh["tensor"], ColwiseParallel())
        fully_shard(model, mesh=mesh["data"])
        apply_policy(model, NORMAL)
        found[str(size)] = local(model.weight).tolist()
    return found


def by_torch() -> Any:
    """The negative control: what torch.nn.init makes of the same shards under one seed."""
    model = one_of(f"FSDP2 on {dist.get_world_size()}")
    torch.manual_seed(3)
    for name, param in model.named_parameters():
        if name in ("normal.weight", "trunc_normal.weight", "kaiming_normal.weight"):
            getattr(nn.init, f"{name.partition('.')[0]}_")(param)
    return {"whole": shas(model), "local": local_shas(model)}


def misplaced() -> Any:
    """The other negative control: shards that are all taken for the first one."""

    def first(tensor: torch.Tensor) -> tuple[Piece, ...]:
        return tuple(
            Piece(memory=piece.memory, box=tuple((0, stop - start) for start, stop in piece.box))
            for piece in pieces_of(tensor)
        )

    model = one_of(f"FSDP2 on {dist.get_world_size()}")
    with patch.object(initpolicy.apply, "pieces_of", first):
        apply_policy(model, policy_of(WEIGHTS))
    return {"whole": shas(model)}


def drawn_here() -> Any:
    """Which elements are drawn for a shard, and how many it has."""
    asked: list[tuple[int, int]] = []

    def counted(stream: Any, start: int, stop: int, *rest: Any) -> Any:
        asked.append((start, stop))
        return draw_table(stream, start, stop, *rest)

    model = nn.Linear(256, 8192, bias=False)
    fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    with patch.object(recipes, "draw_table", counted):
        apply_policy(model, NORMAL)
    return {"asked": asked, "held": local(model.weight).numel()}


# --- seeds ---------------------------------------------------------------------------------------


def rank_0s_seed() -> Any:
    """Unseeded, on processes whose generators differ: sharded, and replicated."""
    found: dict[str, Any] = {}
    sharded, copied = Mlp(), Mlp()
    fully_shard(sharded, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    unseeded = {**NORMAL, "seed": None}
    for name, model in {"sharded": sharded, "copied": DistributedDataParallel(copied)}.items():
        torch.manual_seed(100 + dist.get_rank())
        audit = apply_policy(model, unseeded, example_input=INPUT)
        after = torch.default_generator.get_state()
        torch.manual_seed(100 + dist.get_rank())
        drawn = int(torch.randint(2**63 - 1, ()).item())
        stepped = torch.equal(after, torch.default_generator.get_state())
        found[name] = {"seed": audit.seed, "drawn": drawn, "stepped": stepped, "whole": shas(model)}
    return found


# --- models that are wrapped already -------------------------------------------------------------


def wrapped_models() -> Iterator[tuple[str, nn.Module]]:
    world = dist.get_world_size()
    yield "DistributedDataParallel", DistributedDataParallel(Mlp())
    inner = Mlp()
    inner.head = DistributedDataParallel(inner.head)  # type: ignore[assignment]
    yield "DistributedDataParallel inside", inner
    sharded = Mlp()
    for layer in (sharded.up, sharded.down, sharded.head, sharded):
        fully_shard(layer, mesh=init_device_mesh("cpu", (world,)))
    yield "fully_shard", sharded
    split = Mlp()
    parallelize_module(split, init_device_mesh("cpu", (world,)), {"up": ColwiseParallel(), "down": RowwiseParallel()})
    yield "parallelize_module", split
    if world == 4:
        both, mesh = Mlp(), init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
        parallelize_module(both, mesh["tensor"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
        for layer in (both.up, both.down, both.head, both):
            fully_shard(layer, mesh=mesh["data"])
        yield "both", both


def hung_on(model: nn.Module) -> list[tuple[str, str, list[int]]]:
    """What the survey must leave as it is: classes and hooks."""
    return [
        (name, type(module).__name__, [id(hook) for hook in (*pre.values(), *post.values())])
        for name, module in model.named_modules()
        for pre, post in [(module._forward_pre_hooks, module._forward_hooks)]
    ]


def activations() -> Any:
    found: dict[str, Any] = {}
    for name, model in wrapped_models():
        before = hung_on(model)
        with CommDebugMode() as calls:  # type: ignore[no-untyped-call]  # torch's
            facts = survey(model, INPUT)
        sites = {param.name: param.sites[0] for param in facts.params}
        found[name] = {
            "calls": calls.get_total_counts(),
            "untouched": hung_on(model) == before,
            "found": {
                key: [site.owner.classes.simple, *(str(hit.activation) for hit in site.signal.following)]
                for key, site in sites.items()
            },
            "found_by": sorted({site.signal.found_by for site in sites.values()}),
            "shapes": {param.name: list(param.shape) for param in facts.params},
        }
        apply_policy(model, "he_relu", seed=1, example_input=INPUT)
        found[name]["whole"] = {key.replace("module.", ""): value for key, value in shas(model).items()}
        with torch.no_grad():
            out = model(torch.ones(2, 8))
        found[name]["output"] = sha(out.full_tensor() if isinstance(out, DTensor) else out)
        found[name]["finite"] = bool(torch.isfinite(out).all())
    return found


# --- what is refused -----------------------------------------------------------------------------


def refusal(model: nn.Module) -> str:
    before = local_shas(model)
    try:
        apply_policy(model, NORMAL)
    except ApplyError as error:
        assert local_shas(model) == before
        return str(error)
    return ""


def refused() -> Any:
    world = dist.get_world_size()
    mesh = init_device_mesh("cpu", (world,))
    summed = nn.Linear(3, 2, bias=False)
    summed.weight = nn.Parameter(DTensor.from_local(summed.weight.detach(), mesh, [Partial()]))
    normed = weight_norm(nn.Linear(3, 4, bias=False))
    fully_shard(normed, mesh=mesh)
    used = nn.Sequential(nn.Linear(8, 8, bias=False))
    fully_shard(used, mesh=mesh)
    used(torch.ones(2, 8))  # the root is not resharded
    strange = nn.Linear(3, 2, bias=False)
    odd = DTensor.from_local(torch.zeros(2, 3), mesh, [Shard(0)], shape=torch.Size((7, 3)), stride=(3, 1))
    strange.weight = nn.Parameter(odd)
    found = {"partial": refusal(summed), "parametrized": refusal(normed), "gathered": refusal(used)}
    if world == 2:
        found["unexplained"] = refusal(strange)
    used.reshard()  # type: ignore[operator]
    found["resharded"] = refusal(used)
    return found


def outside_the_mesh() -> Any:
    """A parameter that lives on the first two processes only."""
    mesh = DeviceMesh("cpu", [0, 1])
    model = nn.Linear(3, 5, bias=False)
    model.weight = nn.Parameter(distribute_tensor(model.weight.detach(), mesh, [Shard(0)]))
    audit = apply_policy(model, NORMAL)
    return {"rows": rows(audit), "local": local(model.weight).flatten().tolist()}


def measured() -> Any:
    """Each process judges its own shard, and an off one is seen where it is."""
    model = nn.Linear(64, 128)
    fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    plan = plan_policy(model, NORMAL)
    audit = apply_policy(model, NORMAL)
    shard = local(model.weight)
    moments = [float(shard.double().mean()), float(shard.double().std(correction=0))]
    right = [(row.mean, row.std, row.digest) for row in audit.rows]
    with patch.object(initpolicy.apply, "fill", lambda *given: {}):
        if dist.get_rank() == 0:
            shard.fill_(3.0)
        measures = initpolicy.apply.write(plan, model, 5)
    return {
        "rows": rows(audit),
        "weight": moments,
        "moments": right[0][:2],
        "digests": [digest for *_, digest in right],
        "off": [row.verdict for row in audit_of(plan, measures, 5).rows],
    }


# --- FullyShardedDataParallel --------------------------------------------------------------------


def fsdp1() -> Any:
    """On a CPU it runs if it is told its device."""
    found: dict[str, Any] = {}
    for original in (True, False):
        model = Mlp()
        options: dict[str, Any] = {"device_id": torch.device("cpu"), "use_orig_params": original}
        model.up = FullyShardedDataParallel(model.up, **options)  # type: ignore[assignment]
        wrapped = FullyShardedDataParallel(model, **options)
        plain = apply_policy(wrapped, {**NORMAL, "unused": "ignore"})
        with gathered(wrapped):
            audit = apply_policy(wrapped, "he_relu", seed=1, example_input=INPUT)
        held = sum(param.numel() for param in wrapped.parameters())
        with FullyShardedDataParallel.summon_full_params(wrapped):
            whole = {name: sha(param) for name, param in wrapped.named_parameters()}
        found[str(original)] = {
            "without": sorted({(row.status, row.reason) for row in plain.rows}),
            "whole": {name.replace("_fsdp_wrapped_module.", ""): value for name, value in whole.items()},
            "activations": {row.name: row.activation for row in audit.rows},
            "held": held,
            "runs": bool(torch.isfinite(wrapped(torch.ones(2, 8))).all()),
        }
    return found


def from_meta() -> Any:
    """Sharded while on meta, with an optimizer already; then memory and values in one pass."""
    with torch.device("meta"):
        model = Mlp()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in (model.up, model.down, model.head, model):
        fully_shard(layer, mesh=mesh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with CommDebugMode() as calls:  # type: ignore[no-untyped-call]  # torch's
        audit = materialize(model, "he_relu", seed=1, example_input=INPUT)
    collectives, written, verdicts = calls.get_total_counts(), shas(model), sorted({row.verdict for row in audit.rows})
    model(torch.ones(2, 8)).sum().backward()
    optimizer.step()
    changed = [name for name, value in shas(model).items() if value != written[name]]
    return {"whole": written, "calls": collectives, "verdicts": verdicts, "trained": changed}


# --- all of them ---------------------------------------------------------------------------------


def checks(world: int) -> dict[str, Check]:
    found = {style: same_weights(style) for style, (_, shape) in STYLES.items() if math.prod(shape) == world}
    if world > 1:
        found |= {"torch.nn.init": by_torch, "misplaced": misplaced, "drawn": drawn_here}
        found |= {"seed": rank_0s_seed, "measured": measured, "from meta": from_meta}
    if world == 4:
        found |= {"strided": strided}
    if world in (2, 4):
        found |= {"activations": activations}
    if world == 2:
        found |= {"refused": refused, "FSDP1": fsdp1}
    if world == 3:
        found |= {"outside": outside_the_mesh}
    return found


def run(check: Check) -> Any:
    try:
        return check()
    except Exception:
        return {"error": traceback.format_exc()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    folder, rank, world = Path(sys.argv[1]), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    WEIGHTS = str(folder / "weights.pt")
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    found = {name: run(check) for name, check in checks(world).items()}
    (folder / f"{world}.{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    os._exit(0)  # gloo's threads do not always end well when Python takes them down

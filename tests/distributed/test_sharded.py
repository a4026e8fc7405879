"""Sharded weights are those of one process, byte for byte: one launch for each world size runs every check in it.

Each test judges what the processes of one launch wrote down (see `distributed.worker`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from distributed.bench import SPECS, STYLES, Bench, Mlp, file_of, policy_of, sha, shas
from distributed.launch import run_on
from initpolicy import Audit, apply_policy, survey
from initpolicy.initializers import INITIALIZERS
from initpolicy.streams import BLOCK

Seen = list[dict[str, Any]]
"""By rank, what each process saw in each check."""
Launch = Callable[[int], Seen]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the processes write, and read what `pretrained` takes."""
    path = tmp_path_factory.mktemp("ranks")
    file_of(path)
    return path


@pytest.fixture(scope="module")
def launched(folder: Path) -> Launch:
    @cache
    def launch(world: int) -> Seen:
        run_on(world, "worker", folder)
        return [json.loads((folder / f"{world}.{rank}.json").read_text(encoding="utf-8")) for rank in range(world)]

    return launch


def seen(launched: Launch, world: int, check: str) -> list[Any]:
    """What each process returned."""
    found = [process[check] for process in launched(world)]
    for each in found:
        assert "error" not in each, each["error"]
    return found


@pytest.fixture(scope="module")
def one_process(folder: Path) -> tuple[Bench, Audit]:
    torch.manual_seed(0)  # the frozen layer keeps what its constructor drew
    model = Bench()
    return model, apply_policy(model, policy_of(str(folder / "weights.pt")))


WORLDS = {style: math.prod(shape) for style, (_, shape) in STYLES.items()}


def test_every_initializer_and_every_dtype_is_there(one_process: tuple[Bench, Audit]) -> None:
    rows = one_process[1].rows
    assert list(SPECS) == list(INITIALIZERS)
    assert {row.initializer for row in rows if row.status == "initialized"} >= set(INITIALIZERS)
    assert {row.dtype for row in rows} == {"float64", "float32", "bfloat16", "float16"}


@pytest.mark.parametrize("style", STYLES)
def test_pt131991_pt136946_tt514_every_initializer_gives_one_processs_bytes(
    launched: Launch, one_process: tuple[Bench, Audit], style: str
) -> None:
    model, audit = one_process
    found = seen(launched, WORLDS[style], style)
    for each in found:
        assert each["whole"] == shas(model)
        assert each["fingerprint"] == audit.fingerprint
        assert each["calls"] == 0  # no collective


@pytest.mark.parametrize("style", [style for style in STYLES if style.startswith("FSDP2 on") and WORLDS[style] > 1])
def test_olmocore319_tt3106_pt168058_shards_differ(launched: Launch, style: str) -> None:
    """Each process has rows of its own of what is random, those of `trunc_normal_` and `kaiming_normal_` included."""
    found = [each["local"] for each in seen(launched, WORLDS[style], style)]
    spread = ("normal", "uniform", "trunc_normal", "kaiming_normal", "kaiming_uniform", "orthogonal", "sparse")
    for name in spread:
        assert len({each[f"{name}.weight"] for each in found}) == len(found), name


@pytest.mark.parametrize("world", [2, 3, 4])
def test_the_same_check_fails_for_torch_nn_init(launched: Launch, one_process: tuple[Bench, Audit], world: int) -> None:
    """PT#168058: one seed on all ranks makes torch's shards copies of each other where they are of one size."""
    torch.manual_seed(3)
    model = Bench()
    torch.manual_seed(3)
    names = ("normal", "trunc_normal", "kaiming_normal")
    for name in names:
        getattr(nn.init, f"{name}_")(model.get_parameter(f"{name}.weight"))
    found = seen(launched, world, "torch.nn.init")
    for name in names:
        assert found[0]["whole"][f"{name}.weight"] != sha(model.get_parameter(f"{name}.weight")), name


@pytest.mark.parametrize("world", [2, 3, 4])
def test_the_same_check_fails_for_shards_taken_for_the_first_one(
    launched: Launch, one_process: tuple[Bench, Audit], world: int
) -> None:
    expected = shas(one_process[0])
    for each in seen(launched, world, "misplaced"):
        wrong = {name for name, value in each["whole"].items() if value != expected[name]}
        assert wrong >= {
            f"{name}.weight" for name in ("normal", "uniform", "orthogonal", "sparse", "eye", "pretrained")
        }


@pytest.mark.parametrize("world", [2, 3, 4])
def test_a_process_draws_the_blocks_that_its_shard_meets(launched: Launch, world: int) -> None:
    """Of 32 blocks: those of its rows, and no other but the one that its first or last row shares."""
    total = 256 * 8192
    for rank, each in enumerate(seen(launched, world, "drawn")):
        rows = -(-8192 // world)
        first, last = rank * rows * 256, min((rank + 1) * rows * 256, total)
        asked = {block for start, stop in each["asked"] for block in range(start // BLOCK, -(-stop // BLOCK))}
        assert asked == set(range(first // BLOCK, -(-last // BLOCK)))
        assert each["held"] == last - first


@pytest.mark.parametrize("world", [2, 3, 4])
def test_without_a_seed_process_0s_is_taken(launched: Launch, world: int) -> None:
    """Every process draws one, so that generators that were in step stay so."""
    found = seen(launched, world, "seed")
    for name in ("sharded", "copied"):
        drawn = [each[name]["drawn"] for each in found]
        assert len(set(drawn)) == world
        assert [each[name]["seed"] for each in found] == [drawn[0]] * world
        assert all(each[name]["stepped"] for each in found)
        twin = Mlp()
        apply_policy(twin, {"rules": {"all": {"init": {"*": "normal"}}}}, seed=drawn[0])
        for each in found:
            assert list(each[name]["whole"].values()) == list(shas(twin).values())


WRAPPED = ("DistributedDataParallel", "DistributedDataParallel inside", "fully_shard", "parallelize_module", "both")


@pytest.mark.parametrize(("world", "wrapper"), [(2, each) for each in WRAPPED[:-1]] + [(4, each) for each in WRAPPED])
def test_activations_are_found_on_models_that_are_wrapped_already(launched: Launch, world: int, wrapper: str) -> None:
    twin = Mlp()
    facts = survey(twin, {"shape": [2, 8]})
    apply_policy(twin, "he_relu", seed=1, example_input={"shape": [2, 8]})
    expected = {
        param.name: [site.owner.classes.simple, *(str(hit.activation) for hit in site.signal.following)]
        for param in facts.params
        for site in param.sites[:1]
    }
    assert expected["up.weight"] == ["Linear", "relu"]
    for each in (process[wrapper] for process in seen(launched, world, "activations")):
        assert each["found"] == expected
        assert each["found_by"] == ["trace of your example_input"]
        assert each["shapes"] == {param.name: list(param.shape) for param in facts.params}
        assert each["calls"] == 0
        assert each["untouched"]
        assert each["whole"] == shas(twin)
        assert each["finite"]


@pytest.mark.parametrize("world", [2, 3, 4])
def test_torchtitan43_llmfoundry1820_each_process_reads_back_and_judges_its_shard(launched: Launch, world: int) -> None:
    found = seen(launched, world, "measured")
    size = -(-128 // world)
    for rank, each in enumerate(found):
        low, high = rank * size, min((rank + 1) * size, 128)
        assert each["rows"] == [
            ["weight", "initialized", "ok", f"rank {rank} holds [{low}:{high}, :]"],
            ["bias", "initialized", "ok", f"rank {rank} holds [{low}:{high}]"],
        ]
        assert each["moments"] == pytest.approx(each["weight"], rel=1e-12)
        assert each["off"] == [["off", "ok"], ["ok", "ok"]][rank > 0]  # what rank 0 alone spoilt
    assert len({each["digests"][0] for each in found}) == world


def test_a_process_outside_the_mesh_holds_nothing(launched: Launch) -> None:
    twin = nn.Linear(3, 5, bias=False)
    apply_policy(twin, {"rules": {"all": {"init": {"*": "normal"}}}}, seed=5)
    rows = ("rank 0 holds [0:3, :]", "rank 1 holds [3:5, :]", "rank 2 holds none of it")
    whole = twin.weight.detach().flatten().tolist()
    for each, row, local in zip(seen(launched, 3, "outside"), rows, (whole[:9], whole[9:], []), strict=True):
        assert each["rows"] == [["weight", "initialized", "ok" if local else "", row]]
        assert each["local"] == local


def test_shards_of_several_stretches(launched: Launch) -> None:
    found = seen(launched, 4, "strided")
    for spec in ("normal", "orthogonal"):
        twin = nn.Linear(8, 16, bias=False)
        apply_policy(twin, {"name": "x", "rules": {"all": {"init": {"*": spec}}}}, seed=5)
        assert [each[spec]["whole"] for each in found] == [shas(twin)] * 4
    held = ("0:4 + 8:12, 0:4", "0:4 + 8:12, 4:8", "4:8 + 12:16, 0:4", "4:8 + 12:16, 4:8")
    verdicts = [[row[2:] for row in each["normal"]["rows"]] for each in found]
    assert verdicts == [[["ok", f"rank {rank} holds [{part}]"]] for rank, part in enumerate(held)]


@pytest.mark.parametrize("size", [5, 6, 7, 9, 11])
def test_uneven_sizes_under_fully_shard_over_tensor_parallelism(launched: Launch, size: int) -> None:
    """First the tensor axis cuts the rows, then the data axis what each got."""
    twin = nn.Linear(3, size, bias=False)
    apply_policy(twin, {"rules": {"all": {"init": {"*": "normal"}}}}, seed=5)
    for rank, each in enumerate(seen(launched, 4, "strided")):
        data, tensor = divmod(rank, 2)
        halves = [chunk for part in twin.weight.detach().chunk(2)[tensor : tensor + 1] for chunk in part.chunk(2)]
        assert each[str(size)] == (halves[data].tolist() if data < len(halves) else [])


REFUSALS: Mapping[str, str] = {
    "partial": (
        "x: weight: is sharded and has the placement P(sum), under which no process holds its elements; "
        "apply before it is sharded, or exclude it"
    ),
    "parametrized": (
        "x: weight: is sharded under _WeightNorm, which needs the whole; apply before it is sharded, or exclude it"
    ),
    "gathered": (
        "x: 0.weight: is gathered for a forward pass, and what is written now would be lost; "
        "call reshard() on the module that fully_shard was given"
    ),
    "unexplained": (
        "x: weight: is sharded and holds (2, 3) of (7, 3) here, which its placements S(0) do not explain; "
        "apply before it is sharded, or exclude it"
    ),
    "resharded": "",
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_written_is_refused_on_every_process(launched: Launch, case: str) -> None:
    assert [each[case] for each in seen(launched, 2, "refused")] == [REFUSALS[case]] * 2


@pytest.mark.parametrize("original", ["True", "False"])
def test_fullyshardeddataparallel_gathered_gives_one_processs_bytes(launched: Launch, original: str) -> None:
    """With ``use_orig_params`` and without; and what is flattened is skipped with the reason."""
    twin = Mlp()
    audit = apply_policy(twin, "he_relu", seed=1, example_input={"shape": [2, 8]})
    remedy = "apply before wrapping, or inside initpolicy.integrations.distributed.gathered(model)"
    total = sum(param.numel() for param in twin.parameters())
    for each in (process[original] for process in seen(launched, 2, "FSDP1")):
        assert each["without"] == [["skipped", f"flattened by FullyShardedDataParallel; {remedy}"]]
        assert each["whole"] == shas(twin)
        assert each["activations"] == {row.name: row.activation for row in audit.rows}
        assert total / 2 <= each["held"] <= total / 2 + 8  # it holds its part again, and some padding
        assert each["runs"]


@pytest.mark.parametrize("world", [2, 3, 4])
def test_a_model_sharded_on_meta_is_materialized_to_one_processs_bytes(launched: Launch, world: int) -> None:
    """And is the model that the optimizer has known since it was on meta."""
    twin = Mlp()
    apply_policy(twin, "he_relu", seed=1, example_input={"shape": [2, 8]})
    for each in seen(launched, world, "from meta"):
        assert each["whole"] == shas(twin)
        assert each["calls"] == 0
        assert set(each["verdicts"]) in ({"ok"}, {"ok", ""})  # blank where a process has none of a bias's four rows
        assert set(each["trained"]) >= {"up.weight", "down.weight", "head.1.weight"}

"""What users of weight initialization ran into elsewhere, thread by thread: where each is tested, or why it waits.

Threads: PT pytorch/pytorch, HF huggingface/transformers, PL Lightning-AI/pytorch-lightning, TT pytorch/torchtitan, HY
facebookresearch/hydra, OC omry/omegaconf, others by name. Those that no other file covers are tested here.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from applying_parts import NORMAL, bits, by_name, everything, policy, refusal
from torch import nn
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from initpolicy import PlanError, PolicyError, apply_policy

HERE = "test_threads"
TIED = "test_modalities456_fastai2090_mup55_two_laws_for_a_tied_tensor_are_an_error_that_says_how_to_resolve_it"
SHARDED = "distributed/test_sharded"

THREADS: Mapping[str, str | tuple[str, ...]] = {
    # threads: file.test, or what it waits for
    "PT#18182": f"{HERE}.test_pt18182_unmatched_stays_bit_for_bit",
    "PT#54055": (
        "test_presets.test_pt54055_lecun_selu_has_unit_variance_times_fan_in",
        "test_gain_decision.test_pt54055_selu_keeps_variance_one_under_exact_gains_only",
    ),
    "PT#54030": "test_resolve.test_pt54030_a_number_beats_a_name",
    "mosaicml/llm-foundry#962": (
        f"{HERE}.test_llmfoundry962_the_audit_shows_the_activation_and_the_gain",
        "test_gain_decision.test_llm_foundry962_each_layer_has_the_gain_of_what_follows_it",
    ),
    "PT#23854, pytorch-image-models#84": "test_layout.test_pt23854_and_timm84_depthwise_fans_count_one_group",
    "Lasagne#858, PT#30079": "test_layout.test_lasagne858_and_pt30079_transposed_fans_are_not_swapped",
    "PT#130122": "test_resolve.test_pt130122_a_stated_layout_swaps_the_fans",
    "PT#166378": "test_resolve.test_pt166378_packed_queries_keys_and_values_have_the_variance_of_separate_layers",
    "PT#20102, PT#750": (
        "test_resolve.test_pt20102_pt750_the_forget_gates_two_biases_sum_to_one_and_all_others_to_zero",
        "test_audit.test_gates_are_judged_each_by_its_own_law",
    ),
    "PT#155588, TT#2269, PT#174997": (
        "test_initializer_laws.test_pt155588_tt2269_pt174997_truncated_normals_in_half_precision",
        "test_audit.test_a_value_on_its_bound_is_off",
    ),
    "algorithmic-efficiency#819, foundation-model-stack#289": (
        "test_initializer_values.test_algorithmic_efficiency819_foundation_model_stack289_bounds_are_what_they_say"
    ),
    "PT#9315": (
        f"{HERE}.test_pt9315_orthogonal_in_half_precision",
        "test_initializer_laws.test_pt9315_orthogonal_in_half_precision",
    ),
    "PT#73640, PT#65049": "test_apply.test_pt73640_pt65049_the_global_random_state_is_untouched",
    "PT#46149": "test_properties.test_pt46149_not_on_other_layers",
    "netket#241, keras-hub#352": "test_properties.test_netket241_kerashub352_parameters_of_one_shape_differ",
    "PT#86274": "test_audit.test_pt86274_cloned_layers_that_are_kept_are_flagged",
    "PT#6411, fairseq#4076": "test_apply.test_pt6411_fairseq4076_the_padding_row_stays_zero",
    "fastNLP#300": (
        "test_plan.test_fastnlp300_xavier_on_one_dimension_is_refused_while_planning_with_parameter_and_rule"
    ),
    "mmdetection#5209, mmdetection#5177": (
        "test_plan.test_mmdetection5209_mmdetection5177_a_rule_that_does_nothing",
        "test_diagnose.test_mmdetection5209_mmdetection5177_why_a_rule_claims_nothing",
    ),
    "allennlp#1405, allennlp#199": (
        "test_plan.test_allennlp1405_allennlp199_exclude_beats_every_rule_order_is_the_files_and_losers_are_listed"
    ),
    "vid2vid#11, timm ('mlp' in name)": (
        "test_matching.test_vid2vid11_a_type_is_a_class_and_no_substring_of_one_or_of_its_file"
    ),
    "llama2.c#579": "test_plan.test_llamac579_a_rule_that_claims_another_number_than_expected_is_an_error",
    "HF#30451, mosaicml/examples#214, Modalities PR#351": (
        "test_plan.test_hf30451_mosaicml214_full_coverage_or_an_error_with_the_names_bare_parameters_included"
    ),
    "Modalities PR#460, peft#2962": (
        "test_properties.test_modalities460_peft2962_not_on_wrappers",
        "test_plan.test_modalities460_peft2962_the_same_matches_wrapped_or_not",
    ),
    "mmcv#1150, TT#2633": f"{HERE}.test_mmcv1150_tt2633_a_row_says_what_initialized_what",
    "mmengine's log": "test_apply.test_mmengine_log_version_counters_tell_one_write_and_none",
    "mmcv#1217, nncf#327": (
        "test_apply.test_mmcv1217_nncf327_gradients_and_the_optimizers_parameters_stay",
        "test_apply.test_any_layout_is_written_where_it_lies",
        "test_lightning.test_mmcv1217_parameters_and_their_storage_stay",
    ),
    "jiant#821": "test_audit.test_jiant821_the_console_gets_a_summary_and_the_file_everything",
    "mlcommons/logging#220, #80": "waits for the command line: `diff` of two audits",
    "HF#46620, mmengine#1335, HF#17370": (
        "test_lightning.test_hf46620_a_checkpoint_is_never_overwritten",
        "test_matching.test_hf46620_mmengine1335_hf17370_an_exclusion_covers_descendants",
    ),
    "HF#21431, timm `named_apply`, skorch": "test_apply.test_hf21431_one_write_a_parameter",
    "HF#45591, flash-linear-attention#754": (
        "test_apply.test_hf39366_hf45591_flashlinearattention754_what_stays_and_why",
        "test_survey.test_hf45591_the_mark_holds_behind_a_parametrization",
    ),
    "PL#16170, PL#17040, PL#2620": (
        "test_lightning.test_pl16170_applied_after_the_layers_are_built_and_before_training",
        "test_lightning.test_pl17040_a_learning_rate_finder_starts_from_the_initialized_weights",
        "test_lightning.test_pl2620_fit_then_test_applies_once",
    ),
    "PL#20490, PL#17627": (
        "test_apply.test_pl20490_pl17627_what_would_stay_unusable_is_refused",
        "test_lightning.test_pl17627_empty_weights_that_no_rule_fills_are_an_error",
    ),
    "PL#20797, nvitop#112": "test_lightning.test_pl20797_a_trainer_of_either_namespace_takes_it",
    "PL#16694, PL#11300, PL#11380": (
        "test_lightning_ddp.test_pl16694_two_processes_agree_and_one_audit_is_written",
        "test_lightning_trackers.test_pl11300_in_a_hydra_job_the_audit_lies_in_the_run_s_folder",
        "test_lightning_trackers.test_pl11380_the_audit_lies_in_the_first_logger_s_folder",
    ),
    "DeepSpeed#2650, HF#43847": f"{HERE}.test_deepspeed2650_hf43847_a_partitioned_parameter_is_refused",
    "NousResearch/torchtitan#43, llm-foundry PR#1820": (
        f"{HERE}.test_torchtitan43_llmfoundry1820_a_dtensor_is_written_in_place",
        f"{SHARDED}.test_torchtitan43_llmfoundry1820_each_process_reads_back_and_judges_its_shard",
    ),
    "OLMo-core#319, TT#3106, PT#196562, PT#168058": (
        "test_lightning_ddp.test_pl16694_two_processes_agree_and_one_audit_is_written",
        f"{SHARDED}.test_olmocore319_tt3106_pt168058_shards_differ",
    ),
    "Megatron-Bridge#5840, nanotron": (
        "test_wrappers.test_fsdp2_a_sharded_module_keeps_its_class_and_a_parameter_its_global_shape"
    ),
    "PT#131991, PT#136946, TT#514": (
        f"{SHARDED}.test_pt131991_pt136946_tt514_every_initializer_gives_one_processs_bytes"
    ),
    "PT#104187, PT#90465": f"{HERE}.test_pt104187_pt90465_a_module_is_asked_for_its_own_parameters_only",
    "Modalities#456, fastai#2090, mup#55": (
        f"test_plan.{TIED}",
        "test_apply.test_a_tied_tensor_is_written_once_under_all_its_names",
    ),
    "hifi-gan#145, PT#180968, HF wav2vec2": (
        "test_effective.test_hifigan145_pt180968_init_after_weight_norm_is_not_lost",
        "test_effective.test_wav2vec2_the_positional_convolution",
    ),
    "PT#125861, skrl#207": "test_plan.test_pt125861_lazy_parameters_are_an_error_that_says_what_to_do",
    "HF#39366": (
        "test_apply.test_hf39366_hf45591_flashlinearattention754_what_stays_and_why",
        "test_plan.test_hf39366_hf45591_what_must_not_be_written_is_skipped_with_its_reason",
    ),
    "cosmos-predict2.5#15": "test_plan.test_cosmos_predict15_adapters_are_excluded_in_one_line",
    "HF#19341, nerf-pytorch#21": (
        "test_presets.test_each_layer_has_the_law_that_is_stated",
        "test_presets.test_torch_default_has_the_laws_of_torchs_constructors",
    ),
    "HY#3258, HY#3409": (
        "test_load.test_hy3258_hy3409_nothing_named_in_a_policy_is_imported",
        "test_plan.test_hydra3258_hydra3409_nothing_is_imported_unless_the_program_trusts_it",
        "test_hydra.test_the_policy_reaches_the_callback_as_data",
    ),
    "OC#1312, HY#1926, dvc#8466": (
        "test_load.test_oc1312_hy1926_dvc8466_numbers_with_an_exponent",
        "test_load.test_oc1312_hy1926_dvc8466_merging_adds_a_rule_and_loses_none",
    ),
    "espnet#4555, espnet#3706, fastai": (
        f"{HERE}.test_espnet4555_espnet3706_norms_and_slopes_are_not_zeroed_as_biases",
        "test_layout.test_espnet4555_espnet3706_kinds_come_from_the_module_not_from_the_dimension",
    ),
    "mup `k.strip('module.')`": "test_wrappers.test_mup_strip_only_a_wrappers_class_drops_a_segment",
    "llm-foundry `init_gain: 0.0`": (
        f"{HERE}.test_llmfoundry_a_gain_of_zero_is_refused",
        "test_initializer_arguments.test_llm_foundry_init_gain_of_0_is_refused",
    ),
    "RetNet#31, HF#26441": "waits for the one-batch check after initialization",
    "LSUV": "waits for `calibrate`, which needs the order of execution",
}


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((Path(__file__).parent / f"{file}.py").read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("thread", THREADS)
def test_each_thread_has_its_test_or_a_reason(thread: str) -> None:
    places = THREADS[thread]
    for place in (places,) if isinstance(places, str) else places:
        if not place.startswith("waits for "):
            file, name = place.split(".")
            assert name in functions_of(file), place


def test_all_threads_are_listed() -> None:
    assert len(THREADS) == 55


# --- those that no other file covers -------------------------------------------------------------


@pytest.mark.parametrize("unmatched", ["keep", "warn"])
def test_pt18182_unmatched_stays_bit_for_bit(unmatched: str) -> None:
    """Torch's own defaults are historical, and still what a user gets who asks for nothing else."""
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.LSTM(3, 2), nn.Embedding(5, 2, padding_idx=0))
    before = everything(model)
    versions = {name: tensor._version for name, tensor in model.state_dict(keep_vars=True).items()}
    audit = apply_policy(model, policy({"weight": NORMAL}, rules=only("^0$"), unmatched=unmatched))
    after = everything(model)
    assert {name for name in before if before[name] != after[name]} == {"0.weight"}
    now = {name: tensor._version for name, tensor in model.state_dict(keep_vars=True).items()}
    assert {name for name in now if now[name] != versions[name]} == {"0.weight"}
    assert audit.totals == {"initialized": 1, "unmatched": 8}
    assert {row.reason for row in audit.rows if row.status == "unmatched"} == {"no rule claims it"}
    assert all(row.digest and row.std is not None for row in audit.rows)


def only(name: str) -> dict[str, Any]:
    return {"one": {"match": {"name": name}, "init": {"weight": NORMAL}}}


def test_llmfoundry962_the_audit_shows_the_activation_and_the_gain() -> None:
    """Kaiming's law depends on what follows a layer, so the reader must see what was found and what was made of it."""
    model = nn.Sequential(
        nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 40), nn.LayerNorm(40), nn.LeakyReLU(0.2), nn.Linear(40, 9)
    )
    rows = by_name(apply_policy(model, "he_relu", seed=0))
    found = {name: (row.activation, row.gain, row.gain_from, row.initializer) for name, row in rows.items()}
    assert found["0.weight"] == ("relu", math.sqrt(2), "following relu", "kaiming_normal")
    activation, gain, source, initializer = found["2.weight"]
    assert (activation, source) == ("leaky_relu(slope=0.2)", "following leaky_relu(slope=0.2)")
    assert initializer == "kaiming_normal"
    assert gain == pytest.approx(math.sqrt(2 / 1.04))
    assert found["5.weight"][0] in ("", "identity")
    assert found["5.weight"][3] == "xavier_normal"
    for name in ("0.weight", "2.weight"):
        assert rows[name].expected_std == pytest.approx(float(rows[name].gain or 0) / math.sqrt(40))


def test_pt9315_orthogonal_in_half_precision() -> None:
    """LAPACK has no half: drawn in float32, then cast."""
    for dtype in (torch.float16, torch.bfloat16):
        model = nn.Linear(32, 48, dtype=dtype)
        audit = apply_policy(model, policy({"weight": "orthogonal", "bias": 0}))
        assert audit.ok
        single = nn.Linear(32, 48)
        apply_policy(single, policy({"weight": "orthogonal", "bias": 0}))
        assert torch.equal(model.weight.detach(), single.weight.detach().to(dtype))
        wide = model.weight.detach().double()
        assert torch.allclose(wide.T @ wide, torch.eye(32, dtype=torch.float64), atol=0.02)


def test_mmcv1150_tt2633_a_row_says_what_initialized_what() -> None:
    model = nn.Sequential(nn.Linear(300, 200))
    asked = {
        "name": "said",
        "seed": 4,
        "rules": {
            "all": {"init": {"*": 0}},
            "wide": {"match": {"where": "fan_in > 100"}, "init": {"weight": {"name": "uniform", "a": -0.5, "b": 1.5}}},
        },
    }
    row = by_name(apply_policy(model, asked))["0.weight"]
    assert (row.status, row.rule, row.shadowed, row.initializer) == ("initialized", "wide", ("all",), "uniform")
    assert row.arguments == {"a": -0.5, "b": 1.5}
    assert (row.module_type, row.shape, row.dtype, row.device) == ("Linear", (200, 300), "float32", "cpu")
    assert (row.fan_in, row.fan_out, row.seed) == (300, 200, 4)
    assert (row.expected_mean, row.low, row.high) == (0.5, -0.5, 1.5)
    assert row.expected_std == pytest.approx(2 / math.sqrt(12))
    weight = model.get_parameter("0.weight").detach().double()
    assert (row.min, row.max) == (float(weight.min()), float(weight.max()))
    assert row.mean == pytest.approx(float(weight.mean()), rel=1e-12)
    assert row.std == pytest.approx(float(weight.std(correction=0)), rel=1e-12)
    assert (row.verdict, len(row.digest)) == ("ok", 32)


def test_deepspeed2650_hf43847_a_partitioned_parameter_is_refused() -> None:
    """ZeRO-3 leaves a tensor of size 0 in its place, where every initializer succeeds and does nothing."""
    model = nn.ModuleDict({"partitioned": nn.Linear(3, 2), "plain": nn.Linear(3, 2)})
    for param in model["partitioned"].parameters():
        param.ds_shape = param.shape  # type: ignore[attr-defined]  # as DeepSpeed does
        param.data = torch.empty(0)
    remedy = "apply before, or inside initpolicy.integrations.distributed.gathered(model)"
    why = f"is partitioned by DeepSpeed (ZeRO-3) and empty here; {remedy}"
    assert refusal(model, policy()) == f"test: partitioned.weight: {why}\ntest: partitioned.bias: {why}"


@pytest.fixture
def one_process() -> Iterator[None]:
    """A process group of one, so that parameters can be sharded."""
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_torchtitan43_llmfoundry1820_a_dtensor_is_written_in_place() -> None:
    """Writes to a DTensor's data or to a slice of it do nothing, in silence; ours land in the shard that it holds."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    twin = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    sharded: Any = model[0]
    fully_shard(sharded, mesh=init_device_mesh("cpu", (1,)))
    weight, memory = sharded.weight, sharded.weight.detach().to_local().data_ptr()
    audit = apply_policy(model, policy())
    assert audit.totals == {"initialized": 4}
    assert audit.fingerprint == apply_policy(twin, policy()).fingerprint
    assert sharded.weight is weight
    assert weight.detach().to_local().data_ptr() == memory
    assert bits(weight.to_local()) == bits(twin.get_parameter("0.weight"))


class Block(nn.Module):
    """Owns a scale, and holds a layer that resets itself."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.inner = nn.Linear(4, 4)

    def reset_parameters(self) -> None:
        raise AssertionError("no one asks modules to reset themselves")


def test_pt104187_pt90465_a_module_is_asked_for_its_own_parameters_only() -> None:
    """Recursion over reset_parameters fills children twice, or a parent's way of filling them is lost."""
    model = nn.Sequential(Block(), Block())
    before = everything(model)
    rules = {"blocks": {"match": {"type": "Block"}, "init": {"*": 0.5}, "expect": 2}}
    audit = apply_policy(model, policy(rules=rules))
    after = everything(model)
    assert {name for name in before if before[name] != after[name]} == {"0.scale", "1.scale"}
    assert audit.rules == {"blocks": 2}


def test_espnet4555_espnet3706_norms_and_slopes_are_not_zeroed_as_biases() -> None:
    """A vector is not a bias because it has one dimension."""
    model = nn.Sequential(
        nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8), nn.PReLU(), nn.GroupNorm(2, 8), nn.Conv1d(8, 8, 3), nn.LayerNorm(8)
    )
    apply_policy(model, "he_relu", seed=0)
    state = model.state_dict()
    for name in ("1.weight", "3.weight", "5.weight"):
        assert torch.equal(state[name], torch.ones(8)), name
    for name in ("0.bias", "1.bias", "3.bias", "4.bias", "5.bias"):
        assert torch.equal(state[name], torch.zeros(8)), name
    assert float(state["2.weight"]) == 0.25


def test_llmfoundry_a_gain_of_zero_is_refused() -> None:
    """It zeroes every weight in silence; who wants zeros writes the constant 0."""
    model = nn.Linear(4, 3)
    message = refusal(model, policy({"weight": {"name": "xavier_normal", "gain": 0.0}}), PolicyError)
    assert message == "test: rules.all.init.weight.gain: must be above 0, not 0"
    by_formula = policy({"weight": {"name": "xavier_normal", "gain": "fan_in - 4"}})
    assert refusal(model, by_formula, PlanError) == (
        "test: rules.all → weight: xavier_normal: gain must be above 0, not 0, the value of 'fan_in - 4'"
    )
    assert apply_policy(model, policy({"weight": 0, "bias": 0})).ok

"""Language models, and those of images, sound and text together that transformers holds."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

from torch import nn

from parity.case import Case, glorot, normal, truncated, uniform
from parity.libraries import transformers
from parity.standins import (
    blocks,
    he,
    inverse_softplus,
    kind,
    laws,
    log_of_uniform,
    tie,
    torch_default,
    tree,
)

__all__ = ["CASES", "COVERS", "NOT_MADE"]

COVERS = {
    "olmo_core": ("olmo_core", "olmo_core_llama"),
    "gpt_neox": ("gpt_neox", "gpt_neox_20b"),
}
NOT_MADE = {
    "fairseq_other": "RoBERTa's law is bert, wav2vec 2.0's wav2vec2; ConvS2S' deviations depend on the dropout rate, "
    "which a layer does not hold.",
    "modded_nanogpt": "Its embedding is a copy of the head at the start and untied afterwards: no law of values.",
}

D, WIDE, LAYERS = 64, 160, 3
"""Width, that of the feed-forward part, depth."""

# --- in transformers ------------------------------------------------------------------------------

TEXT = {
    "hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": WIDE, "vocab_size": 128,
    "max_position_embeddings": 64,
}  # fmt: skip
DECODER = {**TEXT, "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GPT2 = {"n_embd": D, "n_layer": LAYERS, "n_head": 4, "vocab_size": 128, "n_positions": 128}
T5 = {
    "d_model": D, "d_kv": 8, "d_ff": 96, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 8, "vocab_size": 128,
    "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0, "relative_attention_num_buckets": 128,
}  # fmt: skip
BOTH = {
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "d_model": D,
    "vocab_size": 128,
    "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": WIDE, "decoder_ffn_dim": WIDE,
}  # fmt: skip
IMAGE = {
    "hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": WIDE, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
TWO = {
    "text_config": {**TEXT, "num_hidden_layers": 3, "projection_dim": 32, "pad_token_id": 0, "bos_token_id": 1,
                    "eos_token_id": 2},
    "vision_config": {**IMAGE, "hidden_size": 128, "intermediate_size": 32, "projection_dim": 32},
}  # fmt: skip
SPEECH = {
    "hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": WIDE, "vocab_size": 32,
    "conv_dim": (32, 32, 32), "conv_stride": (4, 4, 4), "conv_kernel": (8, 4, 4), "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2, "num_feat_extract_layers": 3, "conv_bias": True,
    "num_codevectors_per_group": 32,
    "codevector_dim": 32, "proj_codevector_dim": 32, "mask_time_prob": 0.05,
}  # fmt: skip


def everything() -> nn.Module:
    """A layer of each class that transformers' base class knows."""
    library: Any = importlib.import_module("transformers")

    class Everything(library.PreTrainedModel):  # type: ignore[misc]
        config_class = library.PreTrainedConfig

        def __init__(self) -> None:
            super().__init__(library.PreTrainedConfig())
            self.linear, self.convolution = nn.Linear(D, 80), nn.Conv2d(8, 16, 3, groups=2)
            self.upward = nn.ConvTranspose1d(8, 16, 3)
            self.embedding = nn.Embedding(128, D, padding_idx=3)
            self.lstm = nn.LSTM(40, 32, num_layers=2)
            self.attention = nn.MultiheadAttention(D, 4)
            self.norms = nn.ModuleList([nn.GroupNorm(2, 8), nn.BatchNorm2d(8), nn.LayerNorm(8), nn.RMSNorm(8)])
            self.post_init()

    return Everything()


HUGGING_FACE = (
    Case(preset="hf_generic", model="a layer of each class of transformers' base class", build=everything),
    Case(
        preset="hf_generic",
        model="transformers BartForConditionalGeneration, width 64",
        build=transformers("BartForConditionalGeneration", "BartConfig", **BOTH, max_position_embeddings=64),
    ),
    Case(
        preset="llama",
        model="transformers LlamaForCausalLM, width 64",
        build=transformers("LlamaForCausalLM", "LlamaConfig", **DECODER),
    ),
    Case(
        preset="llama",
        model="transformers Qwen2ForCausalLM, width 64, tied",
        build=transformers("Qwen2ForCausalLM", "Qwen2Config", **DECODER, tie_word_embeddings=True),
    ),
    Case(
        preset="mixtral",
        model="transformers MixtralForCausalLM, 16 experts of width 64",
        build=transformers(
            "MixtralForCausalLM", "MixtralConfig", **{**DECODER, "intermediate_size": 24}, num_local_experts=16
        ),
    ),
    Case(
        preset="gpt2",
        model="transformers GPT2LMHeadModel, 3 layers of width 64",
        build=transformers("GPT2LMHeadModel", "GPT2Config", **GPT2),
    ),
    Case(
        preset="bert",
        model="transformers BertForPreTraining, width 64",
        build=transformers("BertForPreTraining", "BertConfig", **TEXT),
    ),
    Case(
        preset="bert",
        model="transformers RobertaForMaskedLM, width 64",
        build=transformers("RobertaForMaskedLM", "RobertaConfig", **TEXT),
        slow=True,
    ),
    Case(
        preset="t5",
        model="transformers T5ForConditionalGeneration, width 64, heads of 8",
        build=transformers("T5ForConditionalGeneration", "T5Config", **T5),
        mutations={"the norm's scale": {"rules": {"norm": {"init": {"weight": {"value": 1.1}}}}}},
    ),
    Case(
        preset="t5",
        model="transformers T5ForQuestionAnswering, gated, factor 0.5",
        build=transformers(
            "T5ForQuestionAnswering", "T5Config", **T5, feed_forward_proj="gated-gelu", initializer_factor=0.5
        ),
        overrides={"vars": {"std": 0.5}},
        slow=True,
    ),
    Case(
        preset="whisper",
        model="transformers WhisperForConditionalGeneration, width 64",
        build=transformers(
            "WhisperForConditionalGeneration",
            "WhisperConfig",
            **BOTH,
            max_source_positions=8,
            max_target_positions=40,
            num_mel_bins=16,
            suppress_tokens=None,
            begin_suppress_tokens=None,
        ),
        mutations={
            "sines for cosines": {
                "rules": {"sinusoids": {"init": {"weight": {"value": "sin(i / 10000 ** (j / (shape[1] / 2 - 1)))"}}}}
            }
        },
    ),
    Case(
        preset="mamba_hf",
        model="transformers MambaForCausalLM, width 64",
        build=transformers(
            "MambaForCausalLM", "MambaConfig", hidden_size=D, num_hidden_layers=LAYERS, vocab_size=128, state_size=8
        ),
        mutations={"A": {"rules": {"states": {"init": {"A_log": {"value": "log(j + 2)"}}}}}},
    ),
    Case(
        preset="mamba_hf",
        model="transformers MambaForCausalLM, rescale_prenorm_residual",
        build=transformers(
            "MambaForCausalLM",
            "MambaConfig",
            hidden_size=D,
            num_hidden_layers=LAYERS,
            vocab_size=128,
            state_size=8,
            rescale_prenorm_residual=True,
        ),
        overrides={"vars": {"rescale_prenorm_residual": 1}},
        slow=True,
    ),
    Case(
        preset="mamba_hf",
        model="transformers Mamba2ForCausalLM, width 64",
        build=transformers(
            "Mamba2ForCausalLM",
            "Mamba2Config",
            hidden_size=D,
            num_hidden_layers=2,
            vocab_size=128,
            state_size=8,
            num_heads=16,
            head_dim=8,
            n_groups=1,
        ),
    ),
    Case(
        preset="vit_hf",
        model="transformers ViTForMaskedImageModeling, width 64",
        build=transformers("ViTForMaskedImageModeling", "ViTConfig", **IMAGE, encoder_stride=8),
    ),
    Case(
        preset="clip_hf",
        seeds=40,
        model="transformers CLIPModel, 3 layers of width 64 and 2 of 128",
        build=transformers("CLIPModel", "CLIPConfig", **TWO, projection_dim=32),
    ),
    Case(
        preset="siglip_hf",
        model="transformers SiglipModel, 3 layers of width 64 and 2 of 128",
        build=transformers("SiglipModel", "SiglipConfig", **TWO),
    ),
    Case(
        preset="wav2vec2",
        model="transformers Wav2Vec2ForPreTraining, width 64",
        build=transformers("Wav2Vec2ForPreTraining", "Wav2Vec2Config", **SPEECH),
        mutations={"what was meant": {"vars": {"pos_conv_drawn": 1}}},
    ),
)

# --- other programs, in transformers' modules -----------------------------------------------------

NORMS = {r"(norm\d*|ln_\w+|LayerNorm|layer_norm)\.weight$": 1.0, r"bias$": 0.0}

PORTED = (
    Case(
        preset="gpt2_openai",
        model="transformers GPT2LMHeadModel, 3 layers of width 64",
        build=transformers("GPT2LMHeadModel", "GPT2Config", **GPT2),
        stated=laws({**NORMS, r"wpe": normal(0.01), r"": normal(0.02)}),
        mutations={"the paper's depth": {"rules": {"residual": {"init": {"weight": {"std": "std / sqrt(6)"}}}}}},
    ),
    Case(
        preset="bert_tf",
        model="transformers BertForPreTraining, width 64",
        build=transformers("BertForPreTraining", "BertConfig", **TEXT),
        stated=laws({**NORMS, r"": truncated(0.02)}),
    ),
    Case(
        preset="t5x",
        model="transformers T5ForConditionalGeneration, gated, width 64, heads of 8",
        build=transformers("T5ForConditionalGeneration", "T5Config", **T5, feed_forward_proj="gated-gelu"),
        stated=laws(
            {
                r"layer_norm": 1.0,
                r"Attention\.q\.": lambda shape, *_: normal(1 / math.sqrt(shape[1]) / math.sqrt(8)),
                r"Attention\.[kvo]\.": lambda shape, *_: normal(1 / math.sqrt(shape[1])),
                r"wi_\d|wo": lambda shape, *_: truncated(1 / math.sqrt(shape[1]), corrected=True),
                r"relative_attention_bias": glorot(8, 128),
                r"": normal(1.0),
            }
        ),
    ),
)

# --- other programs, in stand-ins -----------------------------------------------------------------


def linear(fan_in: int, fan_out: int, bias: bool = True) -> nn.Module:
    return nn.Linear(fan_in, fan_out, bias=bias)


def norm(name: str, bias: bool = False) -> nn.Module:
    made: nn.Module = kind(name, weight=D, bias=D) if bias else kind(name, weight=D)
    return made


def nanogpt() -> nn.Module:
    parts: dict[str, nn.Module] = {"transformer.wte": nn.Embedding(128, D), "transformer.wpe": nn.Embedding(64, D)}
    block: dict[str, Callable[[], nn.Module]] = {
        "ln_1": lambda: norm("LayerNorm", bias=True),
        "attn.c_attn": lambda: linear(D, 3 * D),
        "attn.c_proj": lambda: linear(D, D),
        "ln_2": lambda: norm("LayerNorm", bias=True),
        "mlp.c_fc": lambda: linear(D, 4 * D),
        "mlp.c_proj": lambda: linear(4 * D, D),
    }
    parts |= blocks("transformer.h", LAYERS, lambda: {name: make() for name, make in block.items()})
    parts |= {"transformer.ln_f": norm("LayerNorm", bias=True), "lm_head": linear(D, 128, False)}
    return tie(tree(parts), "lm_head.weight", "transformer.wte.weight")


def mamba(two: bool = False) -> nn.Module:
    inner = 2 * D

    def block() -> dict[str, nn.Module]:
        mixer = kind("Mamba2", A_log=16, dt_bias=16, D=16) if two else kind("Mamba", A_log=(inner, 16), D=inner)
        rest: dict[str, nn.Module] = {"norm": norm("RMSNorm"), "mixer": mixer}
        rest["mixer.in_proj"] = linear(D, 2 * inner, False)
        rest["mixer.conv1d"] = nn.Conv1d(inner, inner, 4, groups=inner)
        if two:
            rest["mixer.norm"] = kind("RMSNorm", weight=inner)
        else:
            rest |= {"mixer.x_proj": linear(inner, 36, False), "mixer.dt_proj": linear(4, inner)}
        return {**rest, "mixer.out_proj": linear(inner, D, False)}

    parts = {"backbone.embedding": nn.Embedding(128, D), **blocks("backbone.layers", LAYERS, block)}
    parts |= {"backbone.norm_f": norm("RMSNorm"), "lm_head": linear(D, 128, False)}
    return tie(tree(parts), "lm_head.weight", "backbone.embedding.weight")


def states(shape: tuple[int, ...], *_: Any) -> Any:
    numpy: Any = importlib.import_module("numpy")
    return numpy.broadcast_to(numpy.log(numpy.arange(1, shape[1] + 1)), shape)


MAMBA = {
    r"norm": 1.0,
    r"\.D$": 1.0,
    r"embedding|lm_head": normal(0.02),
    r"mixer\.dt_proj\.bias|dt_bias": inverse_softplus(0.001, 0.1),
    r"dt_proj": uniform(4**-0.5),
    r"out_proj": uniform(1 / math.sqrt(2 * D * LAYERS)),
}


def clip(resnet: bool = False) -> nn.Module:
    def block() -> dict[str, nn.Module]:
        return {
            "attn": nn.MultiheadAttention(D, 4),
            "ln_1": nn.LayerNorm(D),
            "mlp.c_fc": linear(D, 4 * D),
            "mlp.c_proj": linear(4 * D, D),
            "ln_2": nn.LayerNorm(D),
        }

    if resnet:
        parts: dict[str, nn.Module] = {
            "visual": kind("ModifiedResNet"),
            "visual.layer1.0.conv1": nn.Conv2d(16, 16, 1, bias=False),
            "visual.layer1.0.bn1": nn.BatchNorm2d(16),
            "visual.layer1.0.bn3": nn.BatchNorm2d(16),
            "visual.attnpool": kind("AttentionPool2d", positional_embedding=(17, D)),
            **{f"visual.attnpool.{name}_proj": linear(D, 40 if name == "c" else D) for name in "kqvc"},
        }
    else:
        parts = {
            "visual": kind("VisionTransformer", class_embedding=D, positional_embedding=(17, D), proj=(D, 40)),
            "visual.conv1": nn.Conv2d(3, D, 8, bias=False),
            "visual.ln_pre": nn.LayerNorm(D),
            **blocks("visual.transformer.resblocks", 2, block),
        }
    parts |= blocks("transformer.resblocks", LAYERS, block)
    parts |= {"token_embedding": nn.Embedding(128, D), "ln_final": nn.LayerNorm(D)}
    return tree(parts, kind("CLIP", positional_embedding=(40, D), text_projection=(D, 40), logit_scale=()))


CLIP = {
    r"^logit_scale": math.log(1 / 0.07),
    r"^token_embedding": normal(0.02),
    r"^positional_embedding": normal(0.01),
    r"^text_projection": normal(D**-0.5),
    r"^transformer.*attn\.in_proj_weight": normal(D**-0.5),
    r"^transformer.*(out_proj|c_proj)\.weight": normal(D**-0.5 * (2 * LAYERS) ** -0.5),
    r"^transformer.*c_fc\.weight": normal((2 * D) ** -0.5),
    r"visual\.(class_embedding|positional_embedding|proj)$": normal(D**-0.5),
    r"bn3\.weight": 0.0,
    r"attnpool\.(positional_embedding|._proj\.weight)$": normal(D**-0.5),
    r"": torch_default,
}


def olmo() -> nn.Module:
    def block() -> dict[str, nn.Module]:
        return {
            "attn_norm": norm("RMSLayerNorm"),
            "att_proj": linear(D, 3 * D),
            "attn_out": linear(D, D),
            "ff_proj": linear(D, 2 * WIDE),
            "ff_out": linear(WIDE, D),
        }

    return tree(
        {
            "transformer.wte": nn.Embedding(128, D),
            "transformer.wpe": nn.Embedding(96, D),
            **blocks("transformer.blocks", LAYERS, block),
            "transformer.ln_f": norm("RMSLayerNorm"),
            "transformer.ff_out": linear(D, 128),
        }
    )


def olmo_core() -> nn.Module:
    def block() -> dict[str, nn.Module]:
        return {
            **{f"attention.w_{name}": linear(D, D) for name in ("q", "k", "v", "out")},
            "attention_norm": norm("RMSNorm"),
            "feed_forward.w1": linear(D, WIDE),
            "feed_forward.w2": linear(WIDE, D),
            "feed_forward.w3": linear(D, WIDE),
        }

    parts = {"embeddings": nn.Embedding(160, D), **blocks("blocks", LAYERS, block)}
    return tree({**parts, "lm_head.norm": norm("RMSNorm"), "lm_head.w_out": linear(D, 160)})


def open_lm(gelu: bool = False) -> nn.Module:
    def block() -> dict[str, nn.Module]:
        up, down = linear(D, WIDE * (1 if gelu else 2), False), linear(WIDE, D, False)
        rest: dict[str, nn.Module] = (
            {"_ff_w1": up, "_ff_w2": down, "feed_forward": nn.Sequential(up, nn.GELU(), down)}
            if gelu
            else {"feed_forward.w12": up, "feed_forward.w3": down}
        )
        attention = {"attention.in_proj": linear(D, 3 * D, False), "attention.out_proj": linear(D, D, False)}
        return {**attention, **rest, "attention_norm": nn.LayerNorm(D), "ffn_norm": nn.LayerNorm(D)}

    parts = {"tok_embeddings": nn.Embedding(128, D), **blocks("layers", LAYERS, block), "norm": nn.LayerNorm(D)}
    model = tree({**parts, "output": linear(D, 128, False)})
    return tie(model, "tok_embeddings.weight", "output.weight") if gelu else model


def mitchell(shape: tuple[int, ...], found: Any, owner: Any) -> Any:
    return truncated(1 / math.sqrt(2 * shape[1] * (int(found[1]) + 1)), -3, 3)


def cut(shape: tuple[int, ...], *_: Any) -> Any:
    return truncated(1 / math.sqrt(shape[1]), -3, 3)


def llama(heads: str = "output") -> nn.Module:
    """Meta's names, which torchtitan and Lingua use."""

    def block() -> dict[str, nn.Module]:
        return {
            **{f"attention.w{name}": linear(D, D, False) for name in "qkvo"},
            "feed_forward.w1": linear(D, WIDE, False),
            "feed_forward.w2": linear(WIDE, D, False),
            "feed_forward.w3": linear(D, WIDE, False),
            "attention_norm": norm("RMSNorm"),
            "ffn_norm": norm("RMSNorm"),
        }

    parts = {"tok_embeddings": nn.Embedding(160, D), **blocks("layers", LAYERS, block), "norm": norm("RMSNorm")}
    return tree({**parts, heads: linear(D, 160, False)})


def megatron() -> nn.Module:
    def block() -> dict[str, nn.Module]:
        qkv, fc1 = (
            kind("TELayerNormColumnParallelLinear", weight=(n, D), bias=n, layer_norm_weight=D, layer_norm_bias=D)
            for n in (3 * D, 2 * WIDE)
        )
        return {
            "self_attention.linear_qkv": qkv,
            "self_attention.linear_proj": kind("RowParallelLinear", weight=(D, D), bias=D),
            "mlp.linear_fc1": fc1,
            "mlp.linear_fc2": kind("RowParallelLinear", weight=(D, WIDE), bias=D),
            "mlp.router": kind("TopKRouter", weight=(16, D), bias=16),
        }

    return tree(
        {
            "embedding.word_embeddings": kind("VocabParallelEmbedding", weight=(160, D)),
            "embedding.position_embeddings": nn.Embedding(64, D),
            **blocks("decoder.layers", LAYERS, block),
            "decoder.final_layernorm": kind("FusedLayerNorm", weight=D, bias=D),
            "output_layer": kind("ColumnParallelLinear", weight=(160, D)),
        }
    )


def mpt() -> nn.Module:
    def block() -> dict[str, nn.Module]:
        return {
            "norm_1": kind("LPLayerNorm", weight=D, bias=D),
            "attn.Wqkv": linear(D, 3 * D),
            "attn.out_proj": linear(D, D),
            "ffn.up_proj": linear(D, 4 * D),
            "ffn.down_proj": linear(4 * D, D),
        }

    return tree(
        {
            "transformer.wte": nn.Embedding(160, D),
            "transformer.wpe": nn.Embedding(64, D),
            **blocks("transformer.blocks", LAYERS, block),
            "transformer.norm_f": kind("LPLayerNorm", weight=D, bias=D),
        }
    )


def neox() -> nn.Module:
    def block() -> dict[str, nn.Module]:
        return {
            "input_layernorm": nn.LayerNorm(D),
            "attention.query_key_value": kind("ColumnParallelLinear", weight=(3 * D, D), bias=3 * D),
            "attention.dense": kind("RowParallelLinear", weight=(D, D), bias=D),
            "mlp.dense_h_to_4h": kind("ColumnParallelLinear", weight=(4 * D, D), bias=4 * D),
            "mlp.dense_4h_to_h": kind("RowParallelLinear", weight=(D, 4 * D), bias=D),
        }

    return tree(
        {
            "sequential.0.word_embeddings": kind("VocabParallelEmbedding", weight=(160, D)),
            **{f"sequential.{2 + i}.{name}": part for i in range(LAYERS) for name, part in block().items()},
            "sequential.6.norm": nn.LayerNorm(D),
            "sequential.7.final_linear": kind("ColumnParallelLinear", weight=(160, D)),
        }
    )


def fairseq(depth: tuple[int, int] = (2, 3), norms: bool = True) -> nn.Module:
    def attention(source: int = D) -> dict[str, nn.Module]:
        inputs = {"q": D, "k": source, "v": source}
        return {f"{name}_proj": linear(size, D) for name, size in inputs.items()} | {"out_proj": linear(D, D)}

    def layer(*kinds: tuple[str, int]) -> dict[str, nn.Module]:
        parts: dict[str, nn.Module] = {"fc1": linear(D, WIDE), "fc2": linear(WIDE, D)}
        if norms:
            parts["final_layer_norm"] = nn.LayerNorm(D)
        for name, source in kinds:
            numbers = {"embed_dim": D, "kdim": source, "vdim": source, "num_heads": 4}
            parts[name] = kind("MultiheadAttention", numbers=numbers)
            parts |= {f"{name}.{key}": part for key, part in attention(source).items()}
        return parts

    source = 48 if norms else D
    parts: dict[str, nn.Module] = {
        "encoder.embed_tokens": nn.Embedding(160, D, padding_idx=1),
        **blocks("encoder.layers", depth[0], lambda: layer(("self_attn", D))),
        "decoder.embed_tokens": nn.Embedding(160, D, padding_idx=1),
        "decoder.embed_positions": kind(
            "LearnedPositionalEmbedding", nn.Embedding, num_embeddings=64, embedding_dim=D, padding_idx=1
        ),
        **blocks("decoder.layers", depth[1], lambda: layer(("self_attn", D), ("encoder_attn", source))),
        "decoder.output_projection": linear(D, 160, False),
    }
    model = tree(parts)
    for name in ("decoder.output_projection.weight", "encoder.embed_tokens.weight"):
        tie(model, name, "decoder.embed_tokens.weight")
    return model


def fixed_up(shape: tuple[int, ...], factor: float) -> Any:
    return uniform(factor * math.sqrt(6 / (shape[0] + shape[1])))


def nanochat() -> nn.Module:
    def block() -> dict[str, nn.Module]:
        return {
            **{f"attn.c_{name}": linear(D, D, False) for name in ("q", "k", "v", "proj")},
            "attn.ve_gate": linear(32, 4, False),
            "mlp.c_fc": linear(D, 4 * D, False),
            "mlp.c_proj": linear(4 * D, D, False),
        }

    parts = {"transformer.wte": nn.Embedding(160, D), **blocks("transformer.h", LAYERS, block)}
    parts |= {
        "lm_head": linear(D, 160, False),
        "value_embeds.0": nn.Embedding(160, D),
        "smear_gate": linear(24, 1, False),
    }
    shapes: Any = {"resid_lambdas": LAYERS, "x0_lambdas": LAYERS, "smear_lambda": 1, "backout_lambda": 1}
    return tree(parts, kind("GPT", **shapes))


def along(first: float, last: float) -> Any:
    return importlib.import_module("numpy").linspace(first, last, LAYERS)


STANDINS = (
    Case(
        preset="nanogpt",
        model="nanoGPT, 3 layers of width 64, tied",
        build=nanogpt,
        stated=laws({**NORMS, r"c_proj\.weight": normal(0.02 / math.sqrt(2 * LAYERS)), r"": normal(0.02)}),
    ),
    Case(
        preset="mamba",
        model="Mamba, 3 layers of width 64",
        build=mamba,
        stated=laws({**MAMBA, r"A_log": states, r"": torch_default}),
        mutations={"A": {"rules": {"states": {"init": {"A_log": {"value": "log(j + 2)"}}}}}},
    ),
    Case(
        preset="mamba",
        model="Mamba-2, 3 layers of width 64",
        build=lambda: mamba(two=True),
        stated=laws({**MAMBA, r"A_log": log_of_uniform(16), r"": torch_default}),
    ),
    Case(preset="clip_openai", model="CLIP ViT, 3 and 2 layers of width 64", build=clip, stated=laws(CLIP)),
    Case(preset="clip_openai", model="CLIP ResNet", build=lambda: clip(resnet=True), stated=laws(CLIP), slow=True),
    Case(
        preset="olmo_normal",
        model="OLMo, 3 layers of width 64",
        build=olmo,
        stated=laws({**NORMS, r"(norm|ln_f)": 1.0, r"": normal(0.02)}),
    ),
    Case(
        preset="olmo_mitchell",
        model="OLMo, 3 layers of width 64",
        build=olmo,
        stated=laws({r"bias$": 0.0, r"(norm|ln_f)": 1.0, r"blocks\.(\d)\.(attn_out|ff_out)": mitchell, r"": cut}),
        mutations={"no cut": {"vars": {"cutoff": 8}}},
    ),
    Case(
        preset="olmo_full_megatron",
        model="OLMo, 3 layers of width 64",
        build=olmo,
        stated=laws(
            {
                r"bias$": 0.0,
                r"(norm|ln_f)": 1.0,
                r"(attn_out|blocks\.\d\.ff_out)": truncated(0.02 / math.sqrt(2 * LAYERS), -3, 3),
                r"transformer\.ff_out": cut,
                r"": truncated(0.02, -3, 3),
            }
        ),
    ),
    Case(
        preset="olmo_core",
        model="OLMo-core, 3 layers of width 64",
        build=olmo_core,
        stated=laws({**NORMS, r"": truncated(0.02, -3, 3)}),
    ),
    Case(
        preset="olmo_core_llama",
        model="OLMo-core, 3 layers of width 64",
        build=olmo_core,
        stated=laws(
            {
                **NORMS,
                r"embeddings": normal(1.0),
                r"attention\.w_out|feed_forward\.w[23]": truncated(0.02 / math.sqrt(2 * LAYERS), -3, 3),
                r"lm_head\.w_out": cut,
                r"": truncated(0.02, -3, 3),
            }
        ),
    ),
    *(
        Case(
            preset="open_lm",
            model=f"open_lm, 3 layers of width 64, {'gelu, tied' if gelu else 'swiglu_torch'}",
            build=(lambda: open_lm(gelu=True)) if gelu else open_lm,
            stated=laws(
                {
                    **NORMS,
                    r"layers\.(\d)\.(attention\.out_proj|feed_forward\.w3|_ff_w2|feed_forward\.2)": mitchell,
                    r"": cut,
                }
            ),
            slow=gelu,
        )
        for gelu in (False, True)
    ),
    Case(
        preset="torchtitan_llama3",
        model="torchtitan's Llama 3, 3 layers of width 64",
        build=llama,
        stated=laws(
            {
                **NORMS,
                r"tok_embeddings": normal(1.0),
                r"layers\.(\d)\.(attention\.wo|feed_forward\.w[23])": lambda shape, found, owner: normal(
                    0.02 / math.sqrt(2 * (int(found[1]) + 1))
                ),
                r"output": cut,
                r"": normal(0.02),  # cut at ±2, a hundred deviations
            }
        ),
    ),
    Case(preset="lingua", model="Lingua, 3 layers of width 64", build=llama, stated=laws({**NORMS, r"": cut})),
    Case(
        preset="lingua",
        model="Lingua, 3 layers of width 64, current_depth",
        build=llama,
        stated=laws(
            {
                **NORMS,
                r"layers\.(\d)\.attention\.wo": lambda shape, found, owner: truncated(
                    1 / math.sqrt(2 * (int(found[1]) + 1) * shape[1]),
                    -3 * math.sqrt(2 * (int(found[1]) + 1)),
                    3 * math.sqrt(2 * (int(found[1]) + 1)),
                ),
                r"layers\.(\d)\.feed_forward\.w2": mitchell,
                r"": cut,
            }
        ),
        overrides={"vars": {"current_depth": 1}},
    ),
    Case(
        preset="lingua",
        model="Lingua, 3 layers of width 64, global_depth, init_base_std 0.02",
        build=llama,
        stated=laws(
            {
                **NORMS,
                r"attention\.wo": truncated(0.02 / math.sqrt(8), -3 * math.sqrt(8), 3 * math.sqrt(8)),
                r"feed_forward\.w2": truncated(0.02 / math.sqrt(8), -3, 3),
                r"tok_embeddings|output": cut,
                r"": truncated(0.02, -3, 3),
            }
        ),
        overrides={"vars": {"global_depth": 1, "base_std": 0.02}},
        slow=True,
    ),
    Case(
        preset="megatron",
        model="Megatron-Core, 3 layers of width 64",
        build=megatron,
        stated=laws(
            {
                r"layer_norm_weight|final_layernorm\.weight": 1.0,
                r"router": normal(0.02),
                r"bias$": 0.0,
                r"linear_proj|linear_fc2": normal(0.02 / math.sqrt(2 * LAYERS)),
                r"": normal(0.02),
            }
        ),
    ),
    Case(
        preset="llm_foundry",
        model="MPT, 3 layers of width 64",
        build=mpt,
        stated=laws(
            {
                r"norm\w*\.weight": 1.0,
                r"bias$": 0.0,
                r"out_proj|down_proj": lambda shape, *_: normal(math.sqrt(2 / shape[1]) / math.sqrt(2 * LAYERS)),
                r"": he,
            }
        ),
    ),
    Case(
        preset="gpt_neox",
        model="GPT-NeoX, 3 layers of width 64",
        build=neox,
        stated=laws({**NORMS, r"attention\.dense|4h_to_h": normal(0.02 / math.sqrt(2 * LAYERS)), r"": normal(0.02)}),
    ),
    Case(
        preset="gpt_neox_20b",
        model="GPT-NeoX, 3 layers of width 64",
        build=neox,
        stated=laws(
            {
                **NORMS,
                r"attention\.dense|4h_to_h": normal(2 / (LAYERS * math.sqrt(D))),
                r"": normal(math.sqrt(2 / (5 * D))),
            }
        ),
    ),
    Case(
        preset="fairseq_transformer",
        seeds=8,
        model="fairseq Transformer, 2 and 3 layers of width 64, tied, other kdim",
        build=fairseq,
        stated=laws(
            {
                r"layer_norm\.weight": 1.0,
                r"(layer_norm|out_proj)\.bias": 0.0,
                r"self_attn\.[qkv]_proj\.weight": glorot(2 * D, 2 * D),
                r"encoder_attn\.[qkv]_proj\.weight": lambda shape, *_: glorot(shape[1], shape[0]),
                r"out_proj\.weight": glorot(D, D),
                r"embed|output_projection": normal(D**-0.5),
                r"": torch_default,
            }
        ),
    ),
    Case(
        preset="t_fixup",
        model="T-Fixup, 2 and 3 layers of width 64, tied",
        build=lambda: fairseq(norms=False),
        stated=laws(
            {
                r"(out_proj|fc\d)\.bias": 0.0,
                r"[qk]_proj\.weight": glorot(2 * D, 2 * D),
                r"encoder\.layers.*(fc\d|out_proj|v_proj)\.weight": lambda shape, *_: fixed_up(shape, 0.67 * 2**-0.25),
                r"decoder\.layers.*(fc\d|out_proj|v_proj)\.weight": lambda shape, *_: fixed_up(shape, 27**-0.25),
                r"embed|output_projection": normal(D**-0.5 * 18**-0.25),
                r"": torch_default,
            }
        ),
    ),
    Case(
        preset="nanochat",
        model="nanochat, 3 layers of width 64",
        build=nanochat,
        stated=laws(
            {
                r"wte": normal(0.8),
                r"lm_head": normal(0.001),
                r"c_[qkv]\.|value_embeds": uniform(math.sqrt(3 / D)),
                r"c_fc": uniform(0.4 * math.sqrt(3 / D)),
                r"c_proj|smear_lambda": 0.0,
                r"resid_lambdas": along(1.15, 1.05),
                r"x0_lambdas": along(0.2, 0.05),
                r"backout": 0.2,
                r"gate": uniform(0.02, 0.0),
            }
        ),
    ),
)

CASES = (*HUGGING_FACE, *PORTED, *STANDINS)

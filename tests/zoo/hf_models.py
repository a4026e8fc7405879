"""Tiny configurations of transformers' model types, and tables written from the code of their forward passes (5.24)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from zoo.table import Entry, Row, rows, words

__all__ = ["SMALL", "entries"]

# --- tables ---------------------------------------------------------------------------------------

# Embeddings are looked up by index: nothing precedes them. Queries and keys end in a softmax over their products, which
# is no activation of theirs. Scores added to those logits may be read either way.
BERT = """
*embeddings.(word|position|token_type|[xyhw]_position)_embeddings  -  identity
embeddings.(cls_token|position_embeddings|detection_tokens)  -  identity
encoder.relative_attention_bias          -         identity|softmax
contact_head.regression                  -         -
*intermediate.(dense|conv1d)             identity  {act}
*layer.#.output.dense|encoder.layers.#.output.conv1d  {act}     identity
encoder.layer.#.ffn.#.output.dense       {act}     identity
pooler(.dense|)                          identity  tanh
*                                        identity  identity
"""
ALBERT = """
embeddings.*                             -         identity
*.ffn                                    identity  {act}
*.ffn_output                             {act}     identity
pooler                                   identity  tanh
*                                        identity  identity
"""
DISTILBERT = """
embeddings.*                             -         identity
transformer.layer.#.ffn.lin1             identity  {act}
transformer.layer.#.ffn.lin2             {act}     identity
*                                        identity  identity
"""
XLM = """
embeddings|position_embeddings           -         identity
ffns.#.lin1                              identity  gelu
ffns.#.lin2                              gelu      identity
*                                        identity  identity
"""
XLNET = """
(mask_emb|layer.#.rel_attn.r_s_bias)                                 -         -
word_embedding                           -         identity
layer.#.rel_attn.seg_embed               -         -
layer.#.rel_attn.r(_._bias|)             -         identity
layer.#.ff.layer_1                       identity  gelu
layer.#.ff.layer_2                       gelu      identity
*                                        identity  identity
"""
MODERN_BERT = """
embeddings.tok_embeddings                -         identity
layers.#.mlp.Wi                          identity  {act}
layers.#.mlp.Wo                          {act}     identity
*                                        identity  identity
"""
GPT = """
wte|wpe|word_embeddings|embed_(tokens|positions|in)|tokens_embed|positions_embed|w  -  identity
decoder.embed_(tokens|positions)         -         identity
*(mlp.(c_fc|fc_in|fc1|dense_h_to_4h)|layers.#.fc1|ffn.up_proj|ffn.0|mlp.up_proj)  identity  {act}
*(mlp.(c_proj|fc_out|fc2|dense_4h_to_h)|layers.#.fc2|ffn.down_proj|ffn.2|mlp.down_proj)  {act}  identity
*                                        identity  identity
"""
# Of gate and value only the gate has an activation; where one product makes both, it is followed by the gate's.
LLAMA = """
embed_tokens|embeddings.*_embeddings     -         identity
layers.#.mlp.(gate_proj|gate_up_proj)    identity  {act}
layers.#.mlp.down_proj                   {act}     identity
*                                        identity  identity
"""
MIXTURE = (
    """
layers.#.mlp.gate                        identity  softmax
layers.#.mlp.shared_expert_gate          identity  sigmoid
layers.#.mlp.experts.gate_up_proj        identity  {act}
layers.#.mlp.experts.down_proj           {act}     identity
layers.#.mlp.shared_expert.gate_proj     identity  {act}
layers.#.mlp.shared_expert.down_proj     {act}     identity
"""
    + LLAMA
)
MAMBA = """
embeddings                               -         identity
layers.#.mixer.A_log                     -         -
layers.#.mixer.in_proj                   identity  silu
layers.#.mixer.conv1d                    identity  silu
layers.#.mixer.x_proj                    silu      identity
layers.#.mixer.dt_proj                   identity  softplus
layers.#.mixer.out_proj                  silu      identity
"""
BART = """
shared|*.embed_(tokens|positions)        -         identity
*.layers.#.fc1                           identity  {act}
*.layers.#.fc2                           {act}     identity
*                                        identity  identity
"""
T5 = """
shared|*.embed_tokens                    -         identity
*.relative_attention_bias                -         identity|softmax
*.DenseReluDense.(wi|wi_0)               identity  {act}
*.DenseReluDense.wo                      {act}     identity
*                                        identity  identity
"""
# What the convolutions at the start give goes on along the residual sums: what precedes the encoder's layers is open.
WHISPER = """
encoder.conv1                            identity  gelu
encoder.conv2                            gelu      gelu
*.embed_(tokens|positions)               -         identity
encoder.layers.#.self_attn.[qkv]_proj    -         identity
encoder.layers.#.self_attn.out_proj      -         identity
encoder.layers.#.fc1                     -         gelu
decoder.layers.#.encoder_attn.[kv]_proj  -         identity
decoder.layers.#.encoder_attn.out_proj   -         identity
*.fc1                                    identity  gelu
*.fc2                                    gelu      identity
*                                        identity  identity
"""
WAV2VEC2 = """
feature_extractor.conv_layers.0.conv     identity  gelu
feature_extractor.conv_layers.#.conv     gelu      gelu
feature_projection.projection            gelu      -
encoder.pos_conv_embed.conv              identity  gelu
encoder.layers.#.feed_forward.intermediate_dense  -  gelu
encoder.layers.#.feed_forward.output_dense  gelu   identity
encoder.layers.#.attention.*             -         identity
"""
VIT = """
embeddings.(cls_token|position_embeddings|distillation_token|register_tokens|detection_tokens)  -  identity
embeddings.mask_token                    -         -
*.mlp.fc1                                identity  {act}
*.mlp.fc2                                {act}     identity
pooler.dense                             identity  tanh
*                                        identity  identity
"""
SWIN = """
*.relative_position_bias_table           -         identity|softmax
*.mlp.fc1                                identity  {act}
*.mlp.fc2                                {act}     identity
*                                        identity  identity
"""
CONVNEXT = """
encoder.stages.#.layers.#.pwconv1        identity  {act}
encoder.stages.#.layers.#.grn.(weight|bias)  -     identity
encoder.stages.#.layers.#.pwconv2        {act}     identity
*                                        identity  identity
"""
RESNET = """
*.attention.0                            {act}     relu
*.attention.2                            relu      sigmoid
embedder.embedder.convolution            identity  {act}
embedder.convolution                     identity  {act}
*                                        {act}     {act}
"""
# The activation inside of a bottleneck is relu, whatever the configuration names.
BOTTLENECKS = """
embedder.embedder.convolution            identity  {act}
encoder.stages.#.layers.#.layer.0.convolution  {act}  relu
encoder.stages.#.layers.#.layer.1.convolution  relu   relu
encoder.stages.#.layers.#.layer.2.convolution  relu   {act}
encoder.stages.#.layers.#.shortcut.convolution  {act}  {act}
"""
MOBILENET_V2 = """
conv_stem.first_conv.convolution         identity  relu6
(conv_stem|layer.#).conv_3x3.convolution  relu6    relu6
*.reduce_1x1.convolution                 relu6     identity
*                                        identity  relu6
"""
SEGFORMER = """
stages.#.blocks.#.mlp.dwconv.dwconv      identity  {act}
stages.#.blocks.#.mlp.fc2                {act}     identity
*                                        identity  identity
"""
POOLFORMER = """
encoder.block.#.#.output.conv1           identity  {act}
encoder.block.#.#.output.conv2           {act}     identity
*                                        identity  identity
"""
CLIP = """
*embeddings.(token|position)_embedding   -         identity
vision_model.head.probe|head.probe       -         identity
*mlp.fc1                                 identity  {act}
*mlp.fc2                                 {act}     identity
*                                        identity  identity
"""

# --- configurations -------------------------------------------------------------------------------

TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TEXT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 99,
    "max_position_embeddings": 64,
}  # fmt: skip
DECODER = {**TEXT, **TOKENS, "num_key_value_heads": 2, "head_dim": 8}
BOTH = {
    **TOKENS, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 99,
    "max_position_embeddings": 64, "decoder_start_token_id": 1, "forced_eos_token_id": 2,
}  # fmt: skip
T5_SIZE = {
    "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4, "vocab_size": 99,
    "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
}  # fmt: skip
IMAGE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
GPT_SIZE = {
    "n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 99, "n_positions": 64, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
SPEECH = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 32,
    "conv_dim": (16, 16, 16), "conv_stride": (4, 4, 4), "conv_kernel": (8, 4, 4), "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2, "num_feat_extract_layers": 3,
}  # fmt: skip
CLIP_TEXT = {**TEXT, **TOKENS, "projection_dim": 16}
CLIP_IMAGE = {**IMAGE, "projection_dim": 16}
STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
EXPERTS = {**DECODER, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
SMALL_SWIN = {
    "image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 2], "num_heads": [2, 2], "window_size": 4,
}  # fmt: skip

CONFIGS: Mapping[str, Mapping[str, Any]] = {
    # encoders of text
    "albert": {**TEXT, "embedding_size": 16},
    "bert": TEXT,
    "bert-generation": TEXT,
    "big_bird": {**TEXT, "attention_type": "original_full"},
    "camembert": TEXT,
    "canine": {**TEXT, "num_hash_buckets": 99, "num_hash_functions": 4, "max_position_embeddings": 128},
    "convbert": {**TEXT, "embedding_size": 16, "conv_kernel_size": 3},
    "data2vec-text": TEXT,
    "deberta": TEXT,
    "deberta-v2": TEXT,
    "distilbert": {
        "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 99, "max_position_embeddings": 64,
    },
    "electra": {**TEXT, "embedding_size": 16},
    "ernie": TEXT,
    "esm": {**TEXT, "pad_token_id": 1, "mask_token_id": 2},
    "fnet": TEXT,
    "ibert": TEXT,
    "layoutlm": TEXT,
    "longformer": {**TEXT, "attention_window": 4},
    "luke": {**TEXT, "entity_vocab_size": 10, "entity_emb_size": 8},
    "lxmert": {
        "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 99, "l_layers": 1,
        "x_layers": 1, "r_layers": 1, "visual_feat_dim": 16,
    },
    "megatron-bert": TEXT,
    "mobilebert": {**TEXT, "embedding_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 2},
    "modernbert": {**TEXT, **TOKENS, "cls_token_id": 1, "sep_token_id": 2},
    "mpnet": TEXT,
    "mra": TEXT,
    "nomic_bert": DECODER,
    "nystromformer": {**TEXT, "num_landmarks": 4, "segment_means_seq_len": 16},
    "rembert": {**TEXT, "input_embedding_size": 16, "output_embedding_size": 16},
    "roberta": TEXT,
    "roberta-prelayernorm": TEXT,
    "roc_bert": {
        **TEXT, "pronunciation_vocab_size": 20, "shape_vocab_size": 20, "pronunciation_embed_dim": 8,
        "shape_embed_dim": 8,
    },
    "roformer": {**TEXT, "embedding_size": 16},
    "squeezebert": {
        **TEXT, "embedding_size": 32, "q_groups": 2, "k_groups": 2, "v_groups": 2, "post_attention_groups": 1,
        "intermediate_groups": 2, "output_groups": 2,
    },
    "xlm": {"vocab_size": 99, "emb_dim": 32, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 64},
    "xlm-roberta": TEXT,
    "xlm-roberta-xl": TEXT,
    "xlnet": {"vocab_size": 99, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48},
    "yoso": {**TEXT, "use_expectation": True},
    # decoders of text
    "biogpt": TEXT,
    "bloom": {**TOKENS, "hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 99},
    "codegen": {**GPT_SIZE, "rotary_dim": 4},
    "cohere": DECODER,
    "cohere2": DECODER,
    "ctrl": {"vocab_size": 99, "n_embd": 32, "dff": 64, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "decision_transformer": {
        "hidden_size": 32, "n_layer": 2, "n_head": 4, "state_dim": 5, "act_dim": 3, "max_ep_len": 20, "vocab_size": 1,
        "n_positions": 64,
    },
    "deepseek_v3": {
        **DECODER, "moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1,
        "topk_group": 1, "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
        "v_head_dim": 8, "first_k_dense_replace": 1, "num_key_value_heads": 4,
    },
    "diffllama": DECODER,
    "falcon": TEXT,
    "gemma": DECODER,
    "gemma2": DECODER,
    "gemma3_text": DECODER,
    "glm": DECODER,
    "gpt2": GPT_SIZE,
    "gpt_bigcode": GPT_SIZE,
    "gpt_neo": {
        "hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]],
        "vocab_size": 99, "max_position_embeddings": 64, "window_size": 8, "bos_token_id": 1, "eos_token_id": 2,
    },
    "gpt_neox": DECODER,
    "gpt_neox_japanese": {**TEXT, "intermediate_multiple_size": 2, "bos_token_id": 1, "eos_token_id": 2},
    "gpt_oss": {**DECODER, "num_local_experts": 4, "num_experts_per_tok": 2},
    "gptj": {**GPT_SIZE, "rotary_dim": 4},
    "granite": DECODER,
    "helium": DECODER,
    "jamba": {
        **DECODER, "num_experts": 4, "num_experts_per_tok": 2, "use_mamba_kernels": False, "attn_layer_period": 2,
        "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1, "mamba_d_state": 4,
        "mamba_dt_rank": 4,
    },
    "llama": DECODER,
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 99, "state_size": 4},
    "mamba2": {
        "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 99, "state_size": 4, "num_heads": 8, "head_dim": 8,
        "n_groups": 1, "chunk_size": 8,
    },
    "mistral": DECODER,
    "mixtral": {**DECODER, "num_local_experts": 4, "num_experts_per_tok": 2},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "vocab_size": 99, "max_seq_len": 64},
    "nemotron": DECODER,
    "olmo": DECODER,
    "olmo2": DECODER,
    "olmoe": {**DECODER, "num_experts": 4, "num_experts_per_tok": 2},
    "openai-gpt": GPT_SIZE,
    "opt": {
        **TOKENS, "hidden_size": 32, "word_embed_proj_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "ffn_dim": 48, "vocab_size": 99, "max_position_embeddings": 64,
    },
    "persimmon": DECODER,
    "phi": DECODER,
    "phi3": DECODER,
    "qwen2": DECODER,
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 24, "decoder_sparse_step": 1},
    "qwen3": DECODER,
    "qwen3_moe": EXPERTS,
    "recurrent_gemma": {**DECODER, "lru_width": 32, "num_hidden_layers": 3},
    "rwkv": {
        "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 99, "attention_hidden_size": 32,
        "intermediate_size": 64,
    },
    "smollm3": DECODER,
    "stablelm": DECODER,
    "starcoder2": DECODER,
    "xglm": {
        "d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48, "vocab_size": 99,
        "max_position_embeddings": 64,
    },
    # encoders and decoders
    "bart": BOTH,
    "blenderbot": BOTH,
    "blenderbot-small": BOTH,
    "fsmt": {
        "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "src_vocab_size": 99,
        "tgt_vocab_size": 99, "langs": ["en", "de"],
    },
    "led": {
        **BOTH, "max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64, "attention_window": 4,
    },
    "longt5": {**T5_SIZE, "local_radius": 4},
    "m2m_100": BOTH,
    "marian": BOTH,
    "mbart": BOTH,
    "mt5": T5_SIZE,
    "pegasus": BOTH,
    "plbart": BOTH,
    "prophetnet": {
        "hidden_size": 32, "num_encoder_layers": 2, "num_decoder_layers": 2, "num_encoder_attention_heads": 4,
        "num_decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 99,
        "max_position_embeddings": 64,
    },
    "switch_transformers": {
        **T5_SIZE, "num_experts": 4, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1,
    },
    "t5": T5_SIZE,
    "umt5": T5_SIZE,
    # images, video, sound, time series, and several at once
    "audio-spectrogram-transformer": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "patch_size": 4,
        "max_length": 24, "num_mel_bins": 16, "frequency_stride": 4, "time_stride": 4,
    },
    "beit": IMAGE,
    "bit": {"hidden_sizes": [16, 32], "depths": [1, 1], "embedding_size": 16, "num_groups": 4},
    "blip": {"text_config": {**CLIP_TEXT, "encoder_hidden_size": 32}, "vision_config": CLIP_IMAGE},
    "clip": {"text_config": CLIP_TEXT, "vision_config": CLIP_IMAGE, "projection_dim": 16},
    "clip_text_model": CLIP_TEXT,
    "clip_vision_model": CLIP_IMAGE,
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 2], "num_stages": 2, "image_size": 32},
    "convnextv2": {"hidden_sizes": [8, 16], "depths": [1, 2], "num_stages": 2, "image_size": 32},
    "data2vec-vision": IMAGE,
    "deit": IMAGE,
    "dinov2": IMAGE,
    "dinov2_with_registers": IMAGE,
    "efficientnet": {"image_size": 32, "width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
    "focalnet": {
        "image_size": 32, "embed_dim": 16, "depths": [1, 1], "hidden_sizes": [16, 32], "focal_levels": [2, 2],
        "focal_windows": [3, 3],
    },
    "git": {**TEXT, "vision_config": CLIP_IMAGE},
    "hiera": {"embed_dim": 16, "image_size": [64, 64], "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]},
    "hubert": SPEECH,
    "ijepa": IMAGE,
    "layoutlmv3": {
        **TEXT, "coordinate_size": 6, "shape_size": 4, "input_size": 32, "patch_size": 8,
        "max_2d_position_embeddings": 64,
    },
    "levit": {
        "image_size": 64, "hidden_sizes": [16, 24, 32], "num_attention_heads": [2, 3, 4], "depths": [1, 1, 1],
        "key_dim": [8, 8, 8],
    },
    "mobilenet_v1": {"image_size": 32, "depth_multiplier": 0.25},
    "mobilenet_v2": {"image_size": 32, "depth_multiplier": 0.25},
    "mobilevit": {
        "image_size": 32, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 32],
    },
    "patchtst": {
        "num_input_channels": 2, "context_length": 16, "patch_length": 4, "patch_stride": 4, "d_model": 16,
        "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 24,
    },
    "poolformer": STAGES,
    "pvt": {**STAGES, "image_size": 64, "num_attention_heads": [1, 2, 4, 8]},
    "pvt_v2": {**STAGES, "image_size": 64, "num_attention_heads": [1, 2, 4, 8]},
    "regnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "groups_width": 8},
    "resnet": {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 2]},
    "segformer": {**STAGES, "num_attention_heads": [1, 2, 2, 2]},
    "siglip": {"text_config": CLIP_TEXT, "vision_config": CLIP_IMAGE},
    "siglip_vision_model": IMAGE,
    "speech_to_text": {
        **BOTH, "conv_channels": 16, "input_feat_per_channel": 16, "num_conv_layers": 2, "conv_kernel_sizes": (5, 5),
    },
    "swiftformer": {"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
    "swin": SMALL_SWIN,
    "swinv2": SMALL_SWIN,
    "timesformer": {**IMAGE, "num_frames": 2},
    "unispeech": SPEECH,
    "videomae": {**IMAGE, "num_frames": 2, "tubelet_size": 2, "image_size": 16},
    "vilt": {**IMAGE, "vocab_size": 99, "max_position_embeddings": 40},
    "visual_bert": {**TEXT, "visual_embedding_dim": 16},
    "vit": IMAGE,
    "vit_mae": {**IMAGE, "decoder_hidden_size": 16, "decoder_num_hidden_layers": 1},
    "vit_msn": IMAGE,
    "vitdet": IMAGE,
    "vivit": {**IMAGE, "num_frames": 2, "tubelet_size": [2, 8, 8], "image_size": 16},
    "wav2vec2": SPEECH,
    "wavlm": SPEECH,
    "whisper": {**BOTH, "max_source_positions": 30, "max_target_positions": 40, "num_mel_bins": 16},
    "yolos": {**IMAGE, "image_size": [32, 32]},
}  # fmt: skip

# --- which table is whose -------------------------------------------------------------------------

WRITTEN = (
    (ALBERT, "albert"),
    (
        BERT,
        ("bert bert-generation big_bird camembert data2vec-text deberta deberta-v2 electra ernie esm fnet layoutlm "
        "megatron-bert mobilebert mpnet rembert roberta roberta-prelayernorm squeezebert xlm-roberta xlm-roberta-xl"),
    ),
    (DISTILBERT, "distilbert"),
    (XLM, "xlm"),
    (XLNET, "xlnet"),
    (MODERN_BERT, "modernbert"),
    (
        GPT,
        ("biogpt bloom codegen ctrl falcon gpt2 gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese gptj mpt nemotron "
        "openai-gpt opt persimmon phi starcoder2 xglm"),
    ),
    (
        LLAMA,
        ("cohere cohere2 diffllama gemma gemma2 gemma3_text glm granite helium llama mistral nomic_bert olmo olmo2 "
        "phi3 qwen2 qwen3 smollm3 stablelm"),
    ),
    (MIXTURE, "mixtral olmoe qwen2_moe qwen3_moe"),
    (MAMBA, "mamba"),
    (BART, "bart blenderbot blenderbot-small m2m_100 marian mbart pegasus plbart"),
    (T5, "mt5 t5 umt5"),
    (WHISPER, "whisper"),
    (WAV2VEC2, "hubert wav2vec2"),
    (VIT, "audio-spectrogram-transformer deit dinov2 dinov2_with_registers ijepa vit vit_mae vit_msn vivit"),
    (SWIN, "swin"),
    (CONVNEXT, "convnext convnextv2"),
    (BOTTLENECKS, "resnet"),
    (RESNET, "bit regnet"),
    (MOBILENET_V2, "mobilenet_v2"),
    (SEGFORMER, "segformer"),
    (POOLFORMER, "poolformer"),
    (CLIP, "clip clip_text_model clip_vision_model siglip siglip_vision_model"),
)  # fmt: skip

SMALL = words("bert distilbert gpt2 llama qwen2 opt t5 bart vit convnext resnet clip_text_model")
"""What runs by default."""

SWAPS = words("bert distilbert roberta gpt2 llama qwen2 gemma opt bart vit convnext resnet swin")
"""Those whose one activation the configuration names."""

NAMED = ("hidden_act", "hidden_activation", "activation_function", "activation", "dense_act_fn", "ff_activation", "afn")
"""What configurations call the activation; the first that there is."""
OTHERWISE = {
    "gpt_oss": "quick_gelu",
    "bloom": "gelu_tanh",
    "ctrl": "relu",
    "mpt": "gelu",
    "esm": "gelu",
    "openai-gpt": "gelu_tanh",
}
"""Written into the code, or read by it in its own way (GPT's ``gelu`` is the one with tanh)."""
SAME = {
    "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu2": "relu_squared",
    "swish": "silu",
}  # fmt: skip


def _config(kind: str, activation: str | None = None) -> Any:
    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING[kind](**CONFIGS[kind])
    if activation is not None:
        setattr(config, next(name for name in NAMED if hasattr(config, name)), activation)
    return config


def _make(kind: str, activation: str | None = None) -> nn.Module:
    from transformers import AutoModel

    auto: Any = AutoModel
    model: nn.Module = auto.from_config(_config(kind, activation))
    return model


def _activation(kind: str) -> str:
    if kind in OTHERWISE:
        return OTHERWISE[kind]
    config = _config(kind)
    config = getattr(config, "text_config", config)
    named = next((getattr(config, name) for name in NAMED if isinstance(getattr(config, name, None), str)), "")
    return SAME.get(named, named)


def _visual() -> Mapping[str, Any]:
    """Tokens, and the features and places of regions."""
    return {
        "input_ids": torch.zeros((1, 6), dtype=torch.int64),
        "visual_feats": torch.ones(1, 3, 16),
        "visual_pos": torch.ones(1, 3, 4),
    }


def _episode() -> Mapping[str, Any]:
    """States, actions, returns and their times."""
    return {
        "states": torch.ones(1, 4, 5),
        "actions": torch.ones(1, 4, 3),
        "rewards": torch.ones(1, 4, 1),
        "returns_to_go": torch.ones(1, 4, 1),
        "timesteps": torch.arange(4)[None],
        "attention_mask": torch.ones(1, 4, dtype=torch.int64),
    }


DEAD = {"mra": r"encoder\.layer\.\d+\.attention\.self\..*"}
"""Its attention is written for CUDA alone, and zeros on any other device."""

EXAMPLES = {"lxmert": _visual, "decision_transformer": _episode}


def entries() -> tuple[Entry, ...]:
    texts = {name: text for text, names in WRITTEN for name in names.split()}
    return tuple(_entry(kind, texts.get(kind, "")) for kind in CONFIGS)


def _entry(kind: str, text: str) -> Entry:
    activation = _activation(kind)
    table: tuple[Row, ...] = rows(text, act=activation) if text else ()
    return Entry(
        name=kind,
        make=functools.partial(_make, kind),
        table=table,
        activation=activation,
        example=EXAMPLES.get(kind),
        dead=DEAD.get(kind, ""),
        swapped=rows(text, act="mish") if kind in SWAPS else (),
    )

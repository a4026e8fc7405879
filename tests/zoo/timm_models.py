"""timm's architectures, and tables written from the code of their forward passes (timm 1.0.31)."""

from __future__ import annotations

import functools
from typing import Any

from torch import device, nn

from zoo.table import Entry, rows, words

__all__ = ["SMALL", "entries"]

# --- convolutional networks -----------------------------------------------------------------------

RESNET = """
conv1|conv1.0             identity  {act}
conv1.#                   {act}     {act}
layer#.#.conv#            {act}     {act}
layer#.#.downsample.#     {act}     {act}
layer#.#.se.fc1           identity  relu
layer#.#.se.fc2           relu      sigmoid
layer#.#.se.conv          identity  sigmoid
fc                        {act}     identity
"""
# Basic blocks have a relu before squeeze and excitation, bottlenecks have none.
LEGACY_SENET = """
layer0.conv1              identity  relu
layer#.#.conv#            relu      relu
layer#.#.se_module.fc1    {squeezed}  relu
layer#.#.se_module.fc2    relu      sigmoid
layer#.#.downsample.#     relu      relu
last_linear               relu      identity
"""
PREACT_RESNET = """
stem.conv                              identity  {act}
stages.#.blocks.#.(downsample.conv|conv#)  {act}     {act}
head.fc                                {act}     identity
"""
# The gain of a scaled weight-standardized convolution is part of its weight.
NF_RESNET = """
stem.conv(.gain|)                         identity  relu
stages.#.#.(downsample.conv|conv#)(.gain|)  relu      relu
head.fc                                   relu      identity
"""
RES2NET = """
conv1                              identity  relu
layer#.#.(conv#|convs.#|downsample.#)  relu      relu
fc                                 relu      identity
"""
SKNET = """
conv1                              identity  relu
layer#.#.conv#.paths.#.conv        relu      relu
layer#.#.conv#.attn.fc_reduce      relu      relu
layer#.#.conv#.attn.fc_select      relu      softmax
layer#.#.(conv#.conv|downsample.#)  relu      relu
fc                                 relu      identity
"""
RESNEST = """
conv1.0                            identity  relu
conv1.#                            relu      relu
layer#.#.conv2.fc1                 relu      relu
layer#.#.conv2.fc2                 relu      softmax
layer#.#.(conv#|conv2.conv|downsample.#)  relu  relu
fc                                 relu      identity
"""
REGNET = """
stem.conv                          identity  relu
s#.b#.(conv#|downsample).conv      relu      relu
s#.b#.se.fc1                       relu      relu
s#.b#.se.fc2                       relu      sigmoid
head.fc                            relu      identity
"""
DENSENET = """
features.conv0                     identity  relu
features.*                         relu      relu
classifier                         relu      identity
"""
VGG = """
features.0                         identity  relu
features.#|pre_logits.fc#          relu      relu
head.fc                            relu      identity
"""
HRNET = """
conv1                              identity  relu
classifier                         relu      identity
*                                  relu      relu
"""
# The projection of a deeper tree is computed, and its result replaced by that of the tree inside.
DLA = """
base_layer.0                       identity  relu
level[34].project.0                -         -
level#.*                           relu      relu
fc                                 relu      identity
"""
SELECSLS = """
stem.0                             identity  relu
(features|head).*                  relu      relu
fc                                 relu      identity
"""
VOVNET = """
stem.0.conv                        identity  {act}
stages.#.blocks.#.attn.fc          {act}     hardsigmoid
(stem|stages).*                    {act}     {act}
head.fc                            {act}     identity
"""
REPVGG = """
stem.*                             identity  relu
stages.*                           relu      relu
head.fc                            relu      identity
"""
BYOB = """
stem.conv1.conv                    identity  {act}
stages.#.#.attn.fc1                {act}     relu
stages.#.#.attn.fc2                relu      sigmoid
(stem|stages).*                    {act}     {act}
head.fc                            {act}     identity
"""
CLIP_RESNET = """
stem.conv1.conv                    identity  relu
(stem|stages).*                    relu      relu
head.pos_embed                     -         identity
head.[qkv]                         relu      identity
head.proj                          identity  identity
"""
DARKNET = """
stem.conv1.conv                    identity          leaky_relu(slope=0.01)
stages.*                           leaky_relu        leaky_relu(slope=0.01)
head.fc                            leaky_relu        identity
"""
INCEPTION = """
Conv2d_1a_3x3.conv|features.0.conv  identity  relu
fc|last_linear                     relu      identity
*                                  relu      relu
"""
# Only the stem and the last norm take the configured activation; the blocks keep their norm's own.
DPN = """
features.conv1_1.conv              identity  {stem}
features.conv5_3.c1x1_c#           relu      {stem}
features.*                         relu      relu
classifier                         {stem}    identity
"""
# Depthwise separable blocks in the first stage, inverted residuals after it; what leaves a block has no activation.
EFFICIENTNET = """
conv_stem                          identity  {act}
blocks.0.0.conv_dw                 {act}     {act}
blocks.0.#.conv_dw                 identity  {act}
blocks.0.#.conv_pw                 {act}     identity
blocks.#.#.conv_pw                 identity  {act}
blocks.#.#.conv_dw                 {act}     {act}
blocks.#.#.conv_pwl                {act}     identity
blocks.#.#.se.conv_reduce          {act}     {act}
blocks.#.#.se.conv_expand          {act}     sigmoid
conv_head                          identity  {act}
classifier                         {act}     identity
"""
EFFICIENTNET_V2 = """
conv_stem                          identity  silu
blocks.0.0.conv                    silu      silu
blocks.1.0.conv_exp                silu      silu
blocks.#.#.(conv_exp|conv_pw)      identity  silu
blocks.#.#.conv_dw                 silu      silu
blocks.#.#.conv_pwl                silu      identity
blocks.#.#.se.conv_reduce          silu      silu
blocks.#.#.se.conv_expand          silu      sigmoid
conv_head                          identity  silu
classifier                         silu      identity
"""
# An activation after each convolution.
MOBILENET_V1 = """
conv_stem                          identity  {act}
blocks.#.#.se.conv_reduce          {act}     relu
blocks.#.#.se.conv_expand          relu      hardsigmoid
blocks.#.#.conv_(dw|pw)            {act}     {act}
conv_head                          {act}     {act}
classifier                         {act}     identity
"""
MOBILENET_V3_SMALL = """
conv_stem                          identity   hardswish
blocks.0.0.conv_dw                 hardswish  relu
blocks.0.0.conv_pw                 relu       identity
blocks.0.0.se.conv_reduce          relu       relu
blocks.1.#.conv_pw                 identity   relu
blocks.1.#.conv_dw                 relu       relu
blocks.1.#.conv_pwl                relu       identity
blocks.#.#.conv_pw                 identity   hardswish
blocks.#.#.conv_dw                 hardswish  hardswish
blocks.#.#.conv_pwl                hardswish  identity
blocks.#.#.se.conv_reduce          hardswish  relu
blocks.#.#.se.conv_expand          relu       hardsigmoid
blocks.5.0.conv                    identity   hardswish
conv_head                          hardswish  hardswish
classifier                         hardswish  identity
"""
REXNET = """
stem.conv                          identity  silu
features.0.conv_dw.conv            silu      relu6
features.#.conv_exp.conv           identity  silu
features.#.conv_dw.conv            silu      relu6
features.#.se.fc1                  identity  relu
features.#.se.fc2                  relu      sigmoid
features.#.conv_pwl.conv           relu6     identity
features.#.conv                    identity  silu
head.fc                            silu      identity
"""
STARNET = """
stem.0.conv                        identity  relu6
stages.0.0.conv                    relu6     identity
stages.#.#.f1.conv                 identity  relu6
stages.#.#.g.conv                  relu6     identity
stages.*                           identity  identity
head                               identity  identity
"""
FASTERNET = """
stages.#.blocks.#.mlp.0            identity  gelu
stages.#.blocks.#.mlp.3            gelu      identity
conv_head                          identity  gelu
classifier                         gelu      identity
*                                  identity  identity
"""
CONVNEXT = """
stages.#.blocks.#.mlp.fc1          identity  {act}
stages.#.blocks.#.mlp.fc2          {act}     identity
(stem|stages|head).*               identity  identity
"""
INCEPTION_NEXT = """
stages.#.blocks.#.mlp.fc1|head.fc1  identity  gelu
stages.#.blocks.#.mlp.fc2|head.fc2  gelu      identity
(stem|stages).*                    identity  identity
"""
EDGENEXT = """
stages.#.blocks.#.pos_embd.token_projection  -  identity
stages.#.blocks.#.xca.temperature  -         identity|softmax
stages.#.blocks.#.mlp.fc1          identity  gelu
stages.#.blocks.#.mlp.fc2          gelu      identity
(stem|stages|head).*               identity  identity
"""
MAMBAOUT = """
stem.conv1                         identity  gelu
stem.conv2                         gelu      identity
stages.#.blocks.#.fc1              identity  gelu
stages.#.blocks.#.fc2              gelu      identity
stages.*                           identity  identity
head.pre_logits.fc                 identity  gelu
head.fc                            gelu      identity
"""
CONVMIXER = """
stem.0                             identity  relu
blocks.*                           relu      relu
head                               relu      identity
"""

# --- attention and mixing of tokens ---------------------------------------------------------------

VIT = """
cls_token|pos_embed|dist_token|reg_token  -   identity
blocks.#.attn.relative_position_bias_table  -  identity|softmax
attn_pool.latent                   -         identity
attn_pool.q                        -         identity
(blocks.#|attn_pool).mlp.fc1       identity  {act}
(blocks.#|attn_pool).mlp.fc2       {act}     identity
*                                  identity  identity
"""
SAM_VIT = (
    """
blocks.#.attn.rel_pos_[hw]         -         identity|softmax
"""
    + VIT
)
CAIT = """
cls_token|pos_embed                -         identity
blocks.#.attn.proj_l               identity  identity|softmax
blocks.#.attn.proj_w               softmax|identity  identity
blocks*.mlp.fc1                    identity  gelu
blocks*.mlp.fc2                    gelu      identity
*                                  identity  identity
"""
CONVIT = (
    """
blocks.#.attn.pos_proj             -         softmax
"""
    + VIT
)
# The second factor of the gate is a map of gelu's output across tokens.
GMLP = """
stem.proj                          identity  identity
blocks.#.mlp_channels.fc1          identity  gelu
blocks.#.mlp_channels.gate.proj    gelu      identity
blocks.#.mlp_channels.fc2          gelu      identity
head                               identity  identity
"""
MIXER = """
blocks.#.mlp_(tokens|channels).fc1  identity  {act}
blocks.#.mlp_(tokens|channels).fc2  {act}     identity
*                                  identity  identity
"""
SWIN = """
layers.#.blocks.#.attn.relative_position_bias_table  -  identity|softmax
layers.#.blocks.#.attn.logit_scale   -         -
layers.#.blocks.#.attn.cpb_mlp.0   -         relu
layers.#.blocks.#.attn.cpb_mlp.2   relu      sigmoid
layers.#.blocks.#.mlp.fc1          identity  {act}
layers.#.blocks.#.mlp.fc2          {act}     identity
*                                  identity  identity
"""
METAFORMER = """
stages.#.blocks.#.token_mixer.pwconv1  identity      {act}
stages.#.blocks.#.token_mixer.dwconv   {act}         identity
stages.#.blocks.#.mlp.fc1          identity      {act}
stages.#.blocks.#.mlp.fc2          {act}         identity
head.fc.fc1                        identity      {act}
head.fc.fc2                        {act}         identity
*                                  identity      identity
"""
PIT = """
pos_embed|cls_token                -         identity
transformers.#.blocks.#.mlp.fc1    identity  gelu
transformers.#.blocks.#.mlp.fc2    gelu      identity
*                                  identity  identity
"""
XCIT = """
cls_token                          -         identity
pos_embed.token_projection         -         identity
blocks.#.attn.temperature          -         identity|softmax
patch_embed.proj.0.0               identity  gelu
patch_embed.proj.6.0               gelu      identity
patch_embed.proj.#.0               gelu      gelu
*.(mlp.fc1|local_mp.conv1)         identity  gelu
*.(mlp.fc2|local_mp.conv2)         gelu      identity
*                                  identity  identity
"""
PVT_V2 = """
stages.#.blocks.#.mlp.dwconv       identity  gelu
stages.#.blocks.#.mlp.fc2          gelu      identity
*                                  identity  identity
"""
BLOCKS_WITH_MLP = """
pos_embed*|levels.#.pos_embed|cls_token|*_pos  -  identity
*.(mlp|mlp_in).fc1                 identity  gelu
*.(mlp|mlp_in).fc2                 gelu      identity
*                                  identity  identity
"""
VISFORMER = """
pos_embed#                         -         identity
stem.0                             identity  relu
patch_embed1.proj                  relu      identity
stage#.#.mlp.conv1                 identity  gelu
stage#.#.mlp.conv2                 gelu      gelu
stage#.#.mlp.conv3                 gelu      identity
*                                  identity  identity
"""
VOLO = """
pos_embed|cls_token                -         identity
patch_embed.conv.0                 identity  relu
patch_embed.conv.#                 relu      relu
patch_embed.proj                   relu      identity
network.#.#.attn.attn              identity  softmax
*.mlp.fc1                          identity  gelu
*.mlp.fc2                          gelu      identity
*                                  identity  identity
"""
FOCALNET = """
layers.#.blocks.#.modulation.focal_layers.0.0  identity  gelu
layers.#.blocks.#.modulation.focal_layers.#.0  gelu      gelu
layers.#.blocks.#.modulation.h     gelu      identity
layers.#.blocks.#.mlp.fc1          identity  gelu
layers.#.blocks.#.mlp.fc2          gelu      identity
*                                  identity  identity
"""
SEQUENCER = """
*.rnn_[vh].weight_ih_l0(_reverse|)  identity  lstm
*.rnn_[vh].weight_hh_l0(_reverse|)  -         lstm
*.rnn_tokens.fc                    lstm      identity
*.mlp_channels.fc1                 identity  gelu
*.mlp_channels.fc2                 gelu      identity
*                                  identity  identity
"""

WRITTEN: tuple[tuple[str, str, dict[str, str]], ...] = (
    (
        RESNET,
        (
            "resnet18 resnet26 resnet50 resnet10t resnet26d seresnet18 ecaresnet26t resnetblur18 resnetaa34d "
            "resnext50_32x4d resnet50_gn test_resnet seresnext26t_32x4d"
        ),
        {"act": "relu"},
    ),
    (LEGACY_SENET, "legacy_seresnet18", {"squeezed": "relu"}),
    (LEGACY_SENET, "legacy_seresnext26_32x4d", {"squeezed": "identity"}),
    (PREACT_RESNET, "resnetv2_18 resnetv2_50 resnetv2_50x1_bit", {"act": "relu"}),
    (NF_RESNET, "nf_resnet26", {}),
    (RES2NET, "res2net50_26w_4s res2next50", {}),
    (SKNET, "skresnet18", {}),
    (RESNEST, "resnest14d", {}),
    (REGNET, "regnetx_002 regnety_002", {}),
    (DENSENET, "densenet121 densenetblur121d", {}),
    (VGG, "vgg11 vgg11_bn", {}),
    (HRNET, "hrnet_w18_small", {}),
    (DLA, "dla34", {}),
    (SELECSLS, "selecsls42", {}),
    (VOVNET, "vovnet39a ese_vovnet19b_slim", {"act": "relu"}),
    (REPVGG, "repvgg_a0", {}),
    (BYOB, "resnext26ts seresnext26ts", {"act": "silu"}),
    (CLIP_RESNET, "resnet50_clip", {}),
    (DARKNET, "darknet17", {}),
    (INCEPTION, "inception_v3 inception_v4", {}),
    (DPN, "dpn68", {"stem": "relu"}),
    (DPN, "dpn48b", {"stem": "silu"}),
    (EFFICIENTNET, "efficientnet_b0 tinynet_e", {"act": "silu"}),
    (EFFICIENTNET, "efficientnet_lite0 mobilenetv2_035", {"act": "relu6"}),
    (EFFICIENTNET, "spnasnet_100 semnasnet_050", {"act": "relu"}),
    (EFFICIENTNET_V2, "tf_efficientnetv2_b0", {}),
    (MOBILENET_V1, "mobilenetv1_100", {"act": "relu6"}),
    (MOBILENET_V1, "lcnet_035", {"act": "hardswish"}),
    (MOBILENET_V3_SMALL, "mobilenetv3_small_050", {}),
    (REXNET, "rexnet_100", {}),
    (STARNET, "starnet_s050", {}),
    (FASTERNET, "fasternet_t0", {}),
    (CONVNEXT, "convnext_atto convnextv2_atto", {"act": "gelu"}),
    (INCEPTION_NEXT, "inception_next_atto", {}),
    (EDGENEXT, "edgenext_xx_small", {}),
    (MAMBAOUT, "mambaout_femto", {}),
    (CONVMIXER, "convmixer_768_32", {}),
    (
        VIT,
        (
            "vit_tiny_patch16_224 deit_tiny_distilled_patch16_224 deit3_small_patch16_224 beit_base_patch16_224 "
            "beitv2_base_patch16_224 vit_small_patch32_224 flexivit_small"
        ),
        {"act": "gelu"},
    ),
    (VIT, "vit_base_patch16_siglip_224", {"act": "gelu_tanh|gelu"}),
    (VIT, "vit_base_patch32_clip_quickgelu_224", {"act": "quick_gelu"}),
    (VIT, "eva02_tiny_patch14_224", {"act": "silu"}),
    (SAM_VIT, "samvit_base_patch16_224", {"act": "gelu"}),
    (CAIT, "cait_xxs24_224", {}),
    (CONVIT, "convit_tiny", {"act": "gelu"}),
    (GMLP, "gmlp_ti16_224", {}),
    (MIXER, "mixer_s32_224 resmlp_12_224", {"act": "gelu"}),
    (MIXER, "gmixer_12_224", {"act": "silu"}),
    (SWIN, "swin_tiny_patch4_window7_224 swin_s3_tiny_224 swinv2_tiny_window8_256", {"act": "gelu"}),
    (METAFORMER, "poolformer_s12", {"act": "gelu"}),
    (METAFORMER, "caformer_s18 convformer_s18", {"act": "relu_squared"}),
    (PIT, "pit_ti_224 pit_ti_distilled_224", {}),
    (XCIT, "xcit_nano_12_p16_224", {}),
    (PVT_V2, "pvt_v2_b0", {}),
    (BLOCKS_WITH_MLP, "twins_svt_small twins_pcpvt_small tnt_s_patch16_224 nest_tiny davit_tiny hiera_tiny_224", {}),
    (VISFORMER, "visformer_tiny", {}),
    (VOLO, "volo_d1_224", {}),
    (FOCALNET, "focalnet_tiny_srf", {}),
    (SEQUENCER, "sequencer2d_s", {}),
)

NAMES = words("""
beit_base_patch16_224 beitv2_base_patch16_224 beit3_base_patch16_224 botnet26t_256 eca_botnext26ts_256 halonet26t
lambda_resnet26t sehalonet33ts bat_resnext26ts eca_resnext26ts gcresnext26ts gernet_s mobileone_s0 regnetz_b16
repvgg_a0 resnet50_clip resnext26ts seresnext26ts test_byobnet resnet32ts cait_xxs24_224 coat_lite_tiny coat_tiny
convit_tiny convmixer_768_32 convnext_atto convnextv2_atto test_convnext convnext_zepto_rms cpubone_nano
crossvit_tiny_240 crossvit_9_dagger_240 csatv2 cs3darknet_s cspresnet50 darknet17 sedarknet21 cspresnext50
cspdarknet53 cspnext_tiny davit_tiny qwen3_vit_88m gemma4_vit_167m deit_tiny_distilled_patch16_224
deit3_small_patch16_224 densenet121 densenetblur121d dla34 dla46x_c dla60_res2net dpn48b dpn68 edgenext_xx_small
efficientformer_l1 efficientformerv2_s0 efficientnet_b0 efficientnet_lite0 efficientnet_es mobilenetv2_035
mobilenetv1_100 mnasnet_small mixnet_s fbnetc_100 efficientnet_cc_b0_4e tf_efficientnetv2_b0 tinynet_e
test_efficientnet test_efficientnet_gn test_efficientnet_evos spnasnet_100 semnasnet_050 gc_efficientnetv2_rw_t
mobilenet_edgetpu_v2_xs efficientvim_m1 efficientvit_b0 efficientvit_m0 eva02_tiny_patch14_224
vit_tiny_patch16_dinov3_qkvb vit_pe_core_tiny_patch16_384 vit_small_patch16_rope_224
vit_small_patch16_rope_mixed_224 vit_small_plus_patch16_dinov3 fasternet_t0 fastvit_t8 focalnet_tiny_srf
gcvit_xxtiny ghostnet_050 ghostnetv2_100 ghostnetv3_050 hardcorenas_a hgnet_tiny hgnetv2_b0 hiera_tiny_224
sam2_hiera_tiny hrnet_w18_small iformer_t inception_next_atto inception_v3 inception_v4 inception_resnet_v2
lcnetv2_small levit_128s levit_conv_128s lowformer_b0 mambaout_femto test_mambaout coatnet_pico_rw_224
coatnet_rmlp_nano_rw_224 coatnext_nano_rw_224 maxvit_pico_rw_256 maxxvit_rmlp_nano_rw_256 test_coatnet test_maxvit
caformer_s18 convformer_s18 poolformer_s12 poolformerv2_s12 mixer_s32_224 gmixer_12_224 gmlp_ti16_224 resmlp_12_224
mobilenetv3_small_050 fbnetv3_b lcnet_035 mobilenetv4_conv_small_035 mobilenetv4_hybrid_medium_075
tf_mobilenetv3_small_minimal_100 mobilevit_xxs mobilevitv2_050 mvitv2_tiny naflexvit_base_patch16_gap nest_tiny
nextvit_small nfnet_l0 nf_resnet26 nf_regnet_b0 nf_seresnet26 test_nfnet pit_ti_224 pit_ti_distilled_224 pvt_v2_b0
pvt_v2_b2_li rdnet_tiny regnetx_002 regnety_002 regnetz_005 regnetv_040 repghostnet_050 repvit_m0_9 res2net50_26w_4s
res2next50 resnest14d resnet18 resnet26 resnet50 resnet10t resnet26d seresnet18 ecaresnet26t resnetblur18
resnetaa34d resnext50_32x4d resnet50_gn test_resnet seresnext26t_32x4d resnetv2_18 resnetv2_50 resnetv2_50x1_bit
resnetv2_50t rexnet_100 rexnetr_100 selecsls42 legacy_seresnet18 legacy_seresnext26_32x4d sequencer2d_s shvit_s1
skresnet18 starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224 swin_s3_tiny_224 swinv2_tiny_window8_256
swinv2_cr_tiny_224 tiny_vit_5m_224 tnt_s_patch16_224 tresnet_m twins_pcpvt_small twins_svt_small vgg11 vgg11_bn
visformer_tiny vit_tiny_patch16_224 test_vit test_vit2 test_vit3 test_vit4 vit_small_patch32_224
vit_dwee_patch16_reg1_gap_256 vit_pwee_patch16_reg1_gap_256 vit_base_patch16_siglip_224 flexivit_small
vit_base_patch32_clip_quickgelu_224 vit_tiny_r_s16_p8_224 vit_relpos_small_patch16_224 test_vit_relpos
samvit_base_patch16_224 vitamin_small_224 volo_d1_224 vovnet39a ese_vovnet19b_slim eca_vovnet39b legacy_xception
xception41 xcit_nano_12_p16_224
""")

SMALL = words("""
resnet18 seresnext26t_32x4d resnetv2_18 legacy_seresnet18 regnety_002 efficientnet_lite0 mobilenetv2_035 tinynet_e
mobilenetv3_small_050 lcnet_035 test_efficientnet convnext_atto convnextv2_atto test_convnext starnet_s050 fasternet_t0
vit_tiny_patch16_224 test_vit deit_tiny_distilled_patch16_224 mixer_s32_224 gmlp_ti16_224 poolformer_s12 pit_ti_224
inception_next_atto ese_vovnet19b_slim
""")
"""What runs by default."""

SWAPS = words("""
resnet18 seresnext26t_32x4d resnetv2_18 efficientnet_lite0 mobilenetv2_035 tinynet_e convnext_atto vit_tiny_patch16_224
deit_tiny_distilled_patch16_224 mixer_s32_224 ese_vovnet19b_slim
""")
"""Those whose one activation ``act_layer`` replaces, but for squeeze and excitation of a ResNet."""

TABLES = {name: rows(text, **named) for text, names, named in WRITTEN for name in names.split()}
SWAPPED = {
    name: rows(text, **{**named, "act": "mish"})
    for text, names, named in WRITTEN
    for name in names.split()
    if name in SWAPS
}

LARGE = ("vgg11", "vgg11_bn")
"""Made on the meta device: their classifiers have a hundred million weights."""


def _make(name: str, activation: type[nn.Module] | None = None) -> nn.Module:
    import timm

    chosen: dict[str, Any] = {} if activation is None else {"act_layer": activation}
    with device("meta" if name in LARGE else "cpu"):
        model: nn.Module = timm.create_model(name, pretrained=False, **chosen)
    return model


def entries() -> tuple[Entry, ...]:
    return tuple(
        Entry(
            name=name,
            make=functools.partial(_make, name),
            table=TABLES.get(name, ()),
            swapped=SWAPPED.get(name, ()),
        )
        for name in NAMES
    )

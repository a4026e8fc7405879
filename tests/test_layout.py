"""Fans and layouts: what the axes of a weight mean, from the module that owns it."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from initpolicy.facts.layout import AXES, fans, parse_layout, part_layout, torch_fans, torch_layout
from initpolicy.facts.owners import layout_of
from initpolicy.records import Layout

SHAPES = st.lists(st.integers(0, 7), max_size=5).map(tuple)


def fans_of(module: nn.Module, local: str = "weight") -> tuple[float, float] | None:
    """The fans of a parameter as the survey would have them."""
    shape = tuple(module.get_parameter(local).shape)
    return fans(shape, layout_of(module, local, shape))


def torch_count(shape: tuple[int, ...]) -> tuple[float, float]:
    return nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))


# --- fans ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "local", "expected"),
    [
        (nn.Linear(3, 5), "weight", (3, 5)),
        (nn.Linear(3, 5), "bias", None),
        (nn.Conv1d(4, 6, 5), "weight", (20, 30)),
        (nn.Conv2d(4, 6, (3, 2)), "weight", (24, 36)),
        (nn.Conv3d(2, 3, 2), "weight", (16, 24)),
        (nn.Conv2d(4, 8, 3, groups=2), "weight", (18, 36)),
        (nn.Conv2d(4, 6, 3, stride=2, dilation=3), "weight", (36, 54)),
        (nn.ConvTranspose1d(4, 6, 5), "weight", (20, 30)),
        (nn.ConvTranspose2d(4, 6, 4, stride=2), "weight", (16, 96)),
        (nn.ConvTranspose3d(4, 6, 2, stride=(2, 1, 2), groups=2), "weight", (4, 24)),
        (nn.ConvTranspose2d(1, 1, 1, stride=2), "weight", (0.25, 1)),
        (nn.Embedding(1000, 7), "weight", (1, 7)),
        (nn.EmbeddingBag(1000, 7), "weight", (1, 7)),
        (nn.Bilinear(3, 4, 5), "weight", (12, 5)),
        (nn.MultiheadAttention(8, 2), "in_proj_weight", (8, 8)),
        (nn.MultiheadAttention(8, 2, kdim=5, vdim=6), "k_proj_weight", (5, 8)),
        (nn.MultiheadAttention(8, 2), "in_proj_bias", None),
        (nn.MultiheadAttention(8, 2, add_bias_kv=True), "bias_k", None),
        (nn.RNN(3, 5), "weight_ih_l0", (3, 5)),
        (nn.LSTM(3, 5), "weight_ih_l0", (3, 5)),
        (nn.LSTM(3, 5, proj_size=2), "weight_hh_l0", (2, 5)),
        (nn.LSTM(3, 5, proj_size=2), "weight_hr_l0", (5, 2)),
        (nn.GRU(3, 5, num_layers=2, bidirectional=True), "weight_ih_l1_reverse", (10, 5)),
        (nn.GRUCell(3, 5), "weight_hh", (5, 5)),
        (nn.LayerNorm((4, 5)), "weight", None),
    ],
    ids=str,
)
def test_fans_come_from_the_module(module: nn.Module, local: str, expected: tuple[float, float] | None) -> None:
    assert fans_of(module, local) == expected


def test_pt23854_and_timm84_depthwise_fans_count_one_group() -> None:
    """torch counts every output channel, so kaiming with fan_out makes depthwise weights too small by sqrt(groups)."""
    depthwise = nn.Conv2d(4, 4, 3, groups=4)
    assert fans_of(depthwise) == (9, 9)
    assert torch_count((4, 1, 3, 3)) == (9, 36)


def test_lasagne858_and_pt30079_transposed_fans_are_not_swapped() -> None:
    """Channels 2 -> 6: an output sums over the 2, whatever the axis they are stored on."""
    transposed = nn.ConvTranspose2d(2, 6, 3)
    assert fans_of(transposed) == (2 * 9, 6 * 9)
    assert torch_count(tuple(transposed.weight.shape)) == (6 * 9, 2 * 9)


CONVOLUTIONS = st.tuples(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(1, 3)
)
"""Input and output channels of one group, kernel, stride, dilation, groups."""


@given(CONVOLUTIONS)
def test_pt30079_transposed_fans_are_what_one_output_adds_up(sizes: tuple[int, ...]) -> None:
    """With ones for input and weight an output is its fan_in (on average over one stride), a gradient its fan_out."""
    inputs, outputs, kernel, stride, dilation, groups = sizes
    module = nn.ConvTranspose1d(
        groups * inputs, groups * outputs, kernel, stride=stride, dilation=dilation, groups=groups, bias=False
    )
    y, gradient = of_ones(module, torch.ones(1, groups * inputs, 40))
    far = y[0, 0, 12 : 12 + 8 * stride]  # from the edge, where fewer inputs meet
    fan_in, fan_out = fans_of(module) or (0, 0)
    assert far.mean().item() == pytest.approx(fan_in, rel=1e-12)
    assert (gradient == fan_out).all()


@given(CONVOLUTIONS)
def test_pt23854_convolution_fans_are_what_one_output_adds_up(sizes: tuple[int, ...]) -> None:
    """As above; an input of a convolution reaches fan_out outputs at stride 1."""
    inputs, outputs, kernel, _, dilation, groups = sizes
    module = nn.Conv1d(groups * inputs, groups * outputs, kernel, dilation=dilation, groups=groups, bias=False)
    y, gradient = of_ones(module, torch.ones(1, groups * inputs, 30))
    fan_in, fan_out = fans_of(module) or (0, 0)
    assert (y == fan_in).all()
    assert (gradient[0, :, 12:18] == fan_out).all()


def test_bilinear_and_linear_fans_are_what_one_output_adds_up() -> None:
    """Of x₁ᵀWx₂, each of the 3·4 products is an input."""
    linear, bilinear = nn.Linear(3, 5, bias=False), nn.Bilinear(3, 4, 5, bias=False)
    y, gradient = of_ones(linear, torch.ones(1, 3))
    assert (y.tolist(), gradient.tolist()) == ([[3] * 5], [[5] * 3])
    assert fans_of(linear) == (3, 5)
    nn.init.ones_(bilinear.weight)
    assert bilinear(torch.ones(1, 3), torch.ones(1, 4)).tolist() == [[12] * 5]
    assert fans_of(bilinear) == (12, 5)


def of_ones(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output for inputs and weights of one, and the gradient of the output's sum in the input."""
    module = module.double()
    nn.init.ones_(module.get_parameter("weight"))
    x = x.double().requires_grad_()
    y: Tensor = module(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    return y.detach(), gradient


def test_pt166378_packed_projections_have_the_variance_of_separate_layers() -> None:
    """Xavier's variance is 2 / (fan_in + fan_out); torch takes three layers for one of thrice the width."""
    packed = fans_of(nn.MultiheadAttention(64, 4), "in_proj_weight")
    assert packed == fans_of(nn.Linear(64, 64)) == (64, 64)
    assert torch_fans((192, 64)) == (64, 192)
    plain = Layout(axes=("out", "in"))  # a Linear(64, 192) that the policy splits
    assert fans((64, 64), part_layout(plain, 3, 0)) == (64, 64)


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((), Layout(), None),
        ((5,), Layout(kind="scale"), None),
        ((5,), Layout(axes=("in",)), (5, 1)),
        ((5,), Layout(axes=("out",)), (1, 5)),
        ((3, 5), Layout(axes=("in", "out")), (3, 5)),
        ((8, 3, 5), Layout(axes=("stack", "out", "in")), (5, 3)),
        ((2, 8, 3, 5), Layout(axes=("stack", "stack", "in", "out")), (3, 5)),
        ((3, 3, 4, 6), Layout(axes=("k", "k", "in", "out")), (36, 54)),
        ((4, 2, 6), Layout(axes=("out", "out", "in")), (6, 8)),
        ((0, 0), Layout(axes=("in", "out"), one_hot=True), (1, 0)),
        ((0, 5), Layout(axes=("out", "in"), blocks=("q", "k", "v")), (5, 0)),
        ((0, 4, 3), Layout(axes=("in", "out", "k"), groups=2, stride=2), (0, 12)),
    ],
)
def test_fans_of_a_layout(shape: tuple[int, ...], layout: Layout, expected: tuple[float, float] | None) -> None:
    assert fans(shape, layout) == expected


def test_a_layout_of_other_axes_is_refused() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        fans((2, 3, 4), Layout(axes=("out", "in")))


@given(SHAPES)
def test_torch_fans_are_torchs(shape: tuple[int, ...]) -> None:
    if len(shape) < 2:
        assert torch_fans(shape) is None
        with pytest.raises(ValueError, match="fewer than 2 dimensions"):
            torch_count(shape)
    else:
        assert torch_fans(shape) == torch_count(shape)


@given(SHAPES)
def test_unknown_owners_follow_torchs_rule(shape: tuple[int, ...]) -> None:
    layout = layout_of(nn.Module(), "mystery", shape)
    assert (layout.known, layout.kind) == (False, "other")
    assert fans(shape, layout) == torch_fans(shape)


# --- layouts that a policy states ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ndim", "axes"),
    [
        ("in out", 2, "in out"),
        (" out   in ", 2, "out in"),
        ("in", 1, "in"),
        ("out out in", 3, "out out in"),
        ("stack out in", 3, "stack out in"),
        ("stack in out", 3, "stack in out"),
        ("out in k", 3, "out in k"),
        ("out in k", 4, "out in k k"),
        ("out in k", 5, "out in k k k"),
        ("k in out", 4, "k k in out"),
        ("out in k k", 4, "out in k k"),
    ],
)
def test_a_stated_layout(text: str, ndim: int, axes: str) -> None:
    assert parse_layout(text, ndim) == Layout(axes=tuple(axes.split()))


@pytest.mark.parametrize(
    ("text", "ndim", "message"),
    [
        ("ot in", 2, "layout 'ot in': unknown axis 'ot'; did you mean 'out'?"),
        ("input out", 2, "layout 'input out': unknown axis 'input'; an axis is out, in, k or stack"),
        (
            "ot h h",
            3,
            "layout 'ot h h': unknown axis 'ot'; did you mean 'out'?; unknown axis 'h'; an axis is out, in, k or stack",
        ),
        ("out,in", 2, "layout 'out,in': unknown axis 'out,in'; did you mean 'out'?"),
        ("", 2, "layout '': names neither 'out' nor 'in', so there are no fans to count"),
        ("stack k", 2, "layout 'stack k': names neither 'out' nor 'in', so there are no fans to count"),
        ("out", 4, "layout 'out': names 1 axis, but the tensor has 4; a 'k' would stand for the rest"),
        ("out in", 4, "layout 'out in': names 2 axes, but the tensor has 4; a 'k' would stand for the rest"),
        ("out in k", 2, "layout 'out in k': names 3 axes, but the tensor has 2"),
        ("out in k k", 5, "layout 'out in k k': names 4 axes, but the tensor has 5"),
        ("out in", 1, "layout 'out in': names 2 axes, but the tensor has 1"),
    ],
)
def test_a_layout_that_cannot_be(text: str, ndim: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_layout(text, ndim)


@given(st.lists(st.sampled_from(AXES), min_size=1, max_size=5), st.integers(0, 7))
def test_a_stated_layout_has_an_axis_for_each_dimension_or_is_refused(words: list[str], ndim: int) -> None:
    fits = ndim >= len(words) if words.count("k") == 1 else ndim == len(words)
    if fits and {"out", "in"} & {*words}:
        axes = parse_layout(" ".join(words), ndim).axes
        assert len(axes) == ndim
        assert [word for word in axes if word != "k"] == [word for word in words if word != "k"]
    else:
        with pytest.raises(ValueError, match=r"^layout '"):
            parse_layout(" ".join(words), ndim)


def test_pt130122_a_stated_layout_swaps_the_fans() -> None:
    """A weight of ``x @ W`` is stored (in, out), which no shape tells."""
    bare = nn.Module()
    bare.w = nn.Parameter(torch.empty(3, 5))
    assert fans_of(bare, "w") == (5, 3)
    assert fans((3, 5), parse_layout("in out", 2)) == (3, 5)


# --- parts of a weight ---------------------------------------------------------------------------

GATES = Layout(axes=("out", "in"), blocks=("i", "f", "g", "o"))
GROUPED = Layout(axes=("out", "in", "k"), groups=4)


@pytest.mark.parametrize(
    ("layout", "count", "axis", "blocks", "groups"),
    [
        (GATES, 4, 0, (), 1),  # one gate each
        (GATES, 8, 0, (), 1),  # half a gate each
        (GATES, 2, 0, ("0", "1"), 1),  # two gates each
        (GATES, 3, 0, (), 1),  # gates are cut through
        (GATES, 4, 1, GATES.blocks, 1),  # another axis: all gates stay in each part
        (Layout(blocks=("q", "k", "v"), kind="bias"), 3, 0, (), 1),
        (Layout(axes=("stack", "out", "in"), blocks=("q", "k")), 2, 0, ("q", "k"), 1),
        (Layout(axes=("stack", "out", "in"), blocks=("q", "k")), 2, 1, (), 1),
        (GROUPED, 2, 0, (), 2),
        (GROUPED, 4, 0, (), 1),
        (GROUPED, 8, 0, (), 1),  # half a group each
        (GROUPED, 3, 0, (), 1),  # groups are cut through
        (Layout(axes=("out", "in"), groups=8), 3, 0, (), 1),  # the same, with more than two in each part
        (GROUPED, 2, 1, (), 4),
    ],
)
def test_the_layout_of_a_part(layout: Layout, count: int, axis: int, blocks: tuple[str, ...], groups: int) -> None:
    part = part_layout(layout, count, axis)
    assert (part.blocks, part.groups) == (blocks, groups)
    assert (part.axes, part.kind) == (layout.axes, layout.kind)


@pytest.mark.parametrize(("parts", "whole"), [(2, (18, 72)), (4, (18, 72))])
def test_whole_groups_keep_their_fans(parts: int, whole: tuple[float, float]) -> None:
    """Conv2d(8, 32, 3, groups=4): a part of whole groups is a smaller grouped convolution."""
    layout = Layout(axes=("out", "in", "k", "k"), groups=4)
    assert fans((32, 2, 3, 3), layout) == whole
    assert fans((32 // parts, 2, 3, 3), part_layout(layout, parts, 0)) == whole


@given(st.sampled_from([1, 2, 4, 8]), st.integers(1, 3))
def test_each_gate_has_the_fans_of_the_whole_and_pieces_have_their_own(count: int, size: int) -> None:
    whole, inputs = (32 * size, 5), 5
    fan_out = min(8 * size, 32 * size // count)  # never more than one gate's
    part = part_layout(GATES, count, 0)
    assert fans((whole[0] // count, inputs), part) == (5, fan_out)
    assert fans(whole, GATES) == (5, 8 * size)


# --- what a parameter is to its owner ------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "local", "layout"),
    [
        (nn.Linear(2, 3), "weight", Layout(axes=("out", "in"), kind="weight")),
        (nn.Linear(2, 3), "bias", Layout(kind="bias")),
        (nn.modules.linear.NonDynamicallyQuantizableLinear(2, 3), "weight", Layout(axes=("out", "in"), kind="weight")),
        (nn.Conv2d(4, 4, 3, groups=2), "weight", Layout(axes=("out", "in", "k", "k"), groups=2, kind="weight")),
        (nn.Conv2d(4, 4, 3), "bias", Layout(kind="bias")),
        (
            nn.ConvTranspose2d(4, 4, 3, stride=(3, 2), groups=2),
            "weight",
            Layout(axes=("in", "out", "k", "k"), groups=2, stride=6, kind="weight"),
        ),
        (nn.Embedding(5, 2), "weight", Layout(axes=("in", "out"), one_hot=True, kind="table")),
        (nn.LSTM(2, 3), "weight_hh_l0", Layout(axes=("out", "in"), blocks=("i", "f", "g", "o"), kind="weight")),
        (nn.LSTM(2, 3), "bias_hh_l0", Layout(blocks=("i", "f", "g", "o"), kind="bias")),
        (nn.LSTM(2, 3, proj_size=1), "weight_hr_l0", Layout(axes=("out", "in"), kind="weight")),
        (nn.GRU(2, 3), "weight_ih_l0", Layout(axes=("out", "in"), blocks=("r", "z", "n"), kind="weight")),
        (nn.RNN(2, 3), "bias_ih_l0", Layout(kind="bias")),
        (nn.LSTMCell(2, 3), "bias_ih", Layout(blocks=("i", "f", "g", "o"), kind="bias")),
        (nn.GRUCell(2, 3), "weight_ih", Layout(axes=("out", "in"), blocks=("r", "z", "n"), kind="weight")),
        (nn.RNNCell(2, 3), "weight_ih", Layout(axes=("out", "in"), kind="weight")),
        (nn.MultiheadAttention(4, 2), "in_proj_bias", Layout(blocks=("q", "k", "v"), kind="bias")),
        (nn.MultiheadAttention(4, 2, kdim=3), "v_proj_weight", Layout(axes=("out", "in"), kind="weight")),
        (nn.MultiheadAttention(4, 2, add_bias_kv=True), "bias_v", Layout(kind="bias")),
        (nn.LazyConv2d(4, 3), "weight", Layout(kind="weight")),
        (nn.LazyLinear(4), "bias", Layout(kind="bias")),
    ],
    ids=str,
)
def test_the_table_of_owners(module: nn.Module, local: str, layout: Layout) -> None:
    param = module.get_parameter(local)
    shape = () if nn.parameter.is_lazy(param) else tuple(param.shape)
    assert layout_of(module, local, shape) == layout


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (nn.BatchNorm2d(3), {"weight": "scale", "bias": "shift"}),
        (nn.SyncBatchNorm(3), {"weight": "scale", "bias": "shift"}),
        (nn.InstanceNorm1d(3, affine=True), {"weight": "scale", "bias": "shift"}),
        (nn.GroupNorm(1, 3), {"weight": "scale", "bias": "shift"}),
        (nn.LayerNorm((3, 4)), {"weight": "scale", "bias": "shift"}),
        (nn.RMSNorm(3), {"weight": "scale"}),
        (nn.PReLU(3), {"weight": "slope"}),
        (nn.Linear(3, 1), {"weight": "weight", "bias": "bias"}),
        (nn.Embedding(3, 2), {"weight": "table"}),
        (
            nn.MultiheadAttention(2, 1, add_bias_kv=True),
            {"in_proj_weight": "weight", "in_proj_bias": "bias", "bias_k": "bias", "bias_v": "bias"},
        ),
        (nn.ParameterList([torch.empty(3)]), {"0": "other"}),
    ],
    ids=str,
)
def test_espnet4555_espnet3706_kinds_come_from_the_module_not_from_the_dimension(
    module: nn.Module, kinds: dict[str, str]
) -> None:
    """A scale or a slope is one-dimensional, and zeroing it as a bias kills the layer."""
    params = dict(module.named_parameters(recurse=False))
    assert {name: layout_of(module, name, tuple(param.shape)).kind for name, param in params.items()} == kinds


class Scaled(nn.Linear):
    """Inherits what it is, and adds a matrix of its own."""

    def __init__(self) -> None:
        super().__init__(3, 5)
        self.lora_a = nn.Parameter(torch.empty(2, 3))


def test_descendants_inherit_what_their_base_has_and_nothing_else() -> None:
    assert layout_of(Scaled(), "weight", (5, 3)) == Layout(axes=("out", "in"), kind="weight")
    assert layout_of(Scaled(), "lora_a", (2, 3)) == Layout(axes=("out", "in"), kind="other", known=False)


def test_a_shape_that_the_table_does_not_expect_makes_the_owner_unknown() -> None:
    assert layout_of(nn.Linear(3, 5), "weight", (7, 5, 3)) == Layout(axes=("out", "in", "k"), kind="other", known=False)


class Conv1D(nn.Module):
    """As in transformers: pytorch_utils.py."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight = nn.Parameter(torch.empty(nx, nf))
        self.bias = nn.Parameter(torch.zeros(nf))


def test_pt130122_hugging_faces_conv1d_is_known_by_its_name_and_sizes() -> None:
    module = Conv1D(6, 4)
    assert layout_of(module, "weight", (4, 6)) == Layout(axes=("in", "out"), kind="weight")
    assert layout_of(module, "bias", (6,)) == Layout(kind="bias")
    assert layout_of(module, "weight", (6, 4)) == Layout(axes=("out", "in"), kind="other", known=False)
    del module.nf
    assert layout_of(module, "weight", (4, 6)) == Layout(axes=("out", "in"), kind="other", known=False)
    assert layout_of(module, "bias", (6,)) == Layout(kind="other", known=False)


def holding(**attributes: object) -> nn.Module:
    module = nn.Module()
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


UNKNOWN = Layout(axes=("out", "in", "k"), kind="other", known=False)
EXPERTS = Layout(axes=("stack", "out", "in"), kind="other", known=False)


@pytest.mark.parametrize(
    ("module", "local", "shape", "layout"),
    [
        (holding(num_experts=4), "gate_up_proj", (4, 6, 5), EXPERTS),
        (holding(n_routed_experts=4), "w1", (4, 6, 5), EXPERTS),
        (holding(num_local_experts=4), "w1", (4, 6, 5), EXPERTS),
        (holding(num_experts=4), "gate_up_proj_bias", (4, 6), Layout(kind="bias", known=False)),
        (holding(num_experts=4), "router", (4, 6), Layout(axes=("out", "in"), kind="other", known=False)),
        (holding(num_experts=8), "w1", (4, 6, 5), UNKNOWN),  # as many as something else
        (holding(num_experts_per_tok=4), "w1", (4, 6, 5), UNKNOWN),
        (holding(num_experts=True), "pos_embed", (1, 6, 5), UNKNOWN),
        (holding(num_heads=4), "w1", (4, 6, 5), UNKNOWN),
        (holding(), "w1", (4, 6, 5), UNKNOWN),
        (holding(num_experts=4), "w1", (4, 6, 5, 2), Layout(axes=("out", "in", "k", "k"), kind="other", known=False)),
    ],
)
def test_three_axes_are_stacked_experts_only_where_the_module_counts_them(
    module: nn.Module, local: str, shape: tuple[int, ...], layout: Layout
) -> None:
    assert layout_of(module, local, shape) == layout


def test_torchs_axes() -> None:
    assert [torch_layout(ndim) for ndim in range(5)] == [
        (), (), ("out", "in"), ("out", "in", "k"), ("out", "in", "k", "k"),
    ]  # fmt: skip

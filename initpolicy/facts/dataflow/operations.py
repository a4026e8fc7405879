"""Tables: what each operation is to a signal that goes through it.

Names are torch's, of functions, methods and ATen operators alike, without the underscores around them.
What no table has is open: the signal goes through.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ACTIVATIONS",
    "AFFINE",
    "ATOMIC",
    "ATTENTION",
    "CAST",
    "COMPARE",
    "CONSTANT",
    "DATA_SHAPE_ONLY",
    "ELEMENTWISE",
    "EMBEDDINGS",
    "ESCAPES",
    "FROM_HOST",
    "GATHERS",
    "LOSSES",
    "MATMULS",
    "NORMS",
    "POOLS",
    "PRIMITIVES",
    "RECURRENT",
    "REDUCTIONS",
    "SCATTERS",
    "SHAPE",
    "SLOTTED",
    "canonical",
    "is_in_place",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# --- nonlinearities -------------------------------------------------------------------------------

ACTIVATIONS = {
    "relu": "relu", "relu6": "relu6", "leaky_relu": "leaky_relu", "prelu": "prelu", "prelu_kernel": "prelu",
    "rrelu": "rrelu", "rrelu_with_noise": "rrelu", "elu": "elu", "celu": "celu", "selu": "selu", "gelu": "gelu",
    "silu": "silu", "mish": "mish", "hardswish": "hardswish", "hardsigmoid": "hardsigmoid", "hardtanh": "hardtanh",
    "softplus": "softplus", "softsign": "softsign", "softshrink": "softshrink", "hardshrink": "hardshrink",
    "tanhshrink": "tanhshrink", "threshold": "threshold", "logsigmoid": "logsigmoid",
    "log_sigmoid_forward": "logsigmoid", "log_sigmoid": "logsigmoid", "sigmoid": "sigmoid", "tanh": "tanh",
    "softmax": "softmax", "safe_softmax": "softmax", "log_softmax": "log_softmax", "softmin": "softmin",
    "gumbel_softmax": "softmax", "glu": "glu",
}  # fmt: skip
"""Operation -> canonical name of the activation."""

NOT_ELEMENTWISE = _words("softmax safe_softmax log_softmax softmin gumbel_softmax glu")
"""Activations that mix elements."""

CAST = _words(
    "to float half double bfloat16 type type_as to_copy contiguous clone detach alias data cpu cuda lift_fresh "
    "requires_grad_ positive pos real lift_fresh_copy _conj conj resolve_conj resolve_neg autograd_alias "
    "dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout native_dropout "
    "view_as_real view_as_complex convert_element_type fill_alias"
)
"""One value in, the same value out."""

AFFINE = _words(
    "add sub rsub subtract mul multiply div true_divide divide neg negative addcmul addcdiv lerp where masked_fill"
)
"""Elementwise, and linear in a single tensor where the others are constants."""

COMPARE = _words(
    "gt lt ge le eq ne greater less greater_equal less_equal logical_and logical_or logical_not logical_xor "
    "bitwise_and bitwise_or bitwise_not isnan isinf isfinite and or invert xor not_equal"
)

PRIMITIVES = _words(
    "exp exp2 expm1 log log2 log10 log1p sqrt rsqrt pow float_power square reciprocal sin cos tan asin acos atan "
    "sinh cosh arcsinh arccosh asinh acosh atanh erf erfc erfinv sign sgn floor ceil round trunc frac abs absolute "
    "clamp clamp_min clamp_max clip maximum minimum fmax fmin max_other min_other logaddexp logaddexp2 heaviside "
    "xlogy sinc logit sign_bit copysign entr i0 hypot atan2 nan_to_num polygamma digamma lgamma ndtr log_ndtr "
    "remainder fmod floor_divide softplus_backward"
)
"""Elementwise and curved (or kinked), under no activation's name."""

ELEMENTWISE = AFFINE | CAST | COMPARE | PRIMITIVES | (frozenset(ACTIVATIONS) - NOT_ELEMENTWISE)

LOSSES = _words("kl_div nll_loss nll_loss_nd nll_loss2d cross_entropy binary_cross_entropy gaussian_nll_loss")
"""Besides every name that ends in _loss or _loss_forward."""

# --- weighted operations --------------------------------------------------------------------------

SLOTTED: dict[str, tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "linear": (("input", "weight", "bias"), (0,), (1,), (2,)),
    "conv1d": (("input", "weight", "bias"), (0,), (1,), (2,)),
    "conv2d": (("input", "weight", "bias"), (0,), (1,), (2,)),
    "conv3d": (("input", "weight", "bias"), (0,), (1,), (2,)),
    "conv_transpose1d": (("input", "weight", "bias"), (0,), (1,), (2,)),
    "conv_transpose2d": (("input", "weight", "bias"), (0,), (1,), (2,)),
    "conv_transpose3d": (("input", "weight", "bias"), (0,), (1,), (2,)),
    "convolution": (("input", "weight", "bias"), (0,), (1,), (2,)),
    "mkldnn_convolution": (("self", "weight", "bias"), (0,), (1,), (2,)),
    "conv_depthwise2d": (("self", "weight", "kernel_size", "bias"), (0,), (1,), (3,)),
    "slow_conv3d": (("self", "weight", "kernel_size", "bias"), (0,), (1,), (3,)),
    "conv_tbc": (("input", "weight", "bias"), (0,), (1,), (2,)),
    "deform_conv2d": (("input", "offset", "weight", "bias"), (0,), (2,), (3,)),
    "bilinear": (("input1", "input2", "weight", "bias"), (0, 1), (2,), (3,)),
    "trilinear": (("i1", "i2", "i3"), (0, 2), (1,), ()),
}
"""Operation -> (argument names, positions of data, of weights, of biases)."""

MATMULS = _words(
    "matmul mm bmm mv dot vdot inner outer ger kron addmm addmv addr baddbmm addbmm einsum tensordot "
    "chain_matmul multi_dot linalg_multi_dot linalg_matmul grouped_mm scaled_mm scaled_grouped_mm vecdot linalg_vecdot"
)
"""Which operand is the weight depends on what the operands are."""

ADDENDS = _words("addmm addmv addr baddbmm addbmm")
"""Matrix products whose first argument is added."""

EMBEDDINGS = _words("embedding embedding_bag embedding_bag_forward_only embedding_renorm")

RECURRENT = {
    "lstm": "lstm", "lstm_cell": "lstm", "quantized_lstm": "lstm", "gru": "gru", "gru_cell": "gru",
    "rnn_tanh": "tanh", "rnn_tanh_cell": "tanh", "rnn_relu": "relu", "rnn_relu_cell": "relu",
    "mkldnn_rnn_layer": "lstm",
}  # fmt: skip

ATTENTION = _words(
    "scaled_dot_product_attention scaled_dot_product_flash_attention scaled_dot_product_flash_attention_for_cpu "
    "scaled_dot_product_efficient_attention scaled_dot_product_attention_math scaled_dot_product_cudnn_attention "
    "scaled_dot_product_fused_attention_overrideable flex_attention"
)
"""Arguments query, key, value, mask: softmax(q·k)·v in one."""

# --- what a signal goes through -------------------------------------------------------------------

NORMS = _words(
    "layer_norm native_layer_norm batch_norm native_batch_norm batch_norm_impl_index cudnn_batch_norm "
    "miopen_batch_norm native_batch_norm_legit native_batch_norm_legit_no_training native_batch_norm_legit_functional "
    "batch_norm_with_update batch_norm_no_update group_norm native_group_norm instance_norm rms_norm fused_rms_norm "
    "local_response_norm normalize sync_batch_norm batch_norm_elemt renorm"
)

POOLS = _words(
    "avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d max_pool1d_with_indices "
    "max_pool2d_with_indices max_pool3d_with_indices adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
    "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d adaptive_max_pool1d_with_indices "
    "adaptive_max_pool2d_with_indices adaptive_max_pool3d_with_indices lp_pool1d lp_pool2d lp_pool3d "
    "fractional_max_pool2d fractional_max_pool3d fractional_max_pool2d_with_indices "
    "fractional_max_pool3d_with_indices mkldnn_max_pool2d"
)

REDUCTIONS = _words(
    "mean sum nanmean nansum amax amin max min var std var_mean std_mean norm vector_norm linalg_vector_norm "
    "linalg_norm frobenius_norm logsumexp median nanmedian prod quantile mode aminmax all any count_nonzero "
    "linalg_matrix_norm matrix_norm nuclear_norm"
)

GATHERS = _words(
    "getitem index index_select gather take take_along_dim embedding embedding_bag select unsafe_index narrow slice"
)
"""Integer arguments pick; they do not mix."""

SCATTERS = _words(
    "setitem index_put index_put_impl index_copy index_add scatter scatter_add scatter_reduce masked_scatter "
    "index_fill slice_scatter select_scatter diagonal_scatter as_strided_scatter put copy"
)
JOINS = _words("cat concat concatenate stack hstack vstack dstack column_stack row_stack block_diag meshgrid")

SHAPE = _words(
    "view reshape view_as reshape_as permute transpose t T mT mH H adjoint movedim moveaxis swapaxes swapdims "
    "flatten unflatten ravel squeeze unsqueeze expand expand_as broadcast_to repeat repeat_interleave tile "
    "getitem select narrow slice split split_with_sizes tensor_split unsafe_split unsafe_split_with_sizes chunk "
    "unsafe_chunk unbind hsplit vsplit dsplit roll flip rot90 fliplr flipud unfold fold im2col col2im pad "
    "constant_pad_nd unsafe_view reshape_alias as_strided diagonal tril triu pixel_shuffle pixel_unshuffle "
    "channel_shuffle native_channel_shuffle unfold_copy index index_select gather expand_copy masked_fill "
    "atleast_1d atleast_2d atleast_3d pack_padded_sequence pad_packed_sequence alias_of narrow_copy"
)

ATOMIC_PYTHON = (
    frozenset(ACTIVATIONS) | NORMS | POOLS | LOSSES | frozenset(SLOTTED) | EMBEDDINGS | ATTENTION | CAST | SHAPE
    | _words("einsum tensordot split norm interpolate upsample grid_sample affine_grid pairwise_distance cdist "
             "unique_impl unique_consecutive_impl")
)  # fmt: skip
ATOMIC = ATOMIC_PYTHON
"""Functions written in Python that are one operation here; others are seen through."""

CONSTANT = _words(
    "zeros_like ones_like full_like empty_like rand_like randn_like randint_like new_zeros new_ones new_full "
    "new_empty new_tensor new_empty_strided new arange"
)
"""They take a tensor only for its shape and type."""

DATA_SHAPE_ONLY = _words(
    "bernoulli multinomial zero fill uniform normal random exponential geometric cauchy log_normal"
)
"""Overwritten in place: what was there does not matter."""

ESCAPES = _words("numpy tolist array")
FROM_HOST = _words("tensor as_tensor asarray from_numpy frombuffer from_dlpack scalar_tensor")

_RIGHT = {
    "radd": "add", "rsub": "sub", "rmul": "mul", "rtruediv": "div", "rdiv": "div", "rpow": "pow",
    "rmatmul": "matmul", "rmod": "remainder", "rfloordiv": "floor_divide",
}  # fmt: skip
_INPLACE = {
    "iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "idiv": "div", "ipow": "pow", "imod": "remainder",
    "iand": "and", "ior": "or", "ifloordiv": "floor_divide",
}  # fmt: skip
_SAME = {
    "truediv": "div", "true_divide": "div", "divide": "div", "multiply": "mul", "subtract": "sub", "negative": "neg",
    "absolute": "abs", "clip": "clamp", "swish": "silu", "concat": "cat", "concatenate": "cat", "sigmoid_": "sigmoid",
    "expit": "sigmoid",
}  # fmt: skip


def canonical(func: Any) -> tuple[str, bool, bool]:
    """The name an operation goes by here, whether its arguments are swapped, whether it writes in place."""
    packet = getattr(func, "overloadpacket", None)
    name: str = getattr(packet, "__name__", "") if packet is not None else getattr(func, "__name__", "")
    if name in ("__get__", "__set__"):
        return getattr(getattr(func, "__self__", None), "__name__", ""), False, name == "__set__"
    if name.startswith("__") and name.endswith("__"):
        name = name[2:-2]
        if name in _RIGHT:
            return _RIGHT[name], True, False
        if name in _INPLACE:
            return _INPLACE[name], False, True
        return _SAME.get(name, name), False, name == "setitem"
    writes = is_in_place(name)
    name = name.strip("_")
    for prefix in ("special_", "linalg_vector_"):
        if name.startswith(prefix):
            name = name[len(prefix) :]
    if packet is not None and name in ("max", "min") and func._overloadname == "other":
        name += "imum" if name.endswith(("max", "min")) else ""
    return _SAME.get(name, name), False, writes


def is_in_place(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__") and name != "requires_grad_"

"""Moments, extremes and digest, read from where a tensor lies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from initpolicy.measure import measure
from initpolicy.streams import BLOCK

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
FINITE = st.floats(-(2.0**60), 2.0**60, width=32)


@given(arrays(np.float32, array_shapes(max_dims=3, max_side=6), elements=FINITE))
def test_moments_are_numpys(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    found, wide = measure(torch.from_numpy(values)), values.astype(np.longdouble)
    assert found.count == values.size
    scale = float(np.abs(wide).max())
    assert found.mean == pytest.approx(float(wide.mean()), abs=1e-15 * scale)
    assert found.std == pytest.approx(float(wide.std()), abs=1e-14 * scale)
    assert (found.min, found.max) == (values.min(), values.max())
    assert found.finite


@pytest.mark.parametrize("count", [BLOCK - 1, BLOCK, BLOCK + 1, 17 * BLOCK + 3])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_over_many_blocks(count: int, dtype: torch.dtype) -> None:
    tensor = (3 + torch.arange(count) % 1000 / 500).to(dtype)
    found, wide = measure(tensor), tensor.to(torch.float64).numpy()
    assert found.count == count
    assert found.mean == pytest.approx(math.fsum(wide) / count, rel=1e-14)
    assert found.std == pytest.approx(float(wide.std()), rel=1e-12)
    assert (found.min, found.max) == (wide.min(), wide.max())


def test_a_large_mean_costs_no_digits() -> None:
    tensor = 1e8 + torch.tensor([0.0, 1.0, 2.0, 3.0] * BLOCK, dtype=torch.float64)
    assert measure(tensor).std == pytest.approx(math.sqrt(1.25), rel=1e-12)


@pytest.mark.parametrize("shape", [(7,), (7, 3), (7, 2, 2), (7, BLOCK // 3)])
@pytest.mark.parametrize("row", range(7))
def test_a_row_can_be_left_out(shape: tuple[int, ...], row: int) -> None:
    tensor = torch.arange(math.prod(shape), dtype=torch.float64).reshape(shape)
    found, rest = measure(tensor, without=row), measure(torch.cat([tensor[:row], tensor[row + 1 :]]))
    assert (found.count, found.min, found.max) == (rest.count, rest.min, rest.max)
    assert found.mean == pytest.approx(rest.mean, rel=1e-13)
    assert found.std == pytest.approx(rest.std, rel=1e-13)
    assert found.digest == measure(tensor).digest


def test_where_the_only_row_is_left_out_nothing_is() -> None:
    found = measure(torch.ones(1, 4), without=0)
    assert found.count == 0
    assert found.finite
    assert all(math.isnan(value) for value in (found.mean, found.std, found.min, found.max))


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4)])
def test_an_empty_tensor_has_no_moments(shape: tuple[int, ...]) -> None:
    found = measure(torch.zeros(shape))
    assert (found.count, found.finite) == (0, True)
    assert math.isnan(found.mean)
    assert found.digest == xxhash.xxh3_128_hexdigest(b"")


def test_a_scalar() -> None:
    found = measure(torch.tensor(2.5))
    assert (found.count, found.mean, found.std, found.min, found.max) == (1, 2.5, 0.0, 2.5, 2.5)


@pytest.mark.parametrize(
    "values", [[math.nan], [1.0, math.nan], [math.inf, 1.0], [-math.inf, math.inf], [0.0] * BLOCK + [math.nan]]
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_not_finite_is_told(values: list[float], dtype: torch.dtype) -> None:
    assert not measure(torch.tensor(values, dtype=dtype)).finite


def test_values_whose_squares_overflow_are_finite() -> None:
    found = measure(torch.tensor([1e200, -1e200], dtype=torch.float64))
    assert (found.finite, found.mean, found.std) == (True, 0.0, math.inf)


def test_eight_bits_are_measured_too() -> None:
    """They are not drawn, but a report of what stays shows them."""
    found = measure(torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn))
    assert (found.mean, found.std) == (1.5, 0.5)


# --- digest --------------------------------------------------------------------------------------


def test_the_digest_is_known() -> None:
    """XXH3-128 of the block digests, little-endian bytes in order of the indices: anyone can recompute it."""
    values = np.arange(BLOCK + 10, dtype="<f4")
    blocks = [values[:BLOCK].tobytes(), values[BLOCK:].tobytes()]
    expected = xxhash.xxh3_128_hexdigest(b"".join(map(xxhash.xxh3_128_digest, blocks)))
    assert measure(torch.from_numpy(values)).digest == expected == "261de33ccedf3ec60be5329829d950a1"


def test_the_digest_sees_the_bytes_and_not_where_they_lie() -> None:
    tensor = torch.randn(6, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    digest = measure(tensor).digest
    assert measure(tensor.to(memory_format=torch.channels_last)).digest == digest
    assert measure(tensor.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)).digest == digest
    assert measure(torch.cat([tensor, tensor])[:6]).digest == digest
    others = [tensor + 1e-6, tensor.double(), tensor.flatten()[torch.randperm(360)], -tensor, tensor[:5]]
    assert len({digest, *(measure(other).digest for other in others)}) == 6
    assert measure(torch.tensor([0.0])).digest != measure(torch.tensor([-0.0])).digest


def test_a_view_that_skips_elements() -> None:
    wide = torch.arange(2 * BLOCK + 6, dtype=torch.float32).view(-1, 2)
    assert measure(wide[:, ::2]) == measure(wide[:, ::2].contiguous())


def test_measuring_changes_nothing() -> None:
    param = torch.nn.Parameter(torch.randn(5, 3).T)
    version, values = param._version, param.detach().clone()
    measure(param)
    assert param._version == version
    assert torch.equal(param.detach(), values)
    assert param.grad_fn is None

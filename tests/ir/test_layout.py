"""Physical layouts: shapes, round trips, and what the places that hold nothing are filled with."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.errors import IRError
from tilewright.ir.arithmetic import bfloat16_bits, rounded_to_bfloat16
from tilewright.ir.layout import HALVES, NARROW, WINOGRAD, bytes_of, pack, physical_shape, unpack
from tilewright.ir.types import DType, TensorType

SHAPES = {
    "": [(2, 3), (1,), (2, 17, 3, 5)],
    "c16": [(2, 17), (1, 32, 7), (2, 5, 3, 4)],
    "o16i16": [(18, 33), (5, 3, 3, 3), (32, 16, 5)],
    "o16": [(19, 1, 3, 3), (16, 3, 7, 7), (5, 2, 4), (18, 33)],
    "io16": [(18, 33), (5, 3), (48, 16)],
    "o16i4": [(18, 33), (5, 3, 3, 3), (32, 16, 5), (16, 48, 1, 1)],
    "i4o16": [(18, 33), (5, 3), (48, 16)],
    "o16k4": [(19, 1, 3, 3), (16, 3, 7, 7), (5, 2, 4), (33, 4, 2, 9)],
}


@pytest.mark.parametrize("dtype", [DType.F32, DType.I8, DType.U8], ids=str)
@pytest.mark.parametrize("layout", list(SHAPES))
def test_round_trip(layout: str, dtype: DType) -> None:
    for shape in SHAPES[layout]:
        array = np.random.default_rng(3).integers(0, 200, shape).astype(dtype.numpy)
        type = TensorType(shape, dtype, layout=layout)
        packed = pack(array, layout)
        assert packed.shape == physical_shape(type)
        assert packed.nbytes == bytes_of(type)
        assert packed.flags.c_contiguous
        np.testing.assert_array_equal(unpack(packed, type), array)


def test_two_integers_in_a_byte() -> None:
    for shape in ((40, 33), (7, 5), (64, 16)):
        w = np.random.default_rng(3).integers(-8, 8, shape).astype(np.int8)
        type = TensorType(shape, DType.I8, layout=HALVES)
        packed = pack(w, HALVES)
        assert packed.shape == physical_shape(type)
        assert packed.nbytes == bytes_of(type)
        np.testing.assert_array_equal(unpack(packed, type), w)
        assert packed[0, 0, 0, 3, 1] == (w[2, 3] & 15 | w[3, 3] << 4)
    with pytest.raises(IRError, match="layout i8o16 needs a matrix of i8"):
        physical_shape(TensorType((16, 16), DType.F32, layout=HALVES))


def test_two_numbers_in_a_word() -> None:
    for shape in ((2, 40, 5), (1, 64, 3, 3)):
        array = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
        type = TensorType(shape, DType.F32, layout=NARROW)
        packed = pack(array, NARROW)
        assert packed.shape == physical_shape(type)
        assert packed.nbytes == bytes_of(type) == 2 * shape[0] * 64 * array[0, 0].size
        np.testing.assert_array_equal(unpack(packed, type), rounded_to_bfloat16(array))
        assert packed.view(np.uint16)[0, 1, ..., 7].ravel()[0] == bfloat16_bits(array)[0, 39].ravel()[0]
    with pytest.raises(IRError, match="layout n32 needs elements of single precision"):
        physical_shape(TensorType((16, 16), DType.I8, layout=NARROW))


def test_addresses() -> None:
    """One element of each layout, found where the description says."""
    w = np.arange(32 * 32 * 3 * 5, dtype=np.int32).reshape(32, 32, 3, 5)
    assert pack(w, "c16")[3, 1, 2, 4, 5] == w[3, 21, 2, 4]
    assert pack(w, "o16i16")[1, 0, 2, 4, 7, 5] == w[21, 7, 2, 4]
    assert pack(w, "o16")[1, 9, 2, 4, 5] == w[21, 9, 2, 4]
    assert pack(w[:, :, 0, 0], "io16")[1, 9, 5] == w[9, 21, 0, 0]
    assert pack(w, "o16i4")[1, 0, 2, 3, 2, 5, 1] == w[21, 9, 2, 3]
    assert pack(w[:, :, 0, 0], "i4o16")[1, 0, 2, 5, 1] == w[9, 21, 0, 0]
    assert pack(w, "o16k4")[1, 9, 2, 1, 5, 0] == w[21, 9, 2, 4]


@pytest.mark.parametrize("layout", WINOGRAD)
def test_transformed_weights(layout: str) -> None:
    """The transforms make a convolution of products; channels lie where the description says, nothing else is there."""
    rng, algorithm = np.random.default_rng(3), WINOGRAD[layout]
    w, n, m = rng.standard_normal((19, 17, 3, 3)).astype(np.float32), algorithm.extent, algorithm.tile
    packed = pack(w, layout)
    type = TensorType(w.shape, DType.F32, layout=layout)
    assert packed.shape == physical_shape(type) == (2, n, n, 2, 16, 16)
    assert packed.nbytes == bytes_of(type)
    tile = rng.standard_normal((n, n))
    product = packed[1, :, :, 1, 0, 2] * (algorithm.inputs @ tile @ algorithm.inputs.T)
    expected = [[(tile[i : i + 3, j : j + 3] * w[18, 16]).sum() for j in range(m)] for i in range(m)]
    np.testing.assert_allclose(algorithm.outputs @ product @ algorithm.outputs.T, expected, atol=1e-5)
    assert not packed[1, ..., 3:].any()
    assert not packed[:, :, :, 1, 1:].any()


@pytest.mark.parametrize("layout", ["o16i4", "o16k4"])
def test_fill_of_dot_product_layouts(layout: str) -> None:
    """What is absent counts as zero once unsigned weights have been made signed."""
    for dtype, middle in ((np.uint8, 128), (np.int8, 0)):
        packed = pack(np.full((3, 5, 2, 3), 7, dtype), layout)
        assert set(np.unique(packed)) == {7, middle}


def test_layouts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(IRError, match="unknown layout"):
        physical_shape(TensorType((16, 16), DType.I8, layout="c32"))
    with pytest.raises(IRError, match="layout f4o16i16 needs weights of 3 x 3 windows"):
        physical_shape(TensorType((16, 16, 3, 1), DType.F32, layout="f4o16i16"))
    with pytest.raises(IRError, match="layout o16k4 needs at least 3 dimensions"):
        physical_shape(TensorType((16, 16), DType.I8, layout="o16k4"))
    with pytest.raises(IRError, match="layout i4o16 needs 2 dimensions"):
        physical_shape(TensorType((16, 16, 3), DType.I8, layout="i4o16"))

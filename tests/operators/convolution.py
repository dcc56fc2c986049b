"""Samples of the family ``convolution``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from samples import (
    Sample,
    channel_type,
    quantized_type,
    samples_of,
    stored_array,
    weight_array,
)

from tilewright.ir.ops.convolution import Col2Im, Conv, ConvTranspose, NarrowConv
from tilewright.ir.types import DType, TensorType


@samples_of(Conv)
def conv(cls: type[Conv], rng: np.random.Generator) -> Iterator[Sample]:
    def array(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    def plain(spatial: int = 2, **changes) -> Conv:
        base = {"strides": (1,) * spatial, "pads": (0,) * 2 * spatial, "dilations": (1,) * spatial}
        return Conv(**{**base, **changes})

    weights = frozenset({1, 2})
    yield Sample(plain(), (array(1, 3, 5, 5), array(4, 3, 3, 3), None), weights)
    yield Sample(plain(pads=(1, 1, 1, 1)), (array(2, 17, 6, 5), array(18, 17, 3, 3), array(18)), weights)
    yield Sample(plain(strides=(2, 2), pads=(0, 1, 2, 3)), (array(1, 16, 9, 8), array(32, 16, 3, 3), None), weights)
    yield Sample(plain(dilations=(2, 3), pads=(2, 3, 2, 3)), (array(1, 3, 9, 9), array(5, 3, 3, 3), None), weights)
    yield Sample(plain(group=2), (array(1, 8, 5, 5), array(6, 4, 3, 3), array(6)), weights)
    yield Sample(plain(group=19, pads=(1, 1, 1, 1)), (array(1, 19, 7, 7), array(19, 1, 3, 3), array(19)), weights)
    yield Sample(plain(group=8, strides=(2, 1)), (array(1, 8, 7, 7), array(16, 1, 3, 2), None), weights)
    yield Sample(plain(1, strides=(2,), pads=(1, 2)), (array(2, 4, 15), array(7, 4, 5), array(7)), weights)
    yield Sample(plain(3), (array(1, 2, 4, 4, 4), array(3, 2, 2, 2, 2), None), weights)
    yield Sample(plain(act="relu"), (array(1, 16, 4, 4), array(16, 16, 1, 1), array(16)), weights)
    yield Sample(
        plain(act="clip", act_args=(0.0, 6.0)),
        (array(1, 8, 4, 4), array(24, 8, 1, 1), array(24), array(1, 24, 4, 4)),
        weights,
    )
    yield from conv_quantized_samples(cls, rng)


@samples_of(NarrowConv)
def narrow_conv(cls: type[NarrowConv], rng: np.random.Generator) -> Iterator[Sample]:
    for sample in conv(Conv, rng):
        if not sample.types:
            assert isinstance(sample.operator, Conv)
            yield replace(sample, operator=cls(**vars(sample.operator)))


def conv_quantized_samples(cls: type[Conv], rng: np.random.Generator) -> Iterator[Sample]:
    def sample(
        x: TensorType,
        w: TensorType,
        bias: bool,
        scale: float,
        zero_point: int = 0,
        added: tuple[DType, float, int] | None = None,
        **changes,
    ) -> Sample:
        spatial = x.rank - 2
        base = {"strides": (1,) * spatial, "pads": (0,) * 2 * spatial, "dilations": (1,) * spatial}
        conv = Conv(**{**base, **changes})
        b = rng.integers(-3000, 3000, w.shape[0]).astype(np.int32) if bias else None
        y = quantized_type(x.dtype, conv.infer(x, w, None, None).shape, scale, zero_point)
        arrays = (stored_array(rng, x.dtype, x.shape), weight_array(rng, w.dtype, w.shape), b)
        types = (x, w, TensorType.of(b) if b is not None else None)
        if added is not None:
            residual = quantized_type(added[0], y.shape, *added[1:])
            arrays, types = (*arrays, stored_array(rng, added[0], y.shape)), (*types, residual)
        return Sample(conv, arrays, frozenset({1, 2}), types, (y,))

    u8, i8 = DType.U8, DType.I8
    yield sample(quantized_type(u8, (1, 3, 6, 5), 0.02, 114), quantized_type(i8, (4, 3, 3, 3), 0.01), False, 0.06, 130)
    yield sample(
        quantized_type(i8, (2, 17, 6, 5), 0.02, -3),
        channel_type(rng, i8, (18, 17, 3, 3), 0),
        True,
        0.15,
        5,
        pads=(1, 0, 2, 1),
        strides=(2, 1),
    )
    # Weights with a zero point of their own, as older TFLite files have them.
    yield sample(
        quantized_type(u8, (1, 16, 5, 5), 0.02, 128),
        quantized_type(u8, (8, 16, 3, 3), 0.01, 31),
        True,
        0.1,
        97,
        pads=(1, 1, 1, 1),
    )
    yield sample(
        quantized_type(i8, (1, 19, 7, 7), 0.02, -128),
        channel_type(rng, i8, (19, 1, 3, 3), 0),
        True,
        0.03,
        -128,
        group=19,
        pads=(1, 1, 1, 1),
        act="leaky_relu",
        act_args=(0.1,),
    )
    yield sample(
        quantized_type(i8, (1, 8, 5, 5), 0.05, 9),
        quantized_type(i8, (6, 4, 2, 3), 0.02, -7),
        True,
        0.05,
        -20,
        group=2,
        dilations=(2, 1),
        act="clip",
        act_args=(0.0, 6.0),
    )
    # A multiplier of 1/2: every other accumulator is an exact tie.
    yield sample(quantized_type(i8, (1, 2, 9), 0.5), quantized_type(i8, (5, 2, 1), 2.0**-8), False, 2.0**-2)
    yield sample(
        quantized_type(u8, (1, 16, 4, 4), 0.02, 1), quantized_type(u8, (5, 16, 1, 1), 0.01, 60), False, 0.2, 255
    )
    # Sums that are rounded with what is added to them.
    yield sample(
        quantized_type(i8, (2, 17, 6, 5), 0.02, -3),
        channel_type(rng, i8, (18, 17, 3, 3), 0),
        True,
        0.17,
        5,
        (i8, 0.09, -11),
        pads=(1, 1, 1, 1),
        act="leaky_relu",
        act_args=(0.3,),
    )
    yield sample(
        quantized_type(u8, (1, 19, 7, 7), 0.02, 128),
        channel_type(rng, i8, (19, 1, 3, 3), 0),
        True,
        0.06,
        97,
        (i8, 0.05, 100),
        group=19,
        pads=(1, 1, 1, 1),
    )
    yield sample(
        quantized_type(i8, (1, 16, 12, 12), 0.02),
        channel_type(rng, i8, (16, 16, 3, 3), 0),
        False,
        0.15,
        0,
        (u8, 0.08, 3),
        pads=(1, 1, 1, 1),
        act="clip",
        act_args=(-3.0, 6.0),
    )
    yield sample(
        quantized_type(u8, (1, 16, 9), 0.02, 4),
        quantized_type(u8, (32, 16, 1), 0.01, 60),
        True,
        0.1,
        20,
        (u8, 3.0, 9),
    )
    # A step of the result is two of either: every other sum is an exact tie.
    yield sample(
        quantized_type(i8, (1, 2, 9), 0.5), quantized_type(i8, (5, 2, 1), 2.0**-8), False, 2.0**-2, 1, (i8, 0.125, 0)
    )


@samples_of(ConvTranspose)
def conv_transpose(cls: type[ConvTranspose], rng: np.random.Generator) -> Iterator[Sample]:
    def array(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    weights = frozenset({1, 2})
    one = ConvTranspose(strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), output_padding=(0, 0))
    yield Sample(one, (array(1, 3, 4, 4), array(3, 5, 3, 3), array(5)), weights)
    two = ConvTranspose(strides=(2, 2), pads=(1, 0, 1, 1), dilations=(1, 2), output_padding=(1, 0))
    yield Sample(two, (array(2, 4, 5, 4), array(4, 3, 3, 3), None), weights)
    grouped = ConvTranspose(strides=(2, 3), pads=(0, 0, 0, 0), dilations=(1, 1), output_padding=(0, 0), group=2)
    yield Sample(grouped, (array(1, 4, 3, 3), array(4, 2, 2, 2), array(4)), weights)
    line = ConvTranspose(strides=(3,), pads=(1, 1), dilations=(1,), output_padding=(0,))
    yield Sample(line, (array(1, 2, 6), array(2, 3, 4), array(3)), weights)
    # Each channel by a tap of its own.
    apart = np.eye(4, dtype=np.float32).reshape(4, 1, 2, 2)
    yield Sample(replace(grouped, group=4), (array(2, 4, 3, 3), apart, None), weights)


@samples_of(Col2Im)
def col2im(cls: type[Col2Im], rng: np.random.Generator) -> Iterator[Sample]:
    for operator, counts, channels in (
        (cls((9, 7), (3, 3), (1, 2), (1, 0, 1, 1), (2, 2)), (5, 2), 2),
        (cls((17,), (4,), (1,), (1, 1), (3,)), (6,), 1),
        # onnxruntime errs on channels beside one another with dilations in three dimensions.
        (cls((3, 9, 4), (2, 3, 2), (2, 1, 1), (0, 1, 0, 2, 0, 1), (1, 2, 1)), (3, 4, 4), 1),
        (cls((3, 9, 4), (2, 3, 2), (1, 1, 1), (0, 1, 0, 1, 0, 1), (1, 2, 1)), (3, 4, 4), 2),
        (cls((5, 40), (1, 2), (1, 3), (0, 2, 0, 2), (2, 1)), (3, 41), 3),
    ):
        shape = (2, channels * math.prod(operator.block), math.prod(counts))
        yield Sample(operator, (rng.standard_normal(shape).astype(np.float32),))

"""Changes of layout, global pooling and resampling against the definition of the layout."""

from __future__ import annotations

import numpy as np
import pytest
from generic_kernels import assert_equals_reference, execution
from kernel_harness import TARGETS, described, run
from operator_samples import Case, make_case
from samples import Sample

from tilewright.codegen.cpu.kernels.layout import BlockChannels
from tilewright.codegen.cpu.kernels.pooling import GlobalAveragePooling, GlobalMaxPooling
from tilewright.ir.layout import pack
from tilewright.ir.ops.resize import Resize
from tilewright.ir.types import DType, Quantization, TensorType

targets = pytest.mark.parametrize("target", TARGETS)
shapes = pytest.mark.parametrize("shape", [(1, 16, 16), (2, 35, 33), (1, 3, 7), (1, 33, 1), (3, 48, 50)], ids=str)


@targets
@shapes
def test_to_blocks_and_back(shape: tuple[int, int, int], target: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal(shape).astype(np.float32)
    blocked = pack(x, "c16")
    (y,) = run(BlockChannels(*shape, inverse=False), described(target), [x], [(blocked.shape, np.float32)])
    np.testing.assert_array_equal(y, blocked)
    (back,) = run(BlockChannels(*shape, inverse=True), described(target), [blocked], [(shape, np.float32)])
    np.testing.assert_array_equal(back, x)


@targets
@pytest.mark.parametrize("shape", [(16, 16, 3, 3), (35, 7, 5), (20, 33, 1), (3, 40, 2, 3), (64, 1, 9)], ids=str)
def test_weights_in_blocks(shape: tuple[int, ...], target: str, rng: np.random.Generator) -> None:
    w = rng.standard_normal(shape).astype(np.float32)
    outputs, pixels, taps = shape[0], int(np.prod(shape[1:])), int(np.prod(shape[2:]))
    for layout, given in (("o16", 0), ("o16i16", taps)):
        packed = pack(w, layout)
        spec = BlockChannels(1, outputs, pixels, inverse=False, taps=given)
        (y,) = run(spec, described(target), [w], [(packed.shape, np.float32)])
        np.testing.assert_array_equal(y, packed)


@targets
@shapes
@pytest.mark.parametrize("takes_mean", [False, True])
def test_global_pooling(shape: tuple[int, int, int], takes_mean: bool, target: str, rng: np.random.Generator) -> None:
    x = pack(rng.standard_normal(shape).astype(np.float32) - 3, "c16")
    batch, blocks, pixels, lanes = x.shape
    spec = (GlobalAveragePooling if takes_mean else GlobalMaxPooling)(batch * blocks, pixels)
    (y,) = run(spec, described(target), [x], [((batch, blocks, 1, lanes), np.float32)])
    expected = x.mean(axis=2, keepdims=True) if takes_mean else x.max(axis=2, keepdims=True)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_images_in_blocks_are_resampled_as_vectors(rng: np.random.Generator) -> None:
    cases: list[Case] = []
    for shape in ((2, 19, 5, 4), (1, 32, 6)):
        extents = (*shape[:2], *(2 * extent - 1 for extent in shape[2:]))
        scales = tuple(after / before for before, after in zip(shape, extents, strict=True))
        for mode in ("nearest", "linear", "cubic"):
            x = rng.standard_normal(shape).astype(np.float32)
            case = make_case(f"{mode} {shape}", Sample(Resize(extents, scales, mode), (x,)))
            cases.append(case)
            if mode != "cubic":
                type = TensorType(shape, DType.U8, Quantization.per_tensor(0.5, 3))
                sample = Sample(Resize(extents, scales, mode), (rng.integers(0, 256, shape, np.uint8),), types=(type,))
                cases.append(make_case(f"quantised {mode} {shape}", sample))
    for case in cases:
        (op,) = case.module.main.ops
        for value in (*op.inputs, op.result):
            value.type = value.type.with_layout("c16")
        assert execution(case) is not None
    assert_equals_reference(cases)

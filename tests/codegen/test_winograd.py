"""Winograd's algorithm against the reference of the operator, at shapes that leave remainders everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from kernel_harness import TARGETS, Execution, described, run, run_kernels

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.kernels.activation import Activation
from tilewright.codegen.cpu.kernels.convolutions.winograd_convolution import WinogradConvolution
from tilewright.codegen.cpu.kernels.window import walked
from tilewright.ir.core import Function
from tilewright.ir.layout import WINOGRAD, pack, physical_shape, unpack
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.types import DType, TensorType


@dataclass(frozen=True)
class Case:
    """A convolution: x is [batch, channels, *image]."""

    batch: int
    channels: int
    outputs: int
    image: tuple[int, int]
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    has_bias: bool = True
    has_residual: bool = False
    act: str = "none"


CASES = [
    Case(1, 16, 16, (8, 8)),
    Case(2, 17, 35, (9, 13), has_residual=True, act="relu"),
    Case(1, 40, 70, (7, 7), act="sigmoid"),
    Case(1, 5, 3, (4, 30), pads=(0, 2, 3, 0), has_bias=False),
    Case(1, 260, 20, (21, 6), has_residual=True),
    # Tiles whose inputs all lie in the padding, and an image that is smaller than a tile.
    Case(1, 16, 33, (1, 2), pads=(7, 6, 8, 9), act="hard_swish"),
    Case(3, 33, 16, (3, 3), pads=(0, 0, 0, 0), act="softplus"),
]


def check(case: Case, algorithm: str, target_name: str, rng: np.random.Generator) -> None:
    def array(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    operator = Conv((1, 1), case.pads, (1, 1), 1, case.act)
    x, w = array(case.batch, case.channels, *case.image), array(case.outputs, case.channels, 3, 3)
    w /= np.float32(np.sqrt(w[0].size))
    type = operator.infer(TensorType.of(x), TensorType.of(w), None, None)
    bias = array(case.outputs) if case.has_bias else None
    residual = array(*type.shape) if case.has_residual else None
    expected = operator.reference(x, w, bias, residual)
    rows, columns = walked(operator.windows(x.shape, w.shape))
    spec = WinogradConvolution(
        case.batch,
        case.channels,
        rows,
        columns,
        case.outputs,
        algorithm,
        has_bias=case.has_bias,
        has_residual=case.has_residual,
        activation=Activation(case.act),
    )
    operands = [pack(x, "c16"), pack(w, algorithm)]
    operands += [bias] if bias is not None else []
    operands += [pack(residual, "c16")] if residual is not None else []
    blocked = type.with_layout("c16")
    (y,) = run(spec, described(target_name), operands, [(physical_shape(blocked), np.float32)])
    np.testing.assert_allclose(unpack(y, blocked), expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))
    # Padding lanes hold exact zeros, whatever the activation makes of zero.
    assert (pack(unpack(y, blocked), "c16") == y).all()


def random_case(rng: np.random.Generator) -> Case:
    pads = rng.integers(0, 4, 4).tolist()
    image = [int(rng.integers(max(1, 3 - pads[i] - pads[i + 2]), 40)) for i in (0, 1)]
    channels, outputs = (int(n) for n in rng.integers(1, 100, 2))
    return Case(
        batch=int(rng.integers(1, 3)),
        channels=channels,
        outputs=outputs,
        image=(image[0], image[1]),
        pads=(pads[0], pads[1], pads[2], pads[3]),
        has_bias=bool(rng.random() < 0.7),
        has_residual=bool(rng.random() < 0.3),
        act=str(rng.choice(["none", "relu", "sigmoid"])),
    )


@pytest.mark.parametrize("algorithm", WINOGRAD)
@pytest.mark.parametrize("index", range(len(CASES)))
def test_agrees_with_reference(index: int, algorithm: str, rng: np.random.Generator) -> None:
    """Each on one target; the sweep runs random ones on all."""
    target = TARGETS[(index + list(WINOGRAD).index(algorithm)) % len(TARGETS)]
    check(CASES[index], algorithm, target, rng)


@pytest.mark.sweep
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("algorithm", WINOGRAD)
@pytest.mark.parametrize("seed", range(60))
def test_random_shapes(seed: int, algorithm: str, target: str) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(3):
        check(random_case(rng), algorithm, target, rng)


def test_the_result_may_lie_where_the_residual_lies(rng: np.random.Generator) -> None:
    x, y = (TensorType((1, 32, 9, 9), DType.F32, layout="c16") for _ in range(2))
    w, bias = TensorType((32, 32, 3, 3), DType.F32, layout="f4o16i16"), TensorType((32,), DType.F32)
    function = Function("main", [("x", x), ("w", w), ("b", bias), ("r", y)])
    op = function.append(Conv((1, 1), (1, 1, 1, 1), (1, 1), 1, "relu"), function.parameters, [y])
    kernel = lower(op, described("host"))
    assert kernel is not None
    arrays = tuple(rng.standard_normal(type.shape).astype(np.float32) for type in (x, w, bias, y))
    (found,) = run_kernels([Execution(op, kernel, arrays, in_place=3)], described("host"))
    assert found is not None
    np.testing.assert_allclose(found[0], op.evaluate(arrays)[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "conv",
    [Conv((2, 1), (1, 1, 1, 1), (1, 1)), Conv((1, 1), (2, 2, 2, 2), (1, 2)), Conv((1, 1), (1, 1, 1, 1), (1, 1), 2)],
    ids=["strides", "dilations", "groups"],
)
def test_other_windows_are_left_to_the_reference(conv: Conv) -> None:
    """A module from an artifact may say anything of its weights."""
    x = TensorType((1, 32, 8, 8), DType.F32, layout="c16")
    w = TensorType((32, 32 // conv.group, 3, 3), DType.F32, layout="f4o16i16")
    function = Function("main", [("x", x), ("w", w)])
    (result,) = conv.result_types((x, w))
    op = function.append(conv, function.parameters, [result.with_layout("c16")])
    assert lower(op, described("host")) is None

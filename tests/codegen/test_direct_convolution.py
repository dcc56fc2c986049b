"""Direct convolution against the reference of the operator, at shapes that leave remainders everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from kernel_harness import EMULATED, TARGETS, described, run

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.kernels.activation import Activation
from tilewright.codegen.cpu.kernels.convolutions.convolution import Convolution
from tilewright.codegen.cpu.kernels.convolutions.convolution_tile import ConvolutionTile
from tilewright.codegen.cpu.kernels.products.blocking import Blocking
from tilewright.codegen.cpu.kernels.window import Axis
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.ir.core import Constant, Function
from tilewright.ir.layout import pack, physical_shape, unpack
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.types import DType, TensorType


@dataclass(frozen=True)
class Case:
    """A convolution: x is [batch, channels, *image]."""

    batch: int
    channels: int
    outputs: int
    image: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    has_bias: bool = True
    has_residual: bool = False
    act: str = "none"
    act_args: tuple[float, ...] = ()
    plain: bool = False
    blocking: Blocking | None = None
    offset: float = 0


CASES = [
    Case(1, 16, 16, (5, 5), (3, 3), pads=(1, 1, 1, 1)),
    Case(2, 17, 50, (9, 13), (3, 3), pads=(1, 1, 1, 1), has_residual=True, act="relu"),
    Case(1, 64, 64, (14, 14), (1, 1), act="clip", act_args=(1.0, 6.0)),
    Case(1, 40, 35, (14, 15), (1, 1), act="sigmoid"),
    Case(1, 3, 35, (33, 31), (7, 7), (2, 2), (3, 2, 3, 4), plain=True),
    Case(2, 1, 8, (6, 5), (3, 2), plain=True, act="hard_swish"),
    Case(1, 32, 64, (9, 8), (3, 5), (2, 3), (5, 4, 1, 2), (2, 3), groups=2),
    Case(1, 64, 64, (9, 8), (3, 5), (2, 3), (5, 4, 1, 2), has_residual=True, blocking=Blocking(1, 5, 2, 1, 2)),
    Case(1, 80, 48, (6, 9), (3, 3), pads=(1, 1, 1, 1), act="relu", blocking=Blocking(1, 4, 2, 2, 4)),
    Case(2, 20, 35, (1, 50), (1, 5), pads=(0, 2, 0, 2), has_bias=False),
    # Rows in pieces, the last of which is short.
    Case(1, 48, 40, (1, 53), (1, 4), (1, 2), (0, 2, 0, 2), has_residual=True, blocking=Blocking(1, 3, 1, 2, 1, 4)),
    Case(2, 20, 35, (3, 50), (2, 5), pads=(1, 2, 0, 2), act="relu", blocking=Blocking(1, 4, 2, 1, 4, 3)),
    # Rows and columns that lie in the padding altogether.
    Case(1, 16, 16, (4, 4), (3, 3), pads=(7, 6, 8, 9), dilations=(2, 3), act="mish"),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.channels}to{case.outputs}-{case.act}")
def test_agrees_with_reference(case: Case, target: str, rng: np.random.Generator) -> None:
    check(case, target, rng)


@pytest.mark.parametrize(
    "case",
    [
        Case(1, 128, 32, (9, 8), (3, 3), offset=1e4),
        Case(1, 128, 32, (9, 8), (3, 3), has_residual=True, offset=1e4),
        Case(1, 128, 32, (9, 8), (3, 3), has_residual=True, blocking=Blocking(1, 4, 2, 4, 4), offset=1e4),
        Case(1, 3, 35, (33, 31), (7, 7), plain=True, offset=1e4),
    ],
    ids=["bias", "residual", "chunks", "plain"],
)
def test_products_are_not_rounded_to_the_precision_of_what_is_added(case: Case, rng: np.random.Generator) -> None:
    check(case, "host", rng)


@pytest.mark.parametrize("target", [EMULATED[0], EMULATED[-1]])
@pytest.mark.parametrize("case", CASES[1:3], ids=lambda case: f"{case.channels}to{case.outputs}-{case.act}")
def test_agrees_on_other_architectures(case: Case, target: str, rng: np.random.Generator) -> None:
    check(case, target, rng)


@pytest.mark.parametrize("target", TARGETS)
def test_random_shapes(target: str, rng: np.random.Generator) -> None:
    for _ in range(12):
        check(random_case(rng), target, rng)


@pytest.mark.parametrize("activation", ["leaky_relu", "swish", "gelu", "tanh", "softplus", "elu"])
def test_activations(activation: str, rng: np.random.Generator) -> None:
    args = (0.3,) if activation in ("leaky_relu", "elu") else ()
    check(Case(1, 16, 20, (4, 5), (3, 3), act=activation, act_args=args), "host", rng)


def random_case(rng: np.random.Generator) -> Case:
    def numbers(count: int, low: int, high: int) -> tuple[int, ...]:
        return tuple(int(n) for n in rng.integers(low, high + 1, count))

    kernel, dilations, pads = numbers(2, 1, 5), numbers(2, 1, 2), numbers(4, 0, 3)
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    image = tuple(int(rng.integers(max(1, r - pads[i] - pads[i + 2]), r + 20)) for i, r in enumerate(reach))
    groups = int(rng.choice([1, 1, 1, 2]))
    plain = groups == 1 and bool(rng.random() < 0.2)
    channels, outputs = (int(n) for n in rng.integers(1, 70, 2))
    if plain:
        channels = channels % 4 + 1
    if groups == 2:
        channels, outputs = 32 * (channels % 2 + 1), 32 * (outputs % 2 + 1)
    return Case(
        batch=int(rng.integers(1, 3)),
        channels=channels,
        outputs=outputs,
        image=(image[0], image[1]),
        kernel=(kernel[0], kernel[1]),
        strides=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        pads=(pads[0], pads[1], pads[2], pads[3]),
        dilations=(dilations[0], dilations[1]),
        groups=groups,
        has_bias=bool(rng.random() < 0.7),
        has_residual=bool(rng.random() < 0.3),
        act=str(rng.choice(["none", "relu", "sigmoid"])),
        plain=plain,
    )


def check(case: Case, target_name: str, rng: np.random.Generator) -> None:
    target = described(target_name)
    operator = Conv(case.strides, case.pads, case.dilations, case.groups, case.act, case.act_args)

    def array(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    x = array(case.batch, case.channels, *case.image)
    w = array(case.outputs, case.channels // case.groups, *case.kernel)
    w /= np.sqrt(w[0].size)
    type = operator.infer(TensorType.of(x), TensorType.of(w), None, None)
    bias = array(case.outputs) + np.float32(case.offset) if case.has_bias else None
    residual = array(*type.shape) + np.float32(case.offset) if case.has_residual else None
    expected = operator.reference(x, w, bias, residual)
    rows, columns = (
        Axis(case.image[i], type.shape[2 + i], case.kernel[i], case.strides[i], case.dilations[i], case.pads[i])
        for i in (0, 1)
    )
    spec = Convolution(
        case.batch,
        case.channels,
        rows,
        columns,
        case.outputs,
        case.groups,
        case.plain,
        case.blocking,
        has_bias=case.has_bias,
        has_residual=case.has_residual,
        activation=Activation(case.act, case.act_args),
    )
    operands = [x if case.plain else pack(x, "c16"), pack(w, "o16" if case.plain else "o16i16")]
    operands += [bias] if bias is not None else []
    operands += [pack(residual, "c16")] if residual is not None else []
    blocked = type.with_layout("c16")
    (y,) = run(spec, target, operands, [(physical_shape(blocked), np.float32)])
    most = np.abs(expected).max()
    # Each of bias, residual and sums of chunks rounds once, if they are added last.
    allowed = 4 * np.spacing(most) if case.offset else 1e-5 * max(1, most)
    np.testing.assert_allclose(unpack(y, blocked), expected, rtol=0, atol=allowed)
    # Padding lanes hold exact zeros, whatever the activation makes of zero.
    assert (pack(unpack(y, blocked), "c16") == y).all()


def test_rounds_of_few_sums_are_not_of_single_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 5 channels, which no longer round divides: two columns by two vectors took 1.4 of the time."""
    rounds: dict[int, set[int]] = {}
    made = ConvolutionTile.generate

    def generate(tile: ConvolutionTile) -> None:
        rounds.setdefault(tile.pixels * tile.vectors, set()).add(tile.steps_of_round)
        made(tile)

    monkeypatch.setattr(ConvolutionTile, "generate", generate)
    for extent in (2, 32):
        function = Function("main", [("x", TensorType((1, 5, extent, extent), DType.F32, layout="c16"))])
        w = Constant("w", np.zeros((32, 5, 3, 3), np.float32), TensorType((32, 5, 3, 3), DType.F32, layout="o16i16"))
        conv = Conv((1, 1), (1, 1, 1, 1), (1, 1))
        type = TensorType((1, 32, extent, extent), DType.F32, layout="c16")
        op = function.append(conv, [function.parameters[0], w, None], result_types=[type])
        assert lower(op, TargetDescription.named("x86-64-v4")) is not None
    assert {sums > 8: steps for sums, found in sorted(rounds.items()) for steps in found} == {False: 4, True: 1}

"""Sums that are rounded once, with the accumulators of a convolution: where they come from, and their bytes."""

from __future__ import annotations

from collections.abc import Mapping

import instruction_set as isa
import numpy as np
import pytest
from before_after import parse, random_inputs
from calibration_interpreter import quantize_with
from device_runs import generate, plan_for_device, run_on_device
from map_networks import conv, network
from ties import before_rounding

from tilewright.errors import IRError
from tilewright.ir import interp
from tilewright.ir.annotations import KEPT
from tilewright.ir.core import Constant, Module, is_op
from tilewright.ir.ops.activation import LeakyRelu
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Add
from tilewright.passes.device.fused_pairs import choose_overwritten, overwritten
from tilewright.passes.quantization.plan import plan_quantization
from tilewright.runtime.machines.machine import load

SHAPE = "f32[1,4,6,5]"


def quantized(
    middle: str,
    rng: np.random.Generator,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    *,
    exact_sums: bool = True,
    slopes: bool = True,
) -> Module:
    """A network in floating point, its operands %x and %o, with sums rounded once."""
    weights = [float(each).hex() for each in rng.standard_normal(4 * 4 * 3 * 3)]
    module = parse(f"""
    const @w : f32[4,4,3,3] = [{", ".join(weights)}]
    const @v : f32[4,4,3,3] = [{", ".join(weights[::-1])}]
    func @main(%x: {SHAPE}, %o: {SHAPE}) -> (%y: {SHAPE}) {{
      {middle.replace("CONV", conv(1)).replace("MAP", SHAPE)}
      return %y
    }}
    """)
    values = plan_quantization(module.main, exact_sums=exact_sums, slopes=slopes).values
    found = dict.fromkeys(values, (-20.0, 20.0)) | dict(ranges or {})
    quantize_with(found, exact_sums=exact_sums, slopes=slopes).run(module)
    return module


def sums(module: Module) -> dict[str, str | None]:
    """The convolutions by name, and what they add."""
    convs = [op for op in module.main.ops if is_op(op, Conv)]
    added = {op.result.name: op.operands.residual for op in convs}
    return {name: value.name if value is not None else None for name, value in added.items()}


LAST = "%y = conv(%s, @v) CONV : MAP"


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        ("%c = conv(%x, @w) CONV : MAP\n%s = add(%c, %o) : MAP", {"s": "o"}),
        ("%c = conv(%x, @w) CONV : MAP\n%s = add(%x, %c) : MAP", {"s": "x"}),
        # Of two the later one.
        ("%c = conv(%x, @w) CONV : MAP\n%d = conv(%o, @v) CONV : MAP\n%s = add(%c, %d) : MAP", {"c": None, "s": "c"}),
        ("%c = conv(%x, @w) CONV : MAP\n%d = add(%c, %o) : MAP\n%s = relu(%d) : MAP", {"s": "o"}),
        # One sum behind the other.
        (
            "%c = conv(%x, @w) CONV : MAP\n%a = add(%c, %o) : MAP\n"
            "%d = conv(%a, @w) CONV : MAP\n%s = add(%d, %a) : MAP",
            {"a": "o", "s": "a"},
        ),
    ],
)
def test_sums_become_those_of_accumulators(middle: str, expected: dict[str, str], rng: np.random.Generator) -> None:
    module = quantized(f"{middle}\n{LAST}", rng)
    assert sums(module) == {**expected, "y": None}
    assert not any(is_op(op, Add) for op in module.main.ops)


@pytest.mark.parametrize(
    "middle",
    [
        "%c = conv(%x, @w) CONV : MAP\n%t = add(%c, %o) : MAP\n%s = add(%t, %c) : MAP",  # read twice
        "%c = conv(%x, @w) CONV : MAP\n%s = add(%c, %c) : MAP",  # by one op
        "%c = conv(%x, @w) CONV : MAP\n%r = relu(%c) : MAP\n%s = add(%r, %o) : MAP",  # not of what it is added to
        "%c = conv(%x, @w) CONV : MAP\n%s = sub(%c, %o) : MAP",  # a difference
    ],
)
def test_others_stay(middle: str, rng: np.random.Generator) -> None:
    assert set(sums(quantized(f"{middle}\n{LAST}", rng)).values()) == {None}


def test_the_clamp_of_a_sum_is_that_of_the_convolution(rng: np.random.Generator) -> None:
    middle = "%c = conv(%x, @w) CONV : MAP\n%d = add(%c, %o) : MAP\n%s = relu(%d) : MAP"
    module = quantized(f"{middle}\n{LAST}", rng, {"s": (-1.0, 20.0)})
    found = next(op for op in module.main.ops if is_op(op, Conv) and op.operands.residual is not None)
    assert found.operator.act == "relu"
    assert found.loc == ("c", "d", "s") or found.result.name == "s"


LEAKY = "%c = conv(%x, @w) CONV : MAP\n%s = leaky_relu(%c) {alpha=0x1.0p-3} : MAP"
LEAKY_SUM = "%c = conv(%x, @w) CONV : MAP\n%d = add(%c, %o) : MAP\n%s = leaky_relu(%d) {alpha=0x1.0p-3} : MAP"


@pytest.mark.parametrize(
    ("middle", "exact_sums", "slopes", "is_fused"),
    [
        (LEAKY, False, True, True),
        (LEAKY, False, False, False),  # as in files for other runtimes
        (LEAKY_SUM, True, True, True),
        (LEAKY_SUM, False, True, False),  # what is before it is integers
        (LEAKY.replace("0x1.0p-3", "0x1.8p+0"), False, True, False),  # not the larger of the two
        (f"{LEAKY}\n%t = add(%s, %c) : MAP\n%u = tanh(%t) : MAP", False, True, False),  # read twice
    ],
)
def test_leaky_relus_round_once(
    middle: str, exact_sums: bool, slopes: bool, is_fused: bool, rng: np.random.Generator
) -> None:
    last = LAST.replace("%s", "%u") if "%u" in middle else LAST
    module = quantized(f"{middle}\n{last}", rng, exact_sums=exact_sums, slopes=slopes)
    assert ("leaky_relu" in {op.operator.act for op in module.main.ops if is_op(op, Conv)}) == is_fused
    assert any(is_op(op, LeakyRelu) for op in module.main.ops) != is_fused
    assert all(value.type.quant is not None for op in module.main.ops if is_op(op, LeakyRelu) for value in op.inputs)


def stored(scale: float) -> str:
    return f"i8[1,4,6,5]<s={scale.hex()}, z=3>"


def with_residual(scale: float) -> Module:
    text = f"""
    const @w : i8[4,4,3,3]<s=0x1.0p-6, z=0> = {[*range(-72, 72)]}
    func @main(%x: {stored(2.0**-4)}, %o: {stored(scale)}) -> (%y: {stored(2.0**-4)}) {{
      %y = conv(%x, @w, _, %o) {conv(1)} : {stored(2.0**-4)}
      return %y
    }}
    """
    return parse(text)


def test_it_is_the_nearest_integer(rng: np.random.Generator) -> None:
    """Of the exact sum in steps of the result, where a convolution and a sum by themselves would round twice."""
    module = with_residual(0.05)
    inputs = random_inputs(module, rng)
    (op,) = module.main.ops
    w = op.inputs[1]
    assert isinstance(w, Constant)
    exact = before_rounding(op, [inputs["x"], w.array, None, inputs["o"]])
    assert np.abs(interp.run(module, inputs)["y"] - exact).max() <= 0.5 + 2**-14


def test_a_residual_of_too_large_a_scale_is_refused() -> None:
    with_residual(2.0**12)
    with pytest.raises(IRError, match="the scale of the residual is more than 65536 times that of the result"):
        with_residual(2.0**13)


# On the device

ADDING = {
    "pointwise": (f"%c = conv(%r, @w, _, %o) {conv()} : MAP", 20),
    "dense": (f"%c = conv(%r, @k, _, %o) {conv(1)} : MAP", 20),
    "depthwise": (f"%c = conv(%r, @d, _, %o) {conv(1, 20)} : MAP", 20),
    "of itself": (f"%c = conv(%r, @k, _, %r) {conv(1)} : MAP", 32),
    "in place": (f"%a = conv(%r, @k) {conv(1)} : MAP\n%c = conv(%a, @w, _, %r) {conv()} : MAP", 32),
}


@pytest.mark.parametrize("clusters", [1, 3])
@pytest.mark.parametrize("case", ADDING)
@pytest.mark.parametrize("images", [1, 2])
def test_the_device_computes_the_same(case: str, images: int, clusters: int, rng: np.random.Generator) -> None:
    middle, channels = ADDING[case]
    middle = f"%r = relu(%x) : MAP\n{middle}\n%y = relu(%c) : MAP"
    module = network(middle, rng=rng, images=images, rows=13, columns=9, channels=channels)
    machine = load("m4096")
    plan_for_device(module, machine, clusters)
    inputs = random_inputs(module, rng)
    compiled = generate(module, machine)
    expected = interp.run(module, inputs)["y"]
    np.testing.assert_array_equal(run_on_device(module, compiled, machine, inputs)["y"], expected)
    names = [
        isa.decode(code[at : at + 64]).MNEMONIC
        for code in compiled.program.queues.values()
        for at in range(0, len(code), 64)
    ]
    assert "RQA" in names and "ELT" not in names


def test_the_sum_is_written_over_what_nobody_reads_later(rng: np.random.Generator) -> None:
    module = network(f"%r = relu(%x) : MAP\n{ADDING['in place'][0]}\n%y = relu(%c) : MAP", rng=rng)
    choose_overwritten(module.main)
    assert {op.result.name: over.name for op in module.main.ops for over in [overwritten(op)] if over} == {"c": "r"}
    plan_for_device(module, load("m4096"))
    assert {op.result.name for op in module.main.ops if KEPT.get(op)} == {"r", "a", "c"}
    module = network(f"%r = relu(%x) : MAP\n{ADDING['of itself'][0]}\n%y = relu(%c) : MAP", rng=rng)
    choose_overwritten(module.main)
    assert not any(overwritten(op) for op in module.main.ops)

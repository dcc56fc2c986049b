"""Normalisation of groups of channels with all pixels of an image: one meaning, and how networks spell it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import instruction_set as isa
import numpy as np
import pytest
from before_after import assert_leaves_alone, assert_rewrites, assert_same_meaning, clone, parse, run_pass
from device_runs import assert_engines_agree, compile_for_device, run_on_device
from generic_kernels import TARGET, generic_kernel
from kernel_harness import Execution, run_kernels
from normalization_blocks import extreme_inputs, normalized_rows, the_op
from onnx_networks import OnnxNetwork

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.errors import IRError
from tilewright.ir import interp
from tilewright.ir.core import Constant
from tilewright.ir.ops.skip_normalization import SkipLayerNorm, standardization, standardization_of
from tilewright.ir.quantized import limits, parameters
from tilewright.ir.types import DType, TensorType
from tilewright.passes.placement.device_support import reject
from tilewright.runtime.machines.machine import load as load_machine
from tilewright.runtime.report.details import details_of
from tilewright.runtime.session import load

OPTIONS = CompileOptions(precision="int8", calibration="random", calibration_limit=2, effort="quick")

SHAPES = [((2, 80, 5, 4), 8), ((1, 96, 3, 7), 96), ((1, 60, 6), 5), ((1, 48, 9, 1), 1), ((3, 6, 2, 2), 2)]


@pytest.mark.parametrize(("shape", "groups"), SHAPES)
@pytest.mark.parametrize("form", range(5))
def test_reference_processor_and_accelerator_agree(shape: tuple[int, ...], groups: int, form: int) -> None:
    # All of them: only some, by chance, have means at a tie.
    rng = np.random.default_rng([*shape, form])
    dtype = (DType.U8, DType.I8, DType.I8, DType.I16, DType.I16)[form]
    module = normalized_rows(rng, shape, is_sum=form not in (1, 4), dtype=dtype, spread=1.5, groups=groups)
    fed = [*extreme_inputs(module, rng)]
    wanted = [interp.run(module, inputs)["y"] for inputs in fed]
    op, machine = the_op(module), load_machine("s256" if form == 2 else "m4096")
    kernel = generic_kernel(op)
    assert kernel is not None
    arrays = [[v.array if isinstance(v, Constant) else inputs[v.name] for v in op.inputs] for inputs in fed]
    made = run_kernels([Execution(op, kernel, tuple(each)) for each in arrays], TARGET)
    compiled = compile_for_device(module, machine, clusters=min(1 + form, machine.clusters))
    items = [item for stream in compiled.program.queues for item in compiled.program.instructions(stream)]
    assert {item.group for item in items if isinstance(item, isa.Normalize)} == {shape[1] // groups}
    for inputs, expected, results in zip(fed, wanted, made, strict=True):
        assert results is not None
        np.testing.assert_array_equal(results[0], expected)
        np.testing.assert_array_equal(run_on_device(module, compiled, machine, inputs)["y"], expected)


@pytest.mark.parametrize("dtype", [DType.I8, DType.I16])
def test_heads_are_normalised_pixel_by_pixel(dtype: DType, rng: np.random.Generator) -> None:
    """Each as a row of its own, as the instruction has them; of parts of blocks the host makes it."""
    module = normalized_rows(
        rng, (20, 96, 1, 1), is_sum=False, centred=dtype is DType.I8, dtype=dtype, groups=3, by_pixel=True
    )
    op, machine = the_op(module), load_machine("m4096")
    kernel, fed = generic_kernel(op), [*extreme_inputs(module, rng)]
    assert kernel is not None
    arrays = [[v.array if isinstance(v, Constant) else inputs[v.name] for v in op.inputs] for inputs in fed]
    made = run_kernels([Execution(op, kernel, tuple(each)) for each in arrays], TARGET)
    compiled = compile_for_device(module, machine, clusters=2)
    items = [item for stream in compiled.program.queues for item in compiled.program.instructions(stream)]
    assert {(item.group, item.blocks) for item in items if isinstance(item, isa.Normalize)} == {(0, 2)}
    for inputs, results in zip(fed, made, strict=True):
        (wanted,) = interp.run(module, inputs).values()
        assert results is not None
        np.testing.assert_array_equal(results[0], wanted)
        np.testing.assert_array_equal(run_on_device(module, compiled, machine, inputs)["y"], wanted)
    found = reject(the_op(normalized_rows(rng, (4, 24, 1, 1), is_sum=False, groups=3, by_pixel=True)), machine)
    assert found is not None and found.found == "groups of 8"


def test_heads_that_are_alike_have_their_numbers_together(rng: np.random.Generator) -> None:
    """Those of 128 heads would not fit."""
    machine = load_machine("s256")
    module, apart = (
        normalized_rows(rng, (3, 2048, 1, 1), is_sum=False, groups=128, by_pixel=True, alike=alike)
        for alike in (128, 1)
    )
    found = reject(the_op(apart), machine)
    assert found is not None
    assert found.found == "24576 bytes needed of the parameter scratchpad, which has 16384 on S256"
    assert reject(the_op(module), machine) is None
    compiled = compile_for_device(module, machine)
    for inputs in extreme_inputs(module, rng):
        expected = interp.run(module, inputs)["y"]
        np.testing.assert_array_equal(run_on_device(module, compiled, machine, inputs)["y"], expected)


def test_clusters_share_groups_out(rng: np.random.Generator) -> None:
    """Of 5 channels each, 16 of which are five blocks."""
    module, machine = normalized_rows(rng, (1, 320, 12, 12), groups=64), load_machine("m4096")
    compiled = compile_for_device(module, machine, clusters=4)
    items = {
        stream: [item.blocks for item in compiled.program.instructions(stream) if isinstance(item, isa.Normalize)]
        for stream in compiled.program.queues
    }
    assert sorted(blocks for found in items.values() for blocks in found) == [5, 5, 5, 5]
    assert sum(map(bool, items.values())) == 4
    inputs = next(extreme_inputs(module, rng))
    (expected,) = interp.run(module, inputs).values()
    np.testing.assert_array_equal(run_on_device(module, compiled, machine, inputs)["y"], expected)


def test_squares_of_many_pixels_add_up_exactly() -> None:
    """Half of them at either end of the type; with whole numbers of any size."""
    shape, rng = (1, 1, 300, 512), np.random.default_rng(1)
    module = normalized_rows(rng, shape, is_sum=False, groups=1)
    op, stored = the_op(module), np.where(rng.random(shape) < 0.5, -128, 127).astype(np.int8)
    by, y = standardization_of(op), op.result.type
    ((multiplier,),), count = by.multipliers, stored.size
    assert 1 << 11 <= multiplier < 1 << 12
    values = {int(q): (int(q) - parameters(op.inputs[0].type)[1]) * int(multiplier) for q in (-128, 127)}
    often = {q: int((stored == q).sum()) for q in values}
    mean = round(sum(values[q] * often[q] for q in values) / count)
    squares = np.float32(sum((values[q] - mean) ** 2 * often[q] for q in values))
    factor = np.float32(1) / np.sqrt(squares + by.epsilon)
    (found,) = interp.run(module, {"x": stored}).values()
    for q, value in values.items():
        wanted = np.rint(np.float32(value - mean) * by.gain[0] * factor + by.offset[0]) + parameters(y)[1]
        assert set(found[stored == q].tolist()) == {int(np.clip(wanted, *limits(y)))}


@pytest.mark.parametrize(("count", "bits"), [(8192, 15), (8193, 14), (1 << 15, 14), (1 << 25, 9)])
def test_of_many_numbers_multipliers_have_fewer_bits(count: int, bits: int) -> None:
    one = np.ones(1, np.float32)
    found = standardization([np.ones(1)], one, one, np.float32(0.1), 0.0, count=count)
    assert int(found.multipliers[0][0]) == 1 << (bits - 1)


@pytest.mark.parametrize(("axis", "groups", "centred"), [(1, 3, True), (2, 2, True), (1, -2, True), (1, 2, False)])
def test_what_are_no_groups_is_refused(axis: int, groups: int, centred: bool) -> None:
    x, each = TensorType((1, 4, 4, 2), DType.F32), TensorType((4,), DType.F32)
    with pytest.raises(IRError, match="there are no such groups of channels"):
        SkipLayerNorm(axis, 1e-5, centred, groups).infer(x, each, each, each, None, None)


def test_a_line_of_more_columns_than_an_instruction_has_stays_on_the_host(rng: np.random.Generator) -> None:
    found = reject(the_op(normalized_rows(rng, (1, 4, 4096), groups=2)), load_machine("m4096"))
    assert found is not None and (found.rule, found.found) == (
        "Pixels are normalised together in at most 4095 rows and columns",
        "1 and 4096",
    )


def test_groups_made_channels_and_back_are_groups(rng: np.random.Generator) -> None:
    """As exporters write it, with factors behind."""
    assert_rewrites(
        "canonicalize",
        """
        const @s : f32[2] = [2, 3]
        const @t : f32[2] = [1, 0]
        const @f : f32[4,1,1] = [1, 2, 3, 4]
        const @g : f32[4,1,1] = [0, 1, 0, 1]
        func @main(%x: f32[3,4,2,5]) -> (%y: f32[3,4,2,5]) {
          %a = reshape(%x) {shape=[3, 2, 20]} : f32[3,2,20]
          %b = group_norm(%a, @s, @t) {groups=2, epsilon=0x1.0p-2} : f32[3,2,20]
          %c = reshape(%b) {shape=[3, 4, 2, 5]} : f32[3,4,2,5]
          %d = mul(%c, @f) : f32[3,4,2,5]
          %y = add(%d, @g) : f32[3,4,2,5]
          return %y
        }
        """,
        """
        const @scale : f32[4] = [2, 4, 9, 12]
        const @b : f32[4] = [1, 3, 0, 1]
        func @main(%x: f32[3,4,2,5]) -> (%y: f32[3,4,2,5]) {
          %y = group_norm(%x, @scale, @b) {groups=2, epsilon=0x1.0p-2} : f32[3,4,2,5]
          return %y
        }
        """,
        rng,
    )


def _text(axes: str, means: str, behind: str) -> str:
    """Means written out over some axes, of f32``means``, and what follows the quotient n."""
    return f"""
    const @e : f32[] = [0x1.0p-2]
    const @f : f32[4,5] = [{", ".join(map(str, range(1, 21)))}]
    const @g : f32[3,1,5] = [{", ".join(map(str, range(15)))}]
    const @one : f32[1,1,1,1,1] = [2]
    func @main(%x: f32[2,3,4,5]) -> (%y: f32{behind.rpartition("f32")[2]}) {{
      %m = reduce_mean(%x) {{axes={axes}, keepdims=true}} : f32{means}
      %d = sub(%x, %m) : f32[2,3,4,5]
      %q = mul(%d, %d) : f32[2,3,4,5]
      %v = reduce_mean(%q) {{axes={axes}, keepdims=true}} : f32{means}
      %w = add(%v, @e) : f32{means}
      %r = sqrt(%w) : f32{means}
      %n = div(%d, %r) : f32[2,3,4,5]
      {behind}
      return %y
    }}
    """


@pytest.mark.parametrize(
    ("axes", "means", "behind", "wanted"),
    [
        ("[2, 3]", "[2,3,1,1]", "%y = mul(%n, @f) : f32[2,3,4,5]", ["layer_norm"]),
        (
            "[1, 2, 3]",
            "[2,1,1,1]",
            "%s = mul(@g, %n) : f32[2,3,4,5]\n%y = add(%s, @f) : f32[2,3,4,5]",
            ["layer_norm"],
        ),
        ("[2, 3]", "[2,3,1,1]", "%y = mul(%n, @one) : f32[1,2,3,4,5]", ["group_norm", "mul"]),
        ("[3]", "[2,3,4,1]", "%y = mul(%n, @one) : f32[1,2,3,4,5]", ["layer_norm", "mul"]),
    ],
)
def test_factors_of_pixels_are_those_of_layers_and_more_dimensions_stay(
    axes: str, means: str, behind: str, wanted: list[str], rng: np.random.Generator
) -> None:
    module = parse(_text(axes, means, behind))
    before = clone(module)
    run_pass("canonicalize", module)
    assert [op.name for op in module.ops] == wanted
    assert_same_meaning(before, module, rng)


def test_a_factor_that_makes_a_normalisation_larger_stays() -> None:
    assert_leaves_alone(
        "canonicalize",
        """
        const @s : f32[1] = [3]
        const @c : f32[5] = [1, 2, 3, 4, 5]
        func @main(%x: f32[2,1]) -> (%y: f32[2,5]) {
          %n = layer_norm(%x, @s) {axis=1, epsilon=0x1.0p-2} : f32[2,1]
          %y = mul(%n, @c) : f32[2,5]
          return %y
        }
        """,
    )


@pytest.mark.parametrize("end", [[2, 3], [1, 2, 3]])
def test_images_of_no_channels_are_normalised(end: list[int], rng: np.random.Generator) -> None:
    """As they come, and written out."""
    g = _Net(rng, 17)
    x = g.op("Slice", "x", *(g.number(np.array([i])) for i in (0, 0, 1)))
    centred = g.op("Sub", x, g.op("ReduceMean", x, axes=end))
    variance = g.op("ReduceMean", g.op("Mul", centred, centred), axes=end)
    y = g.op("Div", centred, g.op("Sqrt", g.op("Add", variance, g.number(np.array(1e-5, np.float32)))))
    last = g.op("InstanceNormalization", y, g.some(0), g.some(0))
    with load(compile_to_memory(g.model([1, 3, 4, 4], last), CompileOptions())) as session:
        (found,) = session.run({"x": np.ones((1, 3, 4, 4), np.float32)}).values()
    assert found.shape == (1, 0, 4, 4)


@pytest.mark.parametrize(
    ("inner", "outer"),
    [([2, 6, 10], [3, 4, 2, 5]), ([3, 2, 20], [3, 2, 4, 5]), ([3, 20, 2], [3, 4, 2, 5])],
    ids=["images", "shape", "groups"],
)
def test_what_is_normalised_in_another_shape_stays(inner: list[int], outer: list[int]) -> None:
    ones = ", ".join("1" for _ in range(inner[1]))
    assert_leaves_alone(
        "canonicalize",
        f"""
        const @s : f32[{inner[1]}] = [{ones}]
        func @main(%x: f32[3,4,2,5]) -> (%y: f32{outer}) {{
          %a = reshape(%x) {{shape={inner}}} : f32{inner}
          %b = group_norm(%a, @s, @s) {{groups={inner[1]}, epsilon=0x1.0p-2}} : f32{inner}
          %y = reshape(%b) {{shape={outer}}} : f32{outer}
          return %y
        }}
        """,
    )


class _Net(OnnxNetwork):
    def conv(self, x: str, inputs: int, outputs: int) -> str:
        return self.op("Conv", x, self.some(outputs, inputs, 3, 3), kernel_shape=[3, 3], pads=[1] * 4)

    def mean(self, x: str) -> str:
        if self.opset < 18:
            return self.op("ReduceMean", x, axes=[2, 3], keepdims=1)
        return self.op("ReduceMean", x, self.number(np.array([2, 3])), keepdims=1)

    def scaled(self, x: str) -> str:
        return self.op("Add", self.op("Mul", x, self.some(24, 1, 1, about=1.0)), self.some(24, 1, 1))


def _instance(g: _Net, x: str) -> str:
    return g.op("InstanceNormalization", x, g.some(24, about=1.0), g.some(24), epsilon=1e-5)


def _spelt(g: _Net, x: str) -> str:
    centred = g.op("Sub", x, g.mean(x))
    variance = g.op("Add", g.mean(g.op("Mul", centred, centred)), g.number(np.array(1e-5, np.float32)))
    return g.scaled(g.op("Div", centred, g.op("Sqrt", variance)))


def _reshaped(g: _Net, x: str) -> str:
    rows = g.op("Reshape", x, g.number(np.array([0, 6, -1])))
    ones, zeros = g.number(np.ones(6, np.float32)), g.number(np.zeros(6, np.float32))
    made = g.op("InstanceNormalization", rows, ones, zeros, epsilon=1e-5)
    return g.scaled(g.op("Reshape", made, g.number(np.array([1, 24, 10, 9]))))


def _grouped(g: _Net, x: str) -> str:
    scale, b = (g.some(24 if g.opset > 20 else 3, about=1.0) for _ in range(2))
    return g.op("GroupNormalization", x, scale, b, num_groups=3)


@pytest.mark.parametrize(
    ("form", "opset", "machine"),
    [
        pytest.param(_instance, 13, "m4096", marks=pytest.mark.sweep),
        (_instance, 17, "s256"),
        (_spelt, 13, "m4096"),
        pytest.param(_spelt, 18, "s256", marks=pytest.mark.sweep),
        pytest.param(_reshaped, 17, "m4096", marks=pytest.mark.sweep),
        (_reshaped, 13, "s256"),
        pytest.param(_grouped, 18, "s256", marks=pytest.mark.sweep),
        (_grouped, 21, "m4096"),
    ],
)
def test_networks_with_them_are_one_program(
    form: Callable[[_Net, str], str], opset: int, machine: str, rng: np.random.Generator
) -> None:
    """A shortcut around some, as in residual networks, and none behind the last."""
    g = _Net(rng, opset)
    x = g.op("Relu", form(g, g.conv("x", 3, 24)))
    y = g.conv(g.op("Relu", form(g, g.conv(g.op("Relu", form(g, x)), 24, 24))), 24, 24)
    last = g.conv(g.op("Relu", form(g, g.op("Add", x, y))), 24, 5)
    model = g.model([1, 3, 10, 9], last)
    options = replace(OPTIONS, machine=machine)
    artifact = compile_to_memory(model, options)
    placed = [(each.op, each.on) for each in details_of(artifact).placement]
    assert placed.count(("skip_layer_norm", "device")) == 4
    assert {op for op, on in placed if on == "cpu"} <= {"quantize", "dequantize", "reorder"}
    assert len(artifact.manifest.device_programs) == 1
    feeds = {"x": rng.normal(size=(1, 3, 10, 9)).astype(np.float32)}
    found = assert_engines_agree(artifact, feeds)
    with load(compile_to_memory(model, CompileOptions()), engine="float") as real:
        (wanted,) = real.run(feeds).values()
    assert np.square(found - wanted).mean() < 0.01 * np.square(wanted).mean()

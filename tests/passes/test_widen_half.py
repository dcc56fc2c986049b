"""What a network computes in half precision is computed in single precision."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_leaves_alone, assert_rewrites, parse, random_inputs, run_pass
from network_files import graph_model
from onnx import TensorProto, helper
from onnxruntime_oracle import Oracle

import tilewright
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.ir import interp
from tilewright.runtime.report.summary import summarize


def test_conversions_stand_at_the_borders(rng: np.random.Generator) -> None:
    assert_rewrites(
        "widen_half",
        """
        const @c : f16[2] = [0x1.0p0, 0x1.0p1]
        func @main(%x: f16[3,2]) -> (%y: f16[3,2], %m: bool[3,2]) {
          %a = mul(%x, @c) : f16[3,2]
          %y = neg(%a) : f16[3,2]
          %m = greater(%y, @c) : bool[3,2]
          return %y, %m
        }
        """,
        """
        const @c_1 : f32[2] = [0x1.0p0, 0x1.0p1]
        func @main(%x: f16[3,2]) -> (%y: f16[3,2], %m: bool[3,2]) {
          %x_1 = cast(%x) {to="f32"} : f32[3,2]
          %a = mul(%x_1, @c_1) : f32[3,2]
          %b = neg(%a) : f32[3,2]
          %m = greater(%b, @c_1) : bool[3,2]
          %y = cast(%b) {to="f16"} : f16[3,2]
          return %y, %m
        }
        """,
        rng,
    )


def test_conversions_of_the_network_round(rng: np.random.Generator) -> None:
    text = """
      func @main(%x: f32[64]) -> (%y: f32[64], %z: i32[64]) {
        %h = cast(%x) {to="f16"} : f16[64]
        %y = cast(%h) {to="f32"} : f32[64]
        %d = add(%h, %h) : f16[64]
        %z = cast(%d) {to="i32"} : i32[64]
        return %y, %z
      }
    """
    module = parse(text)
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)
    run_pass("widen_half", module)
    found = interp.run(module, inputs)
    assert [op.name for op in module.ops] == ["cast", "cast", "add", "cast"]
    np.testing.assert_array_equal(found["y"], inputs["x"].astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(found["z"], expected["z"])


def test_what_is_moved_as_it_is_stored_stays(rng: np.random.Generator) -> None:
    text = """
      const @table : f16[3,2] = [0x1.0p0, 0x1.8p1, 0x0.0p0, 0x1.0p0, 0x1.8p1, 0x0.0p0]
      func @main(%i: i64[4], %x: f16[2,4]) -> (%r: f16[4,2], %t: f16[4,2]) {
        %r = gather(@table, %i) {axis=0} : f16[4,2]
        %t = transpose(%x) {perm=[1,0]} : f16[4,2]
        return %r, %t
      }
    """
    assert_leaves_alone("widen_half", text)


def test_windows_of_what_is_stored_are_compared_in_single_precision() -> None:
    """Half precision has no kernel on vectors that looks for their largest numbers."""
    text = """
      func @main(%x: f16[1,2,4]) -> (%y: f16[1,2,3]) {
        %y = max_pool(%x) {kernel=[2], strides=[1], pads=[0, 0], dilations=[1]} : f16[1,2,3]
        return %y
      }
    """
    module = parse(text)
    run_pass("widen_half", module)
    assert [op.name for op in module.ops] == ["cast", "max_pool", "cast"]


def test_the_best_of_what_is_stored_are_found_in_single_precision() -> None:
    text = """
      func @main(%x: f16[3,8]) -> (%i: i64[3], %b: f16[3,2], %j: i64[3,2], %m: f16[3]) {
        %i = arg_max(%x) {axis=1, keepdims=false, select_last_index=false} : i64[3]
        %b, %j = top_k(%x) {axis=1, k=2, largest=true} : f16[3,2], i64[3,2]
        %m = reduce_max(%x) {axes=[1], keepdims=false} : f16[3]
        return %i, %b, %j, %m
      }
    """
    module = parse(text)
    run_pass("widen_half", module)
    assert [op.name for op in module.ops] == ["cast", "arg_max", "top_k", "reduce_max", "cast", "cast"]


RESIZE = (
    'coordinates="half_pixel", nearest_mode="floor", cubic_coeff_a=-0x1.8p-1, exclude_outside=false, '
    "extrapolation_value=0x0.0p0, roi=[]"
)


def test_what_is_stored_is_interpolated_in_single_precision() -> None:
    found = {}
    for mode in ("linear", "nearest"):
        module = parse(f"""
          func @main(%x: f16[2,4]) -> (%y: f16[2,8]) {{
            %y = resize(%x) {{extents=[2, 8], scales=[0x1.0p0, 0x1.0p1], mode="{mode}", {RESIZE}}} : f16[2,8]
            return %y
          }}
        """)
        run_pass("widen_half", module)
        found[mode] = [op.name for op in module.ops]
    assert found == {"linear": ["cast", "resize", "cast"], "nearest": ["resize"]}


def test_what_knows_only_half_precision_stays(rng: np.random.Generator) -> None:
    text = """
      func @main(%x: f16[5]) -> (%y: u16[5]) {
        %a = neg(%x) : f16[5]
        %y = bit_cast(%a) {to="u16"} : u16[5]
        return %y
      }
    """
    module = parse(text)
    run_pass("widen_half", module)
    assert [op.name for op in module.ops] == ["cast", "neg", "cast", "bit_cast"]


def test_bodies_take_and_return_half_precision(rng: np.random.Generator) -> None:
    text = """
      func @body(%a: f16[5]) -> (%r: f16[5]) {
        %r = exp(%a) : f16[5]
        return %r
      }
      func @other(%a: f16[5]) -> (%a: f16[5]) {
        return %a
      }
      func @main(%c: bool[], %x: f16[5]) -> (%y: f16[5]) {
        %a = neg(%x) : f16[5]
        %b = if(%c, %a) {then="body", otherwise="other"} : f16[5]
        %y = neg(%b) : f16[5]
        return %y
      }
    """
    module = parse(text)
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)["y"]
    run_pass("widen_half", module)
    assert [op.name for op in module.functions["body"].ops] == ["cast", "exp", "cast"]
    np.testing.assert_allclose(interp.run(module, inputs)["y"], expected, rtol=2e-3)


@pytest.mark.parametrize("target", ["host", "portable"])
def test_networks_in_half_precision_run_on_kernels(target: str, rng: np.random.Generator) -> None:
    def array(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float16)

    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("InstanceNormalization", ["c", "s", "b"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("ConvTranspose", ["r", "t"], ["u"], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["u"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["l"]),
        helper.make_node("Softmax", ["l"], ["y"]),
        helper.make_node("Sigmoid", ["u"], ["z"]),
    ]
    weights = {"w": array(16, 3, 3, 3), "b": array(16), "s": array(16), "t": array(16, 8, 2, 2), "m": array(8, 5)}
    model = graph_model(nodes, [("x", TensorProto.FLOAT16, [1, 3, 9, 7])], ("y", "z"), weights)
    for output in model.graph.output:
        output.type.tensor_type.elem_type = TensorProto.FLOAT16
    inputs = {"x": array(1, 3, 9, 7)}
    artifact = compile_to_memory(model, CompileOptions(target=target))
    (engine,) = summarize(artifact).engines.values()
    assert not engine.reference
    with tilewright.load(artifact) as session:
        found = session.run(inputs)
    for name, expected in Oracle(model).run(inputs).items():
        assert found[name].dtype == np.float16
        np.testing.assert_allclose(found[name].astype(float), expected.astype(float), atol=5e-3)

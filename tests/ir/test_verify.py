"""What the verifier says about modules that break an invariant; that good ones pass is part of every other test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tilewright.errors import VerifyError
from tilewright.ir.core import Function, Module, Value
from tilewright.ir.ops.activation import Relu
from tilewright.ir.ops.elementwise import Add
from tilewright.ir.ops.movement import Concat
from tilewright.ir.text.parser import parse_module
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.ir.verify import verify

X = TensorType((2, 3), DType.F32)


def network() -> Module:
    """relu(x) + c"""
    module = Module("m")
    function = module.add_function(Function("main", [("x", X)]))
    c = module.add_constant("c", np.ones(3, np.float32))
    positive = function.append(Relu(), function.parameters, names=["positive"], loc=["Relu_0"])
    function.set_results([function.append(Add(), [positive.result, c], names=["y"]).result])
    return module


def file_constant_under_another_name(module: Module) -> None:
    module.constants["d"] = module.constants.pop("c")


def drop_constant(module: Module) -> None:
    del module.constants["c"]


def name_two_parameters_alike(module: Module) -> None:
    module.main.add_parameter("x", X)


def name_two_results_alike(module: Module) -> None:
    module.main.set_results(module.main.results * 2)


def read_before_definition(module: Module) -> None:
    first, last = module.main.ops
    module.main.move_before(last, first)


def return_a_stranger(module: Module) -> None:
    module.main.set_results([Value("stranger", X)])


def return_another_shape(module: Module) -> None:
    module.main.results[0].type = X.with_shape((3, 2))


def return_another_dtype(module: Module) -> None:
    module.main.results[0].type = X.with_dtype(DType.F64)


def quantize_one_operand(module: Module) -> None:
    module.main.parameters[0].type = TensorType(X.shape, DType.I8, Quantization.per_tensor(0.5))
    next(module.main.ops).result.type = X.with_dtype(DType.I8)


def invent_a_layout(module: Module) -> None:
    module.main.results[0].type = X.with_layout("c32")


def claim_another_producer(module: Module) -> None:
    first, last = module.main.ops
    first.result.producer = last


def forget_a_use(module: Module) -> None:
    _, last = module.main.ops
    module.constants["c"]._uses.pop((last, 1))


def invent_a_use(module: Module) -> None:
    first, _ = module.main.ops
    module.main.results[0]._uses[first, 0] = None


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (file_constant_under_another_name, "fuse: a constant is filed under another name; expected d, found c"),
        (drop_constant, "fuse: add: constant @c is not in the module\n  %y = add(%positive, @c) : f32[2,3]"),
        (name_two_parameters_alike, "fuse: @main: two parameters have the same name; found %x"),
        (name_two_results_alike, "fuse: @main: two results have the same name; found %y"),
        (read_before_definition, "fuse: add: operand %positive is not defined before its use\n  %y = add("),
        (return_a_stranger, "fuse: @main: a returned value is not defined; found %stranger"),
        (return_another_shape, "fuse: add: a result has the wrong type\n  %y = add("),
        (return_another_dtype, ": f64[2,3]; expected f32[2,3], found f64[2,3]"),
        (quantize_one_operand, "fuse: relu: node 'Relu_0': the result must be quantised\n  %positive = relu(%x)"),
        (invent_a_layout, "fuse: %y: unknown layout; expected c16 or o16i16"),
        (claim_another_producer, "fuse: relu: node 'Relu_0': a result names another producer"),
        (forget_a_use, "fuse: add: an operand does not know of its use"),
        (invent_a_use, "fuse: @main: a value lists a use that is none; found %y"),
    ],
)
def test_broken_modules_are_refused(damage: Callable[[Module], None], text: str) -> None:
    module = network()
    verify(module)
    damage(module)
    with pytest.raises(VerifyError) as caught:
        verify(module, stage="fuse")
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ("at=0", "annotation 'at' is of the wrong type"),
        ("on=gpu", "annotation 'on' is of the wrong type"),
        ("dram=[scratch, 0, 16]", "annotation 'dram' is of the wrong type"),
        ("arena_bytes=64", "no such annotation"),
        ("tail=1", "no such annotation"),
    ],
)
def test_annotations_are_those_declared(annotations: str, message: str) -> None:
    text = "module @m { func @main(%x: f32[2]) -> (%y: f32[2]) { %y = neg(%x) [ANNOTATIONS] : f32[2] return %y } }"
    verify(parse_module(text.replace("ANNOTATIONS", "at=[none], dram=[scratch, 0, 16, true]")))
    with pytest.raises(VerifyError, match=f"^sample: neg: {message}"):
        verify(parse_module(text.replace("ANNOTATIONS", annotations)), stage="sample")


def test_annotations_of_functions_are_those_declared() -> None:
    module = parse_module("module @m { func @main(%x: f32[2]) -> (%y: f32[2]) [region=0] { return %x } }")
    with pytest.raises(VerifyError, match=r"@main: no such annotation; expected one of on, .*, found region"):
        verify(module)


def test_one_value_read_many_times_is_checked_in_time() -> None:
    """Where each use walks over all operands, it takes minutes."""
    module = Module("m")
    function = module.add_function(Function("main", [("x", TensorType((1,), DType.F32))]))
    (x,) = function.parameters
    joined = function.append(Concat(0), [x] * 20_000).result
    function.set_results([joined] * 20_000, [f"y{index}" for index in range(20_000)])
    verify(module)


def test_a_long_chain_of_calls_is_no_circle() -> None:
    """Deeper than Python nests calls."""
    functions = [
        f"func @f{i}(%x: i8[1]) -> (%y: i8[1]) {{ %y = call(%x) {{callee=f{i + 1}, shares=1}} : i8[1] return %y }}"
        for i in range(3000)
    ]
    functions.append("func @f3000(%x: i8[1]) -> (%y: i8[1]) { return %x }")
    functions.append("func @main(%x: i8[1]) -> (%y: i8[1]) { %y = call(%x) {callee=f0, shares=1} : i8[1] return %y }")
    verify(parse_module("module @m { " + " ".join(functions) + " }"))


@pytest.mark.parametrize(
    "op",
    [
        "reshape(%x) {shape=[8]} : i64[8]<s=0x1.0p+0, z=0>",
        "concat(%x, %x) {axis=0} : i64[16]<s=0x1.0p+0, z=0>",
        "max_pool(%p) {kernel=[1], strides=[1], pads=[0, 0], dilations=[1]} : u8[1,1,8]<s=0x1.0p+0, z=0>",
    ],
)
def test_what_moves_elements_keeps_their_type(op: str) -> None:
    """A kernel that moves eight bytes an element reads beyond an operand of one byte an element."""
    text = f"""module @m {{
      func @main(%x: i8[8]<s=0x1.0p+0, z=0>, %p: i8[1,1,8]<s=0x1.0p+0, z=0>) -> () {{
        %y = {op}
        return
      }}
    }}"""
    with pytest.raises(VerifyError, match="a result has the wrong type"):
        verify(parse_module(text))

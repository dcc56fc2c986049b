"""A small residual network through the whole float path, as one can read it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tilewright.ir.core import Function, Module, Value
from tilewright.ir.op import Operator
from tilewright.ir.ops.activation import Relu
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Add, Div, Sub
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.ops.movement import Concat, Pad
from tilewright.ir.ops.normalization import BatchNorm
from tilewright.ir.ops.pooling import MaxPool
from tilewright.ir.ops.reduction import ReduceMean
from tilewright.ir.ops.shape import Reshape
from tilewright.ir.ops.softmax import Softmax
from tilewright.ir.types import DType, TensorType
from tilewright.passes.pipeline import Pipeline

PIPELINE = (
    "fold_constants,canonicalize,eliminate_common_subexpressions,fuse,eliminate_dead_code,"
    "place_on_cpu,choose_layouts,isolate_outputs,plan_cpu_memory"
)


def residual_network() -> Module:
    module = Module("residual")
    function = module.add_function(Function("main", [("image", TensorType((1, 3, 16, 16), DType.F32))]))

    def constant(name: str, *shape: int) -> Value:
        # Exact in any order of summation, so that the text is the same on every machine.
        steps = np.arange(np.prod(shape), dtype=np.float32) % 7 - 3
        return module.add_constant(name, (steps / 8).reshape(shape))

    def op(name: str, operator: Operator, *operands: Value) -> Value:
        return function.append(operator, operands, names=[name], loc=[name]).result

    def conv(name: str, x: Value, outputs: int, pad: int) -> Value:
        operator = Conv((1, 1), (pad,) * 4, (1, 1))
        return op(name, operator, x, constant(f"{name}_w", outputs, x.type.shape[1], 1 + 2 * pad, 1 + 2 * pad))

    def norm(name: str, x: Value) -> Value:
        channels = x.type.shape[1]
        mean, scale, shift = (constant(f"{name}_{part}", channels) for part in ("mean", "scale", "shift"))
        variance = module.add_constant(f"{name}_variance", np.full(channels, 3.0, np.float32))
        return op(name, BatchNorm(1.0), x, scale, shift, mean, variance)

    scaled = op("scaled", Div(), op("centred", Sub(), function.parameters[0], constant("mean", 1)), constant("std", 1))
    padded = op("padded", Pad((0, 0, 1, 1, 0, 0, 1, 1)), scaled)
    stem = op("stem_relu", Relu(), norm("stem_norm", conv("stem", padded, 16, 1)))
    pooled = op("pooled", MaxPool((2, 2), (2, 2), (0, 0, 0, 0), (1, 1)), stem)
    branch = op("branch_relu", Relu(), norm("branch_norm", conv("branch", pooled, 16, 1)))
    joined = op("joined", Relu(), op("sum", Add(), pooled, norm("back_norm", conv("back", branch, 16, 0))))
    wide = op("wide", Concat(1), joined, branch)
    mean = op("mean", ReduceMean((2, 3), True), wide)
    flat = op("flat", Reshape((1, 32)), mean)
    logits = op("logits", Add(), op("fc", MatMul(transpose_b=True), flat, constant("fc_w", 4, 32)), constant("fc_b", 4))
    function.set_results([op("probabilities", Softmax(1), logits)], ["probabilities"])
    return module


def test_float_path(golden: Callable[[str, str], None]) -> None:
    module = residual_network()
    Pipeline.parse(PIPELINE).run(module)
    golden("residual_float_path.tw", str(module))

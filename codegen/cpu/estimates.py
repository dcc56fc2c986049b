"""How long one thread takes for an op, roughly: what decides which steps several threads share.

Two rates and a table of families, from the steps of 22 networks and 420 networks of one operator on Zen 4, whose
tensors lay in caches (``docs/decisions/0134-one-crew-of-threads.md``).
"""

from collections.abc import Mapping

from ...ir.calls import macs_of
from ...ir.core import Module, Op, is_op
from ...ir.layout import bytes_of
from ...ir.ops.fused import FusedElementwise
from ...ir.ops.indexing import Gather, GatherElements, GatherND
from ...ir.ops.reduction import TopK
from ...ir.types import DType
from .kernel import Kernel
from .llvm.byte_dot_product import saturates
from .llvm.target import TargetDescription

_PRODUCTS = 4
"""Vectors of products each nanosecond: two thirds of two each cycle, three cycles a nanosecond."""

_MOVED = 96
"""Bytes that are read or written each nanosecond."""

_RANKED = 4
"""Nanoseconds for each element of which many may be among the best."""

_PICKED = 2
"""Rows that are gathered each nanosecond, beside what moving them takes."""

_PACES: Mapping[str, float] = {
    "winograd_convolution": 0.4,
    "quantized_depthwise": 2.4,
    "word_product": 2.4,
    **dict.fromkeys(("sum", "best", "reduce_l2", "reduce_sum_square", "reduce_prod", "lp_norm"), 2),
    **dict.fromkeys(("transposition", "transpose", "block_channels"), 2),
    **dict.fromkeys(("max_pooling", "row_major_max_pooling", "row_major_average_pooling", "sqrt"), 2),
    **dict.fromkeys(("row_normalization", "group_norm", "dynamic_quantization", "cum_sum"), 2.5),
    **dict.fromkeys(("exp", "erf", "tanh", "sigmoid", "elu", "celu", "selu", "gelu", "silu", "mish", "atan"), 3),
    **dict.fromkeys(("asin", "acos"), 3),
    **dict.fromkeys(("sin", "cos", "tan", "sinh", "cosh", "log", "mod", "space_to_depth"), 4),
    **dict.fromkeys(("vector_softmax", "scatter_elements", "gather_elements", "nonzero", "local_response"), 4.5),
    **dict.fromkeys(("resize", "softplus", "max_pool_with_indices", "asinh", "acosh", "atanh"), 8),
    **dict.fromkeys(("log_sum_exp", "lp_pool"), 12),
    "grid_sample": 20,
    **dict.fromkeys(("pow", "roi_align"), 70),
}
"""How many times as long kernels of a family take, or those of an operator, where it is more than half as long again or
less than two thirds."""

_IN_LOOPS: Mapping[str, float] = {
    **dict.fromkeys(("max_pool", "average_pool"), 4),
    "matmul": 7,
    **dict.fromkeys(("conv", "conv_transpose"), 10),
    **dict.fromkeys(("celu", "log"), 20),
    **dict.fromkeys(("exp", "sigmoid", "mish"), 24),
    **dict.fromkeys(("softmax", "log_softmax", "reduce_log_sum_exp"), 40),
    **dict.fromkeys(("erf", "gelu", "atan", "sin", "cos", "tan", "sinh", "cosh"), 60),
    "determinant": 90,
    "softplus": 190,
}
"""Likewise of kernels named as their operators, which have no vectors: those of double precision, for the most part."""


def nanoseconds(module: Module, op: Op, target: TargetDescription, kernel: Kernel) -> int:
    """A rough estimate of the time that one thread takes for an op with this kernel."""
    # Of what is gathered no more is read than is written, however long the table is.
    read = op.results + op.inputs[1:] if is_op(op, Gather, GatherND, GatherElements) else op.inputs
    tensors = (*read, *op.results)
    moved = sum(bytes_of(value.type) for value in tensors)
    # Bytes are four times as many in a vector, words twice, of which half of the products take another instruction
    # where bytes are added up in pairs.
    factor = op.inputs[0].type.dtype if op.inputs else DType.F32
    narrow = {1: 2 if saturates(target) else 4, 2: 2}.get(factor.bytes, 1) if factor.is_integer else 1
    ranked = _RANKED * op.inputs[0].type.elements if is_op(op, TopK) and op.operator.k > 1 else 0
    picked = kernel.units // _PICKED if is_op(op, Gather, GatherND) else 0
    time = macs_of(module, op) // (target.lanes * _PRODUCTS * narrow) + moved // _MOVED
    return int(time * _pace(op, kernel.name.rpartition("_")[0])) + ranked + picked


def _pace(op: Op, family: str) -> float:
    """Of an op whose kernel is of a family."""
    steps = [step.operator.name for step in op.operator.steps] if is_op(op, FusedElementwise) else []
    of_loops = _IN_LOOPS.get(family, 0) if family == op.name else 0
    return max(of_loops, *(_PACES.get(name, 0) for name in (family, op.name, *steps))) or 1

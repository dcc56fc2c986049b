"""Elementwise operators on row-major tensors: a loop nest around a scalar expression, with any broadcasting."""

from __future__ import annotations

from collections.abc import Sequence

from ....ir.core import Op
from ....ir.ops.elementwise import Elementwise
from ....ir.ops.fused import FusedElementwise, Step
from ....ir.ops.shape import Cast
from ....ir.types import DType, TensorType
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..nest import Nest, broadcast
from ..registry import lowers
from ..tensors import dtypes_of, has_real_meaning, is_plain
from .function import python_function
from .nest_kernel import element_kernel
from .scalar import NAMESPACE, scalar_expression


def load(tensor: str, position: str, dtype: DType) -> str:
    """An element as the variable that expressions compute with."""
    element = f"{tensor}[{position}]"
    if dtype is DType.BOOL:
        return f"{element} != 0"
    return f"half_to_single({element})" if dtype is DType.F16 else element


def store(tensor: str, position: str, value: str, dtype: DType, computed: DType) -> str:
    """A statement that stores a value that was computed in another element type, perhaps."""
    if dtype is DType.F16:
        value = f"{'double_to_half' if computed is DType.F64 else 'single_to_half'}({value})"
    if dtype is DType.BOOL:
        value = f"np.uint8({value})"
    return f"{tensor}[{position}] = {value}"


def wrapped(value: str, dtype: DType) -> str:
    """A value that is computed on with, brought to what its element type holds; numba's integers are wider."""
    if dtype is DType.F16:
        return f"half_to_single(single_to_half({value}))"
    return value if dtype is DType.BOOL else f"np.{dtype.numpy.name}({value})"


def element_statements(operator: Elementwise | Cast, names: Sequence[str], dtypes: Sequence[DType]) -> list[str] | None:
    """Statements that compute one element of the result; ``None`` if there is no expression for it.

    Args:
        names: of the tensors, operands then result, whose elements ``p0``, ``p1`` … are meant.
        dtypes: their element types.
    """
    variables = [f"v{i}" for i in range(len(names) - 1)]
    statements = [f"{v} = {load(names[i], f'p{i}', dtypes[i])}" for i, v in enumerate(variables)]
    types = list(dtypes[:-1])
    steps = [Step(operator, tuple(range(len(variables))))]
    if isinstance(operator, FusedElementwise):
        steps = list(operator.steps)
        scalars = tuple(TensorType((), dtype) for dtype in types)
        types += [type.dtype for type in operator.step_types(scalars)]
    for index, step in enumerate(steps):
        arguments = [variables[place] for place in step.arguments]
        expression = scalar_expression(step.operator, arguments, [types[place] for place in step.arguments])
        if expression is None:
            return None
        if index + 1 < len(steps):
            expression = wrapped(expression, types[len(variables)])
        variables.append(f"t{index}")
        statements.append(f"t{index} = {expression}")
    computed = types[steps[-1].arguments[0]]
    return [*statements, store(names[-1], f"p{len(names) - 1}", variables[-1], dtypes[-1], computed)]


@lowers(Elementwise, Cast)
def lower_elementwise(op: Op, target: TargetDescription) -> Kernel | None:
    if not (is_plain(op) and has_real_meaning(op) and isinstance(op.operator, Elementwise | Cast)):
        return None
    names = [f"x{i}" for i in range(len(op.inputs))] + ["y"]
    statements = element_statements(op.operator, names, dtypes_of(op))
    if statements is None:
        return None
    shape = op.result.type.shape
    accesses = tuple(broadcast(value.type.shape, shape) for value in (*op.inputs, op.result))
    parameters = [*names, *(f"p{i}" for i in range(len(names)))]
    lines = [f"def kernel({', '.join(parameters)}):", *statements, "return 0"]
    function = python_function("\n    ".join(lines), NAMESPACE)
    return element_kernel(op.name, function, dtypes_of(op), Nest(shape, accesses), target)

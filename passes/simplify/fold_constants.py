"""Compute while compiling what depends on constants alone."""

from tilewright import limits
from tilewright.errors import TilewrightError

from ...ir.clone import clone_op
from ...ir.core import Constant, Function, Module, Op, is_op
from ...ir.ops.control_flow import ControlFlow
from ...ir.ops.indexing import Gather
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Transpose
from ...ir.ops.quantization import DequantizeLinear
from ...ir.ops.shape import Expand, Reshape
from ..base import UNPLANNED, Pass, Record, erase_dead


class FoldConstants(Pass):
    """Replaces each op that reads nothing but constants by the constants that its reference computes.

    Bodies of branches and loops read constants themselves instead of being given them, and are folded in their turn.
    What becomes dead is erased, unused constants are dropped, each as soon as nothing reads it. When all that was
    computed passes the limits, which grow with the constants of the module, the other ops stay. An op that fails on
    its operands (such as a gather out of range) stays: the failure belongs to the run.

    Attributes:
        max_bytes, max_expanded: an op is left alone if its results would take more; an expanded constant can be
            cheaper to compute than to store.
        keep: names of operators never to fold, such as ``dequantize`` where the integers are wanted.
        keep_factors: nor ``dequantize_linear`` of what products alone read, moved or not, as their right factor.
    """

    requires = (UNPLANNED,)

    max_bytes: int = 1 << 26
    max_expanded: int = max_bytes
    keep: tuple[str, ...] = ()
    keep_factors: bool = False

    def apply(self, module: Module, record: Record) -> bool:
        room, steps = module.folding or _budget(module)
        for function in module.functions.values():
            for op in function.ops:
                if not any(value.uses for value in op.results):
                    record.counts["dead op"] += erase_dead(op)
                elif self._is_foldable(op) and _size(op) <= room and op.work <= steps:
                    room, steps = room - _size(op), steps - op.work
                    _fold(module, op, record)
                elif is_op(op, ControlFlow):
                    _into_bodies(module, function, op, record)
        module.folding = room, steps
        record.counts["unused constant"] += module.drop_unused_constants()
        return record.counts.total() > 0

    def _is_foldable(self, op: Op) -> bool:
        return (
            op.name not in self.keep
            and not op.operator.GIVEN_RESULTS
            and all(isinstance(value, Constant) for value in op.inputs)
            and _size(op) <= (self.max_expanded if is_op(op, Expand) else self.max_bytes)
            and not (self.keep_factors and is_op(op, DequantizeLinear) and _is_factor(op))
        )


def _is_factor(op: Op) -> bool:
    """Whether products alone read the result of an op, transposed, reshaped or some of it or not, as their right
    factor."""
    pending = [op.result]
    while pending:
        value = pending.pop()
        for user, index in value.uses:
            if isinstance(user, Op) and (is_op(user, Transpose, Reshape) or (is_op(user, Gather) and index == 0)):
                pending.append(user.result)
            elif not isinstance(user, Op) or not is_op(user, MatMul) or index != 1:
                return False
    return True


def _budget(module: Module) -> tuple[int, int]:
    """Bytes and steps for the constants of a module, before any was computed."""
    held = [constant.type for constant in module.constants.values()]
    size, elements = sum(type.elements * type.dtype.bytes for type in held), sum(type.elements for type in held)
    return limits.FOLDED + 8 * size, limits.FOLDING + 8 * elements


def _size(op: Op) -> int:
    """Bytes of the results."""
    return sum(value.type.elements * value.type.dtype.bytes for value in op.results)


def _fold(module: Module, op: Op, record: Record) -> None:
    arrays = [value.array if isinstance(value, Constant) else None for value in op.operands]
    try:
        results = op.evaluate(arrays)
    except (TilewrightError, IndexError):
        return
    constants = [
        module.add_constant(value.name, array, value.type) for value, array in zip(op.results, results, strict=True)
    ]
    operands = dict.fromkeys(value for value in op.inputs if isinstance(value, Constant))
    op.replace_with(*constants)
    for constant in operands:
        if not constant.uses:
            del module.constants[constant.name]
            record.counts["unused constant"] += 1
    record.counts[op.name] += 1


def _into_bodies(module: Module, function: Function, op: Op[ControlFlow], record: Record) -> None:
    """Let the bodies read the constants that they are given as they are: no other op runs them."""
    operands, bodies = list(op.inputs), [module.functions[body] for body in op.operator.bodies]
    for index in reversed(range(op.operator.given_from, len(operands))):
        value = operands[index]
        if isinstance(value, Constant):
            del operands[index]
            for body in bodies:
                body.parameters.pop(index - 1).replace_all_uses(value)
    if len(operands) < len(op.inputs):
        record.counts[op.name] += len(op.inputs) - len(operands)
        op.replace_with(*function.insert(clone_op(op, operands), op).results)

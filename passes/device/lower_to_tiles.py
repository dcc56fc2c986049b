"""Turn the functions that the device runs into tile programs."""

from collections import Counter
from typing import Any

from tilewright.errors import PassError, TilewrightError

from ...ir.core import Constant, Function, Module, Op
from ...ir.tile import TILE_OPERATORS
from ..base import Invariant, Pass, Record
from .fused_pairs import fused_convolution
from .lowering import LOWERINGS
from .lowering.program import TileProgram
from .outline_device import device_functions, device_ops
from .planning.check_device_memory import DEVICE_SOUND
from .tile_device import TILED

LOWERED = Invariant(
    "lowered: every op of a device function is a tile operator",
    lambda module: next((op for op in device_ops(module) if op.name not in TILE_OPERATORS), None),
)


class LowerToTiles(Pass):
    """Replaces the ops of device functions by tile operators, see :mod:`tilewright.ir.tile`, tile after tile.

    The order of tiles and what stays on chip from one to the next follow from the annotations ``tile`` and
    ``stationary``. Maps lie in DRAM, where the annotations ``dram`` and ``inputs`` put them: those that have memory
    of their own become ``tile_enter``, ``tile_receive`` and ``tile_buffer``, which keep the annotation, all others
    parts and reshapes of these. Weights become constants as the device multiplies them, i8 [outputs, inputs, rows,
    columns] for each slice of output channels and chunk of input channels; equal ones are one. Every op has the ``loc``
    of the op that it is a piece of, and the name of that one's result as ``layer``."""

    requires = (TILED, DEVICE_SOUND)
    ensures = (LOWERED,)

    def apply(self, module: Module, record: Record) -> bool:
        functions = device_functions(module)
        shared: dict[tuple[Any, ...], Constant] = {}
        for function in functions:
            _lower(module, function, shared)
            record.counts += Counter(op.name for op in function.ops)
        module.drop_unused_constants()
        return bool(functions)


def _lower(module: Module, function: Function, shared: dict[tuple[Any, ...], Constant]) -> None:
    ops = [*function.ops]
    program = TileProgram(module, function, shared)
    for op in ops:
        program.begin(op)
        if fused_convolution(op) is None:  # else it is part of the lowering of that
            _lower_op(op, program)
        program.send(op.result)
    function.set_results(program.finish(), function.result_names)
    for op in reversed(ops):
        op.erase()


def _lower_op(op: Op, program: TileProgram) -> None:
    lower = next((LOWERINGS[base] for base in type(op.operator).__mro__ if base in LOWERINGS), None)
    if lower is None:
        raise PassError("the operator has no device form", op=op.name, node=op.node)
    try:
        lower(op, program)
    except TilewrightError as error:
        error.op = error.op or op.name
        error.node = error.node or op.node
        raise

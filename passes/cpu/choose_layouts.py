"""Choose for each activation between row-major order and blocks of 16 channels, and which weights are Winograd's."""

from collections.abc import Hashable
from dataclasses import replace

import networkx

from ...ir.annotations import ON
from ...ir.calls import host_functions
from ...ir.core import Constant, Function, Module, Op, Value, is_op
from ...ir.layout import CHANNEL_BLOCK, NARROW, WINDOW, WINOGRAD, bytes_of, is_same_order
from ...ir.ops.convolution import Conv, NarrowConv
from ...ir.ops.elementwise import Elementwise
from ...ir.ops.movement import Reorder
from ...ir.types import DType
from ..base import PLACED, PLAIN, UNPLANNED, Pass, Record
from ..minimum_cut import charge_crossing
from .layout_support import ACTIVATIONS, Support, blocked_support, matrix_layout

REORDER_BYTES = 4096
"""What a reorder costs besides its traffic, as bytes of traffic: a call, and cold caches."""

_BLOCKED = "blocked"
_PLAIN = "plain"


class ChooseLayouts(Pass):
    """Puts activations around convolutions into layout ``c16`` and their weights into ``o16i16`` or ``o16``, those of
    quantised ones into ``o16i4`` or ``o16k4``. Weights of quantised matrix products become ``o16i4`` or ``i4o16``.
    Those of 3 x 3 windows are transformed for Winograd's algorithm where that pays, unless ``exact``. What only
    convolutions in bfloat16 read becomes ``n32``; of what others read as well, several of one tap share a copy in it.

    Which ops can is said in :mod:`tilewright.passes.cpu.layout_support`. The choice is a minimum cut: ops that need
    blocks stand on one side; inputs, outputs and ops that cannot on the other; an edge costs the traffic of
    the ``reorder`` that it would take, once for each value however many ops read it. Ops in neither camp go where it
    is cheaper, row-major where it makes no difference."""

    requires = (PLACED, PLAIN, UNPLANNED)
    ensures = (PLACED,)

    exact: bool = False

    def apply(self, module: Module, record: Record) -> bool:
        changed = [_choose(module, function, self.exact, record) for function in host_functions(module)]
        changed += [_hand_on(function, record) for function in host_functions(module)]
        return any(changed)


def _choose(module: Module, function: Function, exact: bool, record: Record) -> bool:
    supports = {op: support for op in function.ops if (support := blocked_support(op)) is not None}
    for op, support in supports.items():
        if not exact and is_op(op, Conv) and (layout := transformed_weights(op)) is not None:
            supports[op] = replace(support, weights={1: layout})
    matrices = {op: layout for op in function.ops if (layout := matrix_layout(op)) is not None}
    needs_blocks = any(is_op(op, Conv) or support.is_required for op, support in supports.items())
    if not needs_blocks and not matrices:
        return False
    blocked = _blocked_side(function, supports) if needs_blocks else set()
    _Rewriter(module, function, supports, matrices, blocked, record).run()
    module.drop_unused_constants()
    return True


def _hand_on(function: Function, record: Record) -> bool:
    """Put what convolutions in bfloat16 read into layout ``n32`` where that saves more than it costs."""
    changed = False
    for op in [*function.ops]:
        narrow = [value.type.with_layout(NARROW) for value in op.results]
        if _stays_narrow(op):
            op.result.type = narrow[0]
            record.counts["n32"] += 1
        elif len(readers := _tiles_read(op)) > 1:
            copy = Op(Reorder(), op.results, narrow, names=[op.result.name], loc=op.loc)
            ON.set(copy, "cpu")
            function.insert(copy, next(each for each in function.ops if each in readers))
            for reader in readers:
                reader.set_operand(0, copy.result)
            record.counts["reorder"] += 1
        else:
            continue
        changed = True
    return changed


def _tiles_read(op: Op) -> list[Op]:
    """The convolutions whose tiles would read the result where it lies, if it were in layout ``n32``."""
    if len(op.results) != 1 or op.result.type.layout != ACTIVATIONS or op.result.type.shape[1] % (2 * CHANNEL_BLOCK):
        return []
    users = [user for user, index in op.result.uses if index == 0 and isinstance(user, Op) and is_op(user, NarrowConv)]

    def is_pointwise(user: Op[NarrowConv]) -> bool:
        conv, window = user.operator, user.inputs[1].type.shape[2:]
        return {*window, *conv.strides, conv.group} == {1} and not any(conv.pads)

    return [user for user in users if is_pointwise(user)]


def _stays_narrow(op: Op) -> bool:
    """Whether a convolution, or an elementwise op on single precision, makes pairs of blocks of a result that only
    convolutions read that round it."""
    if len(op.results) != 1 or op.result.type.layout != ACTIVATIONS or not op.result.uses:
        return False
    channels, readers = op.result.type.shape[1], [user for user, _ in op.result.uses]
    if not all(isinstance(each, Op) and is_op(each, NarrowConv) and each.operator.group == 1 for each in readers):
        return False
    if isinstance(op.operator, Elementwise):
        return channels % (2 * CHANNEL_BLOCK) == 0 and all(value.type.dtype is DType.F32 for value in op.inputs)
    return is_op(op, NarrowConv) and op.operator.group == 1 and -(-channels // CHANNEL_BLOCK) % 2 == 0


def _blocked_side(function: Function, supports: dict[Op, Support]) -> set[Hashable]:
    """The nodes on the blocked side of the cut: ops with their results, and (op, 0) where operand 0 is free."""
    graph = networkx.DiGraph()
    graph.add_nodes_from((_BLOCKED, _PLAIN))
    for op, support in supports.items():
        if support.is_required:
            graph.add_edge(_BLOCKED, op)
        elif support.penalty:
            graph.add_edge(*((_BLOCKED, op) if support.penalty > 0 else (op, _PLAIN)), capacity=abs(support.penalty))
        if support.stem_weights is not None:
            # Reading few channels in blocks wastes most of the multiplications.
            graph.add_edge((op, 0), _PLAIN, capacity=16 * bytes_of(op.inputs[0].type.with_layout(ACTIVATIONS)))
    for value in (*function.parameters, *(result for op in function.ops for result in op.results)):
        if value.type.rank < 2:
            continue
        source = value.producer if value.producer in supports else _PLAIN
        readers = {_reader(user, index, supports) for user, index in value.uses}
        if not readers <= {source}:
            charge_crossing(graph, value, source, readers, _reorder_bytes(value))
    return set(networkx.minimum_cut(graph, _BLOCKED, _PLAIN)[1][0])


def _reader(user: Op | Function, index: int, supports: dict[Op, Support]) -> Hashable:
    """The node whose side says how operand ``index`` of ``user`` is read."""
    support = supports.get(user) if isinstance(user, Op) else None
    if support is None or index not in support.operands:
        return _PLAIN
    return (user, 0) if index == 0 and support.stem_weights is not None else user


def _reorder_bytes(value: Value) -> int:
    """What a reorder of ``value`` between row-major order and blocks costs, in either direction."""
    blocked = value.type.with_layout(ACTIVATIONS)
    return 1 if is_same_order(value.type, blocked) else bytes_of(blocked) + bytes_of(value.type) + REORDER_BYTES


class _Rewriter:
    """Carries out the decision."""

    def __init__(
        self,
        module: Module,
        function: Function,
        supports: dict[Op, Support],
        matrices: dict[Op, str],
        blocked: set[Hashable],
        record: Record,
    ) -> None:
        self._module = module
        self._function = function
        self._supports = supports
        self._matrices = matrices
        self._blocked = blocked
        self._record = record
        self._copies: dict[tuple[Value, str], Value] = {}

    def run(self) -> None:
        function = self._function
        for op in [*function.ops]:
            support = self._supports.get(op) if op in self._blocked else None
            layouts = {1: self._matrices[op]} if op in self._matrices else {}
            if support is not None:
                layouts = dict.fromkeys(support.operands, ACTIVATIONS) | support.weights
                if support.stem_weights is not None and (op, 0) not in self._blocked:
                    layouts |= {0: "", **support.stem_weights}
                op.result.type = op.result.type.with_layout(ACTIVATIONS)
            self._record.counts[op.name] += bool(layouts)
            for index, value in enumerate(op.operands):
                if value is not None:
                    op.set_operand(index, self._in_layout(value, layouts.get(index, ""), op))
        for index, value in enumerate(function.results):
            function.set_operand(index, self._in_layout(value, "", None))

    def _in_layout(self, value: Value, layout: str, before: Op | None) -> Value:
        """``value`` as it is, or the result of a reorder, one for all readers; of a constant another constant, whose
        array stays as it is. There is no reorder from blocks to blocks, as of weights that a convolution computes."""
        if value.type.layout and layout not in ("", value.type.layout):
            value = self._in_layout(value, "", before)
        key, type = (value, layout), value.type.with_layout(layout)
        if value.type == type:
            return value
        if key not in self._copies and isinstance(value, Constant):
            self._copies[key] = self._module.add_constant(value.name, value.array, type)
        elif key not in self._copies:
            loc = value.producer.loc if value.producer is not None else ()
            op = Op(Reorder(), [value], [type], names=[value.name], loc=loc)
            ON.set(op, "cpu")
            self._copies[key] = self._function.insert(op, before).result
            self._record.counts["reorder"] += 1
        return self._copies[key]


_BYTES_PER_CYCLE = 3
"""Of weights, which come from behind the second level cache: networks have more than a core's share of the third."""

_TRANSFORM = 7 / 3
"""Cycles for each of the n x n vectors that a transform reads or makes of 16 channels of a tile, by n."""

_LEAST_GAIN = 0.9
"""What it may take at most of the time of direct convolution: its rounding error is several times as large."""


def transformed_weights(op: Op[Conv]) -> str | None:
    """The layout of the weights of a convolution for the algorithm of least cost; ``None`` for direct convolution."""
    conv, (x, w, *_) = op.operator, op.inputs
    is_whole = conv.group == 1 and isinstance(w, Constant) and x.type.dtype is DType.F32
    if not is_whole or w.type.shape[2:] != (WINDOW, WINDOW) or {*conv.strides, *conv.dilations} != {1}:
        return None
    (batch, _, *extents), (outputs, channels) = op.result.type.shape, w.type.shape[:2]
    input_blocks, output_blocks = (-(-count // CHANNEL_BLOCK) for count in (channels, outputs))
    products = channels * output_blocks

    def cost(layout: str) -> float:
        """Cycles, where a product of vectors takes one."""
        streamed = bytes_of(w.type.with_layout(layout)) / _BYTES_PER_CYCLE
        algorithm = WINOGRAD.get(layout)
        if algorithm is None:
            return batch * extents[0] * extents[1] * WINDOW**2 * products * _LEAST_GAIN + streamed
        tiles = batch * -(-extents[0] // algorithm.tile) * -(-extents[1] // algorithm.tile)
        positions, n = tiles * algorithm.extent**2, algorithm.extent
        return positions * (products + _TRANSFORM * n * (input_blocks + output_blocks)) + streamed

    best = min(("o16i16", *WINOGRAD), key=cost)
    return best if best in WINOGRAD else None

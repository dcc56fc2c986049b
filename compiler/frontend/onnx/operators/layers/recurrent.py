"""LSTM, GRU and RNN of ONNX, and LSTM of integers."""

from dataclasses import dataclass

import numpy as np

from ......ir.core import Constant, Value
from ......ir.ops.elementwise import Add
from ......ir.ops.movement import Transpose
from .... import recurrent
from ....matmul import quantized_product
from ....movement import join, part_of, split
from ....shape import reshape
from ...exporter import MICROSOFT
from ...importer import Importer, Node, imports


@dataclass
class DynamicCell(recurrent.Cell):
    """One whose products are of integers: factors W [features, gates * hidden] and R [hidden, gates * hidden] are
    quantised, rows where they are multiplied, all rows at once.
    ``scales``, ``zeros``: of W, then of R: one, or one for each column."""

    scales: tuple[Value, ...] = ()
    zeros: tuple[Value, ...] = ()

    @property
    def hidden(self) -> int:
        return self.recurrence.type.shape[0]

    def projected(self, x: Value) -> Value:
        y = self._product(x, 0)
        return y if self.bias is None else self.importer.emit_one(Add(), y, self.bias)

    def product(self, h: Value, factor: Value, b: Value | None, addend: Value | None) -> Value:
        assert factor is self.recurrence and b is None and addend is not None
        return self.importer.emit_one(Add(), self._product(h, 1), addend)

    def _product(self, x: Value, which: int) -> Value:
        factor = (self.weights, self.recurrence)[which]
        return quantized_product(self.importer, x, factor, self.scales[which], self.zeros[which])


@imports(*recurrent.GATES)
@imports("DynamicQuantizeLSTM", domain=MICROSOFT)
def import_recurrent(node: Node, importer: Importer) -> list[Value]:
    """Results: the hidden state of each step, the last one, and LSTM's last cell state."""
    is_batch_first = node.bool("layout", 0)
    x, r = node.input(0), node.input(2)
    for name, each in (("X", x), ("R", r)):
        if len(each.type.shape) != 3:
            raise node.model_error(
                f"{name} has the wrong number of dimensions", expected=3, found=list(each.type.shape)
            )
    if is_batch_first:
        x = importer.emit_one(Transpose((1, 0, 2)), x)
    steps, batch, features = x.type.shape
    gates, hidden = recurrent.GATES[_kind(node)], r.type.shape[1 if _is_dynamic(node) else 2]
    direction = node.string("direction", "forward")
    reversals = recurrent.DIRECTIONS.get(direction)
    if reversals is None:
        raise node.model_error("there is no such direction", expected=", ".join(recurrent.DIRECTIONS), found=direction)
    shape = (len(reversals), batch, hidden)
    _check_shapes(node, features, shape, is_batch_first)
    lengths = node.optional(4)
    if lengths is not None and lengths.type.shape != (batch,):
        raise node.model_error("there is to be one length for each sequence", expected=[batch], found=lengths.type)
    if isinstance(lengths, Constant) and (lengths.array >= steps).all():
        lengths = None
    states = [_initial(node, importer, index, shape, is_batch_first) for index in (5, 6)[: 2 if gates == 4 else 1]]
    sequences, last = [], []
    for index, is_reverse in enumerate(reversals):
        state = tuple(part_of(importer, each, 0, index) for each in states)
        y, state = _cell(node, importer, index).run(node, x, state, is_reverse=is_reverse, lengths=lengths)
        sequences.append(reshape(importer, y, (steps, 1, batch, hidden)))
        last.append([reshape(importer, each, (1, batch, hidden)) for each in state])
    y = join(importer, sequences, 1)
    ends = [join(importer, list(each), 0) for each in zip(*last, strict=True)]
    if not is_batch_first:
        return [y, *ends]
    return [
        importer.emit_one(Transpose((2, 0, 1, 3)), y),
        *(importer.emit_one(Transpose((1, 0, 2)), each) for each in ends),
    ]


def _check_shapes(node: Node, features: int, state: tuple[int, int, int], is_batch_first: bool) -> None:
    """Refuse operands of other extents, which may fit what they are cut into by chance.
    ``state``: directions, batch and hidden."""
    directions, batch, hidden = state
    gates = recurrent.GATES[_kind(node)] * hidden
    factors = [(gates, features), (gates, hidden)]
    if _is_dynamic(node):
        factors = [shape[::-1] for shape in factors]
    state = (batch, directions, hidden) if is_batch_first else state
    expected = {
        "W": (1, (directions, *factors[0])),
        "R": (2, (directions, *factors[1])),
        "B": (3, (directions, 2 * gates)),
        "initial_h": (5, state),
        "initial_c": (6, state),
        "P": (7, (directions, 3 * hidden)),
    }
    for name, (index, shape) in expected.items():
        given = node.optional(index)
        if given is not None and given.type.shape != shape:
            raise node.model_error(
                f"the shape of {name} does not fit", expected=list(shape), found=list(given.type.shape)
            )
    if node.int("hidden_size", hidden) != hidden:
        raise node.model_error("hidden_size is not that of R", expected=hidden, found=node.int("hidden_size", hidden))


def _is_dynamic(node: Node) -> bool:
    return node.op_type.startswith("DynamicQuantize")


def _kind(node: Node) -> str:
    return node.op_type.removeprefix("DynamicQuantize")


def _initial(node: Node, importer: Importer, index: int, shape: tuple[int, ...], is_batch_first: bool) -> Value:
    """The state at the beginning, [directions, batch, hidden]: given, or zeros."""
    given, dtype = node.optional(index), node.input(0).type.dtype
    if given is None:
        return importer.described(node, shape, dtype, lambda: np.zeros(shape, dtype.numpy), "_initial")
    return importer.emit_one(Transpose((1, 0, 2)), given) if is_batch_first else given


def _cell(node: Node, importer: Importer, index: int) -> recurrent.Cell:
    """The cell of direction ``index``."""
    factor, recurrence = (part_of(importer, node.input(each), 0, index) for each in (1, 2))
    gates, hidden = recurrent.GATES[_kind(node)], recurrence.type.shape[0 if _is_dynamic(node) else 1]
    bias = late = None
    if node.optional(3) is not None:
        of_w, of_r = split(importer, part_of(importer, node.input(3), 0, index), 0, (gates * hidden,) * 2)
        if node.bool("linear_before_reset", 0):
            of_r, late = split(importer, of_r, 0, (2 * hidden, hidden))
            early, new = split(importer, of_w, 0, (2 * hidden, hidden))
            bias = join(importer, [importer.emit_one(Add(), early, of_r), new], 0)
        else:
            bias = importer.emit_one(Add(), of_w, of_r)
    elif node.bool("linear_before_reset", 0):
        late = importer.constant(np.zeros(hidden, recurrence.type.dtype.numpy), "bias")
    given = node.optional(7)
    peepholes = split(importer, part_of(importer, given, 0, index), 0, (hidden,) * 3) if given is not None else ()
    clip, forgets = node.float("clip", 0.0), node.bool("input_forget", 0)
    parts = _activations(node, index), factor, recurrence, bias, late, peepholes, clip, forgets
    if not _is_dynamic(node):
        return recurrent.Cell(importer, node.op_type, *parts)
    scales, zeros = ([part_of(importer, node.input(each + 2 * which), 0, index) for which in (0, 1)] for each in (8, 9))
    return DynamicCell(importer, "LSTM", *parts, tuple(scales), tuple(zeros))


def _activations(node: Node, index: int) -> list[recurrent.Activate]:
    """Those of direction ``index``: numbers are given for all directions in turn, to those that have such."""
    kind = recurrent.DEFAULT_ACTIVATIONS[_kind(node)]
    given = node.attributes.get("activations")
    names = [name.decode().lower() for name in given] if given else [*kind] * (index + 1)
    known = {*recurrent.ACTIVATIONS, *recurrent.SCALED}
    if not known >= set(names):
        raise node.unsupported("these activations are not supported", expected=", ".join(sorted(known)), found=names)
    if len(names) < len(kind) * (index + 1):
        raise node.model_error("there are too few activations", expected=f"{len(kind)} a direction", found=names)
    alphas, betas = (iter(node.floats(f"activation_{which}", ())) for which in ("alpha", "beta"))
    found = []
    for name in names:
        defaults = recurrent.numbers_of(name)
        found.append(
            recurrent.activate(name, *(next(each, d) for each, d in zip((alphas, betas), defaults, strict=False)))
        )
    return found[index * len(kind) : (index + 1) * len(kind)]

"""Attention on 8-bit integers, where a processor adds products up in pairs.

A work item is some rows of queries: their scores are a product, from which vectors make weights, row by row, and the
weighted values are a second product. Both are kernels of their own, see :mod:`.products.computed_product`; scores and
weights of a work item stay in the caches nearby.
"""

import math
from collections.abc import Callable, Sequence

from ....ir.arithmetic import OCTAVE_BITS, POWERS
from ....ir.core import Op
from ....ir.ops.attention import Attention
from ....ir.quantized import limits, parameters
from ....ir.types import DType
from ..constants import aligned
from ..kernel import Kernel, lowers
from ..llvm.builder import Integer
from ..llvm.byte_dot_product import ACCUMULATOR, LANES
from ..llvm.quantized_math import StoredRange, single, widened
from ..llvm.target import TargetDescription
from ..llvm.types import F32, F64, I8, I32, I64, PTR, Register, Registers, constant, partial_mask, vector_constant, zero
from ..spec import KernelSpec
from ..tensors import is_plain
from .products.computed_product import ComputedProduct, View
from .products.matrix_product import positions
from .products.word_packing import Factor
from .products.word_product import WordProduct
from .window import Axis

_MOST_ROWS, _MOST_SCORES = 64, 1 << 16
"""Of a work item."""

_NEVER = -(1 << 31)
"""The score of a key that is not seen."""

_FAR = 17 << OCTAVE_BITS
"""So far below the largest score of a row weights are 0."""

_EXACT = 1 << 52
"""Up to here double precision holds all integers and their halves."""


class QuantizedAttention(KernelSpec):
    """Weighted means of values for each matrix of a batch; arguments q, k, v, mask if there is one, and the result.

    Attributes:
        operator: extents and views of the matrices.
        dtype: of all operands and the result.
        zeros: of queries, keys, values and the mask.
        multipliers: of scores and mask, and the shift.
        hidden: what the mask holds where a key is not seen.
        scale: of the values over that of the result.
        result: its integers.
    """

    operator: Attention
    dtype: DType
    zeros: tuple[int, int, int, int]
    multipliers: tuple[int, int, int]
    hidden: int
    scale: float
    result: StoredRange

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("q", "k", "v", "mask", "y") if self.operator.mask_view else ("q", "k", "v", "y")

    @property
    def blocks(self) -> int:
        """Work items of a matrix."""
        return -(-self.operator.rows // max(1, min(_MOST_ROWS, _MOST_SCORES // self.operator.keys)))

    @property
    def pitch(self) -> int:
        """From row to row of scores and weights."""
        return aligned(self.operator.keys)

    def products(self, rows: int, target: TargetDescription) -> list[Kernel] | None:
        """Of queries and keys, and of weights and values, for so many rows; ``None`` where there is no such
        product."""
        operator, (q, k, v, _) = self.operator, self.zeros
        of_keys, of_values = operator.k_view[:-3:-1], operator.v_view[-2:]
        scores = self._product(
            (rows, operator.keys, operator.width),
            (Factor(self.dtype, known=q), Factor(self.dtype, known=k)),
            ((0, *operator.q_view[-2:]), (0, *of_keys), (0, self.pitch, 1)),
            target,
        )
        means = self._product(
            (rows, operator.depth, operator.keys),
            (Factor(DType.U8), Factor(self.dtype, known=v)),
            ((0, self.pitch, 1), (0, *of_values), (0, operator.depth, 1)),
            target,
        )
        return [scores.kernel(target), means.kernel(target)] if scores is not None and means is not None else None

    def _product(
        self,
        extents: tuple[int, int, int],
        factors: tuple[Factor, Factor],
        views: Sequence[View],
        target: TargetDescription,
    ) -> ComputedProduct | None:
        window = Axis.line(1), Axis.line(extents[1])
        return ComputedProduct.of(
            WordProduct(*extents, ("left", "right", "y"), (), (), (), *factors, window), target, views
        )

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, target).generate()


_Some = Callable[..., list[Register]]
"""From where a vector begins, what is carried and, of the last one, a mask, to what is carried."""


class _Walker:
    """The function that walks over the work items."""

    def __init__(self, spec: QuantizedAttention, target: TargetDescription) -> None:
        self.spec, self.operator = spec, spec.operator
        self.b, self.arguments = spec.entry(target, writes=("y", "scratch"))
        self.most = -(-self.operator.rows // spec.blocks)
        last = self.operator.rows - (spec.blocks - 1) * self.most
        self.kernels = {rows: spec.products(rows, target) or [] for rows in {self.most, last}}
        # Scores, weights, their sums and those of weighted values, and the work memory of products.
        sizes = 4 * spec.pitch, spec.pitch, 4, 4 * self.operator.depth
        self.places = [0]
        for size in sizes:
            self.places.append(self.places[-1] + aligned(size * self.most))
        self.powers = self.b.table(f"{spec.name}_powers", I32, POWERS.tolist())

    def generate(self) -> Kernel:
        b, spec = self.b, self.spec

        def unit(index: Register) -> None:
            matrix, block = b.divide(index, spec.blocks), b.remainder(index, spec.blocks)
            first = b.multiply(block, self.most)
            b.of_part(block, self.operator.rows, self.most, lambda rows: self._rows(matrix, first, rows))

        b.each(self.arguments["begin"], self.arguments["end"], unit)
        kernels = {kernel.name: kernel for pair in self.kernels.values() for kernel in pair}
        scratch = self.places[-1] + max(kernel.scratch_bytes for kernel in kernels.values())
        whole = spec.finish(b, units=math.prod(self.operator.batch) * spec.blocks, scratch_bytes=scratch)
        return Kernel(whole.name, whole.text, whole.units, scratch, calls=tuple(kernels.values()))

    def _rows(self, matrix: Register, first: Register, rows: int) -> None:
        """One work item."""
        b, operator = self.b, self.operator
        views = {name: getattr(operator, f"{name}_view") for name in self.spec.arguments}
        starts = positions(b, matrix, operator.batch, *(view[1:-2] for view in views.values()))
        at: dict[str, Register] = {}
        for (name, view), start in zip(views.items(), starts, strict=True):
            at[name] = b.at(self.arguments[name], view[0], start)
            if name in ("q", "mask", "y"):
                at[name] = b.at(at[name], b.multiply(first, view[-2]))
        scores, weights, totals, sums, work = (b.at(self.arguments["scratch"], place) for place in self.places)
        of_scores, of_means = self.kernels[rows]

        def product(kernel: Kernel, left: Register, right: Register, result: Register) -> None:
            b.intrinsic(kernel.name, I32, [left, right, result, work, b.integer(0), b.integer(kernel.units)])

        def row(index: Register) -> None:
            line, of_row = b.multiply(index, self.spec.pitch), b.multiply(index, 4)
            mask = b.at(at["mask"], b.multiply(index, operator.mask_view[-2])) if operator.mask_view else zero(PTR)
            count: Integer = operator.keys
            if operator.causal:
                count = b.add(b.add(first, index), operator.keys - operator.rows + 1)
            z = b.at(scores, b.multiply(line, 4))
            top = self._levels(z, mask, b.integer(count))
            b.store(self._weights(z, top, b.at(weights, line)), b.at(totals, of_row))

        def mean(index: Register) -> None:
            total = b.load(I32, b.at(totals, b.multiply(index, 4)))
            y = b.at(at["y"], b.multiply(index, operator.y_view[-2]))
            self._means(b.at(sums, b.multiply(index, 4 * operator.depth)), total, y)

        product(of_scores, at["q"], at["k"], scores)
        b.each(0, rows, row)
        product(of_means, weights, at["v"], sums)
        b.each(0, rows, mean)

    def _levels(self, scores: Register, mask: Register, count: Register) -> Register:
        """Logarithms of the weights of a row, in the place of its scores; the largest.
        ``count``: of keys that it sees."""
        b, operator = self.b, self.operator
        first, second, shift = self.spec.multipliers
        lanes = vector_constant(I64.of(LANES), [str(lane) for lane in range(LANES)])
        never = constant(ACCUMULATOR, _NEVER)
        is_by_key = bool(operator.mask_view) and operator.mask_view[-1] != 0

        def some(key: Register, carried: Registers, active: Register | None = None) -> list[Register]:
            place = b.at(scores, b.multiply(key, 4))
            stored = b.load_masked(ACCUMULATOR, place, active)
            real = b.convert("sitofp", stored, F64.of(LANES))
            real = b.binary("fmul", real, constant(real.type, math.ldexp(first, -shift)))
            added = None
            if operator.mask_view:
                bytes = b.load_masked(I8.of(LANES), b.at(mask, key), active) if is_by_key else None
                bytes = b.splat(b.load(I8, mask), LANES) if bytes is None else bytes
                added = widened(b, bytes, self.spec.dtype)
                less = b.binary("sub", added, constant(added.type, self.spec.zeros[3]))
                term = b.convert("sitofp", less, real.type)
                real = b.fma(term, constant(real.type, math.ldexp(second, -shift)), real)
            z = b.convert("fptosi", b.unary_intrinsic("rint", real), ACCUMULATOR)
            if added is not None:
                z = b.select(b.compare("ne", added, constant(added.type, self.spec.hidden)), z, never)
            if operator.causal or active is not None:
                numbers = b.binary("add", lanes, b.splat(key, LANES))
                z = b.select(b.compare("slt", numbers, b.splat(count, LANES)), z, never)
            b.store_masked(z, place, active)
            return [b.intrinsic(f"llvm.smax.{ACCUMULATOR.suffix}", ACCUMULATOR, [z, carried[0]])]

        (top,) = self._along(operator.keys, some, [never])
        return b.intrinsic(f"llvm.vector.reduce.smax.{ACCUMULATOR.suffix}", I32, [top])

    def _weights(self, levels: Register, top: Register, weights: Register) -> Register:
        """Weights of a row by their logarithms; their sum."""
        b, whole = self.b, ACCUMULATOR
        least, one = b.splat(top, LANES), constant(whole, 1)

        def some(key: Register, carried: Registers, active: Register | None = None) -> list[Register]:
            z = b.load_masked(whole, b.at(levels, b.multiply(key, 4)), active)
            below = b.binary("sub", least, z)
            below = b.intrinsic(f"llvm.umin.{whole.suffix}", whole, [below, constant(whole, _FAR)])
            index = b.binary("and", below, constant(whole, len(POWERS) - 1))
            offsets = b.convert("zext", b.binary("shl", index, constant(whole, 2)), I64.of(LANES))
            power = b.gather(whole, self.powers, offsets, None)
            away = b.binary("add", b.binary("lshr", below, constant(whole, OCTAVE_BITS)), constant(whole, 8))
            # To nearest, ties to even: half of a step less one, and one more where the floor is odd.
            odd = b.binary("and", b.binary("lshr", power, away), one)
            half = b.binary("shl", one, b.binary("sub", away, one))
            near = b.binary("add", b.binary("add", power, b.binary("sub", half, one)), odd)
            is_seen = b.compare("ne", z, constant(whole, _NEVER))
            if active is not None:
                is_seen = b.binary("and", is_seen, active)
            weight = b.select(is_seen, b.binary("lshr", near, away), zero(whole))
            b.store_masked(b.convert("trunc", weight, I8.of(LANES)), b.at(weights, key), active)
            return [b.binary("add", carried[0], weight)]

        (total,) = self._along(self.operator.keys, some, [zero(whole)])
        return b.intrinsic(f"llvm.vector.reduce.add.{whole.suffix}", I32, [total])

    def _means(self, sums: Register, total: Register, y: Register) -> None:
        """A row of the result."""
        b, real = self.b, F32.of(LANES)
        weights = b.intrinsic("llvm.smax.i32", I32, [total, constant(I32, 1)])
        quotient = b.binary("fdiv", constant(F32, 1), b.convert("sitofp", weights, F32))
        quotient, scale = b.splat(quotient, LANES), constant(real, self.spec.scale)

        def some(column: Register, _: Registers, active: Register | None = None) -> list[Register]:
            stored = b.load_masked(ACCUMULATOR, b.at(sums, b.multiply(column, 4)), active)
            mean = b.binary("fmul", b.binary("fmul", single(b, stored), scale), quotient)
            b.store_masked(self.spec.result.store_form(b, mean), b.at(y, column), active)
            return []

        self._along(self.operator.depth, some, [])

    def _along(self, length: int, some: _Some, start: Sequence[Register]) -> Registers:
        """What is carried from vector to vector of a row."""
        whole = length // LANES * LANES
        carried = self.b.loop(0, whole, some, start, step=LANES)
        rest = partial_mask(LANES, length - whole) if length > whole else None
        return carried if rest is None else tuple(some(self.b.integer(whole), carried, rest))


@lowers(Attention, needs=(is_plain,))
def quantized_attention(op: Op[Attention], target: TargetDescription) -> Kernel | None:
    """By a softmax, of scores that double precision holds; others are the plain loops'."""
    operator, v, mask, y = op.operator, op.operands.v, op.operands.mask, op.result.type
    if v is None or y.quant is None or operator.shares or (mask is not None and operator.mask_view[-1] not in (0, 1)):
        return None
    types = [value.type if value is not None else None for value in op.operands]
    first, second, shift = multipliers = operator.multipliers(types)
    largest = operator.width * 255**2 * abs(first) + 255 * second
    if largest >= _EXACT or (largest >> shift) + 1 >= 1 << 30:
        return None
    of_q, of_k, of_v, of_mask = (parameters(type)[1] if type is not None else 0 for type in types)
    hidden = limits(mask.type)[0] if mask is not None else 0
    scale = float(parameters(v.type)[0] / parameters(y)[0])
    result = StoredRange.of_product(y, "none", ())
    spec = QuantizedAttention(operator, y.dtype, (of_q, of_k, of_v, of_mask), multipliers, hidden, scale, result)
    return spec.kernel(target) if spec.products(1, target) is not None else None

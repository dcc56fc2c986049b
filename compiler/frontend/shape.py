"""Reshapes, casts, expansions and ranges, as the importers of all formats emit them; nothing where nothing changes."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from tilewright.errors import IRError

from ...ir.core import Constant, Value
from ...ir.ops.elementwise import broadcast_shape
from ...ir.ops.shape import Cast, Expand, Reshape
from ...ir.types import DType, TensorType
from .builder import ModuleBuilder, SourceNode


def reshape(importer: ModuleBuilder, x: Value, shape: tuple[int, ...]) -> Value:
    """``x`` under another shape; ``x`` itself where it has that shape."""
    return x if x.type.shape == shape else importer.emit_one(Reshape(shape), x)


def cast(importer: ModuleBuilder, x: Value, to: DType) -> Value:
    """``x`` in another dtype; ``x`` itself where it has that dtype."""
    return x if x.type.dtype is to else importer.emit_one(Cast(to), x)


def filled_in(node: SourceNode, x: TensorType, wanted: Sequence[int], *, zero_copies: bool = True) -> tuple[int, ...]:
    """A shape for the elements of ``x`` in which an extent may be left open.
    ``wanted``: at most one -1, which stands for what is left.
    ``zero_copies``: 0 stands for the extent of ``x`` at its position.
    Raises ModelError: there is no such extent, or ``x`` does not divide into the shape."""
    shape = list(wanted)
    if zero_copies:
        if any(e == 0 and d >= x.rank for d, e in enumerate(shape)):
            raise node.model_error("a 0 in the shape has no counterpart in x", found=shape)
        shape = [x.shape[d] if e == 0 else e for d, e in enumerate(shape)]
    if shape.count(-1) > 1:
        raise node.model_error("only one extent may be left open", found=shape)
    if -1 in shape:
        known = math.prod(e for e in shape if e != -1)
        if known == 0 or x.elements % known:
            raise node.model_error("x does not divide into the shape", expected=list(x.shape), found=shape)
        shape[shape.index(-1)] = x.elements // known
    return tuple(shape)


def flatten(importer: ModuleBuilder, x: Value, first: int, last: int) -> Value:
    """``x`` with the dimensions from ``first`` to ``last`` as one."""
    shape = x.type.shape
    return reshape(importer, x, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def squeeze(node: SourceNode, importer: ModuleBuilder, x: Value, given: Iterable[int] | None) -> Value:
    """``x`` without the given dimensions, whose extent is 1; ``None`` for all such dimensions.
    Raises ModelError: one of them is out of range or larger."""
    if given is None:
        return reshape(importer, x, tuple(e for e in x.type.shape if e != 1))
    axes = {node.from_front(a, x.type.rank) for a in given}
    if any(x.type.shape[a] != 1 for a in axes):
        raise node.model_error("only dimensions of extent 1 can be squeezed", expected=sorted(axes), found=x.type)
    return reshape(importer, x, tuple(e for d, e in enumerate(x.type.shape) if d not in axes))


def unsqueeze(node: SourceNode, importer: ModuleBuilder, x: Value, given: Sequence[int]) -> Value:
    """``x`` with further dimensions of extent 1, at the given positions of the result.
    Raises ModelError: one of them is out of range or given twice."""
    rank = x.type.rank + len(given)
    axes = {node.from_front(a, rank) for a in given}
    if len(axes) != len(given):
        raise node.model_error("an axis is given twice", found=list(given))
    rest = iter(x.type.shape)
    return reshape(importer, x, tuple(1 if d in axes else next(rest) for d in range(rank)))


def expand(node: SourceNode, importer: ModuleBuilder, x: Value, wanted: tuple[int, ...]) -> Value:
    """``x`` repeated until it has the shape that it and ``wanted`` broadcast to. Raises ModelError: they do not."""
    try:
        shape = broadcast_shape(x.type.shape, wanted)
    except IRError:
        raise node.model_error("x does not expand to the shape", expected=list(wanted), found=x.type) from None
    return x if shape == x.type.shape else importer.emit_one(Expand(shape), x)


def progression(
    node: SourceNode, importer: ModuleBuilder, start: np.number, stop: np.number, step: np.number, dtype: DType
) -> Constant:
    """The numbers from ``start`` on, ``stop`` not reached, in ``dtype``.
    Raises ModelError: the step is 0; ResourceError: there are too many of them."""
    if step == 0:
        raise node.model_error("the step of a range must not be 0")
    count = max(0, math.ceil((float(stop) - float(start)) / float(step)))
    # Accumulated products, not sums: element i is start + i * step.
    return importer.described(
        node, (count,), dtype, lambda: (start + np.arange(count).astype(start.dtype) * step).astype(dtype.numpy)
    )

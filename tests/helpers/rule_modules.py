"""The rules of all passes, found in their modules, and of each pattern the smallest modules that it matches."""

from __future__ import annotations

import importlib
import itertools
import math
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from operator_samples import samples

from tilewright import passes
from tilewright.errors import TilewrightError
from tilewright.ir.core import Constant, Function, Module, Op, Value
from tilewright.ir.op import REGISTRY, Operator
from tilewright.ir.ops.activation import Clip, HardSigmoid
from tilewright.ir.ops.convolution import Conv, ConvTranspose
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.ops.movement import Concat, Pad, Slice, Split, Tile, Transpose
from tilewright.ir.ops.normalization import BatchNorm, LayerNorm, RmsNorm
from tilewright.ir.ops.pooling import AveragePool, MaxPool
from tilewright.ir.ops.reduction import Reduce
from tilewright.ir.ops.shape import Cast, Expand, Reshape
from tilewright.ir.types import DType, TensorType
from tilewright.passes.base import Record
from tilewright.passes.pattern import Const, Driver, Operand, OpPattern, Rule

SHAPES = ((1, 4, 6, 6), (2, 4, 1, 1), (2, 6))
"""Of what patterns call by name, in the order in which they are tried."""

NUMBERS = (2.0, 1.0, 0.0, 3.0, 6.0, 1 / 6, 0.5, -0.5, math.sqrt(2), math.sqrt(0.5), math.sqrt(2 / math.pi), 0.044715)
"""What constants are filled with, the first that a pattern takes."""


def all_rules() -> dict[str, list[Rule]]:
    """Every rule that a module of the passes holds, by name."""
    found: dict[int, Rule] = {}
    for each in pkgutil.walk_packages(passes.__path__, f"{passes.__name__}."):
        tuples = [v for v in vars(importlib.import_module(each.name)).values() if isinstance(v, tuple)]
        found |= {id(rule): rule for values in tuples for rule in values if isinstance(rule, Rule)}
    by_name: dict[str, list[Rule]] = {}
    for rule in found.values():
        by_name.setdefault(rule.name, []).append(rule)
    return by_name


@dataclass(frozen=True, eq=False)
class Tree:
    """What a pattern may match: a parameter, a constant, or an operator on others."""

    type: TensorType
    array: np.ndarray | None = None
    operator: Operator | None = None
    operands: tuple[Tree | None, ...] = ()

    def value(self) -> Value:
        """A value of this type, a constant where this is one."""
        return Value("", self.type) if self.array is None else Constant("", self.array, self.type)

    def kinds(self) -> tuple[str, ...]:
        """Names of the operators, from the last backwards."""
        inner = [name for each in self.operands if each is not None for name in each.kinds()]
        return (self.operator.name, *inner) if self.operator is not None else ()


def applied(operator: Operator, operands: Sequence[Tree | None]) -> Tree:
    """An operator on these."""
    types = operator.result_types([each.type if each is not None else None for each in operands])
    return Tree(types[0], None, operator, tuple(operands))


Named = Mapping[str, Tree]


def matching_modules(rule: Rule) -> Iterator[Module]:
    """For each choice of operators that the pattern leaves, the first module of real numbers that it fires on."""
    seen: set[tuple[str, ...]] = set()
    for shape in SHAPES:
        for tree, _ in _trees(rule.pattern, shape, {}):
            if tree.kinds() not in seen and Driver((rule,)).run(_module(tree), Record("")):
                seen.add(tree.kinds())
                yield _module(tree)


def _module(tree: Tree) -> Module:
    module = Module("smallest")
    function = module.add_function(Function("main"))
    made: dict[Tree, Value] = {}

    def build(part: Tree) -> Value:
        if part not in made:
            operands = [build(each) if each is not None else None for each in part.operands]
            if part.array is not None:
                made[part] = module.add_constant("c", part.array)
            elif part.operator is None:
                made[part] = function.add_parameter(f"x{len(function.parameters)}", part.type)
            else:
                made[part] = function.append(part.operator, operands, loc=[part.operator.name]).results[0]
        return made[part]

    last = build(tree).producer
    assert last is not None
    function.set_results(last.results, [f"y{i}" for i in range(len(last.results))])
    return module


def _trees(pattern: Operand, shape: Sequence[int], named: Named) -> Iterator[tuple[Tree, Named]]:
    """What ``pattern`` may match, and what its names stand for then."""
    name = pattern if isinstance(pattern, str) else getattr(pattern, "name", None)
    if name is not None and name in named:
        yield named[name], named
    elif isinstance(pattern, str):
        tree = Tree(TensorType(tuple(shape), DType.F32))
        yield tree, {**named, pattern: tree}
    elif isinstance(pattern, Const):
        extents = [(), shape[1:2], (*shape[1:2], 1, 1)] if pattern.where is None else [()]
        filled = (np.full(each, number, np.float32) for number in NUMBERS for each in extents)
        fitting = (array for array in filled if pattern.where is None or pattern.where(array))
        for array in itertools.islice(fitting, len(extents)):
            yield Tree(TensorType.of(array), array), named
    elif isinstance(pattern, OpPattern):
        for tree, after in _applications(pattern, shape, named):
            yield tree, {**after, name: tree} if name is not None else after


def _applications(pattern: OpPattern, shape: Sequence[int], named: Named) -> Iterator[tuple[Tree, Named]]:
    for cls in (each for each in REGISTRY.values() if issubclass(each, pattern.classes)):
        for given, after in _operand_lists(pattern.operands, shape, named):
            for operator, more in _completed(cls, given):
                operands = (*given, *more)
                try:
                    op = Op(operator, [each.value() if each is not None else None for each in operands])
                except TilewrightError:
                    continue
                if pattern.where is None or pattern.where(op):
                    yield applied(operator, operands), after


def _operand_lists(
    patterns: Sequence[Operand], shape: Sequence[int], named: Named
) -> Iterator[tuple[tuple[Tree, ...], Named]]:
    if not patterns:
        yield (), named
        return
    for first, after in _trees(patterns[0], shape, named):
        # What else an operator reads may have the shape of what stands before it, or that of one row.
        is_open = any(isinstance(each, str) and each not in after for each in patterns[1:])
        more = (first.type.shape, first.type.shape[-1:]) if is_open else ()
        for others in dict.fromkeys((tuple(shape), *more)):
            for rest, last in _operand_lists(patterns[1:], others, after):
                yield (first, *rest), last


def _completed(cls: type[Operator], given: Sequence[Tree]) -> Iterator[tuple[Operator, tuple[Tree | None, ...]]]:
    """Operators of a class, each with the operands that a pattern leaves open."""
    rng = np.random.default_rng(5)
    if not given:
        for sample in samples(cls, rng):
            first, *rest = (_leaf(array, i in sample.constants) for i, array in enumerate(sample.inputs))
            if sample.types is None and first is not None and first.type.dtype is DType.F32:
                for x in (first, _moved(first), applied(sample.operator, (first, *rest))):
                    yield sample.operator, (x, *rest)
        return
    for operator, shapes in _operators(cls, given[0].type.shape):
        arrays = [rng.uniform(-1, 1, shape).astype(np.float32) for shape in shapes]
        yield operator, tuple(Tree(TensorType.of(array), array) for array in arrays)


def _leaf(array: np.ndarray | None, is_constant: bool) -> Tree | None:
    if array is None:
        return None
    return Tree(TensorType.of(array), array if is_constant or array.dtype != np.float32 else None)


def _moved(leaf: Tree) -> Tree:
    """A transposition that gives the type of ``leaf``."""
    order = tuple(range(leaf.type.rank))
    perm = (*order[:-2], *order[:-3:-1])
    return applied(Transpose(perm), [Tree(leaf.type.with_shape([leaf.type.shape[axis] for axis in perm]))])


def _operators(cls: type[Operator], x: tuple[int, ...]) -> Iterator[tuple[Operator, tuple[tuple[int, ...], ...]]]:
    """Operators of a class for a first operand of shape ``x``, with the shapes of the weights that they take."""
    rank, spatial = len(x), len(x) - 2
    ones, none = (1,) * rank, (0,) * rank
    if issubclass(cls, (Conv, ConvTranspose)) and spatial:
        ones, none = (1,) * spatial, (0,) * spatial
        operator = ConvTranspose(ones, none * 2, ones, none) if cls is ConvTranspose else Conv(ones, none * 2, ones, 1)
        yield operator, ((4, 4, *(min(3, extent) for extent in x[2:])), (4,))
    elif issubclass(cls, MatMul) and rank:
        yield MatMul(), ((x[-1], 5),)
        yield MatMul(), ()
    elif issubclass(cls, (LayerNorm, RmsNorm)):
        yield cls(rank - 1, 1e-5), (x[-1:],)
    elif issubclass(cls, (MaxPool, AveragePool)) and spatial:
        for kernel in ((2,) * spatial, x[2:]):
            window = (kernel, (1,) * spatial, (0,) * 2 * spatial, (1,) * spatial)
            yield MaxPool(*window) if cls is MaxPool else AveragePool(*window, False, (0,) * spatial), ()
    elif issubclass(cls, Reduce):
        for axes in ((), (rank - 1,), tuple(range(2, rank))):
            yield cls(axes, keepdims=True), ()
    elif not cls.attributes():
        yield cast("Callable[[], Operator]", cls)(), ()
    else:
        transposed = (tuple(range(rank)), tuple(range(rank))[::-1], (*range(rank - 2), rank - 1, rank - 2))
        table: dict[type[Operator], tuple[Operator, ...]] = {
            Clip: (Clip(0.0, 6.0), Clip(-1.0, 1.0), Clip(0.0), Clip()),
            HardSigmoid: (HardSigmoid(1 / 6, 0.5),),
            Pad: (
                Pad((0,) * 2 * rank),
                Pad((*none[:2], *[1] * spatial) * 2),
                Pad((*none[:2], *[1] * spatial) * 2, value=-math.inf),
            ),
            Transpose: tuple(map(Transpose, transposed)),
            Reshape: (Reshape(x), Reshape((math.prod(x),))),
            Expand: (Expand(x),),
            Slice: (Slice(none, x, ones), Slice(none, ones, ones)),
            Split: (Split(1, x[1:2]),),
            Tile: (Tile(ones),),
            Concat: (Concat(1),),
            Cast: (Cast(DType.F32),),
            BatchNorm: (BatchNorm(1e-5),),
        }
        yield from ((operator, ()) for operator in table.get(cls, ()))

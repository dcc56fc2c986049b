"""Random networks of any operators: samples of the registry, each reading what others computed where that means
something.

A value is brought into the shape that a sample reads, and between -2 and 2. Where a thousandth of a step more or less
changes what an operator answers (a comparison, a rounding, the logarithm near 0), it reads numbers of its own: two
programs that are both right would differ.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from operator_samples import Case, cases_of, make_case
from samples import Sample

from tilewright.compiler.frontend.onnx.exporter import OPENVINO
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.errors import InputError, TilewrightError
from tilewright.ir.core import Function, Module, Value
from tilewright.ir.op import REGISTRY
from tilewright.ir.ops.activation import Tanh
from tilewright.ir.ops.elementwise import Mul
from tilewright.ir.ops.movement import Slice
from tilewright.ir.ops.quantization import DequantizeLinear
from tilewright.ir.ops.shape import Reshape
from tilewright.ir.types import TensorType


@functools.cache
def usable(name: str) -> tuple[Sample, ...]:
    """The samples of an operator that are not quantised and have an ONNX form that onnxruntime may know."""
    return () if REGISTRY[name].GIVEN_RESULTS else tuple(case.sample for case in cases_of(name) if _is_usable(case))


def _is_usable(case: Case) -> bool:
    try:
        nodes = export_onnx(case.module).graph.node if case.sample.types is None else []
    except TilewrightError:
        return False
    return len(nodes) > 0 and all(node.domain != OPENVINO for node in nodes)


@dataclass
class Graph:
    """A network under construction, with what its values are for the inputs that it has been given."""

    rng: np.random.Generator
    module: Module
    function: Function
    arrays: dict[Value, np.ndarray]
    inputs: dict[str, np.ndarray]

    def apply(self, sample: Sample) -> None:
        """Append a sample."""
        operands: list[Value | None] = []
        arrays = [*sample.inputs]
        for index, array in enumerate(sample.inputs):
            if array is None or index in sample.constants:
                operands.append(None if array is None else self.constant(array))
                continue
            # Of scales that are known when importing none may be negative.
            is_scale = isinstance(sample.operator, DequantizeLinear) and index > 0
            given = self.brought(array) if self.rng.integers(3) and not is_scale else None
            if given is not None and changes_little(sample, arrays, index, self.arrays[given]):
                operands.append(given)
                arrays[index] = self.arrays[given]
            else:
                operands.append(self.parameter(array))
        self.emit(sample.operator, *operands)

    def constant(self, array: np.ndarray) -> Value:
        value = self.module.add_constant("c", array)
        self.arrays[value] = value.array
        return value

    def parameter(self, array: np.ndarray) -> Value:
        name = f"x{len(self.inputs)}"
        value = self.function.add_parameter(name, TensorType.of(array))
        self.inputs[name] = self.arrays[value] = array
        return value

    def emit(self, operator: object, *operands: Value | None) -> tuple[Value, ...]:
        op = self.function.append(operator, operands, names=["v"], loc=["sample"])  # pyright: ignore[reportArgumentType]
        given = [None if value is None else self.arrays[value] for value in operands]
        with np.errstate(all="ignore"):
            self.arrays.update(zip(op.results, op.evaluate(given), strict=True))
        return op.results

    def brought(self, like: np.ndarray) -> Value | None:
        """A value of the graph in the shape of an array; ``None`` where none of its type has enough elements."""
        known = [
            value
            for value, array in self.arrays.items()
            if array.dtype == like.dtype and array.size >= like.size and np.isfinite(array).all()
        ]
        if like.dtype.kind != "f" or not known or not like.size:
            return None
        value = known[self.rng.integers(len(known))]
        (flat,) = self.emit(Reshape((math.prod(value.type.shape),)), value)
        if flat.type.elements > like.size:
            (flat,) = self.emit(Slice((0,), (like.size,), (1,)), flat)
        (shaped,) = self.emit(Reshape(like.shape), flat)
        (small,) = self.emit(Tanh(), shaped)
        return self.emit(Mul(), small, self.constant(np.asarray(2, like.dtype)))[0]


def changes_little(sample: Sample, arrays: Sequence[np.ndarray | None], index: int, given: np.ndarray) -> bool:
    """Whether a sample answers nearly the same where its operand ``index`` is nearly this, the others being arrays."""
    results = [value.type for value in make_case("probe", sample).module.main.results]
    answers: list[tuple[np.ndarray, ...]] = []
    for step in (0.0, 1e-3, -1e-3):
        near = (given.astype(np.float64) * (1 + step) + step).astype(given.dtype)
        moved = [near if place == index else array for place, array in enumerate(arrays)]
        try:
            with np.errstate(all="ignore"):
                answers.append(sample.operator.evaluate(moved, sample.operand_types(), results))
        except InputError:
            return False
    first, *others = answers
    return all(
        a.dtype.kind == "f" and bool(np.isfinite(a).all()) and _distance(a, b) < 0.1
        for other in others
        for a, b in zip(first, other, strict=True)
    )


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, relative to the largest magnitude, but for magnitudes near 0."""
    wide = a.astype(np.float64), b.astype(np.float64)
    return float(np.abs(wide[0] - wide[1]).max(initial=0) / max(1e-2, np.abs(wide[0]).max(initial=0)))


def sample_graph(
    rng: np.random.Generator, count: int, *, only_floats: bool = False
) -> tuple[Module, dict[str, np.ndarray]]:
    """A network of so many samples, and inputs for it; its first output is in float32.

    Args:
        only_floats: it returns no integers and truth values.
    """
    module = Module("samples")
    graph = Graph(rng, module, module.add_function(Function("main")), {}, {})
    graph.parameter(rng.uniform(-1, 1, (4, 60)).astype(np.float32))
    names = [*REGISTRY]
    while count:
        found = usable(names[rng.integers(len(names))])
        if found:
            graph.apply(found[rng.integers(len(found))])
            count -= 1
    ends = [value for op in graph.function.ops for value in op.results if not value.uses]
    ends = [value for value in ends if value.type.dtype.is_float or not only_floats]
    # What a loop adds up: the sum of a step and the one before.
    (first,) = graph.emit(Tanh(), graph.function.parameters[0])
    ends = [first, *ends]
    graph.function.set_results(ends, [f"y{index}" for index in range(len(ends))])
    return module, graph.inputs

"""What the importers of all formats are given to work with: the nodes of a model, and the module that they build.

An importer turns one node into ops and returns the values of the node's outputs. What can be computed of constants is
computed on the spot, so that chains which work out shapes leave plain attributes behind.
"""

import heapq
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from shlex import quote
from typing import Any, ClassVar, TypeVar

import numpy as np

from tilewright import limits
from tilewright.errors import IRError, ModelError, ResourceError, TilewrightError, UnsupportedError, first_of, similar
from tilewright.immutable import Immutable

from ...ir.core import Constant, Function, Module, Op, Value
from ...ir.op import Operator
from ...ir.ops.quantization import DequantizeLinear
from ...ir.text.names import Names
from ...ir.types import DType, TensorType
from .input_shapes import Declared

FOLD_ELEMENTS = 1 << 16
"""Results up to this size are folded while importing; larger ones are left to the ``fold_constants`` pass."""

Results = Value | Sequence[Value | None]
"""The values of a node's outputs; ``None`` for those that are not supported."""


class SourceNode(Immutable):
    """One node of a model, its inputs already values.

    Attributes:
        op_type: what the format calls the operator.
        inputs: ``None`` where an optional input is absent.
        FORMAT: what defines the operators, for messages.
        CHECK: how a user finds out whether a file keeps to that.
    """

    FORMAT: ClassVar[str]
    CHECK: ClassVar[str]

    op_type: str
    name: str
    inputs: tuple[Value | None, ...]

    def input(self, index: int) -> Value:
        """Input ``index``, which must be there. Raises ModelError: it is absent."""
        value = self.optional(index)
        if value is None:
            raise self.model_error(f"input {index} is missing")
        return value

    def optional(self, index: int) -> Value | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def all_inputs(self) -> list[Value]:
        """The inputs, all of which must be there; see :meth:`input`."""
        return [self.input(index) for index in range(len(self.inputs))]

    def constant(self, index: int, what: str) -> np.ndarray:
        """The elements of input ``index``, which must be known at compile time.
        Raises UnsupportedError: it depends on the inputs of the network."""
        value = self.input(index)
        if not isinstance(value, Constant):
            raise self.unsupported(
                f"{what} must be known at compile time, but %{value.name} is computed from the inputs",
                hint="Give the inputs that decide with --input-shape or --freeze NAME=VALUE, make it a constant, or "
                "let the model end before this node.",
            )
        return value.array

    def integers(self, index: int, what: str) -> tuple[int, ...]:
        """The elements of input ``index`` as integers; see :meth:`constant`."""
        array = self.constant(index, what)
        if array.size and array.dtype.kind not in "iu":
            raise self.model_error(f"{what} must be integers", found=array.dtype)
        return tuple(array.reshape(-1).tolist())

    def scalar(self, index: int, what: str) -> int:
        """The only element of input ``index``, an integer; see :meth:`constant`."""
        values = self.integers(index, what)
        if len(values) != 1:
            raise self.model_error(f"{what} must be one integer", found=f"{len(values)} elements")
        return values[0]

    def number(self, index: int, what: str) -> float:
        """The only element of input ``index``; see :meth:`constant`."""
        values = self.constant(index, what)
        if values.size != 1:
            raise self.model_error(f"{what} must be one number", found=f"{values.size} elements")
        return float(values.reshape(-1)[0])

    def optional_constant(self, index: int, what: str) -> np.ndarray | None:
        return self.constant(index, what) if self.optional(index) is not None else None

    def from_front(self, axis: int, rank: int) -> int:
        """``axis`` counted from the front. Raises ModelError: there is no such dimension."""
        if not -rank <= axis < rank:
            raise self.model_error("the axis is out of range", expected=f"{-rank} to {rank - 1}", found=axis)
        return axis % rank

    def model_error(self, message: str, **details: Any) -> ModelError:
        return ModelError(message, stage="import", op=self.op_type, node=self.name, **details)

    def unsupported(self, message: str, **details: Any) -> UnsupportedError:
        return UnsupportedError(message, stage="import", op=self.op_type, node=self.name, **details)

    def resource_error(self, message: str, **details: Any) -> ResourceError:
        return ResourceError(message, stage="import", op=self.op_type, node=self.name, **details)


AnyNode = TypeVar("AnyNode", bound=SourceNode)


def shape_text(extents: Sequence[int | str | None] | None) -> str:
    """The extents that a model declares, as messages show them: open ones are ``None`` or -1, or all are ``None``."""
    shown = ("?" if each in (None, -1) else str(each) for each in extents or ())
    return "of unknown rank" if extents is None else f"[{', '.join(shown)}]"


def open_shapes_error(declared: Declared) -> ModelError:
    """What says which inputs have open shapes, and how a user gives all of them, on the command line and in Python.
    ``declared``: by input, as :func:`shape_text` takes them."""
    sizes: dict[str, int] = {}
    for extents in declared.values():
        for each, size in zip(extents or (), _example(extents), strict=False):
            if isinstance(each, str):
                sizes[each] = max(sizes.get(each, 1), size)
    given: dict[str, list[int]] = {}
    for name, extents in declared.items():
        if extents is not None and None not in extents:
            given |= {each: [sizes[each]] for each in extents if isinstance(each, str)}
        else:
            known = extents and [sizes[each] if isinstance(each, str) else each for each in extents]
            given[name] = _example(known)
    texts = {name: ",".join(map(str, shape)) for name, shape in given.items()}
    options = " ".join(f"--input-shape {quote(name)}={text}" for name, text in texts.items())
    in_python = ", ".join(f"{name!r}: [{text}]" for name, text in texts.items())
    several = [f"{quote(each)}={size},{4 * size}" for each, size in sizes.items() if each in given]
    found = [f"input {name!r} has an open shape {shape_text(extents)}" for name, extents in declared.items()]
    return ModelError(
        first_of(found, 20, "; "),
        stage="import",
        hint=f"Fix it with {options} (input_shapes={{{in_python}}} in Python)"
        f"{f'; several shapes as --input-shape {several[0]}' if several else ''}.",
    )


def _example(extents: Sequence[int | str | None] | None) -> list[int]:
    """A shape that an input of these extents may have."""
    extents = (None, 3, None, None) if extents is None else extents
    # Exporters name extents by the numbers that they had.
    sizes = [int(each) if isinstance(each, str) and re.fullmatch("[1-9][0-9]{,8}", each) else each for each in extents]
    # An image of one pixel, or of one column, is no use.
    known = [size for size in sizes[1:] if isinstance(size, int)]
    pixels = {1: 224, 2: max(known, default=1)}.get(len(known), 1) if len(sizes) == 4 else 1
    return [size if isinstance(size, int) else pixels if at else 1 for at, size in enumerate(sizes)]


def check_given(what: str, given: Iterable[str], inputs: Collection[str]) -> None:
    """Raise ModelError where a shape or a value is given for something that is no input of the model."""
    unknown = next((name for name in given if name not in inputs), None)
    if unknown is not None:
        raise ModelError(
            f"a {what} was given for an input that the model does not have",
            stage="import",
            expected=", ".join(inputs) or "no inputs",
            found=unknown,
            hint=similar(unknown, inputs),
        )


def type_of_tensor(what: str, shape: Sequence[int], dtype: DType) -> TensorType:
    """The type of a tensor of a model. Raises IRError: there is no such type; says what the tensor is."""
    try:
        return TensorType(tuple(shape), dtype)
    except IRError as error:
        error.stage, error.message = "import", f"{what}: {error.message}"
        raise


class SequenceValue(Value):
    """Tensors in order, or an optional without a value: known when importing, and nothing that an op can read."""

    __slots__ = ("is_absent", "items")

    def __init__(self, name: str, items: Iterable[Value], *, is_absent: bool = False) -> None:
        super().__init__(name, TensorType((), DType.BOOL))
        self.items, self.is_absent = tuple(items), is_absent


class ModuleBuilder:
    """State of one import: the module so far, and what may still be put into constants.
    ``copies``: how often what is emitted stands in the function, as a step of loops that are unrolled.
    ``countable``: steps of computing that may still be taken to know how many a loop takes."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.function = module.add_function(Function("main"))
        self._loc: tuple[str, ...] = ()
        self._names: list[str] = []
        self._described = 0
        self._unrolled = 0
        self._nested = 0
        self.copies, self.countable = 1, int(limits.COUNTED_STEPS)
        self._room, self._steps = int(limits.FOLDED), int(limits.FOLDING)

    @contextmanager
    def inside(self, name: str) -> Iterator[Function]:
        """Emit into a new function of the module, the body of a branch or loop, called by a name like this one.

        What is emitted may read values around it, until :func:`close_over` makes them parameters.
        Raises ResourceError: bodies are nested too deeply."""
        if self._nested >= limits.BODIES:
            expected = f"at most {limits.BODIES} {limits.BODIES.what}"
            raise ResourceError("branches and loops are nested too deeply", stage="import", expected=expected)
        body = self.module.add_function(Function(Names(self.module.functions).take(name)))
        with self.inside_again(body):
            yield body

    @contextmanager
    def inside_again(self, body: Function) -> Iterator[None]:
        """Emit into a function that :meth:`inside` made, behind what is there."""
        outer = self.function, self._loc, self._names
        self._nested += 1
        self.function = body
        try:
            yield
        finally:
            self._nested -= 1
            self.function, self._loc, self._names = outer

    def emit(
        self, operator: Operator, *operands: Value | None, types: Sequence[TensorType] | None = None, name: str = ""
    ) -> tuple[Value, ...]:
        """Apply ``operator``; at once if every operand is a constant and the result is small.
        ``types``: of the results where they do not follow from the operands.
        ``name``: to call the result by, instead of the names that the node gives its outputs.
        Raises ModelError: an operand is a sequence."""
        found = next((value for value in operands if isinstance(value, SequenceValue)), None)
        if found is not None:
            message = f"%{found.name} is a sequence or optional where a tensor is read"
            raise ModelError(message, stage="import", hint="Only what is known when importing can be done with them.")
        op = Op(operator, operands, types, loc=self._loc, names=[name] if name else self._names)
        is_known = operands and all(v is None or isinstance(v, Constant) for v in operands)
        is_known = is_known and not operator.GIVEN_RESULTS
        is_small = sum(v.type.elements for v in op.results) <= FOLD_ELEMENTS
        # Passes read the scales of weights from a DequantizeLinear.
        if not is_known or not is_small or isinstance(operator, DequantizeLinear):
            return self.function.insert(op).results
        size = sum(v.type.elements * v.type.dtype.bytes for v in op.results)
        if size > self._room or op.work > self._steps:
            return self.function.insert(op).results
        self._room, self._steps = self._room - size, self._steps - op.work
        arrays = op.evaluate([v.array if isinstance(v, Constant) else None for v in operands])
        pairs = zip(op.results, arrays, strict=True)
        folded = tuple(self.module.add_constant(value.name, array, value.type) for value, array in pairs)
        op.erase()
        return folded

    def emit_one(
        self, operator: Operator, *operands: Value | None, types: Sequence[TensorType] | None = None, name: str = ""
    ) -> Value:
        """Apply an operator of one result."""
        return self.emit(operator, *operands, types=types, name=name)[0]

    def constant(self, array: np.ndarray, name: str = "constant") -> Constant:
        """A new constant of the module."""
        return self.module.add_constant(name, array)

    def described(
        self, node: SourceNode, shape: Sequence[int], dtype: DType, make: Callable[[], np.ndarray], suffix: str = ""
    ) -> Constant:
        """A constant that ``node`` describes without holding it, made once it is known that there is room.
        Raises ResourceError: all such constants of the model would take more than they may."""
        type = TensorType(tuple(shape), dtype)
        self._described += type.elements * dtype.bytes
        if self._described > limits.DESCRIBED:
            raise node.resource_error(
                "the node asks for a constant that is too large",
                expected=f"at most {limits.DESCRIBED} bytes in all such constants of the model",
                found=f"{self._described} bytes with {type}",
            )
        return self.constant(make(), f"{node.name}{suffix}")

    def unroll(self, node: SourceNode, steps: int) -> None:
        """Called by importers that emit the same ops for each step in time.
        Raises ResourceError: all such nodes of the model take more steps than they may."""
        self._unrolled += steps
        if self._unrolled > limits.UNROLLED:
            raise node.resource_error(
                "the node takes too many steps in time",
                expected=f"at most {limits.UNROLLED} in all such nodes of the model",
                found=steps,
            )

    def left_for_folding(self, held_bytes: int, held_elements: int) -> tuple[int, int]:
        """Bytes and steps that passes may put into computing constants, given what the model holds."""
        return self._room + 8 * held_bytes, self._steps + 8 * held_elements

    def results_of(
        self, node: AnyNode, handler: Callable[[AnyNode, Any], Results], names: Sequence[str]
    ) -> list[Value | None]:
        """What an importer makes of a node.
        ``handler``: the importer, which is given the node and this.
        Raises TilewrightError: of the importer, with the node; ModelError also for whatever else it runs into."""
        self._loc, self._names = (node.name,), list(names)
        try:
            results = handler(node, self)
        except TilewrightError as error:
            error.stage = error.stage or "import"
            error.op = error.op or node.op_type
            error.node = error.node or node.name
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # Importers trust a node to have the attributes and shapes that the format defines; damaged files do not.
            message = f"the node is not as {node.FORMAT} defines its operator ({type(error).__name__}: {error})"
            raise node.model_error(message, hint=node.CHECK) from error
        return [results] if isinstance(results, Value) else list(results)


def in_order(sources: Sequence[Collection[int]]) -> tuple[list[int], list[int]]:
    """Numbers of nodes in an order in which each comes after its sources; and of those that cycles keep out.

    It is as if the nodes were read again and again: each comes in the first round in which all that it reads is there.
    """
    readers: dict[int, list[int]] = {}
    for index, each in enumerate(sources):
        for source in each:
            readers.setdefault(source, []).append(index)
    waiting = [len(each) for each in sources]
    ready = [(0, index) for index, count in enumerate(waiting) if count == 0]
    order: list[int] = []
    while ready:
        turn, index = heapq.heappop(ready)
        order.append(index)
        for reader in readers.get(index, ()):
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, (turn + (reader < index), reader))
    return order, [index for index, count in enumerate(waiting) if count]

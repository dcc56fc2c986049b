"""How an operator is declared, and the registry of all of them.

An operator is a frozen dataclass, without saying so: its fields are its attributes, its class says what its operands
are, how result types follow from operand types, what it computes (a slow, obvious NumPy reference) and how it behaves
on quantised tensors. Builder, verifier, printer and parser derive from the declaration.
"""

import dataclasses
import enum
import inspect
import types as python_types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

import numpy as np

from tilewright.errors import IRError, TilewrightError
from tilewright.immutable import Immutable
from tilewright.limits import ATTRIBUTE

from .core import OperandsT_co, Value
from .quantized import check_elementwise
from .types import Arrays, DType, ResultTypes, TensorType, Types

T = TypeVar("T")


class UnaryOperands(NamedTuple):
    x: Value


class BinaryOperands(NamedTuple):
    x: Value
    y: Value


class LinearOperands(NamedTuple):
    """Of a product with weights: bias, then residual, of the result's type, are added before the activation."""

    x: Value
    w: Value
    b: Value | None = None
    residual: Value | None = None


class QuantizationRule(enum.Enum):
    """What an operator does with quantised tensors; passes and generated tables read it."""

    NONE = "stays in floating point"
    PRESERVE = "moves or compares stored integers; result and first operand have equal parameters"
    UNIFY = "moves stored integers; result and all operands have equal parameters"
    TABLE = "any function of one int8 tensor, as a table of 256 entries"
    ACCUMULATE = "int32 accumulators of operands and weights, then requantisation"
    RESCALE = "each operand has its own parameters; an exact rule of its own"
    CONVERT = "changes between real numbers, stored integers and quantised types"


class Operator(Immutable, Generic[OperandsT_co]):
    """Base of all operators.

    A subclass defines ``infer`` and ``reference`` with one parameter for each operand, ``None`` where it is absent, or
    ``*operands`` for any number: ``infer`` names them, and says by its types which may be absent. The tuple of values
    that stands behind the class it derives from, ``Operator[tuple[Value, Value | None]]``, says the same to type
    checkers; a NamedTuple where other code asks for operands by name.
    Raises IRError: an integer among the attributes is too large."""

    name: ClassVar[str]
    """Name in the textual form, set by :func:`operator`."""

    family: ClassVar[str]
    """Name of the module that declares it, set by :func:`operator`."""

    OPERANDS: ClassVar[tuple[str, ...] | None] = None
    """Names of the operands, ``None`` if it takes any number of them."""

    REQUIRED: ClassVar[int] = 0
    """How many operands, the first ones, are never absent."""

    _ARRANGE: ClassVar[Callable[..., Any]] = tuple

    QUANTIZATION: ClassVar[QuantizationRule] = QuantizationRule.NONE

    GIVEN_RESULTS: ClassVar[bool] = False
    """Result types do not follow from operand types: every op of this operator is given them."""

    FUNCTION: ClassVar[Any]
    """What the reference computes with, where the header of the class gives it."""

    def __init_subclass__(cls, function: Callable[..., Any] | None = None) -> None:
        if function is not None:
            cls.FUNCTION = function
        for base in cls.__dict__.get("__orig_bases__", ()):
            for declared in typing.get_args(base):
                cls._ARRANGE = getattr(declared, "_make", tuple)
        code = cls.infer.__code__
        if "infer" in vars(cls) and not code.co_flags & inspect.CO_VARARGS:
            cls.OPERANDS = code.co_varnames[1 : code.co_argcount]
            types = cls.infer.__annotations__
            cls.REQUIRED = sum("None" not in str(types.get(name, "")) for name in cls.OPERANDS)
        super().__init_subclass__()

    def __post_init__(self) -> None:
        values = vars(self)
        if _largest(tuple(values.values())) <= ATTRIBUTE:
            return
        for name, value in values.items():
            largest = _largest((value,))
            if largest > ATTRIBUTE:
                raise IRError(
                    f"attribute {name!r} is too large",
                    op=self.name,
                    expected=f"at most {ATTRIBUTE} as {ATTRIBUTE.what}",
                    found=f"one of {largest.bit_length()} bits",
                )

    def infer(self, *args: Any, **kwargs: Any) -> TensorType | tuple[TensorType, ...]:
        """Result types for the types of the operands; subclasses name their operands."""
        raise NotImplementedError(type(self).__name__)

    def reference(self, *args: Any, **kwargs: Any) -> np.ndarray | tuple[np.ndarray, ...]:
        """Results for the arrays of the operands; subclasses name their operands."""
        raise NotImplementedError(type(self).__name__)

    def padded(self, operands: Sequence[T]) -> Sequence[T | None]:
        """As many operands as are declared, ``None`` for those absent at the end."""
        return operands if self.OPERANDS is None else [*operands, *[None] * (len(self.OPERANDS) - len(operands))]

    def arranged(self, operands: Sequence[Value | None]) -> OperandsT_co:
        """The operands, as many as are declared, by name."""
        return self._ARRANGE(operands)

    def result_types(self, operands: Types, loc: Sequence[str] = ()) -> tuple[TensorType, ...]:
        """Types of the results.
        Raises IRError: operands are missing, or the operator does not take such types; names op and node."""
        self.check_operand_count(operands, loc)
        try:
            inferred = self.infer(*[type.plain if type and type.layout else type for type in self.padded(operands)])
        except TilewrightError as error:
            error.op = error.op or self.name
            error.node = error.node or ", ".join(loc) or None
            raise
        return inferred if isinstance(inferred, tuple) else (inferred,)

    def check_operand_count(self, operands: Sequence[object], loc: Sequence[str] = ()) -> None:
        """Raise IRError unless every required operand is there and none too many."""
        if self.OPERANDS is None:
            return
        node = ", ".join(loc) or None
        for index, name in enumerate(self.OPERANDS[: self.REQUIRED]):
            if index >= len(operands) or operands[index] is None:
                raise IRError(f"operand {name!r} is missing", op=self.name, node=node)
        if len(operands) > len(self.OPERANDS):
            raise IRError(
                "too many operands", op=self.name, node=node, expected=len(self.OPERANDS), found=len(operands)
            )

    def evaluate(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> tuple[np.ndarray, ...]:
        """Results by the reference, quantised or not, in the dtypes of ``result_types``.

        Results without elements need no computation: nothing is refused then, such as an index out of range."""
        arrays = self.padded(arrays)
        if not any(type.elements for type in result_types):
            return tuple(np.zeros(type.shape, type.dtype.numpy) for type in result_types)
        if any(type is not None and type.quant is not None for type in (*operand_types, *result_types)):
            results = self.reference_quantized(arrays, operand_types, result_types)
        else:
            # IEEE arithmetic is the meaning: overflow gives infinity, 0/0 gives NaN, and no warning is due.
            with np.errstate(all="ignore"):
                results = self.reference(*arrays)
        results = results if isinstance(results, tuple) else (results,)
        return tuple(np.asarray(r, dtype=t.dtype.numpy) for r, t in zip(results, result_types, strict=True))

    def reference_quantized(
        self, arrays: Arrays, operand_types: Types, result_types: ResultTypes
    ) -> np.ndarray | tuple[np.ndarray, ...]:
        """What the operator computes on stored integers; the rule is documented with the operator.

        Data movement works on stored integers as on any numbers; every other operator overrides this."""
        if self.QUANTIZATION in (QuantizationRule.PRESERVE, QuantizationRule.UNIFY):
            return self.reference(*arrays)
        raise IRError("the operator has no meaning on quantised tensors", op=self.name)

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        """Why these quantised types are wrong for the operator, ``None`` if they are right."""
        if self.QUANTIZATION is QuantizationRule.NONE:
            return f"{self.name} takes no quantised tensors"
        if self.QUANTIZATION is QuantizationRule.PRESERVE:
            first = operand_types[0]
            if first is not None and any(r.quant != first.quant for r in result_types if r.dtype is first.dtype):
                return "result and first operand must have equal quantisation"
        if self.QUANTIZATION is QuantizationRule.UNIFY:
            quants = {t.quant for t in (*operand_types, *result_types) if t is not None}
            if len(quants) > 1:
                return "result and operands must have equal quantisation"
        if self.QUANTIZATION in (QuantizationRule.TABLE, QuantizationRule.RESCALE):
            return check_elementwise(operand_types, result_types)
        return None

    def macs(self, operand_types: Types, result_types: ResultTypes) -> int:
        """Multiply-accumulates of one application; 0 for operators that are not counted in them."""
        return 0

    def effort(self, operand_types: Types, result_types: ResultTypes) -> int:
        """Steps of one application where its tensors do not tell them, such as comparisons of boxes; 0 otherwise."""
        return 0

    @classmethod
    def attributes(cls) -> tuple[dataclasses.Field[Any], ...]:
        """The declared attributes, in order."""
        return dataclasses.fields(cls)


def _largest(value: tuple[object, ...]) -> int:
    """The largest magnitude of the integers in an attribute, 0 without any."""
    largest = 0
    for each in value:
        # Most are small positive numbers, of which there are many: no call for these.
        size = abs(each) if isinstance(each, int) else _largest(each) if isinstance(each, tuple) else 0
        if size > largest:
            largest = size
    return largest


OperatorClass = TypeVar("OperatorClass", bound=type[Operator])
Registry = dict[str, type[Operator]]

REGISTRY: Registry = {}
"""Every operator by name. Filled while ``tilewright.ir.ops`` is imported; do not change it afterwards."""


def operator(name: str, registry: Registry | None = None) -> Callable[[OperatorClass], OperatorClass]:
    """Class decorator that registers an operator under ``name``. Raises IRError: the name is taken."""

    def register(cls: OperatorClass) -> OperatorClass:
        target = REGISTRY if registry is None else registry
        if name in target:
            raise IRError("an operator of this name exists", op=name, found=target[name].__qualname__)
        cls.name = name
        cls.family = cls.__module__.rpartition(".")[2]
        target[name] = cls
        return cls

    return register


def declared(
    base: OperatorClass, name: str, documentation: str, function: Callable[..., Any] | None = None, **header: object
) -> OperatorClass:
    """An operator that is said in one line: its base with another function, and what else the header of a class takes.

    The class stands where its base does, under the name of the operator in capitals: `GeluTanh` for ``gelu_tanh``."""
    title = "".join(word.capitalize() for word in name.split("_"))
    members = {"__doc__": documentation, "__module__": base.__module__}
    cls = python_types.new_class(title, (base,), {"function": function, **header}, lambda own: own.update(members))
    return cast("OperatorClass", operator(name)(cls))


_hints = cache(typing.get_type_hints)


@cache
def attribute_types(cls: type[Operator]) -> Mapping[str, Any]:
    """Declared Python type of each attribute, annotations resolved."""
    return {field.name: _hints(cls)[field.name] for field in dataclasses.fields(cls)}


@cache
def _form(declared: Any) -> tuple[Any, tuple[Any, ...]]:
    return typing.get_origin(declared), typing.get_args(declared)


def coerce(value: Any, declared: Any) -> Any:
    """``value``, as read from text, as an attribute of the declared type. Raises IRError: it does not fit."""
    # What most are, before all that takes longer to find out.
    if declared is type(value) and declared in (float, bool, int, str):
        return value
    if declared is Any or declared is object:
        return value
    origin, arguments = _form(declared)
    if origin in (typing.Union, python_types.UnionType):
        if python_types.NoneType in arguments and (value is None or value == "none"):
            return None
        for option in arguments:
            if option is python_types.NoneType:
                continue
            try:
                return coerce(value, option)
            except IRError:
                continue
    elif origin is typing.Literal:
        if value in arguments:
            return value
    elif hasattr(declared, "_fields"):
        # What was written before a field with a default was there is without it.
        fields = len(declared._fields)
        if isinstance(value, tuple) and fields - len(declared._field_defaults) <= len(value) <= fields:
            types = _hints(declared).values()
            return declared(*(coerce(v, t) for v, t in zip(value, types, strict=False)))
    elif origin is tuple:
        if isinstance(value, tuple):
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return tuple(coerce(element, arguments[0]) for element in value)
            if len(arguments) == len(value):
                return tuple(coerce(e, a) for e, a in zip(value, arguments, strict=True))
    elif declared is DType:
        if isinstance(value, DType):
            return value
        if isinstance(value, str) and value in {d.value for d in DType}:
            return DType(value)
    name = getattr(declared, "__name__", str(declared))
    raise IRError("attribute of the wrong type", expected=name, found=repr(value))

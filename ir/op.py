"""How an operator is declared, and the registry of all of them.

An operator is a frozen dataclass: its fields are its attributes, its class says what its operands are, how result
types follow from operand types, what it computes (a slow, obvious NumPy reference) and how it behaves on quantised
tensors. Builder, verifier, printer and parser derive from the declaration.
"""

from __future__ import annotations

import dataclasses
import enum
import types as python_types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, TypeVar

import numpy as np

from tilewright.errors import IRError, TilewrightError

from .types import DType, TensorType


@dataclass(frozen=True)
class Operand:
    """A place for an operand.

    Attributes:
        name: as in the documentation of the operator.
        optional: may be absent.
        variadic: stands for any number of operands; only the last place can be.
    """

    name: str
    optional: bool = False
    variadic: bool = False


def operand(name: str) -> Operand:
    return Operand(name)


def optional(name: str) -> Operand:
    return Operand(name, optional=True)


def variadic(name: str) -> Operand:
    return Operand(name, variadic=True)


class QuantizationRule(enum.Enum):
    """What an operator does with quantised tensors; passes and generated tables read it."""

    NONE = "stays in floating point"
    PRESERVE = "moves or compares stored integers; result and first operand have equal parameters"
    UNIFY = "moves stored integers; result and all operands have equal parameters"
    TABLE = "any function of one int8 tensor, as a table of 256 entries"
    ACCUMULATE = "int32 accumulators of operands and weights, then requantisation"
    RESCALE = "each operand has its own parameters; an exact rule of its own"
    CONVERT = "changes between real numbers, stored integers and quantised types"


@dataclass(frozen=True)
class Operator:
    """Base of all operators.

    A subclass defines ``infer`` and ``reference`` with one parameter for each operand place (``None`` where absent;
    a variadic place is ``*operands``).
    """

    name: ClassVar[str]
    """Name in the textual form, set by :func:`operator`."""

    family: ClassVar[str]
    """Name of the module that declares it, set by :func:`operator`."""

    OPERANDS: ClassVar[tuple[Operand, ...]] = ()
    QUANTIZATION: ClassVar[QuantizationRule] = QuantizationRule.NONE

    GIVEN_RESULTS: ClassVar[bool] = False
    """Result types do not follow from operand types: every op of this operator is given them."""

    def infer(self, *args: Any, **kwargs: Any) -> TensorType | tuple[TensorType, ...]:
        """Result types for the types of the operands; subclasses name their operands."""
        raise NotImplementedError(type(self).__name__)

    def reference(self, *args: Any, **kwargs: Any) -> np.ndarray | tuple[np.ndarray, ...]:
        """Results for the arrays of the operands; subclasses name their operands."""
        raise NotImplementedError(type(self).__name__)

    def result_types(self, operands: Sequence[TensorType | None], loc: Sequence[str] = ()) -> tuple[TensorType, ...]:
        """Types of the results.

        Raises:
            IRError: operands are missing, or the operator does not take such types; names op and node.
        """
        self.check_operand_count(operands, loc)
        places = len(self.OPERANDS)
        if not (self.OPERANDS and self.OPERANDS[-1].variadic):
            operands = [*operands, *[None] * (places - len(operands))]
        try:
            inferred = self.infer(*(type.plain if type is not None else None for type in operands))
        except TilewrightError as error:
            error.op = error.op or self.name
            error.node = error.node or ", ".join(loc) or None
            raise
        return inferred if isinstance(inferred, tuple) else (inferred,)

    def check_operand_count(self, operands: Sequence[object], loc: Sequence[str] = ()) -> None:
        """Raise IRError unless every required operand is there and none too many."""
        is_variadic = bool(self.OPERANDS) and self.OPERANDS[-1].variadic
        fixed = self.OPERANDS[:-1] if is_variadic else self.OPERANDS
        node = ", ".join(loc) or None
        for index, place in enumerate(fixed):
            if not place.optional and (index >= len(operands) or operands[index] is None):
                raise IRError(f"operand {place.name!r} is missing", op=self.name, node=node)
        if not is_variadic and len(operands) > len(fixed):
            raise IRError("too many operands", op=self.name, node=node, expected=len(fixed), found=len(operands))

    def evaluate(
        self,
        arrays: Sequence[np.ndarray | None],
        operand_types: Sequence[TensorType | None],
        result_types: Sequence[TensorType],
    ) -> tuple[np.ndarray, ...]:
        """Results by the reference, quantised or not, in the dtypes of ``result_types``."""
        if any(type is not None and type.quant is not None for type in (*operand_types, *result_types)):
            results = self.reference_quantized(arrays, operand_types, result_types)
        else:
            places = len(self.OPERANDS)
            if not (self.OPERANDS and self.OPERANDS[-1].variadic):
                arrays = [*arrays, *[None] * (places - len(arrays))]
            # IEEE arithmetic is the meaning: overflow gives infinity, 0/0 gives NaN, and no warning is due.
            with np.errstate(all="ignore"):
                results = self.reference(*arrays)
        results = results if isinstance(results, tuple) else (results,)
        return tuple(np.asarray(r, dtype=t.dtype.numpy) for r, t in zip(results, result_types, strict=True))

    def reference_quantized(
        self,
        arrays: Sequence[np.ndarray | None],
        operand_types: Sequence[TensorType | None],
        result_types: Sequence[TensorType],
    ) -> np.ndarray | tuple[np.ndarray, ...]:
        """What the operator computes on stored integers; the rule is documented with the operator.

        Data movement works on stored integers as on any numbers; every other operator overrides this.
        """
        if self.QUANTIZATION in (QuantizationRule.PRESERVE, QuantizationRule.UNIFY):
            return self.reference(*arrays)
        raise IRError("the operator has no meaning on quantised tensors", op=self.name)

    def check_quantized(
        self, operand_types: Sequence[TensorType | None], result_types: Sequence[TensorType]
    ) -> str | None:
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
        return None

    def macs(self, operand_types: Sequence[TensorType | None], result_types: Sequence[TensorType]) -> int:
        """Multiply-accumulates of one application; 0 for operators that are not counted in them."""
        return 0

    @classmethod
    def attributes(cls) -> tuple[dataclasses.Field[Any], ...]:
        """The declared attributes, in order."""
        return dataclasses.fields(cls)


OperatorClass = TypeVar("OperatorClass", bound=type[Operator])
Registry = dict[str, type[Operator]]

REGISTRY: Registry = {}
"""Every operator by name. Filled while ``tilewright.ir.ops`` is imported; do not change it afterwards."""


def operator(name: str, registry: Registry | None = None) -> Callable[[OperatorClass], OperatorClass]:
    """Class decorator that registers an operator under ``name``.

    Raises:
        IRError: the name is taken.
    """

    def register(cls: OperatorClass) -> OperatorClass:
        target = REGISTRY if registry is None else registry
        if name in target:
            raise IRError("an operator of this name exists", op=name, found=target[name].__qualname__)
        cls.name = name
        cls.family = cls.__module__.rpartition(".")[2]
        target[name] = cls
        return cls

    return register


@cache
def attribute_types(cls: type[Operator]) -> dict[str, Any]:
    """Declared Python type of each attribute, annotations resolved."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def coerce(value: Any, declared: Any) -> Any:
    """``value``, as read from text, as an attribute of the declared type.

    Raises:
        IRError: it does not fit.
    """
    if declared is Any or declared is object:
        return value
    origin = typing.get_origin(declared)
    if origin in (typing.Union, python_types.UnionType):
        options = typing.get_args(declared)
        if python_types.NoneType in options and (value is None or value == "none"):
            return None
        for option in options:
            if option is python_types.NoneType:
                continue
            try:
                return coerce(value, option)
            except IRError:
                continue
    elif origin is tuple:
        arguments = typing.get_args(declared)
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
    elif declared is float:
        if isinstance(value, float):
            return value
    elif declared is bool:
        if isinstance(value, bool):
            return value
    elif declared is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif declared is str and isinstance(value, str):
        return value
    name = getattr(declared, "__name__", str(declared))
    raise IRError("attribute of the wrong type", expected=name, found=repr(value))

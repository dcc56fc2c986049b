"""Text to module: a recursive-descent parser for what the printer writes.

Errors name line and column and show the line with a caret. Unknown operators and attributes are errors; every
attribute must be there, so a text never means something else after a default has changed, but those that came later.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tilewright.errors import IRError, ParseError, TilewrightError, resources
from tilewright.limits import ATTRIBUTE

from ..core import Constant, Function, Module, Op, Value
from ..op import Registry
from ..ops import REGISTRY
from ..tile import TILE_OPERATORS
from ..tile.types import EVERY_CLUSTER, TileType
from ..types import DType, Quantization, TensorType
from .literals import Literal
from .statement import OperatorReader
from .tokens import Token

_ELEMENT_TYPES = {dtype.value: dtype for dtype in DType}


class _Parser(OperatorReader):
    def __init__(self, text: str, blobs: Mapping[str, np.ndarray], registry: Registry) -> None:
        super().__init__(text, registry)
        self._blobs = blobs
        self._module = Module("")
        self._values: dict[str, Value] = {}

    def _sigil_name(self, sigil: str, what: str) -> tuple[str, Token]:
        token = self._token
        if token.kind != "sigil" or token.text[0] != sigil:
            raise self._error(f"expected {what}, found {token.text!r}")
        self._next()
        if token.text[1] != '"':
            return token.text[1:], token
        return self._unquoted(token.text[1:], "name", token), token

    # Types

    def _blob(self, dtype: np.dtype) -> np.ndarray:
        """The elements of a blob, in one row: a hash is of bytes, which arrays of several dtypes may share."""
        token = self._token
        name = self._string()
        array = self._blobs.get(name.removeprefix("sha256:"))
        if array is None:
            raise self._error(f"no blob {name!r} was given with the text", token)
        if array.nbytes % dtype.itemsize:
            raise self._error(f"{array.nbytes} bytes are no elements of {dtype.itemsize} bytes", token)
        bytes = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        if dtype == np.bool_ and bytes.max(initial=0) > 1:
            raise self._error("truth values are the bytes 0 and 1", token)
        return bytes.view(dtype)

    def _type(self) -> TensorType:
        start = self._token
        word = self._expect_kind("word", "an element type")
        dtype = _ELEMENT_TYPES.get(word.text)
        if dtype is None:
            raise self._error(f"unknown element type {word.text!r}", word)
        self._expect("[")
        shape = [self._int("an extent") for _ in self._elements("]")]
        layout = self._expect_kind("word", "a layout").text if self._accept("#") else ""
        try:
            quant = self._quantization() if self._accept("<") else None
            if self._accept("in"):
                return TileType(tuple(shape), dtype, quant, layout, **self._place())
            return TensorType(tuple(shape), dtype, quant, layout)
        except ParseError:
            raise
        except IRError as error:
            raise self._error(str(error), start) from None

    def _place(self) -> dict[str, Any]:
        """What a tile type has beside the tensor type."""
        place: dict[str, Any] = {"memory": self._expect_kind("word", "a memory").text, "cluster": EVERY_CLUSTER}
        for _ in self._elements(")") if self._accept("(") else ():
            if self._accept("ring"):
                self._expect("=")
                place["ring"] = self._int("a number of rows")
            elif self._accept("packed"):
                place["packed"] = True
            else:
                place["cluster"] = self._int("a cluster")
        return place

    def _quantization(self) -> Quantization:
        axis: int | None = None
        if self._accept("axis"):
            self._expect("=")
            axis = self._int("an axis")
            self._expect(",")
        if self._accept("blob"):
            start = self._token
            numbers = self._blob(np.dtype(np.float64))
            if numbers.size % 2:
                raise self._error(f"expected as many zero points as scales, found {numbers.size} numbers", start)
            scale, zero = numbers.reshape(2, -1)
            if not (np.abs(zero) <= ATTRIBUTE).all():
                raise self._error("zero points are integers", start)
            self._expect(">")
            return Quantization(tuple(scale.tolist()), tuple(int(z) for z in zero), axis)
        start = self._token
        self._expect("s")
        self._expect("=")
        scales = self._literal()
        self._expect(",")
        self._expect("z")
        self._expect("=")
        zeros = self._literal()
        self._expect(">")
        scales = scales if isinstance(scales, tuple) else (scales,)
        zeros = zeros if isinstance(zeros, tuple) else (zeros,)
        floats, integers = [s for s in scales if isinstance(s, float)], [z for z in zeros if isinstance(z, int)]
        if len(floats) != len(scales) or len(integers) != len(zeros):
            raise self._error("scales are floats and zero points are integers", start)
        return Quantization(tuple(floats), tuple(integers), axis)

    # Module

    def parse(self) -> Module:
        self._expect("module")
        self._module.name, _ = self._sigil_name("@", "the name of the module")
        self._expect("{")
        while not self._accept("}"):
            if self._accept("const"):
                self._constant()
            elif self._accept("func"):
                self._function()
            elif self._accept("meta"):
                key = self._literal()
                self._expect("=")
                self._module.metadata[str(key)] = self._string()
            else:
                raise self._error(f"expected 'const', 'func' or '}}', found {self._token.text!r}")
        self._expect_end("the text")
        return self._module

    def _constant(self) -> None:
        name, token = self._sigil_name("@", "the name of a constant")
        if name in self._module.constants:
            raise self._error(f"constant @{name} is defined twice", token)
        self._expect(":")
        type = self._type()
        self._expect("=")
        start = self._token
        if self._accept("blob"):
            array = self._blob(type.dtype.numpy)
        else:
            array = self._array(type.dtype)
        if array.size != type.elements:
            raise self._error(f"expected {type.elements} elements, found {array.size}", start)
        try:
            self._module.constants[name] = Constant(name, array.reshape(type.shape), type)
        except IRError as error:
            raise self._error(str(error), start) from None

    def _array(self, dtype: DType) -> np.ndarray:
        """A list of elements in one row."""
        start, literal = self._token, self._literal()
        if not isinstance(literal, tuple):
            raise self._error("expected a list of elements", start)
        kinds = (bool,) if dtype is DType.BOOL else (int, float) if dtype.is_float else (int,)
        try:
            if not all(type(element) in kinds for element in literal):
                raise ValueError
            with np.errstate(over="raise"):
                return np.array(literal, dtype.numpy)
        except (ValueError, OverflowError, FloatingPointError):
            raise self._error(f"these are not elements of type {dtype.value}", start) from None

    def _function(self) -> None:
        name, token = self._sigil_name("@", "the name of a function")
        function = Function(name)
        self._values = {}
        self._expect("(")
        for _ in self._elements(")"):
            parameter, start = self._sigil_name("%", "a parameter")
            self._expect(":")
            self._define(function.add_parameter(parameter, self._type()), parameter, start)
        self._expect("->")
        self._expect("(")
        result_names: list[str] = []
        result_types: list[TensorType] = []
        for _ in self._elements(")"):
            result_names.append(self._sigil_name("%", "the name of a result")[0])
            self._expect(":")
            result_types.append(self._type())
        function.annotations = self._annotations()
        self._expect("{")
        while not self._accept("return"):
            self._op(function)
        start = self._token
        results: list[Value] = []
        for _ in self._elements("}"):
            value = self._operand()
            if value is None:
                raise self._error("a function cannot return nothing", start)
            results.append(value)
        if [v.type for v in results] != result_types:
            raise self._error("the returned values do not have the types that the function declares", start)
        function.set_results(results, result_names)
        try:
            self._module.add_function(function)
        except IRError as error:
            raise self._error(str(error), token) from None

    def _define(self, value: Value, name: str, start: Token) -> None:
        if name in self._values:
            raise self._error(f"value %{name} is defined twice", start)
        self._values[name] = value

    def _operand(self) -> Value | None:
        if self._accept("_"):
            return None
        token = self._token
        if token.kind == "sigil" and token.text[0] == "@":
            name, _ = self._sigil_name("@", "a constant")
            if name not in self._module.constants:
                raise self._error(f"constant @{name} is not defined", token)
            return self._module.constants[name]
        name, _ = self._sigil_name("%", "an operand")
        if name not in self._values:
            raise self._error(f"value %{name} is not defined before its use", token)
        return self._values[name]

    def _annotations(self) -> dict[str, Literal]:
        found: dict[str, Literal] = {}
        if self._accept("["):
            for _ in self._elements("]"):
                key = self._expect_kind("word", "the name of an annotation").text
                self._expect("=")
                found[key] = self._literal()
        return found

    def _op(self, function: Function) -> None:
        names: list[tuple[str, Token]] = []
        while not names or self._accept(","):
            names.append(self._sigil_name("%", "a result, or 'return'"))
        self._expect("=")
        start, cls = self.operator_class()
        self._expect("(")
        operands = [self._operand() for _ in self._elements(")")]
        operator = self.attributes(cls, start)
        annotations = self._annotations()
        self._expect(":")
        types = [self._type()]
        while self._accept(","):
            types.append(self._type())
        loc: list[str] = []
        if self._accept("loc"):
            self._expect("(")
            loc = [self._string() for _ in self._elements(")")]
        if len(types) != len(names):
            raise self._error(f"{len(names)} results have {len(types)} types", start)
        try:
            op = Op(operator, operands, types, names=[n for n, _ in names], loc=loc, annotations=annotations)
        except TilewrightError as error:
            raise self._error(str(error), start) from None
        for value, (name, token) in zip(op.results, names, strict=True):
            self._define(value, name, token)
        function.insert(op)


@resources("parse module")
def parse_module(
    text: str, blobs: Mapping[str, np.ndarray] | None = None, *, registry: Registry | None = None
) -> Module:
    """The module that ``text`` describes.
    ``text``: as :func:`tilewright.ir.text.printer.print_module` writes it; ``//`` starts a comment.
    ``blobs``: arrays by SHA-256, as :func:`tilewright.ir.text.printer.blobs` gives them.
    ``registry``: the operators to know; all of networks and of tile programs by default.
    Raises ParseError: with line, column and caret; ResourceError: memory ran out."""
    return _Parser(text, blobs or {}, registry if registry is not None else {**REGISTRY, **TILE_OPERATORS}).parse()

"""Modules as text: one op a line, every attribute, exact floats, large constants by content hash.

    module @tiny {
      const @w : f32[16,3,3,3] = blob "sha256:4be1…"
      func @main(%x: f32[1,3,32,32]) -> (%y: f32[1,16,32,32]) {
        %c = conv(%x, @w) {strides=[1,1], …} [on=cpu] : f32[1,16,32,32]#c16 loc("Conv_0")
        return %c
      }
    }

Attributes, which belong to the meaning, stand in braces; annotations, which passes add, stand in brackets.
:func:`blobs` gives the arrays that the text names by hash; :mod:`tilewright.ir.text.parser` reads all of it back.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .literals import INLINE_ELEMENTS, Literal, digest_of, print_literal, print_name
from .names import Names

if TYPE_CHECKING:
    # For their types alone: ops and modules print themselves by what stands here.
    from ..core import Constant, Function, Module, Op, Value
    from ..op import Operator


class _ValueNames:
    """Unique printed names for the values of a function."""

    def __init__(self) -> None:
        self._names: dict[Value, str] = {}
        self._taken = Names()

    def define(self, value: Value) -> str:
        self._names[value] = self._taken.take(value.name)
        return print_name("%", self._names[value])

    def use(self, value: Value | None) -> str:
        if value is None:
            return "_"
        # Constants have names of their own. A value without definition cannot be printed rightly, but a message about
        # it must be.
        return print_name(value.SIGIL, self._names.get(value, value.name))


def _fields(pairs: Mapping[str, Literal]) -> str:
    return ", ".join(f"{key}={print_literal(value)}" for key, value in pairs.items())


def _op_line(op: Op, names: _ValueNames) -> str:
    present = max((index + 1 for index, value in enumerate(op.operands) if value is not None), default=0)
    operands = ", ".join(map(names.use, op.operands[:present]))
    results = ", ".join(map(names.define, op.results))
    line = f"{results} = {application(op.operator, operands)}"
    if op.annotations:
        line += f" [{_fields(op.annotations)}]"
    line += f" : {', '.join(str(value.type) for value in op.results)}"
    if op.loc:
        line += f" loc({', '.join(json.dumps(name, ensure_ascii=False) for name in op.loc)})"
    return line


def application(operator: Operator, operands: str) -> str:
    """An operator applied to named operands, without types: ``clip(t0) {min=…, max=…}``."""
    attributes = {f.name: getattr(operator, f.name) for f in dataclasses.fields(operator)}
    return f"{operator.name}({operands})" + (f" {{{_fields(attributes)}}}" if attributes else "")


def print_op(op: Op) -> str:
    """One op on a line, names as hinted."""
    return _op_line(op, _ValueNames())


def print_function(function: Function) -> str:
    names = _ValueNames()
    parameters = ", ".join(f"{names.define(p)}: {p.type}" for p in function.parameters)
    results = ", ".join(
        f"{print_name('%', name)}: {value.type}"
        for name, value in zip(function.result_names, function.results, strict=True)
    )
    annotations = f" [{_fields(function.annotations)}]" if function.annotations else ""
    lines = [f"  func {print_name('@', function.name)}({parameters}) -> ({results}){annotations} {{"]
    lines += [f"    {_op_line(op, names)}" for op in function.ops]
    lines += [f"    return {', '.join(map(names.use, function.results))}".rstrip(), "  }"]
    return "\n".join(lines)


def _constant_line(constant: Constant) -> str:
    head = f"  const {print_name('@', constant.name)} : {constant.type} = "
    if is_inline(constant.array):
        return head + print_literal(tuple(constant.array.ravel().tolist()))
    return head + f'blob "sha256:{constant.digest}"'


def is_inline(array: np.ndarray) -> bool:
    if array.size > INLINE_ELEMENTS:
        return False
    # The bits of a NaN do not survive the text.
    return not (array.dtype.kind == "f" and bool(np.isnan(array).any()))


def print_module(module: Module) -> str:
    """The whole module."""
    lines = [f"module {print_name('@', module.name)} {{"]
    lines += [f"  meta {print_literal(key)} = {json.dumps(value)}" for key, value in module.metadata.items()]
    lines += map(_constant_line, module.constants.values())
    lines += map(print_function, module.functions.values())
    return "\n".join([*lines, "}"]) + "\n"


def blobs(module: Module) -> dict[str, np.ndarray]:
    """The arrays that the text of ``module`` names by hash, keyed by the SHA-256 in hexadecimal."""
    found = {c.digest: c.array for c in module.constants.values() if not is_inline(c.array)}
    types = [c.type for c in module.constants.values()]
    for function in module.functions.values():
        types += [p.type for p in function.parameters]
    types += [value.type for op in module.ops for value in op.results]
    for type in types:
        if type.quant is not None and len(type.quant.scale) > INLINE_ELEMENTS:
            found[digest_of(type.quant.array)] = type.quant.array
    return found

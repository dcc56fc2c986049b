"""Operators that ONNX has with the same operands and attributes: a declaration makes their importer and exporter."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir.core import Op, Value
from ....ir.op import Operator, attribute_types
from .exporter import Exporter, exports
from .importer import Importer, Node, imports

_READERS: dict[Any, Any] = {bool: Node.bool, int: Node.int, float: Node.float, str: Node.string}


def one_to_one(op_type: str, cls: type[Operator], **attributes: Any) -> None:
    """Register importer and exporter of an operator that ONNX calls ``op_type``.
    ``attributes``: for each field of ``cls``, in order, the name of the attribute in ONNX and its default there,
    ``None`` if it must be given. An ``axis`` may count from the back of the first operand."""
    fields = list(attribute_types(cls).values())
    names = cls.OPERANDS
    assert names is not None

    def read(node: Node, importer: Importer) -> Sequence[Value]:
        operands = [(node.input if i < cls.REQUIRED else node.optional)(i) for i in range(len(names))]
        arguments = [
            node.axis(node.input(0).type.rank, default) if name == "axis" else _READERS[declared](node, name, default)
            for (name, default), declared in zip(attributes.items(), fields, strict=True)
        ]
        return importer.emit(cls(*arguments), *operands)

    imports(op_type)(read)
    exports_as(op_type, cls, *attributes)


def exports_as(
    op_type: str, cls: type[Operator], *attributes: str, inputs: Sequence[str] = (), **constants: Any
) -> None:
    """Register the exporter of an operator that ONNX calls ``op_type``.
    ``attributes``: what ONNX calls the fields of ``cls``, in order; by default what they are called here.
    ``inputs``: those fields that ONNX takes as one-dimensional inputs after the operands.
    ``constants``: attributes that ONNX has beside the fields."""
    fields = [field.name for field in dataclasses.fields(cls) if field.name not in inputs]

    def write(op: Op, exporter: Exporter) -> None:
        values = {name: getattr(op.operator, field) for name, field in zip(attributes or fields, fields, strict=True)}
        tensors = [exporter.integers(np.atleast_1d(getattr(op.operator, field)), field) for field in inputs]
        exporter.write_as(op, op_type, [*op.operands, *tensors], **values, **constants)

    exports(cls)(write)

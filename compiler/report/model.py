"""What ``tilewright inspect`` shows of a model, and of the compiler itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tilewright.errors import resources

from ...runtime.report.table import MACS, Column, Table, json_text
from ..frontend.formats import import_model
from ..options import parse_input_shapes
from .supported import device_rules, supported_ir_layers, supported_onnx_operators, supported_operators


@resources("inspect")
def inspect_model(path: Path, input_shapes: Sequence[str], *, ir: bool, as_json: bool) -> str:
    """A model as imported, before any pass: its ops, or the module as text.

    Args:
        input_shapes: as :func:`parse_input_shapes` takes them.

    Raises:
        UsageError: a shape is of another form.
        ModelError: the model cannot be read or uses what is not supported.
    """
    module = import_model(path, parse_input_shapes(input_shapes))
    if ir:
        return json_text({"name": module.name, "ir": str(module)}) if as_json else str(module)
    table = Table([Column("name", "node"), Column("op", "operator"), Column("result", "result"), MACS])
    for op in module.main.ops:
        shown = ", ".join(str(value.type.plain) for value in op.results)
        table.add(name=op.node or "", op=op.name, result=shown, macs=op.macs)
    if as_json:
        return json_text({"name": module.name, "metadata": module.metadata, "layers": table.records()})
    return table.text()


def supported(*, as_json: bool) -> str:
    """All supported operators in Markdown, or as JSON."""
    tables = {
        "operators": supported_operators(),
        "device": device_rules(),
        "onnx": supported_onnx_operators(),
        "ir": supported_ir_layers(),
    }
    if as_json:
        return json_text({key: table.records() for key, table in tables.items()})
    return "\n".join(table.markdown() for table in tables.values())

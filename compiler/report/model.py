"""What ``tilewright inspect`` shows of a model, and of what the compiler supports, read off the registries."""

from collections.abc import Sequence
from pathlib import Path

from tilewright.errors import resources

from ...codegen.cpu.families import lowerings
from ...ir.calls import macs_of
from ...ir.op import QuantizationRule
from ...ir.ops import REGISTRY
from ...ir.ops.control_flow import ControlFlow
from ...passes.placement.device_support import COMMON_RULES, OWN_RULES, SUPPORT
from ...passes.placement.rule import text_of
from ...runtime.commands.shapes import parse_bounds, parse_frozen, parse_input_shapes
from ...runtime.report.inspection import ModelLayers, ModuleText, OpenModel
from ...runtime.report.table import MACS, Column, Records, Table, on_one_line
from ..frontend.builder import open_shapes_error, shape_text
from ..frontend.formats import ModelProto, import_model, is_ir
from ..frontend.input_shapes import Declared, names_in, one_shape
from ..frontend.ir.document import Document
from ..frontend.ir.families import layer_types, unknown_types
from ..frontend.ir.reader import read_document
from ..frontend.onnx.families import IMPORTS
from ..frontend.onnx.functions import Functions, operators_with_bodies, standard_domain
from ..frontend.onnx.reader import declared_inputs, load_model, open_inputs


@resources("inspect")
def inspect_model(
    path: Path, input_shapes: Sequence[str], freeze: Sequence[str], bounds: Sequence[str], *, ir: bool, as_json: bool
) -> str | ModuleText | ModelLayers | OpenModel:
    """A model as imported, before any pass: its ops, or the module as text. Of a model that leaves shapes open, and is
    not given them, the inputs and the nodes as they stand in the file.
    ``input_shapes``: as :func:`parse_input_shapes` takes them.
    ``freeze``: as :func:`parse_frozen` takes them.
    ``bounds``: as :func:`parse_bounds` takes them.
    Raises UsageError: a shape or a bound is of another form; ModelError: the model cannot be read or uses what is
    not supported."""
    shapes, frozen = parse_input_shapes(input_shapes), parse_frozen(freeze)
    source, given = path, names_in(shapes) | frozen.keys()
    if is_ir(source):
        source = read_document(source)
        source.name = path.stem
        inputs = {name: shape for name, shape in source.open_inputs().items() if name not in given}
        if inputs and not ir:
            return _outline(path, inputs, unknown_types(source), _layers(source), as_json=as_json)
    elif not ir:
        model, _ = load_model(path)
        shape = one_shape(declared_inputs(model.graph, given), shapes)
        inputs = open_inputs(model.graph, shape, frozen)
        if inputs:
            return _outline(path, inputs, _unknown_operators(model), _nodes(model), as_json=as_json)
    module = import_model(source, shapes, frozen=frozen, bounds=parse_bounds(bounds))
    if ir:
        return ModuleText(name=module.name, engine=None, ir=str(module)) if as_json else str(module)
    table = Table([Column("name", "node"), Column("op", "operator"), Column("result", "result"), MACS])
    for op in module.main.ops:
        shown = ", ".join(str(value.type.plain) for value in op.results)
        table.add(name=op.node or "", op=op.name, result=shown, macs=macs_of(module, op))
    if as_json:
        return ModelLayers(name=module.name, metadata=module.metadata, layers=table.records())
    return table.text()


def _outline(path: Path, left: Declared, missing: Sequence[str], nodes: Table, *, as_json: bool) -> str | OpenModel:
    inputs = {name: shape_text(extents) for name, extents in left.items()}
    if as_json:
        return {"name": path.stem, "open_inputs": inputs, "unsupported": missing, "nodes": nodes.records()}
    lines = [f"input {name} has an open shape: {shape}" for name, shape in inputs.items()]
    lines += [f"not supported: {kind}" for kind in missing]
    return "\n".join([*map(on_one_line, [*lines, str(open_shapes_error(left).hint)]), "", nodes.text()])


def _unknown_operators(model: ModelProto) -> list[str]:
    functions, opsets = Functions(model.functions), {each.domain: each.version for each in model.opset_import}
    nodes = [node for node in model.graph.node if not functions.are_there(node, opsets.get(node.domain, 1))]
    used = {(standard_domain(node.domain), node.op_type) for node in nodes}
    return [f"{domain}:{kind}" if domain else kind for domain, kind in sorted(used - IMPORTS.keys())]


def _nodes(model: ModelProto) -> Table:
    table = Table([Column("name", "node"), Column("op", "operator"), Column("result", "result")])
    for node in model.graph.node:
        table.add(name=node.name, op=node.op_type, result=", ".join(node.output))
    return table


def _layers(document: Document) -> Table:
    table = Table([Column("name", "layer"), Column("op", "type"), Column("result", "result")])
    for layer in document.layers.values():
        if layer.type not in ("Const", "Result"):
            results = ", ".join(f"{port.precision}{shape_text(port.shape)}" for port in layer.outputs)
            table.add(name=layer.name, op=layer.type, result=results)
    return table


def supported(*, as_json: bool) -> str | dict[str, Records]:
    """All supported operators in Markdown, or their tables for JSON."""
    tables = {
        "operators": supported_operators(),
        "device": device_rules(),
        "onnx": supported_onnx_operators(),
        "ir": supported_ir_layers(),
    }
    if as_json:
        return {key: table.records() for key, table in tables.items()}
    return "\n".join(table.markdown() for table in tables.values())


def supported_onnx_operators() -> Table:
    """One row for each ONNX operator that is imported."""
    columns = [Column("operator", "ONNX operator"), Column("domain", "domain"), Column("by", "imported by")]
    table = Table(columns, title="ONNX operators")
    for domain, op_type in sorted(IMPORTS.keys() | operators_with_bodies()):
        by = "its importer" if (domain, op_type) in IMPORTS else "the function body of its schema"
        table.add(operator=op_type, domain=domain or "ai.onnx", by=by)
    return table


def supported_ir_layers() -> Table:
    """One row for each type of layer that IR files are imported with."""
    columns = [Column("layer", "layer of IR"), Column("versions", "versions of IR", show=", ".join)]
    table = Table(columns, title="Layers of IR")
    for name, versions in layer_types().items():
        table.add(layer=name, versions=[f"{span.start} to {span.stop - 1}" for span in versions])
    return table


def supported_operators() -> Table:
    """One row for each operator of the intermediate representation."""
    columns = [
        Column("operator", "operator"),
        Column("family", "family"),
        Column("summary", "computes"),
        Column("attributes", "attributes", show=", ".join),
        Column("cpu", "CPU kernel", show=lambda found: "yes" if found else "reference"),
        Column("quantization", "on quantised tensors"),
        Column("device", "device", show=lambda found: "yes" if found else "–"),
    ]
    table = Table(columns, title="Operators")
    for name, cls in sorted(REGISTRY.items(), key=lambda item: (item[1].family, item[0])):
        rule = cls.QUANTIZATION
        table.add(
            operator=name,
            family=cls.family,
            summary=_summary(cls.__doc__ or ""),
            attributes=[f.name for f in cls.attributes()],
            cpu=bool(lowerings(cls)) or issubclass(cls, ControlFlow),
            quantization="–" if rule is QuantizationRule.NONE else rule.value,
            device=cls in SUPPORT,
        )
    return table


def device_rules() -> Table:
    """One row for each rule that ops on the device keep, with the operators that it holds for."""
    columns = [Column("rule", "on the device"), Column("operators", "holds for", show=", ".join)]
    table = Table(columns, title="Rules of the device")
    rules: dict[str, list[str]] = {text_of(rule): ["all"] for rule in COMMON_RULES}
    for cls in sorted(OWN_RULES, key=lambda cls: (cls.family, cls.name)):
        for rule in OWN_RULES[cls]:
            rules.setdefault(text_of(rule), []).append(cls.name)
    for rule, operators in rules.items():
        table.add(rule=rule, operators=operators)
    return table


def _summary(doc: str) -> str:
    """The first sentence of a docstring on one line."""
    paragraph = " ".join(doc.strip().split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".")

"""What Tilewright supports, generated from the registries: the table can never say more or less than the code."""

from __future__ import annotations

from ...codegen.cpu.families import lowerings
from ...ir.op import QuantizationRule
from ...ir.ops import REGISTRY
from ...passes.placement.device_support import COMMON_RULES, OWN_RULES, SUPPORT
from ...passes.placement.device_support.rule import text_of
from ...runtime.report.table import Column, Table
from ..frontend.ir.families import layer_types
from ..frontend.onnx.families import IMPORTS


def supported_onnx_operators() -> Table:
    """One row for each ONNX operator that is imported."""
    table = Table([Column("operator", "ONNX operator"), Column("domain", "domain")], title="ONNX operators")
    for domain, op_type in sorted(IMPORTS):
        table.add(operator=op_type, domain=domain or "ai.onnx")
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
            cpu=bool(lowerings(cls)),
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

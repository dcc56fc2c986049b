"""Priors: PriorBox and PriorBoxClustered as OpenVINO's converter spells them in ONNX; constants when written."""

from __future__ import annotations

from .....ir.core import Op, Value
from .....ir.ops.priors import PriorBox, PriorBoxClustered
from ...detection import extents_of, prior_box, prior_box_clustered
from ...shape import reshape
from ..exporter import OPENVINO, Exporter, exports
from ..importer import Importer, Node, imports


@imports("PriorBox", "PriorBoxClustered", domain=OPENVINO)
def import_priors(node: Node, importer: Importer) -> Value:
    """Of feature map and image only the extents count. Result: [1, 2, numbers]."""
    grid, image = extents_of(node, node.input(0)), extents_of(node, node.input(1))
    make = prior_box if node.op_type == "PriorBox" else prior_box_clustered
    priors = importer.emit_one(make(node, grid, image, offset=0.0))
    return reshape(importer, priors, (1, *priors.type.shape))


@exports(PriorBox, PriorBoxClustered)
def export_priors(op: Op[PriorBox | PriorBoxClustered], exporter: Exporter) -> None:
    exporter.define(op, exporter.constant(op.evaluate([])[0], op.result.name))

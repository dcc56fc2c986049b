"""Proposal under OpenVINO's name; ONNX has nothing like it."""

from __future__ import annotations

from .....ir.core import Op, Value
from .....ir.ops.proposal import Proposal
from ...detection import proposal
from ..exporter import OPENVINO, Exporter, exports
from ..importer import Importer, Node, imports


@imports("Proposal", domain=OPENVINO)
def import_proposal(node: Node, importer: Importer) -> list[Value]:
    return proposal(node, importer, [node.input(index) for index in range(3)])


@exports(Proposal)
def export_proposal(op: Op[Proposal], exporter: Exporter) -> None:
    operator = op.operator
    exporter.write_as(
        op,
        "Proposal",
        op.operands,
        OPENVINO,
        base_size=operator.base_size,
        ratio=operator.ratio,
        scale=operator.scale,
        feat_stride=operator.feat_stride,
        min_size=operator.min_size,
        pre_nms_topn=operator.pre_nms_topn,
        post_nms_topn=operator.post_nms_topn,
        nms_thresh=operator.nms_thresh,
        box_coordinate_scale=operator.box_coordinate_scale,
        box_size_scale=operator.box_size_scale,
        framework="tensorflow" if operator.is_tensorflow else "",
        normalize=int(operator.normalize),
        clip_before_nms=int(operator.clip_before_nms),
        clip_after_nms=int(operator.clip_after_nms),
    )

"""Pooling over regions: MaxRoiPool of ONNX, and under OpenVINO's names what the standard does not have."""

from __future__ import annotations

from .....ir.core import Op, Value
from .....ir.ops.region_pooling import PsroiPool, RoiPool
from ...detection import psroi_pool, roi_pool
from ..exporter import OPENVINO, Exporter, exports
from ..importer import Importer, Node, imports


@imports("MaxRoiPool")
def import_max_roi_pool(node: Node, importer: Importer) -> Value:
    height, width = node.ints("pooled_shape")
    operator = RoiPool(node.float("spatial_scale", 1.0), (height, width))
    return importer.emit_one(operator, node.input(0), node.input(1))


@imports("ROIPooling", domain=OPENVINO)
def import_roi_pooling(node: Node, importer: Importer) -> Value:
    return roi_pool(node, importer, [node.input(0), node.input(1)])


@imports("PSROIPooling", domain=OPENVINO)
def import_psroi_pooling(node: Node, importer: Importer) -> Value:
    return psroi_pool(node, importer, [node.input(index) for index in range(len(node.inputs))])


@exports(RoiPool)
def export_roi_pool(op: Op[RoiPool], exporter: Exporter) -> None:
    operator = op.operator
    if operator.mode == "max":
        attributes = {"pooled_shape": operator.size, "spatial_scale": operator.spatial_scale}
        exporter.write_as(op, "MaxRoiPool", op.operands, **attributes)
        return
    height, width = operator.size
    attributes = {"pooled_h": height, "pooled_w": width, "spatial_scale": operator.spatial_scale}
    exporter.write_as(op, "ROIPooling", op.operands, OPENVINO, method=operator.mode, **attributes)


@exports(PsroiPool)
def export_psroi_pool(op: Op[PsroiPool], exporter: Exporter) -> None:
    operator = op.operator
    exporter.write_as(
        op,
        "PSROIPooling",
        op.operands,
        OPENVINO,
        output_dim=operator.output_dim,
        group_size=operator.group_size,
        spatial_scale=operator.spatial_scale,
        mode=operator.mode,
        spatial_bins_y=operator.bins[0],
        spatial_bins_x=operator.bins[1],
    )

"""Pooling over regions: MaxRoiPool and RoiAlign of ONNX, and under OpenVINO's names what the standard does not have."""

from __future__ import annotations

from typing import Any

import numpy as np

from .....ir.core import Op, Value
from .....ir.ops.region_pooling import OFFSETS, PsroiPool, RoiAlign, RoiPool
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


_ALIGNMENTS = {"half_pixel": "half_pixel_for_nn", "output_half_pixel": "asymmetric"}
"""What ONNX calls the modes of alignment."""


@imports("RoiAlign")
def import_roi_align(node: Node, importer: Importer) -> Value:
    default = "half_pixel" if node.opset >= 16 else "output_half_pixel"
    given = node.string("coordinate_transformation_mode", default)
    if given not in _ALIGNMENTS:
        raise node.model_error("unknown coordinate_transformation_mode", expected=", ".join(_ALIGNMENTS), found=given)
    size = node.int("output_height", 1), node.int("output_width", 1)
    return _aligned(node, importer, size, node.string("mode", "avg"), _ALIGNMENTS[given])


@imports("ROIAlign", domain=OPENVINO)
def import_openvino_roi_align(node: Node, importer: Importer) -> Value:
    mode = node.word("mode", "avg")
    size = node.int("pooled_h"), node.int("pooled_w")
    return _aligned(node, importer, size, "max_interpolated" if mode == "max" else mode, node.word("aligned_mode"))


def _aligned(node: Node, importer: Importer, size: tuple[int, int], mode: str, alignment: str) -> Value:
    operator = RoiAlign(size, node.int("sampling_ratio", 0), node.float("spatial_scale", 1.0), mode, alignment)
    x, regions, images = (node.input(index) for index in range(3))
    return importer.emit_one(operator, x, regions, images)


@exports(RoiAlign)
def export_roi_align(op: Op[RoiAlign], exporter: Exporter) -> None:
    operator = op.operator
    (height, width), (x, regions, images) = operator.size, op.operands
    common: dict[str, Any] = {"sampling_ratio": operator.sampling_ratio, "spatial_scale": operator.spatial_scale}
    indices = exporter.node("Cast", [images], to=7)
    if operator.mode == "max_interpolated":
        attributes = {**common, "pooled_h": height, "pooled_w": width, "aligned_mode": operator.alignment}
        exporter.write_as(op, "ROIAlign", [x, regions, indices], OPENVINO, mode="max", **attributes)
        return
    moved: Value | str = regions
    if OFFSETS[operator.alignment][0]:
        moved = exporter.node(
            "Add", [regions, exporter.constant(np.asarray(OFFSETS[operator.alignment][0], np.float32), "half")]
        )
    alignment = "output_half_pixel" if operator.alignment == "asymmetric" else "half_pixel"
    exporter.write_as(
        op,
        "RoiAlign",
        [x, moved, indices],
        output_height=height,
        output_width=width,
        mode=operator.mode,
        coordinate_transformation_mode=alignment,
        **common,
    )
